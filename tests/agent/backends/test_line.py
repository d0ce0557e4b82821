"""A server that sends a byte a second, without an end, or packed: each exchange is bounded, headers included."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from agent.backends.registry import make_model
from agent.backends.wire.line import MOST_BYTES, TooLong

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Answers = Callable[[socket.socket], None]


@contextmanager
def server(answers: Answers) -> Iterator[str]:
    """The address of a server that reads a request and then does what it likes with the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                try:
                    answers(connection)
                except OSError:
                    continue  # the client has gone

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()


def slowly(text: bytes) -> Answers:
    """A byte every 50 milliseconds, for ever."""

    def answers(connection: socket.socket) -> None:
        for number in range(10_000):
            connection.sendall(text[number % len(text) : number % len(text) + 1])
            time.sleep(0.05)

    return answers


def drips_in_the_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    slowly(b" ")(connection)


def drips_in_the_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    slowly(b"X-A: b\r\n")(connection)


def silent(connection: socket.socket) -> None:
    time.sleep(30)


@pytest.mark.parametrize("answers", [drips_in_the_body, drips_in_the_headers, silent])
def test_the_seconds_are_those_of_the_whole_exchange(answers: Answers) -> None:
    with server(answers) as url:
        model = make_model("openai:slow", base_url=url, timeout_seconds=1.0)
        started = time.monotonic()
        with pytest.raises(Exception, match=r"timed out|Timeout"):
            model.invoke("hello")
        assert time.monotonic() - started < 4


def test_a_stopped_search_does_not_wait_for_a_server() -> None:
    with server(silent) as url:
        model = make_model("openai:slow", base_url=url, timeout_seconds=60.0)
        stop = threading.Event()
        model.line.stop = stop  # type: ignore[attr-defined]
        threading.Timer(0.5, stop.set).start()
        started = time.monotonic()
        with pytest.raises(Exception, match=r"timed out|Timeout"):
            model.invoke("hello")
        assert time.monotonic() - started < 5


def test_an_endless_answer_ends() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with server(endless) as url:
        model = make_model("openai:endless", base_url=url, timeout_seconds=30.0)
        with pytest.raises(TooLong, match=f"its answer has more than {MOST_BYTES:,} bytes"):
            model.invoke("hello")


def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b" " * 50_000_000)

    def bomb(connection: socket.socket) -> None:
        size = f"Content-Length: {len(packed)}\r\n\r\n".encode()
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\n" + size + packed)

    with server(bomb) as url, pytest.raises(TooLong, match=r"compressed \(gzip\), which was not asked for"):
        make_model("openai:bomb", base_url=url).invoke("hello")
