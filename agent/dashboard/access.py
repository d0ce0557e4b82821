"""Who may ask the dashboard: host, origin, token, in that order, of pages and WebSockets alike.

- **host**: a page of another name that was made to point here (DNS rebinding) is refused with 421. Ports are not
  compared, so that a tunnel may end at any; a name is what tells a foreign page.
- **origin**: the page of another site is refused with 403, also when it opens a WebSocket.
- **token**: where one is set it is given once in the address, becomes a cookie that no script reads and no other site
  sends, and is compared in constant time. The cookie holds its hash; its name holds the port, since cookies know none.

Pure ASGI: a middleware that wraps responses would hold back what is streamed.
"""

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffusion.errors import UserError

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
SHORTEST_TOKEN = 16  # characters: what is typed by hand is guessed
PLOT_STYLES = (
    "'sha256-+TfQir1nvDucAdvE6XUQBt4ayUjpAWkbw2kCdSfekHM=' 'sha256-vnLCBQhI2E03zAY/Mp8RxBhuZSloT7+cclqIlG2t6/M='"
)
"""Of the style sheets that Observable Plot 0.6.17 writes into a figure and a legend; others fail the browser's test."""

POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {PLOT_STYLES}; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def check_access(host: str, token: str | None) -> None:
    """Refuse an address that others reach, without a token.

    Raises:
        UserError: one sentence with the remedy.
    """
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isprintable()):
        raise UserError(
            f"--token: a token of {len(token)} characters is guessed; use at least {SHORTEST_TOKEN}, or auto"
        )
    if token is None and not is_loopback(host):
        raise UserError(f"--host '{host}' is reached by others, who could steer the searches; add --token auto")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass
class Guard:
    """Lets through who may ask, and puts the policy on every answer; `host` is what the server is bound to."""

    app: ASGIApp
    host: str
    port: int
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        status, why = self._refusal(headers, scope)
        if status:
            await _refuse(scope, receive, send, status, why)
        elif self.token and not self._has_cookie(headers):
            await self._by_token(self.token, scope, receive, send)
        else:
            await self.app(scope, receive, self._with_policy(send))

    def _refusal(self, headers: Headers, scope: Scope) -> tuple[int, str]:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            return 421, f"This server is not known as {host[:100]!r}."
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "A page of another site may not ask this server."
        posts = scope["type"] == "http" and scope["method"] == "POST"
        if posts and headers.get("content-type", "").partition(";")[0] != "application/json":
            return 415, "Only JSON is taken."  # what a form of another site cannot send
        return 0, ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in LOOPBACK or name == self.host.lower():
            return True
        if is_loopback(self.host):
            return False
        return name == socket.gethostname().lower() or _is_address(name)  # an address of ours, however it is reached

    @property
    def _cookie(self) -> str:
        return f"diffnas-{self.port}"

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), hashed(self.token or "").encode())

    async def _by_token(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["type"] == "http" and hmac.compare_digest(given.encode(), token.encode()):
            response = RedirectResponse("/", 303)  # the token leaves the address bar and the history
            response.set_cookie(self._cookie, hashed(token), httponly=True, samesite="strict")
            await response(scope, receive, self._with_policy(send))
            return
        await _refuse(
            scope, receive, send, 401, "Open the address with ?token=… that `diffnas-agent dashboard` printed."
        )

    def _with_policy(self, send: Send) -> Send:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = {**HEADERS, "content-security-policy": POLICY}
                known = {name for name, _ in message["headers"]}
                pairs = [(name.encode(), value.encode()) for name, value in more.items()]
                message["headers"] = [*message["headers"], *(pair for pair in pairs if pair[0] not in known)]
            await send(message)

        return with_policy


def hashed(token: str) -> str:
    """What the cookie holds of a token."""
    return hashlib.sha256(f"diffnas dashboard {token}".encode()).hexdigest()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before `accept`: the browser sees 403
    else:
        await PlainTextResponse(why + "\n", status, HEADERS)(scope, receive, send)
