"""What ``diffnas-agent dashboard`` does: bind an address, print it, and serve until Ctrl-C."""

import secrets
import socket
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.config.sources import load_provider_keys
from agent.dashboard.access import check_access, is_loopback
from agent.report.console import people
from agent.report.tables import say
from diffusion.errors import UserError
from memory.connection import check_memory, opened
from memory.searches import find_search

if TYPE_CHECKING:
    import uvicorn

AUTO = "auto"
GRACE_SECONDS = 2  # for tabs that still hear an answer when the server ends
PING_SECONDS = 20.0


def serve(
    db: Path, out: Path | None, name: str | None, *, host: str, port: int, token: str | None, opens: bool
) -> None:
    """Serve the page of a memory until Ctrl-C.

    Raises:
        UserError: one sentence with the remedy.
    """
    token = secrets.token_urlsafe(24) if token == AUTO else token
    check_access(host, token)
    load_provider_keys()
    check_memory(db)  # an older one is brought up to date: a chat writes
    if name is not None:
        with opened(db, read_only=True) as memory:
            find_search(memory, name)
    with bound(host, port) as listening:
        port = listening.getsockname()[1]
        url = address(host, port, token)
        server = _made(db, out, name, host=host, port=port, token=token)
        console = people()
        say(console, url, whole=True)  # whoever opens it now waits for no import
        if not is_loopback(host):
            say(console, "Whoever has this address can steer the searches; it travels unencrypted outside of a tunnel.")
        say(console, "Ctrl-C ends the dashboard; searches go on.")
        if opens:
            threading.Timer(1.0, webbrowser.open, [url]).start()
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
        say(console, "The dashboard has ended; searches go on.")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free.

    Raises:
        UserError: the port is taken, or the address is none of this machine.
    """
    plain = host.strip("[]")
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((plain, port))
        found.listen()
    except socket.gaierror as error:
        found.close()
        raise UserError(f"--host '{host}' is no address of this machine ({error.strerror})") from None
    except OSError as error:
        found.close()
        if error.errno in (98, 48, 10048):  # taken, by the system's name for it
            raise UserError(f"--port {port} is taken on {host}; name another, or 0 for any that is free") from None
        raise UserError(f"--host '{host}', --port {port} cannot be listened on: {error.strerror}") from None
    return found


def address(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    plain = host.strip("[]")
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(plain, plain)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={quote(token)}" if token else "")


def _made(db: Path, out: Path | None, name: str | None, *, host: str, port: int, token: str | None) -> "uvicorn.Server":
    import uvicorn

    from agent.dashboard.app import make_app

    config = uvicorn.Config(
        make_app(db, out, name, host=host, port=port, token=token),
        access_log=False,  # it would hold the token
        log_level="warning",
        ws="websockets-sansio",  # the older one warns that it will go
        ws_ping_interval=PING_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    return uvicorn.Server(config)
