"""Options: those of settings are made from the settings' fields, those of several commands stand here once.

Nothing here imports torch or LangChain: `--help` stays quick.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from pydantic import BeforeValidator

from agent.cli.complete import Complete, of_setting, searches, specs, trials
from agent.config.settings import FIELDS, own_options, sentence, setting_of
from agent.report.console import be_plain
from diffusion.files.paths import user_path
from diffusion.frozen import MOST, MOST_AT_ONCE
from diffusion.units import LARGEST

if TYPE_CHECKING:
    from agent.config.sources import Resolved

Command = Callable[..., None]
READ_BY_PARSER = (bool, int, float)  # what the option parser reads itself; the rest stays text


def option(metavar: str, text: str, offered: Complete | None = None) -> Any:
    """An option with what stands for its value, one line of help, and what the Tab key offers."""
    return typer.Option(metavar=metavar, help=text, autocompletion=offered)


def number_option(metavar: str, text: str, least: float = 1, most: float = MOST_AT_ONCE) -> Any:
    """An option that is a number within bounds, which are in what is said of one outside."""
    return typer.Option(min=least, max=most, metavar=metavar, help=text)


def path_option(metavar: str, text: str) -> Any:
    """An option that names a file or a folder."""
    return typer.Option(metavar=metavar, help=text, parser=user_path)


def path_argument(metavar: str, text: str) -> Any:
    """An argument that names a file or a folder."""
    return typer.Argument(metavar=metavar, help=text, parser=user_path)


def _typed_as(name: str) -> Any:
    """What the parser of options makes of a setting's text."""
    field = FIELDS[name]
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    if Path in (kinds[0], *get_args(kinds[0])):
        return Path
    is_text = any(isinstance(found, BeforeValidator) for found in field.metadata)
    return kinds[0] if not is_text and kinds[0] in READ_BY_PARSER else str


def option_of(name: str, text: str | None = None) -> Any:
    """The option of a setting, with its own help or with a `text` that a command has for it."""
    setting = setting_of(FIELDS[name])
    assert setting.option is not None, f"{name} has no option of its own"
    flag = "--" + name.replace("_", "-")
    shown = sentence(text or setting.help)
    if not setting.option.startswith("--"):
        parser = user_path if _typed_as(name) is Path else None
        offered = of_setting(name, FIELDS[name].annotation)
        return typer.Option(flag, metavar=setting.option, help=shown, parser=parser, autocompletion=offered)
    on, off, *others = setting.option.split("/")
    return typer.Option(f"{on}/{off}", *(f" /{other}" for other in others), help=shown)


Json = Annotated[bool, typer.Option("--json", help="Machine output on stdout; people's output goes to stderr.")]
Db = Annotated[Path | None, option_of("db")]
Name = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Name or number of a search; default: the latest.", autocompletion=searches),
]
TrialId = Annotated[
    int, typer.Argument(min=1, max=LARGEST, metavar="TRIAL", help="Number of a trial.", autocompletion=trials)
]
Spec = Annotated[
    str, typer.Argument(metavar="SPEC", help="b128-n2-m1.2.2.2-a0100, or its JSON object.", autocompletion=specs)
]
Limit = Annotated[int, number_option("N", "Most rows to print.", most=MOST)]
Config = Annotated[Path | None, path_option("FILE", "Settings (default ./diffnas.toml if there).")]
Pairs = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting of diffnas.toml; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings, their sources and the cost; do nothing.")]
Step = Annotated[int | None, number_option("N", "A step that was kept; default: the last.", most=MOST)]


def configured(*wanted: str, **texts: str) -> Callable[[Command], Command]:
    """A command whose first parameter is the settings of all sources, as `Resolved`.

    Args:
        wanted: groups, all of whose options it takes, and single settings.
        texts: help of its own for some of them.
    """
    names = own_options(*wanted)

    def gather(given: dict[str, Any], rest: dict[str, Any]) -> "Resolved":
        from agent.config.sources import load_provider_keys, parse_pairs, resolve

        load_provider_keys()
        found = resolve(parse_pairs(rest.pop("set_") or []) | given, rest.pop("config"))
        if found.config.screen.plain:
            be_plain(True)
        return found

    return _with_options(names, texts, gather, {"set_": Pairs, "config": Config})


def changing(*wanted: str, **texts: str) -> Callable[[Command], Command]:
    """A command whose first parameter is what was typed of some settings, by name; the rest stands in memory.

    Args:
        wanted: groups, all of whose options it takes, and single settings; ``-name`` leaves one of a group out.
        texts: help of its own for some of them.
    """

    def gather(given: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        from agent.config.sources import checked

        return checked(given)

    return _with_options(own_options(*wanted), texts, gather, {})


def _with_options(
    names: Sequence[str],
    texts: Mapping[str, str],
    gather: Callable[[dict[str, Any], dict[str, Any]], Any],
    more: Mapping[str, Any],
) -> Callable[[Command], Command]:
    """Give a command the signature that the parser reads: options of settings in place of its first parameter."""
    assert texts.keys() <= set(names), "a help text is of an option that the command takes"
    kinds = {name: Annotated[_typed_as(name) | None, option_of(name, texts.get(name))] for name in names}

    def decorate(command: Command) -> Command:
        def typed(**values: Any) -> None:
            given = {name: value for name in names if (value := values.pop(name)) is not None}
            command(gather(given, values), **values)

        own = list(inspect.signature(command).parameters.values())[1:]
        kind = inspect.Parameter.KEYWORD_ONLY
        made = [
            inspect.Parameter(name, kind, default=None, annotation=found) for name, found in {**kinds, **more}.items()
        ]
        parameters = [*made, *(parameter.replace(kind=kind) for parameter in own)]
        vars(typed)["told"] = {name: texts.get(name) or setting_of(FIELDS[name]).help for name in names}
        typed.__name__, typed.__doc__ = command.__name__, command.__doc__
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return typed

    return decorate


def memory_path(given: Path | None) -> Path:
    """The memory that was named by option, environment or ``.env``, or the default."""
    from agent.config.sources import resolve

    return resolve({"db": given}).config.places.db


def show(found: Any, as_json: bool, for_people: Any) -> None:
    """Print what a reading command found: as JSON, or as `for_people` has it."""
    from agent.report.tables import show as shown

    shown(found, as_json, for_people)
