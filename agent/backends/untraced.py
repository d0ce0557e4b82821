"""Nothing that is typed or answered leaves but to the backend that was chosen.

Tracing to third parties is off, whatever the environment says: whoever makes a model imports this before any module of
LangChain can look.
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
