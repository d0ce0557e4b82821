"""Renders a prompt. Prompts are files beside this module; a variable that a template names and nobody gives is an
error.

``python -m prompts.render system`` prints a prompt with sample values, to see that the installed files are complete.
"""

import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

LONGEST_LINE = 300  # characters of foreign text that a prompt carries in one place

SAMPLES: dict[str, dict[str, Any]] = {
    "system": {
        "dataset": "digits",
        "resolution": 8,
        "channels": 1,
        "family": "ddpm",
        "budget": "6M",
        "convention": "paper",
        "metric": "fid-digits-cnn",
        "rounds": 10,
        "suggests": False,
        "stages": 4,
        "sides": "8, 4, 2, 1",
        "space": {"base_channel": [8, 16], "attn_0": [0, 1]},
        "example": {
            "object": '{"base_channel": 16, "num_blocks": 1, "channel_mult": [1, 2, 2, 2], '
            '"attn": [false, true, false, false]}',
            "text": "b16-n1-m1.2.2.2-a0100",
            "widths": "16.32.32.32",
        },
        "strategy": "learning_rate=0.001, train_steps=600",
    },
    "repair": {"problem": "Your answer held no tool call.", "tools": ["count_flops", "train_ract"]},
}


def render(name: str, **values: Any) -> str:
    """The text of the prompt ``name.md.j2``.

    Raises:
        jinja2.UndefinedError: the template names a variable that is not among `values`.
    """
    return environment().get_template(f"{name}.md.j2").render(**values).strip() + "\n"


def template_sha(name: str) -> str:
    """Twelve hex digits that stand for the text of the template ``name.md.j2`` itself."""
    loader = environment().loader
    assert loader is not None, "the templates lie beside this file"
    source, _, _ = loader.get_source(environment(), f"{name}.md.j2")
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@cache
def environment() -> Environment:
    """The templates beside this file; text is for a model, so nothing is escaped as HTML."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # prompts are not HTML
    )
    found.filters["line"] = one_line
    found.filters["data"] = fenced
    return found


def one_line(text: object) -> str:
    """Foreign text as one short line, so that it cannot pose as a section of the prompt."""
    line = " ".join(str(text).split()).replace("```", "'''")
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def fenced(text: object) -> str:
    """Foreign text between « and », which it cannot close: the system prompt says that what stands there is data."""
    return f"«{one_line(text).replace('«', '‹').replace('»', '›')}»"


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1], **SAMPLES[sys.argv[1]]))
