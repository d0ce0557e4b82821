"""Real processes whose standard streams are closed, narrow or left: no word ends them, and what is said stays true."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import shell

from agent.report.status import search_status
from memory.connection import opened

ROOT = Path(__file__).parents[3]
BENCH = ["--bench", "unetbench", "--rounds", "2", "--parallel", "1", "--llm", "offline", "--name", "first"]
GO_ON = "go on with: diffnas-agent resume first"


def state(folder: Path) -> str:
    with opened(folder / "diffnas.db", read_only=True) as db:
        return search_status(db, "first").state


RUN = f"AGENT run {' '.join(BENCH)}"


def test_run_and_chat_need_no_standard_input(tmp_path: Path) -> None:
    searched = shell(tmp_path, f"{RUN} <&-")
    assert (searched.returncode, searched.stderr) == (0, b""), searched.stderr.decode()
    assert state(tmp_path) == "finished"
    chatted = shell(tmp_path, "AGENT chat first <&-")
    assert (chatted.returncode, chatted.stderr) == (0, b""), chatted.stderr.decode()
    assert b"/help lists the commands" in chatted.stdout


def test_a_question_that_nobody_can_answer_interrupts(tmp_path: Path) -> None:
    asked = shell(tmp_path, f"{RUN} --approve <&-")
    assert asked.returncode == 130, asked.stderr.decode()
    assert b"Nobody answers" in asked.stdout and GO_ON.encode() in asked.stdout
    assert state(tmp_path) == "interrupted"


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_output_ends_nothing(tmp_path: Path, closed: str) -> None:
    assert shell(tmp_path, f"{RUN} {closed}").returncode == 0
    assert state(tmp_path) == "finished"


@pytest.mark.parametrize("encoding", ["latin-1", pytest.param("ascii", marks=pytest.mark.slow)])
def test_what_an_encoding_lacks_is_replaced(tmp_path: Path, encoding: str) -> None:
    for line in (RUN, "AGENT memory show 1", "echo 'wozu ü?' | AGENT chat", "AGENT audit"):
        done = shell(tmp_path, line, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
        assert done.stdout.decode(encoding)
    assert b"QK?" in done.stdout


def test_bytes_that_are_no_text_are_a_line_of_a_chat(tmp_path: Path) -> None:
    assert shell(tmp_path, RUN).returncode == 0
    chatted = shell(tmp_path, r"printf '\xff\xfe?\n' | AGENT chat first")
    assert (chatted.returncode, chatted.stderr) == (0, b""), chatted.stderr.decode()


@pytest.mark.parametrize(
    ("options", "reader"),
    [("", "| head -3"), ("--json", "| head -3"), ("", "2>&1 | head -3"), ("--json", "2>&1 | head -3")],
)
def test_a_search_whose_reader_leaves_is_interrupted(tmp_path: Path, options: str, reader: str) -> None:
    left = shell(tmp_path, f"{RUN} --rounds 60 {options} {reader}")
    assert left.returncode == 130, left.stderr.decode()
    assert state(tmp_path) == "interrupted"
    if "2>&1" not in reader:
        said = left.stderr.decode().splitlines()
        assert "Stopping after the current step: nobody reads standard output any more." in said
        assert said[-1].endswith(GO_ON)
    assert "Traceback" not in left.stderr.decode()


def test_a_search_that_its_reader_left_goes_on(tmp_path: Path) -> None:
    assert shell(tmp_path, f"{RUN} --rounds 60 | true").returncode == 130
    resumed = shell(tmp_path, "AGENT resume first --rounds 2")
    assert resumed.returncode == 0, resumed.stderr.decode()


def test_a_reading_command_whose_reader_leaves_ends_well(tmp_path: Path) -> None:
    shell(tmp_path, RUN)
    for line in ("AGENT memory show 1 | true", "AGENT list --json | true"):
        done = shell(tmp_path, line)
        assert (done.returncode, done.stderr) == (0, b""), (line, done.stderr.decode())


def test_a_bug_of_ours_is_a_traceback_that_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    code = (
        "import threading; from agent.report.console import prepare_streams; prepare_streams()\n"
        "def fail(): raise RuntimeError('\\x1b]52;c;aGk=\\x07')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join(); fail()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count(rb"RuntimeError: \x1b]52;c;aGk=\x07") == 2 and b"\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        (r"AGENT status $'caf\xe9'", r"'caf\udce9'"),
        (r"AGENT run --bench unetbench --rounds 1 --db $'caf\xe9/m.db'", r"'caf\udce9/m.db'"),
        (r"DIFFNAS_OUT=$'caf\xe9' AGENT run --bench unetbench --rounds 1", r"DIFFNAS_OUT: 'caf\udce9'"),
        (r"mkdir $'caf\xe9' && cd $'caf\xe9' && AGENT run --bench unetbench --rounds 1", r"caf\udce9'"),
        (r"HOME=$'/caf\xe9' AGENT run --bench unetbench --rounds 1 --out '~/runs'", r"--out: '/caf\udce9/runs'"),
    ],
)
def test_bytes_that_are_no_text_are_refused_where_they_name_something(tmp_path: Path, line: str, typed: str) -> None:
    done = shell(tmp_path, line)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert typed in said
    assert "is not text in UTF-8; give it another name" in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.rglob("diffnas.db"))


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    done = shell(tmp_path, "mkdir gone && cd gone && rmdir ../gone && AGENT status")
    assert (done.returncode, done.stderr.decode()) == (2, "'.' is a folder that was removed; go to one that is there\n")
