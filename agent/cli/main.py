"""The command line ``diffnas-agent``. Commands import what they need when they run, so that ``--help`` is quick.

A user's mistake leaves as one sentence on standard error and exit code 2; a bug of ours as a traceback and exit code 1.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

import agent.backends.untraced  # noqa: F401  # before anything else: LangChain looks when it is imported
from agent.cli.audit import audit
from agent.cli.chat import chat
from agent.cli.compare import compare
from agent.cli.complete import is_asked
from agent.cli.compress import compress
from agent.cli.confirm import confirm
from agent.cli.dashboard import dashboard
from agent.cli.doctor import doctor
from agent.cli.evaluate import evaluate
from agent.cli.examples import epilog
from agent.cli.export import export
from agent.cli.export_study import export_study
from agent.cli.flops import flops
from agent.cli.fork import fork
from agent.cli.generate import generate
from agent.cli.memory import app as memory
from agent.cli.plain import Plain, show_as_set
from agent.cli.rank_study import rank_study
from agent.cli.replay import replay
from agent.cli.report import report
from agent.cli.resume import resume
from agent.cli.run import run
from agent.cli.sample import sample
from agent.cli.start import spare_imports
from agent.cli.status import list_command, status
from agent.cli.strategy import strategy
from agent.cli.train import train
from agent.exit_codes import INTERRUPTED, USER_MISTAKE
from agent.report.console import ReaderLeft, people, prepare_streams
from agent.report.under_way import WhenNeeded
from diffusion.errors import UserError, check_utf8
from diffusion.under_way import told_to

INSTALL = "--install-completion"

app = typer.Typer(
    name="diffnas-agent",
    help="Search, with a tool-calling language model, for the UNet that makes the best diffusion model under a budget."
    "\n\nWithout a command it says how things stand in this folder, and what comes next.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: tuple[Callable[..., None], ...] = (
    run, resume, status, compare, compress, generate, flops, train, evaluate, sample, export, audit, chat, confirm,
    doctor, strategy, replay, fork, report, dashboard,
)  # fmt: skip
app.add_typer(memory, name="memory")
RENAMED: dict[str, Callable[..., None]] = {"list": list_command, "rank-study": rank_study, "export-study": export_study}
for name, command in ({command.__name__: command for command in COMMANDS} | RENAMED).items():
    app.command(name, epilog=epilog(name))(command)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    plain: Plain = None,
) -> None:
    """Search for the UNet that makes the best diffusion model inside a compute budget.

    Without a command: how things stand in this folder, and what comes next.
    """
    show_as_set(plain)
    if version:
        from importlib.metadata import version as installed

        from agent.report.tables import say

        say(people(), f"diffnas-agent {installed('diffnas-agent')}", whole=True)
        raise typer.Exit
    spare_imports()
    if context.invoked_subcommand is None:
        from agent.cli.options import memory_path
        from agent.report.guide.first_contact import greet

        greet(people(), memory_path(None))


def main() -> NoReturn:
    """Run the command line; the one place where errors become exit codes."""
    prepare_streams()
    if is_asked():
        with suppress(Exception):  # the Tab key: whatever is wrong, the command itself will say it
            app(prog_name="diffnas-agent")
        sys.exit(1)
    try:
        _check_words()
        with told_to(WhenNeeded()):
            code = app(standalone_mode=False, prog_name="diffnas-agent")
    except UserError as error:
        code = _mistake(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ReaderLeft:
        code = 0
    except Exception as error:
        if isinstance(error, OSError) and INSTALL in sys.argv:
            code = _mistake(
                f"{INSTALL} cannot write '{error.filename}' ({error.strerror}); put what --show-completion prints "
                "where your shell reads it"
            )
        elif not hasattr(error, "format_message"):  # the parser's own errors; its classes are not public
            raise
        else:
            from agent.cli.errors import usage_sentence

            code = _mistake(usage_sentence(error))
    sys.exit(code if isinstance(code, int) else 0)


def _check_words() -> None:
    """Whether what was typed, and the name of this folder, are text.

    Raises:
        UserError: they are not, or this folder is gone.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        raise UserError("'.' is a folder that was removed; go to one that is there") from None
    for text in (*sys.argv[1:], folder):
        check_utf8(text)


def _mistake(sentence: str) -> int:
    from agent.report.tables import say

    say(people(stderr=True), sentence, whole=True)
    return USER_MISTAKE


if __name__ == "__main__":
    main()
