"""Adding a setting is one edit: a field. Tried in a process where the jobs' group has one more than the program's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.settings import own_options

ROOT = Path(__file__).parents[3]
ONE_MORE = """
import json, sys
from typing import Annotated

import diffusion.training.settings as settings
from diffusion.frozen import Setting


class JobSettings(settings.JobSettings):
    "How jobs run."

    patience: Annotated[int, Setting("how many `steps` to wait", "N", more="see [there](x.md)")] = 3


settings.JobSettings = JobSettings  # the one edit; everything else is read after it

import typer

from agent.cli.main import app
from agent.config.sources import parse_pairs, resolve
from agent.config.stored import stored_config
from diffusion.settings import TrainJob
from documented import examples, options_of, settings_of

commands = typer.main.get_command(app).commands
found = resolve({"budget": "1M"})
typed = resolve(parse_pairs(["patience=5"]) | {"budget": "1M"})
print(json.dumps({
    "options": {
        name: next((each.help for each in command.params if each.name == "patience"), None)
        for name, command in commands.items()
    },
    "environment": found.shown()["patience"],
    "set": typed.shown()["patience"],
    "stored": stored_config(json.dumps(typed.config.as_json() | {"baseline": "b8-n1-m1.1.1.1-a0000"})).jobs.patience,
    "child": TrainJob.model_fields["running"].default.patience,
    "documented": [settings_of("jobs").splitlines()[-1], options_of("agent.cli.run.run"), examples()],
}))
"""
TAKE_JOBS = {"run", "compare", "compress", "train", "resume", "confirm", "rank-study"}


def test_adding_a_setting_is_one_field(tmp_path: Path) -> None:
    places = f"{ROOT}:{ROOT / 'tests' / 'support'}"
    environment = {"PYTHONPATH": places, "DIFFNAS_PATIENCE": "4", "PATH": ""}
    command = [sys.executable, "-c", ONE_MORE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name for name, told in found["options"].items() if told} == TAKE_JOBS
    assert found["options"]["run"] == "How many steps to wait."
    assert found["environment"] == {"value": 4, "from": "environment"}
    assert found["set"] == {"value": 5, "from": "option"}
    assert (found["stored"], found["child"]) == (5, 3)
    row, options, example = found["documented"]
    assert row == "| `patience` | `3` | `--patience` | how many `steps` to wait; see [there](x.md) |"
    assert "| `--patience N` | how many `steps` to wait |" in options
    assert "# How many steps to wait.\n# DIFFNAS_PATIENCE=3\n" in example


@pytest.mark.parametrize("wanted", [("plases",), ("places", "-dbs"), ("places", "-seed")], ids=",".join)
def test_a_command_cannot_take_or_leave_out_what_is_not_there(wanted: tuple[str, ...]) -> None:
    assert own_options("places") == ("db", "out")
    with pytest.raises(KeyError):
        own_options(*wanted)
