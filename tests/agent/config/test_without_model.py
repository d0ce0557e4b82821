"""What asks no language model does not look at what the environment says of one."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.main import app

MODEL = {"DIFFNAS_BASE_URL": "http://127.0.0.1:9/v1", "DIFFNAS_LLM_FALLBACKS": "openai:nobody,offline"}


@pytest.mark.parametrize(
    "words",
    [
        ["train", "b8-n1-m1.1.1.1-a0000", "--dry-run"],
        ["train", "b8-n1-m1.1.1.1-a0000", "--dataset", "absent.npz"],  # which is said once all else was found right
        ["rank-study", "--dataset", "absent.npz"],
    ],
)
def test_a_server_in_the_environment_hinders_nothing_that_asks_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    for name, value in MODEL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert "is a server, but" not in str(done.exception), done.output
