"""``diffnas-agent doctor``: whether everything is there for a search, and how reliably a model calls tools."""

from typing import TYPE_CHECKING

import typer

from agent.cli.options import Json, configured

if TYPE_CHECKING:
    from agent.config.sources import Resolved


@configured(
    "llm", "base_url", "preset", "dataset", "data_dir", "feature_network", "places",
    llm="examine this model in 20 graded cases: openai:MODEL, anthropic:MODEL, ollama:MODEL",
    base_url="the OpenAI-compatible server that has it",
)  # fmt: skip
def doctor(settings: "Resolved", as_json: Json = False) -> None:
    """Check the installation, the accelerator and the data; with --llm, how reliably that model calls tools."""
    from agent.doctor.visit import visit

    raise typer.Exit(visit(settings, as_json=as_json))
