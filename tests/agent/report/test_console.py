"""The gate where text goes out: no foreign word acts on a terminal, whichever way it takes."""

import ast
import io
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from searches import TinySearch

from agent.chat.approval import Approver
from agent.chat.window.inbox import Inbox
from agent.chat.window.terminal import PlainInput
from agent.chat.window.voice import Voice, Words
from agent.cli.main import main
from agent.doctor.checks import Check
from agent.report.console import People, bars, foreign, people, put_json
from agent.report.events import JsonLines
from agent.report.progress import Lines
from agent.report.status import print_rows
from agent.report.tables import mark, print_card, print_table, say
from agent.report.trials import FailureRow, print_failures
from agent.strategy.views import StrategyLines
from diffusion.data.card import DataCard
from diffusion.spec import UNetSpec
from diffusion.units import printable, visible
from tools.errors import Interrupted

AGENT = Path(__file__).parents[3] / "agent"
GATE = AGENT / "report" / "console.py"

HOSTILE = {
    "clipboard": ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
    "cursor up": ("\x1b[3A\x1b[2K", r"\x1b[3A\x1b[2K"),
    "carriage return": ("safe\rspec", r"safe\rspec"),
    "C1": ("\x9b2J\x90q\x9c", r"\x9b2J\x90q\x9c"),
    "reading order": ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
    "half a pair": ("\ud83d!", r"\ud83d!"),
    "a byte that is no letter": ("\udcff", r"\udcff"),
    "delete": ("a\x7f", r"a\x7f"),
    "emoji": ("openai:hand:x:1", "openai:hand:x:1"),
    "markup": ("[red]x[/red] [/nothing] [link=http://x]", "[red]x[/red] [/nothing] [link=http://x]"),
    "a backslash before our markup": ("x\\", "x\\"),
}
STARTED = {"spec": "b8-n1-m1.1.1.1-a0000", "macs": {"paper": 490560}, "params": 31641, "proposer": "[red]x[/red]"}
ACTS = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202e\u2066\u200f\ud83d\udcff"} - {"\n"}


class Terminal:
    """A console on a terminal without colours, and all that was written there."""

    def __init__(self, width: int = 400) -> None:
        self.stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogatepass")
        self.console = people()
        self.console._file, self.console._width = self.stream, width

    @property
    def written(self) -> str:
        self.stream.flush()
        return self.stream.buffer.getvalue().decode("utf-8", "surrogatepass")  # type: ignore[attr-defined]


def _event(name: str, **values: Any) -> Callable[[People, str], None]:
    def said(console: People, text: str) -> None:
        Lines(console)(name, **values, **dict.fromkeys(("reason", "why", "text", "what", "error"), text))

    return said


def _approval(console: People, text: str) -> None:
    inbox = Inbox(lambda question: say(console, question), Event())
    inbox.ended.set()
    inbox.ask(question(text))


def question(reason: str) -> str:
    """What is asked before a training with this reason."""
    asked: list[str] = []
    with pytest.raises(Interrupted):
        Approver(asked.append)(CONTEXT[0], UNetSpec.parse("b8-n1-m1.1.1.2-a0000"), reason)
    return asked[0]


CONTEXT: list[Any] = []


def _words(console: People, text: str) -> None:
    words = Words(console)
    words.add(text)
    words.end()


def _bar(console: People, text: str) -> None:
    progress = bars(console)
    progress.add_task(text, total=1)
    console.print(progress.get_renderable())


def _doctor(console: People, text: str) -> None:
    from agent.doctor import visit

    said = Check(name="key", state="failed", found=text, remedy=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visit, "checks", lambda settings: [said])
        visit._checked(console, None)  # type: ignore[arg-type]


def _failures(console: People, text: str) -> None:
    row: dict[str, Any] = {
        "kind": "refused",
        "round": 1,
        "trial": None,
        "proposal": 1,
        "spec": None,
        "proposer": text,
        "why": text,
    }
    print_failures(console, [FailureRow(**row, refusal_kind=None, created="")])


def _typed(console: People, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(text + "\n"))
        PlainInput(console).answer(text)


def _card(console: People, text: str) -> None:
    counts: dict[str, Any] = {"train_count": 2, "test_count": 0, "fingerprint": "f", "resolution": 8, "channels": 1}
    print_card(console, DataCard(name=text, **counts))


