"""What the pages and ``.env.example`` have from the code: a marker names it, `make docs` writes, a test compares."""

import json
import re
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sqlite_utils import Database
from unetbench_sheet import figures_of

from agent.config.settings import FIELDS, GROUPS, PREFIX, sentence, setting_of
from agent.config.sources import typed_name
from memory.connection import opened

ROOT = Path(__file__).parents[2]
PAGES = (*sorted((ROOT / "docs").glob("*.md")), ROOT / ".env.example")
MADE = re.compile(r"<!-- (fields|options|settings|figures|columns|schemas) of ([\w.]+) -->\n.*?<!-- end -->", re.DOTALL)
EXAMPLES = re.compile(r"(?<=\n)## .*?(?=## the providers' own keys\n)", re.DOTALL)


def named(place: str) -> Any:
    """What stands at a place such as ``agent.cli.run.run``."""
    module, _, name = place.rpartition(".")
    return getattr(import_module(module), name)


def table(columns: str, rows: Iterable[str]) -> str:
    """A table of rows that are cells already."""
    rule = " | ".join("---" for _ in columns.split(" | "))
    return "\n".join(f"| {row} |" for row in (columns, rule, *rows))


def fields_of(place: str) -> str:
    """The fields of a model with what they mean, as a table."""
    model: type[BaseModel] = named(place)
    told = {name: " ".join((field.description or "").split()) for name, field in model.model_fields.items()}
    return table("field | meaning", (f"`{name}` | {meaning}" for name, meaning in told.items()))


def options_of(place: str) -> str:
    """The options of a command that are settings, with what they mean there."""
    told: dict[str, str] = named(place).told
    return table("setting | meaning", (f"`{spelled(name)}` | {meaning}" for name, meaning in told.items()))


def spelled(name: str) -> str:
    """A setting's option as it is typed, with what stands for its value."""
    option = setting_of(FIELDS[name]).option or ""
    if option.startswith("--"):
        return option.replace("/", " / ")
    return f"{typed_name(name, {})} {option}".replace("|", "\\|")


def columns_of(place: str) -> str:
    """Every table of a fresh memory with its columns, and where each view takes its rows from."""
    assert place == "memory"
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "memory.db") as db:
        tables = sorted(set(db.table_names()) - {"_sqlite_migrations", "sqlite_sequence"})
        head = "column | type | must be there | holds"
        return "\n\n".join(f"## `{name}`\n\n{table(head, _columns(db, name))}" for name in tables)


def _columns(db: Database, name: str) -> Iterable[str]:
    """The columns of a table as rows: whose id one holds, or which words it may be."""
    refers = {key.column: f"`{key.other_column}` of `{key.other_table}`" for key in db.table(name).foreign_keys}
    words = dict(re.findall(r"CHECK \((\w+) IN \(([^)]*)\)\)", db.table(name).schema))
    for column in db.table(name).columns:
        said = ", ".join(f"`{word.strip().strip(chr(39))}`" for word in words.get(column.name, "").split(",") if word)
        holds = refers.get(column.name) or said or ("JSON" if column.name.endswith("_json") else "")
        needed = "yes" if column.notnull or column.is_pk else ""
        yield f"`{column.name}` | {column.type.lower()} | {needed} | {holds}"


def schemas_of(place: str) -> str:
    """The tools of a proposer, word for word as a language model is sent them."""
    sent = {tool.name: convert_to_openai_tool(tool) for tool in named(place).tools}
    told = {name: json.dumps(schema, indent=1, ensure_ascii=False) for name, schema in sent.items()}
    return "\n\n".join(f"`{name}`:\n\n```json\n{schema}\n```" for name, schema in told.items())


def settings_of(group: str) -> str:
    """The settings of a group with their defaults and options."""
    return table(
        "setting | default | option | meaning",
        (
            f"`{name}` | {default_of(field)} | `{typed_name(name, {}).split()[0]}` | {meaning_of(field)}"
            for name, field in GROUPS[group].model_fields.items()
        ),
    )


def meaning_of(field: FieldInfo) -> str:
    """All that a setting says of itself."""
    told = setting_of(field)
    return "; ".join(filter(None, (told.help, told.more)))


def default_of(field: FieldInfo) -> str:
    """A default as the documentation writes it."""
    if field.is_required():
        return "that of the preset"
    return "–" if field.default is None else f"`{value_of(field)}`"


def value_of(field: FieldInfo) -> str:
    """A value as it is written in the environment: the default, or where there is none an example."""
    if field.is_required() or field.default is None:
        return setting_of(field).example
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def examples() -> str:
    """Every setting as a variable, with what it means and its default or an example."""
    lines = []
    for model in GROUPS.values():
        title = (model.__doc__ or "").partition(".")[0]
        lines.append(f"## {title[0].lower()}{title[1:]}")
        for name, field in sorted(model.model_fields.items(), key=lambda item: item[0].upper()):
            told = setting_of(field)
            choices = f" ({told.option})" if told.option and "|" in told.option else ""
            lines += [f"# {sentence(told.help + choices)}", f"# {PREFIX}{name.upper()}={value_of(field)}"]
        lines.append("")
    return "\n".join(lines) + "\n"


MAKERS: dict[str, Callable[[str], str]] = {
    "fields": fields_of,
    "options": options_of,
    "settings": settings_of,
    "figures": figures_of,
    "columns": columns_of,
    "schemas": schemas_of,
}


def made(text: str) -> str:
    """A page with what it has from the code as the code has it."""
    text = EXAMPLES.sub(lambda _: examples(), text)
    return MADE.sub(lambda mark: f"<!-- {mark[1]} of {mark[2]} -->\n\n{MAKERS[mark[1]](mark[2])}\n\n<!-- end -->", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(made(page.read_text(encoding="utf-8")), encoding="utf-8")
