"""Decides: the LangChain agent, its backends, the search loop, the reports and the command line.

Nothing that is typed or answered leaves but to the backend that was chosen: tracing to third parties is off before any
module of LangChain can look, whatever the environment says.
"""

import os

TRACING = (
    "LANGSMITH_TRACING",
    "LANGSMITH_TRACING_V2",
    "LANGCHAIN_TRACING",
    "LANGCHAIN_TRACING_V2",
    "LANGSMITH_OTEL_ENABLED",
)
os.environ.update(dict.fromkeys(TRACING, "false"))
