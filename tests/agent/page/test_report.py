"""The command `report`, as it is typed; and a search of a thousand trials."""

import json
import time
from pathlib import Path

import pytest
from pages import page_memory
from typed import seat, typed_in

from agent.page.report import write_report
from report_page import make_searched

SECONDS, MEGABYTES, TRIALS = 5.0, 5, 1_000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    seat(tmp_path, monkeypatch)
    page_memory(tmp_path)
    return tmp_path


def test_the_path_is_printed_and_the_file_is_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed_in(monkeypatch, "report") == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == Path("runs/reports/shown.html") and path.read_text().startswith("<!doctype html>")
    assert typed_in(monkeypatch, "report", "shown", "--to", "here.html", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["path"], told["bytes"]) == ("shown", "here.html", Path("here.html").stat().st_size)
    assert told["data"]["said"]["recommended"] == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none"], "'none' is not a search of this memory; there are shown"),
        (["--to", "."], "--to '.' is a folder; name a file, such as 'report.html'"),
        (["--to", "no/where.html"], "--to 'no/where.html' cannot be made: its folder does not exist; make it or name"),
        (["--compare", "x"], "--compare 'x' is neither a comparison nor a search of this memory; `list` shows what"),
        (["--db", "no.db"], "'no.db' holds no memory yet; start one with `diffnas-agent run --budget …`"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], sentence: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed_in(monkeypatch, "report", *words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(sentence) and err.count("\n") == 1


def test_a_thousand_trials_take_less_than_five_seconds_and_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.db"
    make_searched(path, TRIALS)
    started = time.process_time()
    written = write_report(path, tmp_path, None, tmp_path / "large.html", None)
    assert time.process_time() - started < SECONDS
    assert written.bytes < MEGABYTES * 1e6 and len(written.data.trials) == TRIALS
    assert written.data.curves and all(len(each.points) == 200 for each in written.data.curves)
