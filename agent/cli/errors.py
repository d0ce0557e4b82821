"""Turns the option parser's complaints into our kind of sentence: first what was typed, then the remedy."""

import re
from collections.abc import Callable
from typing import Any

SENTENCES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"No such option: (?P<typed>\S+)(?: \(Possible options: (?P<close>.+)\))?"),
        lambda m: f"'{m['typed']}' is not an option here" + (f"; did you mean {m['close']}" if m["close"] else ""),
    ),
    (
        re.compile(r"No such command '(?P<typed>.*?)'\.(?: Did you mean (?P<close>.+)\?)?"),
        lambda m: f"'{m['typed']}' is not a command" + (f"; did you mean {m['close']}" if m["close"] else ""),
    ),
    (
        re.compile(r"Invalid value for '?(?P<name>.*?)'?: (?:Value error, )?(?P<why>.+)"),
        lambda m: f"{m['name']}: {m['why'][0].lower()}{m['why'][1:]}",
    ),
    (re.compile(r"Missing (?:argument|parameter) '(?P<name>\w+)'\.?"), lambda m: f"{m['name']} is missing"),
    (
        re.compile(r"Got unexpected extra argument\S* \((?P<typed>.*)\)"),
        lambda m: f"'{m['typed']}' is more than the command takes",
    ),
)


def usage_sentence(error: Any) -> str:
    """One sentence for an error of the parser; `error` has ``format_message`` and, mostly, a context."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())  # the help itself: nothing was typed
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "diffnas-agent"
    for pattern, sentence in SENTENCES:
        if match := pattern.fullmatch(message):
            message = sentence(match)
            break
    return f"{message.rstrip('.')} (`{command} --help` says what there is)"
