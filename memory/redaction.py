"""Takes secrets out of text before it is stored: nothing that reads like a key may reach the memory.

Known secrets are the values of variables with a word such as KEY, TOKEN, SECRET, PASSWORD or CREDENTIALS in their name,
the passwords in those that are the URL of a database or a proxy, and whatever `add_secret` was told (keys read from a
``.env`` file are in no environment). Text is also made storable here, since SQLite takes neither lone surrogates nor,
in its text functions, NUL. What a text says is not judged here.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

REDACTED = "[redacted]"
PASSWORDS = ("PASSWORD", "PASSWD", "PASS", "PWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS")
SECRET_WORDS = frozenset((*PASSWORDS, "KEY", "APIKEY", "TOKEN", "SECRET", "SECRETS", "PAT", "AUTH", "COOKIE", "DSN"))
NOT_SECRET = frozenset(("PWD", "OLDPWD", "SSH_AUTH_SOCK"))  # places, whatever their name
OURS = "DIFFNAS_"  # settings, of which none is a secret
SHORTEST_SECRET = 8  # characters; a shorter value would take ordinary words out of ordinary text
LOOKS_LIKE_A_KEY = re.compile(r"(?<![A-Za-z0-9])(?:sk-[\w*-]{8,}|hf_[A-Za-z0-9]{8,}|gh[opsu]_\w{16,}|AIza[\w-]{30,})")
BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
USER_IN_URL = re.compile(r"(?<=://)[^\s/@:'\"]+:[^\s/@'\"]+(?=@)")

_added: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name holds a secret."""
    words = name.upper().split("_")
    return name.upper() not in NOT_SECRET and not name.startswith(OURS) and not SECRET_WORDS.isdisjoint(words)


def holds_secret(name: str, value: str) -> bool:
    """Whether a variable holds a secret by its name, or a password inside the URL that it is."""
    return is_secret_name(name) or USER_IN_URL.search(value) is not None


def add_secret(value: str | None) -> None:
    """Have a value redacted from now on although it stands in no environment variable."""
    if value and len(value) >= SHORTEST_SECRET:
        _added.add(value)


def redact(text: str) -> str:
    """The text as it may be stored: without secrets, lone surrogates and NUL."""
    return _without(_spellings(), text)


def redact_optional(text: str | None) -> str | None:
    """`redact` for a column that may be empty."""
    return None if text is None else redact(text)


def redacted_json(value: Any) -> str:
    """A value as JSON text with every string in it redacted; what JSON cannot hold stands there as text."""
    return json.dumps(_clean(_spellings(), value), ensure_ascii=False, allow_nan=False)


def _clean(secrets: Sequence[str], value: Any) -> Any:
    if isinstance(value, dict):
        return {_without(secrets, str(key)): _clean(secrets, part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(secrets, part) for part in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _without(secrets, str(value))


def _without(secrets: Sequence[str], text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = LOOKS_LIKE_A_KEY.sub(REDACTED, text)
    text = BEARER.sub(rf"\1{REDACTED}", text)
    return USER_IN_URL.sub(REDACTED, text)


def _spellings() -> Sequence[str]:
    """Every secret as it is, as it stands inside JSON, and as it stands inside a URL; the longest first."""
    named = [value.strip() for name, value in os.environ.items() if is_secret_name(name)]
    in_urls = [each.partition(":")[2] for value in os.environ.values() for each in USER_IN_URL.findall(value)]
    known = [value for value in {*named, *in_urls, *_added} if len(value) >= SHORTEST_SECRET]
    spelled = {text for value in known for text in (value, json.dumps(value)[1:-1], quote(value, safe=""))}
    return sorted(spelled, key=len, reverse=True)
