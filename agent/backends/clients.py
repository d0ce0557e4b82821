"""What a client needs from outside: an address, a key, certificates, a proxy. What is wrong with one is a sentence.

A client is made before anything is written, so that a mistake in the environment costs no search its name.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from diffusion.errors import UserError
from memory.redaction import redact

PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def check_address(base_url: str) -> None:
    """Whether a server could have this address.

    Raises:
        UserError: it could not.
    """
    try:
        parts = urlsplit(base_url)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, or half of the brackets of IPv6
        fits = False
    if fits and (parts.username or parts.password):
        raise UserError(
            f"'{redact(base_url)}' holds a user or a password, and an address is stored; leave it out, and give the "
            "server's key in OPENAI_API_KEY"
        )
    if not fits or UNPRINTABLE.search(base_url):
        raise UserError(f"'{redact(base_url)}' is not an address; write --base-url http://HOST:PORT/v1")


def tidy_key(name: str) -> str:
    """The key in a variable of the environment, without the space and line breaks around it; there too, for clients.

    Raises:
        UserError: it holds what no header can.
    """
    found = os.environ.get(name, "")
    key = found.strip()
    if key != found:
        os.environ[name] = key
    if wrong := UNPRINTABLE.search(key):
        place = f"character {wrong.start() + 1} of {len(key)}"
        raise UserError(f"{name} holds what no key has ({place} is {wrong[0]!a}); set it again, in one line")
    return key


@contextmanager
def making(llm: str) -> Iterator[None]:
    """Say what keeps the client of a model from being made.

    Raises:
        UserError: it cannot be made.
    """
    try:
        yield
    except Exception as error:
        raise UserError(_sentence(llm, error)) from error


def _sentence(llm: str, error: Exception) -> str:
    said = redact(" ".join(str(error).split()))[:200]
    certificates = _set(CERTIFICATES)
    if certificates and isinstance(error, OSError):  # of which errors of TLS are some
        return f"{certificates} cannot be read ({error.strerror or said}); name a file of certificates, or unset it"
    proxy = _set(PROXIES)
    if proxy and isinstance(error, ImportError):
        return f"{proxy} needs a package for SOCKS; pip install socksio, or unset it"
    if proxy and re.search("proxy|url|port", f"{type(error).__name__} {said}", re.IGNORECASE):
        return f"{proxy} is no proxy that can be used ({said}); write http://HOST:PORT, or unset it"
    return f"'{llm}' cannot be asked from here ({type(error).__name__}: {said}); look at its settings and environment"


def _set(names: tuple[str, ...]) -> str:
    """The first of these variables that is set, with its value."""
    spelled = [spelling for name in names for spelling in (name, name.lower())]
    found = next((name for name in spelled if os.environ.get(name)), None)
    return f"{found} '{redact(os.environ[found])}'" if found else ""
