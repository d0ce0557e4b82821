"""The tables of the pages that are made from models: a marker names one, `make docs` writes, a test compares."""

import re
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel

DOCS = Path(__file__).parents[2] / "docs"
MADE = re.compile(r"<!-- fields of ([\w.]+) -->\n.*?<!-- end -->", re.DOTALL)


def fields_of(place: str) -> str:
    """The fields of a model with what they mean, as a table."""
    module, _, name = place.rpartition(".")
    model: type[BaseModel] = getattr(import_module(module), name)
    rows = [
        f"| `{field}` | {' '.join((told.description or '').split())} |" for field, told in model.model_fields.items()
    ]
    return "\n".join(["| field | meaning |", "| --- | --- |", *rows])


def made(text: str) -> str:
    """A page with its tables as the code has them."""
    return MADE.sub(lambda mark: f"<!-- fields of {mark[1]} -->\n\n{fields_of(mark[1])}\n\n<!-- end -->", text)


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        page.write_text(made(page.read_text(encoding="utf-8")), encoding="utf-8")
