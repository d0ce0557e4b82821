"""A chat begins a search, or goes on with one, in a process of its own, which outlives it."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ended_search import ended_search
from processes import ARGUMENTS, COMMAND
from rich.console import Console

from agent.chat import spawn as chat_start
from agent.chat.conversation import Chat
from agent.chat.window.voice import Voice
from agent.chat.wiring import chat_about, talk_about
from diffusion.errors import UserError
from memory.connection import opened
from memory.leases import is_driven
from memory.searches import find_search, set_state

PROGRAM = """
import sys, time
from pathlib import Path
from memory.connection import opened
from memory.leases import take_lease

words = sys.argv[1:]
print("warming up", *words, flush=True)
if "mistake" in words:
    print("'mistake' is wrong; mend it")
    sys.exit(2)
if "over" in words:
    sys.exit(0)
with opened(Path(words[words.index("--db") + 1])) as db:
    take_lease(db, 1)
time.sleep(60)
"""


def driver(db: Path) -> int:
    with opened(db, read_only=True) as found:
        return int(found.conn.execute("SELECT lease_pid FROM searches").fetchone()[0] or 0)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A search that was interrupted before its third round, and a program that only takes its lease."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    monkeypatch.setattr(chat_start, "PROGRAM", (sys.executable, str(script)))
    db = ended_search(tmp_path)
    with opened(db) as found:
        found.conn.execute("UPDATE searches SET rounds = 3")
        set_state(found, 1, "interrupted")
    yield db
    for process in chat_start._outliving:
        process.kill()
        process.wait()
    chat_start._outliving.clear()


def said(db: Path, line: str) -> str:
    """What a new chat answers to a line."""
    screen = io.StringIO()
    chat: Chat = chat_about(talk_about(db, "first"), Voice(Console(file=screen, width=400), lambda _: None), None, None)
    chat.take(line)
    return screen.getvalue()


def test_resume_starts_a_process_that_drives_the_search(memory: Path) -> None:
    answer = said(memory, "/resume")
    assert answer.startswith("No process drives the search; one is started.\nfirst goes on in a process of its own")
    with opened(memory, read_only=True) as db:
        assert is_driven(db, 1)
    assert driver(memory) != os.getpid()
    assert "warming up resume first --db" in (memory.parent / "diffnas.log").read_text()


@pytest.mark.parametrize("there", [False, True])
def test_a_memory_that_is_only_being_made_drives_nothing_yet(there: bool, tmp_path: Path) -> None:
    db = tmp_path / "diffnas.db"
    if there:
        db.touch()  # as SQLite has it before the first commit
    assert chat_start._driven(db, os.getpid()) is None


def test_a_search_that_is_driven_is_not_started_twice(memory: Path) -> None:
    said(memory, "/resume")
    first = driver(memory)
    assert said(memory, "/resume") == "'/resume': first is interrupted, not paused.\n"
    said(memory, "/pause")
    assert said(memory, "/resume") == "Taken back: directive 1: pause after the trials under way.\n"
    assert driver(memory) == first


def test_a_paused_search_whose_process_was_killed_goes_on(memory: Path) -> None:
    said(memory, "/pause")
    with opened(memory) as db:
        set_state(db, 1, "paused")
    assert "first goes on in a process of its own" in said(memory, "/resume")


def test_a_search_that_asks_before_each_training_needs_a_terminal(memory: Path) -> None:
    with opened(memory) as db:
        config = json.loads(find_search(db, 1).config_json) | {"approve": True}
        db.conn.execute("UPDATE searches SET config_json = ?", [json.dumps(config)])
    assert said(memory, "/resume").startswith("'/resume': first asks before each training; go on with it on a terminal")
    assert driver(memory) == 0


def test_a_mistake_is_the_programs_own_sentence(memory: Path) -> None:
    with pytest.raises(UserError, match=r"^'mistake' is wrong; mend it$"):
        chat_start.start(["run", "mistake"], memory)


def test_one_that_ends_at_once_is_said_with_its_last_words(memory: Path) -> None:
    started = chat_start.start(["run", "over"], memory)
    assert started.search is None
    assert started.sentence().startswith("It has ended already; its last words: warming up run over --db")


def test_one_that_never_begins_is_stopped(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_start, "PATIENCE_SECONDS", 0.5)
    (memory.parent / "program.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(UserError, match=r"^'run' did not begin in 0 s; see "):
        chat_start.start(["run"], memory)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_chat_instead_of_run_begins_a_search_that_outlives_it(tmp_path: Path) -> None:
    options = " ".join([*ARGUMENTS, "--preset digits --name own"])
    done = subprocess.run(
        [*COMMAND, "chat", "--begin", options], cwd=tmp_path, input="how far is it\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "own goes on in a process of its own" in done.stdout
    assert "own is running, 0 of 1 rounds done." in done.stdout
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        with opened(tmp_path / "diffnas.db", read_only=True) as db:
            state = find_search(db, "own").state
        if state == "finished":
            break
        time.sleep(1)
    assert state == "finished"
    again = subprocess.run(
        [*COMMAND, "chat", "--begin", "--budget 12x"], cwd=tmp_path, input="", capture_output=True, text=True
    )
    assert again.returncode == 2
    assert again.stderr.startswith("--budget: '12x' is not a number of MACs")
