"""Commands that we print can be pasted: as they stand, into the shell of the one who reads them."""

import ast
import shlex
from pathlib import Path

import pytest
from processes import shell

from agent.report.status import search_status
from diffusion.errors import command
from memory.connection import opened

ROOT = Path(__file__).parents[3]
PACKAGES = ("agent", "diffusion", "memory", "tools")
BENCH = "--bench unetbench --rounds 60 --parallel 1 --llm offline --name first"
ODD = "my memory/of $HOME & ü's.db"

CASES = {  # what is typed beside the settings, the environment, diffnas.toml, .env, where the memory then is
    "the default": ("", {}, "", "", "diffnas.db"),
    "a path that needs quotes": (f"--db {shlex.quote(ODD)}", {}, "", "", ODD),
    "the environment": ("", {"DIFFNAS_DB": "other.db"}, "", "", "other.db"),
    "the default against the environment": ("--db diffnas.db", {"DIFFNAS_DB": "other.db"}, "", "", "diffnas.db"),
    "the default against a file": ("--db diffnas.db", {}, 'db = "other.db"', "", "diffnas.db"),
    "the default against .env": ("--db diffnas.db", {}, "", "DIFFNAS_DB=other.db", "diffnas.db"),
    "a file": ("", {}, 'db = "other.db"', "", "other.db"),
}


BY_DEFAULT = ("a path that needs quotes", "the default against the environment")  # each is two processes


@pytest.mark.parametrize(
    "case", [case if case in BY_DEFAULT else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_the_command_that_goes_on_goes_on(case: str, tmp_path: Path) -> None:
    typed, environment, toml, dotenv, db = CASES[case]
    (tmp_path / db).parent.mkdir(exist_ok=True)
    for name, text in (("diffnas.toml", toml), (".env", dotenv)):
        if text:
            (tmp_path / name).write_text(text)
    stopped = shell(tmp_path, f"AGENT run {BENCH} {typed} | true", **environment)
    _, _, again = stopped.stderr.decode().rstrip().rpartition("go on with: ")
    assert again.startswith("diffnas-agent resume first"), stopped.stderr.decode()
    status = shell(tmp_path, f"AGENT status first {typed}", **environment)
    assert f"go on with: {again}" in status.stdout.decode()
    done = shell(tmp_path, f"{again.replace('diffnas-agent', 'AGENT')} --rounds 1", **environment)
    assert done.returncode == 0, done.stderr.decode()
    with opened(tmp_path / db, read_only=True) as memory:
        assert search_status(memory, "first").state == "finished"


@pytest.mark.parametrize(
    ("words", "db", "expected"),
    [
        (("status",), None, "diffnas-agent status"),
        (("resume", "first"), "diffnas.db", "diffnas-agent resume first"),
        (("resume", "first"), "./diffnas.db", "diffnas-agent resume first"),
        (("resume", "a b"), "c d.db", "diffnas-agent resume 'a b' --db 'c d.db'"),
        (("evaluate", 3), "x;rm.db", "diffnas-agent evaluate 3 --db 'x;rm.db'"),
    ],
)
def test_words_are_quoted_and_the_memory_is_named_where_it_must_be(
    words: tuple[object, ...], db: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIFFNAS_DB", raising=False)
    assert command(*words, db=None if db is None else Path(db)) == expected


def by_hand(source: str) -> list[str]:
    """Commands that a text puts together itself, with values in them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            _, _, rest = text.partition("diffnas-agent ")
            if "\0" in rest.partition("`")[0]:
                found.append(f"line {node.lineno}: {text[:60]!r}")
    return found


def test_every_command_is_written_by_the_one_function() -> None:
    assert by_hand('f"look at `diffnas-agent status {name}`"') and by_hand('f"diffnas-agent {words}"')
    assert not by_hand('f"{name} is none of `diffnas-agent run`; {hint}"')
    exempt = {"agent/cli/main.py", "agent/cli/examples.py"}  # the version; what a person would type
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    complaints = {str(path.relative_to(ROOT)): by_hand(path.read_text(encoding="utf-8")) for path in files}
    assert {path: found for path, found in complaints.items() if found and path not in exempt} == {}
