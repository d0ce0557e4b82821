"""What the Tab key of a shell offers for names, trials, specs and choices; nothing heavy is imported, nothing is said.

Whatever goes wrong, such as a memory that is not there, nothing is offered: a prompt is no place for a traceback.
"""

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args, get_origin

import typer

COMPLETING = "_DIFFNAS_AGENT_COMPLETE"  # the variable with which a shell asks
SOON_SECONDS = 2.0  # a memory that another program holds is no reason to let a shell wait
MOST = 50  # words of each kind, the latest first
Complete = Callable[..., list[str]]
EXAMPLES = ("b16-n1-m1.2.2.2-a0100", "b128-n2-m1.2.2.2-a0100", "b128-n3-m1.2.2.2-a0110")


class TooLate(Exception):
    """Whoever pressed the key waits no longer."""


def is_asked() -> bool:
    """Whether a shell asks what the Tab key may offer; then the answer is there soon, or there is none."""
    if COMPLETING not in os.environ:
        return False
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, SOON_SECONDS)
    return True


def _give_up(number: int, frame: object) -> None:
    raise TooLate


def _offered(words: Callable[[typer.Context], Iterable[object]]) -> Complete:
    """A completion of these words, in their order; a wrong setting, file or memory offers none."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [word for word in map(str, words(ctx)) if word.startswith(incomplete)]
        except Exception:  # whatever it is, the command itself will say it
            return []

    return complete


def _column(query: str) -> Callable[[typer.Context], list[object]]:
    """A column of the memory that the line names, or of the usual one."""

    def asked(ctx: typer.Context) -> list[object]:
        from agent.cli.start import spare_imports
        from agent.config.sources import resolve

        spare_imports()
        from memory.connection import opened

        given = ctx.params.get("db")
        path = resolve({"db": Path(given) if given else None}).config.places.db
        with opened(path, read_only=True) as memory:
            return [row[0] for row in memory.conn.execute(f"{query} LIMIT {MOST}").fetchall()]

    return asked


_searches = _column("SELECT name FROM searches ORDER BY id DESC")
_trials = _column("SELECT id FROM trials ORDER BY id DESC")
_specs = _column("SELECT spec FROM trainings GROUP BY spec ORDER BY max(id) DESC")

searches = _offered(_searches)
trials = _offered(_trials)
trials_or_searches = _offered(lambda ctx: [*_searches(ctx), *_trials(ctx)])


def specs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the memory; where it has none, three to begin with."""
    return _offered(_specs)(ctx, incomplete) or [spec for spec in EXAMPLES if spec.startswith(incomplete)]


def _sections(name: str) -> list[str]:
    """The names that a file of settings defines."""
    from agent.config import settings
    from diffusion.files.text import read_toml

    return list(read_toml(Path(settings.__file__).parent / name))


def _spaces() -> Iterable[str]:
    from diffusion.space import SPACE_NAMES

    return SPACE_NAMES


def _searchers() -> Iterable[str]:
    from agent.config.settings import SEARCHERS

    return SEARCHERS


def _tables() -> Iterable[str]:
    from diffusion.unetbench.table import FOLDER

    return sorted(file.stem for file in FOLDER.glob("*.json"))


def _feature_networks() -> Iterable[str]:
    from diffusion.scores.networks import FEATURE_NETWORKS

    return FEATURE_NETWORKS


strategies = _offered(lambda ctx: _sections("strategies.toml"))
OF_SETTINGS: dict[str, Complete] = {
    "preset": _offered(lambda ctx: _sections("presets.toml")),
    "space": _offered(lambda ctx: _spaces()),
    "searcher": _offered(lambda ctx: _searchers()),
    "baseline": specs,
    "dataset": _offered(lambda ctx: ("digits", "cifar10")),
    "bench": _offered(lambda ctx: _tables()),
    "feature_network": _offered(lambda ctx: _feature_networks()),
}


def of_setting(name: str, annotation: object) -> Complete | None:
    """What the option of a setting may be given: known words, or the choices of its kind."""
    kinds = (annotation, *get_args(annotation))
    choices = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return OF_SETTINGS.get(name) or (_offered(lambda ctx: choices) if choices else None)