WAYS: dict[str, Callable[[People, str], None]] = {
    "said": lambda console, text: say(console, text),
    "marked up": lambda console, text: mark(console, f"[bold]{foreign(text)}[/bold]"),
    "printed": lambda console, text: console.print(text),
    "a table": lambda console, text: print_table(console, ("a",), [(text,)]),
    "columns and rows of SQL": lambda console, text: print_rows(console, [{text: text}]),
    "failures": _failures,
    "a data card": _card,
    "a trial's reason": _event("trial.started", trial=1, **STARTED),
    "a refusal": _event("trial.refused"),
    "a fallback": _event("fallback"),
    "a failure": _event("trial.failed", trial=1),
    "a failure of a replica": _event("replica.failed", trial=1, seed=2),
    "a race": _event("race.skipped"),
    "a pruned trial": _event("trial.pruned", trial=1),
    "a note of a training": _event("train.note", trial=1),
    "a server's error": _event("llm.call", model="openai:x"),
    "a directive": _event("directive.added", directive=1),
    "a directive taken back": _event("directive.removed", directive=1),
    "a directive obeyed": _event("directive.obeyed", directive=1),
    "a compression": _event("compress.failed"),
    "a strategy refused": lambda console, text: StrategyLines(console)("strategy.refused", reason=text),
    "a chat's line": lambda console, text: Voice(console, lambda question: None).say(text),
    "a chat's words": _words,
    "a line that was typed": _typed,
    "the question of --approve": _approval,
    "a bar": _bar,
    "doctor": _doctor,
}


@pytest.fixture(scope="module", autouse=True)
def _context(tmp_path_factory: pytest.TempPathFactory) -> None:
    CONTEXT[:] = [TinySearch(tmp_path_factory.mktemp("search")).context()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_foreign_text_is_read_and_does_nothing(way: str, kind: str) -> None:
    text, shown = HOSTILE[kind]
    terminal = Terminal()
    WAYS[way](terminal.console, text)
    assert ACTS.isdisjoint(terminal.written), repr(terminal.written)
    assert shown.replace(r"\r", " " if way == "a chat's words" else r"\r") in terminal.written


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_error_sentence_shows_what_was_typed_and_does_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    text, shown = HOSTILE[kind]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["diffnas-agent", text])
    with pytest.raises(SystemExit) as stopped:
        main()
    written = capfdbinary.readouterr().err.decode()
    assert stopped.value.code == 2
    assert ACTS.isdisjoint(written) and shown in written


def test_a_reason_cannot_pass_for_a_line_of_ours() -> None:
    terminal = Terminal()
    Lines(terminal.console)("trial.refused", reason="no\n  scored fid 0.1")
    Voice(terminal.console, lambda question: None).say("no\n  scored fid 0.1")
    assert [line for line in terminal.written.splitlines() if "scored" in line] == [
        r"  refused no\n  scored fid 0.1",
        r"no\n  scored fid 0.1",
    ]
    assert r": no\nRound 2" in question("no\nRound 2: train another")


def test_what_we_mark_up_ourselves_stays() -> None:
    stream = io.StringIO()
    console = People(file=stream, force_terminal=True, color_system="standard", markup=False, emoji=False)
    Lines(console)("trial.refused", reason="[bold]no[/bold]")
    assert stream.getvalue() == "  \x1b[33mrefused\x1b[0m [bold]no[/bold]\n"


def test_words_of_all_scripts_stay() -> None:
    text = "Zürich, «10\u202fGo», 10\u00a0%, می\u200cخواهم, 👩\u200d🔬, 日本語\u3000✓ → –"
    assert visible(text) == printable(text) == text
    assert visible("a\r\nb\tc") == "a\nb\tc" and printable("a\nb") == r"a\nb"


def test_json_is_ascii_whatever_it_holds() -> None:
    stream = io.StringIO()
    for text, _ in HOSTILE.values():
        put_json([text], stream)
        JsonLines(1, stream)("fallback", reason=text)
    assert (ACTS - {"\x7f"}).isdisjoint(stream.getvalue()) and stream.getvalue().isascii()


def leaks(source: str) -> list[str]:
    """Calls that put text before people past the gate: consoles and bars of one's own, `print`, streams."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name.split(".")[-1] in ("Console", "Progress", "print_json", "echo", "secho") or name == "track":
            found.append(f"line {node.lineno} calls {name}; use agent.report.console")  # type: ignore[attr-defined]
        elif name in ("print", "rich.print", "pprint") or name.startswith(("sys.stdout.write", "sys.stderr.write")):
            found.append(f"line {node.lineno} calls {name}; use agent.report.tables.say")  # type: ignore[attr-defined]
        elif name.endswith(".console.print") or name == "console.print":
            assert isinstance(node, ast.Call)
            if any(word.arg == "markup" and ast.unparse(word.value) == "True" for word in node.keywords):
                found.append(f"line {node.lineno} marks up by itself; use agent.report.tables.mark")
    return found


@pytest.mark.parametrize(
    "source",
    ["c = Console()", "rich.console.Console(stderr=True)", "print(reason)", "sys.stderr.write(x)", "typer.echo(x)",
     "Progress(console=c)", "for x in track(y): pass", "self.console.print(x, markup=True)"],
)  # fmt: skip
def test_a_leak_is_seen(source: str) -> None:
    assert len(leaks(source)) == 1


def test_every_file_of_the_agent_talks_through_the_gate() -> None:
    files = [path for path in AGENT.rglob("*.py") if path != GATE]
    assert len(files) > 100
    complaints = {str(path.relative_to(AGENT)): leaks(path.read_text(encoding="utf-8")) for path in files}
    complaints["report/tables.py"] = [text for text in complaints["report/tables.py"] if "marks up" not in text]
    assert {path: found for path, found in complaints.items() if found} == {}
