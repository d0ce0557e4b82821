"""The tools as a model reads them: each schema as a JSON file beside the test, so that a changed word is a change."""

import json
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from snapshots import assert_no_other_file, assert_snapshot

from agent.searchers.centaur import SuggestedProposer
from agent.searchers.model.proposer import TOOLS

SNAPSHOTS = Path(__file__).parent / "snapshots"
NAMES = ["count_flops", "train_ract", "evaluate_fid", "query_memory", "finish_search"]

by_name = pytest.mark.parametrize("tool", SuggestedProposer.tools, ids=lambda tool: tool.name)


def schema(tool: BaseTool) -> dict[str, Any]:
    return convert_to_openai_tool(tool)


def keys_of(value: Any) -> set[str]:
    """Every key at any depth."""
    if isinstance(value, dict):
        return set(value) | {key for part in value.values() for key in keys_of(part)}
    return {key for part in value for key in keys_of(part)} if isinstance(value, list) else set()


def test_the_agent_has_these_five_tools() -> None:
    assert [tool.name for tool in TOOLS] == NAMES
    assert [tool.name for tool in SuggestedProposer.tools] == [*NAMES, "suggest_architectures"]


@by_name
def test_the_schema_is_the_reviewed_one(tool: BaseTool) -> None:
    text = json.dumps(schema(tool), indent=1, ensure_ascii=False) + "\n"
    assert_snapshot(SNAPSHOTS / f"{tool.name}.json", text)


@by_name
def test_what_is_injected_is_hidden_from_the_model(tool: BaseTool) -> None:
    assert "runtime" not in json.dumps(schema(tool))


@by_name
def test_no_schema_uses_what_some_servers_cannot_read(tool: BaseTool) -> None:
    assert not keys_of(schema(tool)) & {"prefixItems", "$ref", "$defs", "definitions"}


@by_name
def test_the_description_is_a_dedented_docstring_whose_first_line_is_a_sentence(tool: BaseTool) -> None:
    description = schema(tool)["function"]["description"]
    assert description == cleandoc(description)
    assert not any(line.startswith(" ") for line in description.splitlines())
    first, blank, *rest = description.splitlines()
    assert first.endswith(".")
    assert blank == ""
    assert rest


@by_name
def test_every_argument_is_explained(tool: BaseTool) -> None:
    for name, argument in schema(tool)["function"]["parameters"]["properties"].items():
        assert argument.get("description"), name


@by_name
def test_an_argument_that_the_schema_does_not_know_is_refused(tool: BaseTool) -> None:
    assert getattr(tool.args_schema, "model_config", {})["extra"] == "forbid"


def test_every_snapshot_belongs_to_a_tool() -> None:
    assert_no_other_file(SNAPSHOTS, {f"{tool.name}.json" for tool in SuggestedProposer.tools})
