"""Slash commands: what can be typed without a language model, in chat or beside a running search.

A line becomes a `Directive`, which the caller shows, checks and stores, or a `Command`, which he carries out.
Nothing is stored or printed here, and no model is asked.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from diffusion.errors import UserError
from diffusion.space import SearchSpace
from diffusion.spec import PAPER_STAGES, PARAMETERS, UNetSpec
from diffusion.units import parse_size, whole_number
from tools.allowance import LIMITS
from tools.compress_unet import TARGET
from tools.gates.directive_kinds import STRATEGY_FIELDS, Directive, parse_directive

CAPS = {
    "params": "params",
    "macs": "macs_total",
    "macs_total": "macs_total",
    "macs_paper": "macs_paper",
    "memory": "memory_bytes",
    "latency": "latency_ms",
}
LIMIT = re.compile(r"([a-z_0-9]+)\s*(<=|>=|<|>|=)\s*([\d\s,]+)")
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
}


@dataclass(frozen=True)
class Command:
    """What the caller does itself: one of `agent.chat.commands.COMMANDS`.

    `number` is that of ``/undo 3``, ``/why 12`` and ``/compress 12``, `text` the SELECT of ``/sql``, the spec
    of ``/latency``, the file of ``/plot``, the wish of ``/budget`` and the share of ``/compress``.
    """

    name: str
    number: int | None = None
    text: str = ""


def parse_slash(line: str, space: SearchSpace) -> "Directive | Command":
    """What a typed line asks for, in a search of this space.

    Raises:
        UserError: one sentence that starts with the line and says what would be right.
    """
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if name not in SLASH:
        close = difflib.get_close_matches(name, SLASH, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "/help lists them"
        raise UserError(f"'{name}' is not a command; {hint}")
    try:
        return SLASH[name][2](rest, space)
    except UserError as error:
        why = str(error).rpartition(" cannot be obeyed: ")[2]
        raise UserError(f"'{line.strip()}': {why}") from None


def complete(line: str, space: SearchSpace, specs: Sequence[str] = (), directives: Sequence[int] = ()) -> list[str]:
    """What the last word of a line may become, whole words; `specs` and `directives` are those of the memory."""
    words = line.split(" ")
    if not line.startswith("/"):
        return []
    if len(words) == 1:
        return [name for name in SLASH if name.startswith(line)]
    numbers = [str(number) for number in directives]
    parameters = [f"{name}=" for name in space.choices]
    if "=" in words[-1] and words[0] in ("/freeze", "/limit"):
        name = words[-1].partition("=")[0]
        parameters = [f"{name}={value}" for value in space.choices.get(name, ())]
    first: dict[str, Sequence[str]] = {
        "/freeze": parameters,
        "/limit": parameters,
        "/cap": tuple(CAPS),
        "/try": specs,
        "/ban": specs,
        "/near": specs,
        "/latency": specs,
        "/bounds": STRATEGY_FIELDS,
        "/allowance": tuple(f"{name}=" for name in LIMITS),
        "/undo": numbers,
    }
    if len(words) > 2 and words[0] != "/allowance":
        return []
    return [word for word in first.get(words[0], ()) if word.startswith(words[-1])]


def _freeze(rest: str, space: SearchSpace) -> Directive:
    parameter, operator, values = _comparison(rest, space, "/freeze attn_0=0")
    if operator != "=" or len(values) != 1:
        raise UserError("a number is frozen at one value; write /freeze attn_0=0, or /limit for several")
    return parse_directive("freeze", {"parameter": parameter, "value": values[0]})


def _limit(rest: str, space: SearchSpace) -> Directive:
    parameter, operator, values = _comparison(rest, space, "/limit base_channel<=96")
    if operator != "=":
        if len(values) != 1:
            raise UserError(f"{operator} takes one number; write {parameter}=1,2 for a list")
        compared = COMPARE[operator]
        values = [value for value in space.choices[parameter] if compared(value, values[0])]
    if not values:
        raise UserError(f"{_allowed(space, parameter)}, so nothing is left")
    return parse_directive("restrict", {"parameter": parameter, "values": values})


def _comparison(rest: str, space: SearchSpace, example: str) -> tuple[str, str, list[int]]:
    """(parameter, operator, values) of ``base_channel<=96``; with = the values are of the space."""
    match = LIMIT.fullmatch(rest)
    if not match:
        raise UserError(f"write a name, a comparison and a number, such as {example}")
    parameter, operator = match[1], match[2]
    if parameter not in space.choices:
        known = tuple(space.choices)
        close = difflib.get_close_matches(parameter, known, n=1, cutoff=0.4) if parameter not in PARAMETERS else []
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise UserError(f"{parameter} is not one of the numbers; {hint}")
    values = [int(part) for part in match[3].replace(",", " ").split()]
    if operator == "=" and (outside := [value for value in values if value not in space.choices[parameter]]):
        raise UserError(f"{_allowed(space, parameter)}, not {outside[0]}")
    return parameter, operator, values


def _allowed(space: SearchSpace, parameter: str) -> str:
    return f"{parameter} may be {', '.join(map(str, space.choices[parameter]))} in this search"


def _cap(rest: str, space: SearchSpace) -> Directive:
    words = rest.split()
    if len(words) != 2 or words[0] not in CAPS:
        raise UserError(f"write what and how much, such as /cap params 40M; there are {', '.join(CAPS)}")
    what = CAPS[words[0]]
    if what != "latency_ms":
        return parse_directive("cap", {"what": what, "at_most": parse_size(words[1], what.replace("_", " "))})
    return parse_directive("cap", {"what": what, "at_most": _number(words[1].removesuffix("ms"), "milliseconds")})


def _try(rest: str, space: SearchSpace) -> Directive:
    return parse_directive("try", {"spec": _given(rest, f"/try {_example(space)}")}, space)


def _ban(rest: str, space: SearchSpace) -> Directive:
    region = f"b*-n*-m{'.'.join('*' * space.stages)}-a1{'*' * (space.stages - 1)}"
    return parse_directive("ban", {"pattern": _given(rest, f"/ban {region}")}, space)


def _near(rest: str, space: SearchSpace) -> Directive:
    words = _given(rest, f"/near {_example(space)} 2").split()
    if len(words) > 2:
        raise UserError(f"write a spec and at most one distance, such as /near {_example(space)} 2")
    distance = {"distance": _number(words[1], "doublings")} if words[1:] else {}
    return parse_directive("near", {"spec": words[0], **distance}, space)


def _rounds(rest: str, space: SearchSpace) -> Directive:
    return parse_directive("rounds", {"rounds": _whole(rest, "rounds", "/rounds 12")})


def _bounds(rest: str, space: SearchSpace) -> Directive:
    words = rest.split()
    if len(words) != 3:
        raise UserError("write a field and two numbers, such as /bounds learning_rate 1e-4 1e-3")
    low, high = (_number(word, words[0]) for word in words[1:])
    return parse_directive("strategy_bounds", {"field": words[0], "low": low, "high": high})


def _backend(rest: str, space: SearchSpace) -> Directive:
    words = _given(rest, "/backend openai:gpt-4.1").split()
    if len(words) > 2:
        raise UserError("write a backend and at most one address, such as /backend openai:MODEL http://HOST:8000/v1")
    return parse_directive("backend", {"llm": words[0], "base_url": words[1] if words[1:] else None})


def _allowance(rest: str, space: SearchSpace) -> Directive:
    found: dict[str, float] = {}
    for word in _given(rest, "/allowance max_cost=2").split():
        name, _, value = word.partition("=")
        if name not in LIMITS:
            raise UserError(f"{name} is no allowance; there are {', '.join(LIMITS)}")
        found[name] = parse_size(value, "tokens") if name == "max_tokens" else _number(value, name)
    return parse_directive("allowance", found)


def _example(space: SearchSpace) -> str:
    return "b128-n2-m1.2.2.2-a0100" if space.stages == PAPER_STAGES else str(space.middle)


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"'{text}' is not a number of {what}") from None


def _whole(text: str, what: str, example: str) -> int:
    if (number := whole_number(text)) is None:
        raise UserError(f"'{text}' is not a number of {what}; write {example}")
    return number


def _given(rest: str, example: str) -> str:
    if not rest:
        raise UserError(f"something is missing; write {example}")
    return rest


def _order(kind: str, **arguments: Any) -> "Parser":
    """The parser of a command that takes nothing and gives a directive."""

    def parse(rest: str, space: SearchSpace) -> Directive:
        if rest:
            raise UserError("this command takes nothing more")
        return parse_directive(kind, arguments)

    return parse


def _command(name: str, number: str | None = None, needs_number: bool = False) -> "Parser":
    """The parser of a command that the caller carries out; `number` is an example where it takes one."""

    def parse(rest: str, space: SearchSpace) -> Command:
        if number is None and rest:
            raise UserError("this command takes nothing more")
        if number is None or not (rest or needs_number):
            return Command(name)
        rest = _given(rest, f"/{name} {number}")
        return Command(name, number=_whole(rest, "a directive" if name == "undo" else "a trial", f"/{name} {number}"))

    return parse


def _compress(rest: str, space: SearchSpace) -> Command:
    trial, _, share = _given(rest, "/compress 12 0.5").partition(" ")
    number = _whole(trial, "a trial", "/compress 12 0.5")
    try:
        target = float(share or TARGET)
    except ValueError:
        target = 0.0
    if not 0 < target < 1:
        raise UserError(f"'{share.strip()}' is no share; write a number between 0 and 1, as in /compress 12 0.5")
    return Command("compress", number=number, text=f"{target:g}")


def _with_text(name: str) -> "Parser":
    """The parser of a command that takes what is typed, or nothing."""
    return lambda rest, space: Command(name, text=rest)


def _latency(rest: str, space: SearchSpace) -> Command:
    return Command("latency", text=str(UNetSpec.parse(_given(rest, f"/latency {_example(space)}"))))


def _sql(rest: str, space: SearchSpace) -> Command:
    return Command("sql", text=_given(rest, "/sql SELECT spec, rfid FROM results"))


Parser = Callable[[str, SearchSpace], Directive | Command]
SLASH: dict[str, tuple[str, str, Parser]] = {  # a command: what it takes, what it is for, how it is read
    "/freeze": ("NAME=VALUE", "keep one of the numbers of a spec, such as attn_0=0", _freeze),
    "/limit": (
        "NAME<=VALUE", "restrict one of the numbers of a spec; also <, >, >=, =, lists such as num_blocks=1,2", _limit,
    ),
    "/cap": ("WHAT LIMIT", "limit params, macs, memory (bytes) or latency (ms), such as /cap params 40M", _cap),
    "/try": ("SPEC", "train exactly this spec next", _try),
    "/ban": ("SPEC", "leave out a spec, or a region such as b*-n*-m*.*.*.*-a1***", _ban),
    "/near": ("SPEC [DISTANCE]", "stay near a spec; a doubling, or a changed attention, counts one", _near),
    "/explore": ("", "look far from what was tried", _order("mode", mode="explore")),
    "/exploit": ("", "stay close to the best", _order("mode", mode="exploit")),
    "/rounds": ("N", "another number of rounds", _rounds),
    "/pause": ("", "pause after the trials under way", _order("pause")),
    "/resume": ("", "lift the pause, or go on with a search that no process drives", _command("resume")),
    "/compress": ("TRIAL [SHARE]", "make the network of a trial cheaper, in a process of its own", _compress),
    "/stop": ("", "end the search after the trials under way", _order("stop")),
    "/bounds": ("FIELD LOW HIGH", "bound a value of the training strategies, in a search for a strategy", _bounds),
    "/backend": ("ID [URL]", "another language model from the next round on", _backend),
    "/allowance": ("NAME=VALUE", "what the search may use: max_cost (USD), max_hours, max_tokens", _allowance),
    "/budget": ("", "why the budget cannot be changed", _with_text("budget")),
    "/undo": ("[NUMBER]", "take a directive back, the latest if none is named", _command("undo", number="3")),
    "/directives": ("", "all directives, and what they changed", _command("directives")),
    "/status": ("", "how far the search is", _command("status")),
    "/best": ("", "the best trials", _command("best")),
    "/plot": ("[FILE.png]", "the best score so far over the rounds, drawn here or into a picture", _with_text("plot")),
    "/why": ("NUMBER", "why a trial was tried, and what came of it", _command("why", number="12", needs_number=True)),
    "/latency": ("SPEC", "how long one image takes through a network here, measured once", _latency),
    "/sql": ("SELECT …", "ask the memory", _sql),
    "/help": ("", "these lines", _command("help")),
}  # fmt: skip
SLASH_HELP = {f"{name} {takes}".strip(): what for name, (takes, what, _) in SLASH.items()}
