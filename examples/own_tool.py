"""A tool of your own: the language model may also ask what a spec would cost at another resolution.

A tool is a model of its arguments and a function, whose docstring is what the language model reads; it gives a text for
the model and plain values for the record. ``runtime.context`` is the round: its limits, its memory, its jobs. A
`Refused` is told to the model, which may then call otherwise; everything else that is raised ends the search.

    python examples/own_tool.py                 # two rounds against a scripted model on this machine
    python examples/own_tool.py MODEL URL       # against yours: any OpenAI-compatible server

Both look results up in the table UNetBench, so that nothing is trained.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Annotated, Any, ClassVar

from langchain_core.tools import BaseTool
from loopback_server import make_server
from pydantic import Field

from agent.config.sources import resolve
from agent.search.begin import open_run
from agent.search.drive import drive
from agent.search.plan import plan
from agent.searchers.model.proposer import TOOLS, LLMProposer
from diffusion.cost.closed_form import cost
from diffusion.spec import UNetSpec
from memory.connection import opened
from tools.arguments import Arguments, Runtime, SpecArgument, model_tool
from tools.errors import Refused


class CountAtArguments(Arguments):
    """What `count_at` takes."""

    spec: SpecArgument
    resolution: Annotated[int, Field(ge=8, le=512, description="side of the images in pixels, a multiple of 8")]


@model_tool("count_at", CountAtArguments)
def count_at(spec: UNetSpec, resolution: int, runtime: Runtime) -> tuple[str, dict[str, Any]]:
    """Count what a spec would cost for larger or smaller images. Free; ask before a spec that is to be scaled up.

    Gives the MACs at that resolution, counted as those of the budget are, and how many times those here they are.
    """
    if resolution % 8:
        raise Refused("arguments", f"{resolution} is no multiple of 8; ask for {resolution - resolution % 8}.")
    limits = runtime.context.limits
    settings = limits.protocol.settings
    macs = cost(spec, settings.family, resolution, settings.channels).macs.by(limits.convention)
    times = macs / limits.cost(spec).macs.by(limits.convention)
    found = {"spec": str(spec), "resolution": resolution, "macs": macs, "times": round(times, 2)}
    return json.dumps(found), found


class WithCountAt(LLMProposer):
    """The usual player, with one more tool."""

    tools: ClassVar[list[BaseTool]] = [*TOOLS, count_at]


def scripted(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """What the scripted model calls: first the new tool, then the training of what it asked about."""
    prompt = next(message["content"] for message in messages if message["role"] == "user")
    spec = "b8-n1-m1.1.1.2-a0000" if "# Round 1" in prompt else "b8-n2-m1.1.1.2-a0000"
    answers = [json.loads(message["content"]) for message in messages if message["role"] == "tool"]
    if not answers:
        return "count_at", {"spec": spec, "resolution": 64}
    return "train_ract", {"spec": spec, "reason": f"At 64×64 it costs {answers[-1]['times']} times as much."}


@contextmanager
def model_and_url() -> Iterator[tuple[str, str]]:
    """The model and the server that were named, or the scripted one for as long as it is needed."""
    if len(sys.argv) == 3:
        yield sys.argv[1], sys.argv[2]
        return
    with make_server(choose=scripted) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield "scripted", f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def main() -> None:
    db = Path(tempfile.mkdtemp(prefix="diffnas-")) / "diffnas.db"
    with model_and_url() as (model, url):
        settings = resolve(
            {"db": db, "bench": "unetbench", "llm": f"openai:{model}", "base_url": url, "searcher": "llm", "rounds": 2}
        )
        planned = replace(plan(settings.config), proposer=WithCountAt.of)
        with opened(db) as memory:
            search = open_run(memory, planned)
        drive(search, planned, as_json=False)
    with opened(db, read_only=True) as memory:
        for row in memory.query("SELECT round, spec, reason FROM results WHERE round > 0 ORDER BY round"):
            print(f"round {row['round']}: {row['spec']}: {row['reason']}")


if __name__ == "__main__":
    main()
