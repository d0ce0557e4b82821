"""The two ways in which work here ends early; everything else that is raised is a bug of ours.

ValueError
└── UserError          the user's mistake: one sentence that starts with what they typed, with the remedy
RuntimeError
└── TrainingFailed     a training that cannot give a model (loss is not finite, out of memory): a row, not a crash

The remedy is often a command; `command` writes each that we print, so that it can be pasted.
"""

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

DEFAULT_MEMORY = "diffnas.db"
SAYS_DB = re.compile(r"^\s*(export\s+)?(DIFFNAS_DB|db)\s*=", re.IGNORECASE | re.MULTILINE)


class UserError(ValueError):
    """The user's mistake. Its text is one sentence that starts with what was typed and says what would be right."""


class TrainingFailed(RuntimeError):
    """A training that ended without a usable model; its text is the reason that is stored with the trial."""


def check_utf8(text: str) -> None:
    """Names of files and words of a command line may be any bytes; a memory, JSON and a terminal hold text alone.

    Raises:
        UserError: these bytes are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{text!a} is not text in UTF-8; give it another name") from None


def command(*words: object, db: Path | None = None) -> str:
    """A command as it can be pasted into a shell in this folder, quoted where need be.

    Args:
        words: what stands after the program's name.
        db: the memory that it is about; named unless the command surely finds it by itself.
    """
    named = [] if db is None or _is_found(db) else ["--db", str(db)]
    return shlex.join(["diffnas-agent", *map(str, words), *named])


def _is_found(db: Path) -> bool:
    """Whether a command in this folder uses this memory without being told: a file of settings may say otherwise."""
    default = os.environ.get("DIFFNAS_DB")
    if not default:
        for name in (".env", "diffnas.toml"):
            with suppress(OSError):
                if SAYS_DB.search(Path(name).read_text(encoding="utf-8", errors="replace")):
                    return False
    return db.absolute() == Path(default or DEFAULT_MEMORY).absolute()
