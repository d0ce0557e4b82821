"""What one exchange over HTTP may take, in bytes and in seconds, headers included; it ends when the search is stopped.

A client's time-out starts anew with each byte, so that a server that sends one a second holds it as long as it likes;
no client bounds what it reads; and a blocked one does not hear Ctrl-C. So the bound lies where the bytes come in.
Answers are asked for as they are: a compressed one may be a thousand times as large as what was counted here.
"""

import sys
import time
from threading import Event
from typing import Any

MOST_BYTES = 32 * 2**20  # of one answer as it comes, several times the longest that is of use
SLICE_SECONDS = 0.2  # after which a reader looks whether it is still wanted
PLAIN = {"Accept-Encoding": "identity"}


class TooLong(Exception):
    """An answer is longer, or was compressed so that it may be longer, than what is read of one."""


class Line:
    """The network as a client sees it, with bounds; `stop` is set by whoever is asking."""

    def __init__(self, network: Any, seconds: float, most_bytes: int = MOST_BYTES) -> None:
        self.network, self.seconds, self.most_bytes = network, seconds, most_bytes
        self.stop: Event | None = None
        client = sys.modules[type(network).__module__.partition(".")[0]]  # its own error is what callers know
        self.too_late: type[Exception] = client.ReadTimeout

    def connect_tcp(self, *given: Any, **named: Any) -> "Stream":
        """A connection to a server."""
        return Stream(self.network.connect_tcp(*given, **named), self)

    def connect_unix_socket(self, *given: Any, **named: Any) -> "Stream":
        """A connection within this machine."""
        return Stream(self.network.connect_unix_socket(*given, **named), self)

    def sleep(self, seconds: float) -> None:
        """Wait, as a client does between attempts to connect."""
        self.network.sleep(seconds)

    @property
    def is_stopped(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self.stop is not None and self.stop.is_set()


class Stream:
    """One connection, whose bounds begin anew with what is written after an answer."""

    def __init__(self, stream: Any, line: Line) -> None:
        self.stream, self.line = stream, line
        self.asks = False  # the last thing was a write
        self.deadline, self.bytes_left = 0.0, 0

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send a part of a request."""
        if not self.asks:
            self.asks = True
            self.deadline, self.bytes_left = time.monotonic() + self.line.seconds, self.line.most_bytes
        self.stream.write(buffer, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """A part of an answer.

        Raises:
            TooLong: there is more than is read.
        """
        self.asks = False
        found = self._read(max_bytes)
        self.bytes_left -= len(found)
        if self.bytes_left < 0:
            raise TooLong(f"its answer has more than {self.line.most_bytes:,} bytes")
        return found

    def _read(self, max_bytes: int) -> bytes:
        """The next bytes; a slice at a time until there are some, the time is over, or nobody wants them."""
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0 or self.line.is_stopped:
                raise self.line.too_late("it has not answered in time")
            try:
                found: bytes = self.stream.read(max_bytes, timeout=min(left, SLICE_SECONDS))
            except self.line.too_late:
                continue
            return found

    def close(self) -> None:
        """End the connection."""
        self.stream.close()

    def start_tls(self, *given: Any, **named: Any) -> "Stream":
        """The same connection, encrypted."""
        return Stream(self.stream.start_tls(*given, **named), self.line)

    def get_extra_info(self, info: str) -> Any:
        """What the client asks about the socket."""
        return self.stream.get_extra_info(info)


def bounded(client: Any, seconds: float, most_bytes: int = MOST_BYTES) -> Line:
    """Bound what an HTTP client of OpenAI's reads, whichever proxy it goes through.

    The client offers no place for a network of one's own, only its parts do.
    """
    line: Line | None = None
    for transport in (client._transport, *client._mounts.values()):
        if transport is not None:
            line = line or Line(transport._pool._network_backend, seconds, most_bytes)
            transport._pool._network_backend = line
    assert line is not None, "every client has a transport"
    client.headers.update(PLAIN)
    client.event_hooks = {"request": [], "response": [_check_plain]}
    return line


def _check_plain(response: Any) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise TooLong(f"its answer is compressed ({encoding[:40]}), which was not asked for")
