"""What users type and what they get: one sentence and exit code 2 for a mistake, the promised JSON for the rest."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from searches import TINY, TinySearch

from agent.cli.main import main
from agent.estimate.calibration import Calibration

Typed = Callable[..., tuple[int, str, str]]

HEAVY = ("torch", "langchain", "langchain_core", "diffusers", "sklearn", "numpy", "rich.progress")


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        code = stopped.value.code
        assert isinstance(code, int)
        return code, out, err

    return run


MISTAKES = [
    (["fork", "--at", "1", "--llm", "offline"], "'diffnas.db' holds no memory yet; start one with `diffnas-agent run"),
    (["chat"], "'diffnas.db' holds no memory yet; start one with `diffnas-agent run"),
    (["chat", "first", "--begin", "--seed 1"], "'first' names a search that is there, and --begin a new one; write"),
    (["run", "--budget", "6.06X"], "--budget: '6.06X' is not a number of MACs; write 6.06G, 20M or 20000000"),
    (
        ["run", "--budget", "100K"],
        "--budget 100K is below the smallest spec of the space digits-8: b8-n1-m1.1.1.1-a0000 costs 490.6K",
    ),
    (["export-study", "first", "study.db"], "'study.db' is not the URL of a database; write sqlite:///study.db"),
    (["run", "--preset", "foo"], "'foo' is not a preset; there are digits, ddpm-cifar10, iddpm-cifar10"),
    (["run", "--sampler", "iddpm"], "'iddpm' needs the learned variance of the family iddpm; take ddpm, ddim"),
    (["run", "--sampler", "euler"], "--sampler euler: input should be 'ddpm', 'iddpm', 'ddim' or 'dpm-solver++'"),
    (["run", "--sampling-steps", "401"], "'401' sampling steps are more than the 400 of the diffusion; take fewer"),
    (["run", "--snapshot-steps", "601"], "--snapshot-steps 601: the training ends at step 600"),
    (["run", "--feature-weights", "none.pth"], "'none.pth' does not exist; name the weights file"),
    (["run", "--dataset", "no such"], "'no such' is no data set; give digits, cifar10, a path to an .npz file"),
    (["run", "--llm", "gpt-4"], "'gpt-4' is not a backend; there are offline, openai:MODEL"),
    (["run", "--llm", "openai:gpt-4.1"], "'openai:gpt-4.1' needs OPENAI_API_KEY; set it in the environment or in .env"),
    (
        ["run", "--llm", "openai:x", "--base-url", "localhost"],
        "'localhost' is not an address; write --base-url http://",
    ),
    (["run", "--base-url", "http://localhost:1/v1"], "'http://localhost:1/v1' is a server, but --llm is offline"),
    (["run", "--baseline", "b999"], "--baseline: 'b999' is not a spec; write it like b128-n2-m1.2.2.2-a0100"),
    (["run", "--searcher", "annealing"], "--searcher 'annealing' does not exist; there are llm"),
    (["run", "--count", "half"], "--count half: input should be 'paper' or 'total'"),
    (
        ["run", "--space", "huge"],
        "--space: 'huge' does not exist; name a file, or one of digits-8, images-128, images-256, images-32",
    ),
    (
        ["run", "--feature-network", "vgg"],
        "'vgg' is no feature network; there are digits-cnn, efficientnet-lite0, inception-v3-compat",
    ),
    (["run", "--batch-size", "2000"], "--batch-size 2000: the data set has only 1437 training images"),
    (["run", "--set", "dropuot=0.1"], "'dropuot' in --set is not a setting; did you mean dropout?"),
    (["run", "--set", "dropout"], "--set 'dropout' lacks a value; write --set learning_rate=1e-3"),
    (["run", "--set", "dropout=1.5"], "--set dropout 1.5: input should be less than 1"),
    (
        ["run", "--set", "diffusion_steps=20"],
        "--set diffusion_steps 20: input should be greater than or equal",
    ),
    (["run", "--config", "none.toml"], "'none.toml' does not exist; name a TOML file with --config"),
    (["run", "--db", "/dev/null/x.db"], "'/dev/null/x.db' cannot be made"),
    (["run", "--out", "/dev/null/runs"], "'/dev/null/runs' cannot be written"),
    (["run", "--name", "12"], "'12' cannot name a search"),
    (["run", "--foo"], "'--foo' is not an option here"),
    (["frun"], "'frun' is not a command; did you mean 'run'"),
    (["run", "--rounds", "abc"], "--rounds: input should be a valid integer"),
    (["flops"], "SPEC is missing"),
    (["list", "x"], "'x' is more than the command takes"),
    (["flops", "b128"], "'b128' is not a spec; write it like b128-n2-m1.2.2.2-a0100"),
    (["flops", "{bad"], "'{bad' is not a spec: its JSON is broken"),
    (["flops", "b8-n1-m1.1.1.1-a0000", "--resolution", "30"], "--resolution 30 is not a multiple of 8"),
    (["flops", "b8-n1-m1.1.1.1-a0000", "--family", "gan"], "--family 'gan' does not exist; there are ddpm, iddpm"),
    (["status"], "'"),
    (["memory", "show", "abc"], "ID: input should be a valid integer"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_sentence_and_exit_code_2(typed: Typed, arguments: list[str], sentence: str) -> None:
    code, out, err = typed(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(sentence), err
    assert err.count("\n") == 1
    assert not Path("diffnas.db").exists()


def test_a_corrupt_npz_is_named(typed: Typed) -> None:
    Path("images.npz").write_bytes(os.urandom(1000))
    assert typed("run", "--dataset", "images.npz", "--budget", "1G")[2].startswith("'images.npz' cannot be read")


def test_a_broken_image_in_a_folder_is_named(typed: Typed) -> None:
    Path("pictures").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("pictures/a.png")
    Path("pictures/broken.png").write_bytes(b"\x89PNG no")
    code, _, err = typed("run", "--dataset", "pictures", "--budget", "1G")
    assert code == 2
    assert err.startswith("'pictures': broken.png cannot be read as an image")


def test_a_database_of_another_program_is_left_alone(typed: Typed) -> None:
    with sqlite3.connect("other.db") as other:  # a file that is not ours
        other.execute("CREATE TABLE invoices (id)")
    other.close()
    before = Path("other.db").read_bytes()
    code, _, err = typed("run", "--db", "other.db")
    assert code == 2
    assert err.startswith("'other.db' is not a diffnas memory: it holds invoices")
    assert Path("other.db").read_bytes() == before


def test_flops_prints_the_known_answers(typed: Typed) -> None:
    code, out, err = typed("flops", "b128-n2-m1.2.2.2-a0100", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["params"] == 35_746_307
    assert found["macs"] == {"paper": 6_053_953_536, "total": 6_221_856_768}
    assert sum(stage["macs"]["total"] for stage in found["stages"]) == 6_221_856_768


def test_flops_verify_counts_the_real_network_beside_it(typed: Typed) -> None:
    _, out, _ = typed("flops", "b8-n1-m1.2.2.2-a0100", "--resolution", "8", "--verify", "--json")
    assert json.loads(out)["verified"]["difference"] == 0
    _, out, _ = typed("flops", "b8-n1-m1.2.2.2-a0100", "--resolution", "8", "--verify")
    assert "in the built network: a difference of 0." in out


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "agent", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not {name for name in imported if name.split(".")[0] in HEAVY}


def test_dry_run_says_where_each_setting_comes_from_and_writes_nothing(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "agent.estimate.dry_run.calibrate", lambda job: Calibration(1.0, 2.0)
    )  # really in test_forecast.py
    Path("diffnas.toml").write_text("rounds = 7\n")
    code, out, _ = typed("run", "--dry-run", "--json", "--seed", "3")
    found = json.loads(out)
    assert code == 0
    assert found["settings"]["rounds"] == {"value": 7, "from": "file"}
    assert found["settings"]["seed"] == {"value": 3, "from": "option"}
    assert found["settings"]["train_steps"] == {"value": 600, "from": "preset digits"}
    assert [path.name for path in Path().iterdir()] == ["diffnas.toml"]


class TestReading:
    @pytest.fixture
    def search(self, tmp_path: Path) -> TinySearch:
        found = TinySearch(tmp_path, {"rounds": 1, "name": "first"})
        found.run()
        return found

    def test_status_list_and_memory_have_the_promised_shapes(self, search: TinySearch, typed: Typed) -> None:
        status = json.loads(typed("status", "--json")[1])
        assert (status["name"], status["state"], status["round"], status["rounds"]) == ("first", "finished", 1, 1)
        assert status["trials"] == {"scored": 2, "failed": 0, "pruned": 0, "refused": 0, "trained": 0, "running": 0}
        assert set(status["ledger"]) == {"device_seconds", "wall_seconds", "input_tokens", "output_tokens", "cost_usd"}
        assert status["directives"] == []
        assert [row["name"] for row in json.loads(typed("list", "--json")[1])] == ["first"]
        top = json.loads(typed("memory", "top", "--json")[1])
        promised = {
            "trial", "spec", "family", "dataset", "rfid", "ci95", "macs", "params", "protocol", "seed", "state",
            "created", "search", "metric", "train", "proposer", "verdict",
        }  # fmt: skip
        assert promised <= set(top[0])
        assert [row["rfid"] for row in top] == sorted(row["rfid"] for row in top)
        assert json.loads(typed("memory", "show", "1", "--json")[1])["spec"] == TINY["baseline"]
        assert json.loads(typed("memory", "failures", "--json")[1]) == []
        assert json.loads(typed("memory", "pareto", "--json")[1])
        rows = json.loads(typed("memory", "sql", "SELECT count(*) AS n FROM results", "--json")[1])
        assert rows == [{"n": 2}]

    def test_people_get_tables(self, search: TinySearch, typed: Typed) -> None:
        for arguments in (["status"], ["list"], ["memory", "top"], ["memory", "pareto"], ["memory", "show", "1"]):
            code, out, err = typed(*arguments)
            assert (code, err) == (0, "")
            assert str(TINY["baseline"]) in out or "first" in out
        assert "No trial failed" in typed("memory", "failures")[1]

    def test_a_search_becomes_a_study_and_the_command_that_shows_it_is_named(
        self, search: TinySearch, typed: Typed, tmp_path: Path
    ) -> None:
        code, out, err = typed("export-study", "first", "sqlite:///study.db")
        assert (code, err) == (0, "")
        assert out.endswith("optuna-dashboard sqlite:///study.db\n")
        code, out, _ = typed("export-study", "first", "sqlite:///other.db", "--json")
        assert json.loads(out)["trials"] == {"complete": 2, "pruned": 0, "fail": 0, "running": 0}
        assert (tmp_path / "study.db").is_file()

    def test_sql_that_would_write_is_refused(self, search: TinySearch, typed: Typed) -> None:
        code, _, err = typed("memory", "sql", "DELETE FROM trials")
        assert code == 2
        assert err.startswith("'DELETE FROM trials': DELETE may not be used")

    def test_an_unknown_search_is_answered_with_the_known_ones(self, search: TinySearch, typed: Typed) -> None:
        assert typed("status", "second")[2] == "'second' is not a search of this memory; there are first\n"

    def test_a_taken_name_is_refused_with_the_command_that_goes_on(self, search: TinySearch, typed: Typed) -> None:
        code, _, err = typed("run", "--name", "first")
        assert code == 2
        assert err.startswith("'first' is taken; go on with `diffnas-agent resume first`")
