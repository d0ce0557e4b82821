"""Who may ask the dashboard: host, origin, token, kinds of bodies; and one sentence each for what cannot be."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import page_memory
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from agent.dashboard.access import check_access, hashed
from agent.dashboard.app import make_app
from diffusion.errors import UserError

TOKEN = "a-token-of-enough-letters"
HERE = "http://127.0.0.1:8321"
SOCKET = "ws://127.0.0.1:8321/notices"


def client(folder: Path, token: str | None = None, host: str = "127.0.0.1", base: str = HERE) -> TestClient:
    app = make_app(page_memory(folder), None, None, host=host, port=8321, token=token)
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8321", "localhost:9000", "[::1]:8321"])
def test_loopback_names_are_let_in_at_any_port_of_a_tunnel(tmp_path: Path, host: str) -> None:
    with client(tmp_path) as tab:
        assert tab.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "", "192.168.1.5"])
def test_a_foreign_host_is_refused(tmp_path: Path, host: str) -> None:
    with client(tmp_path) as tab:
        assert tab.get("/news", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8321"])
def test_a_page_of_another_origin_is_refused_also_by_its_socket(tmp_path: Path, origin: str) -> None:
    with client(tmp_path) as tab:
        assert tab.get("/news", headers={"origin": origin}).status_code == 403
        assert tab.get("/news", headers={"origin": HERE}).status_code == 200
        with pytest.raises(WebSocketDisconnect), tab.websocket_connect(SOCKET, headers={"origin": origin}):
            pass


def test_a_form_of_another_site_is_no_message(tmp_path: Path) -> None:
    with client(tmp_path) as tab:
        assert tab.post("/searches/1/say", data={"key": "12345678", "text": "/stop"}).status_code == 415


def test_the_token_is_given_once_and_becomes_a_cookie(tmp_path: Path) -> None:
    with client(tmp_path, TOKEN) as tab:
        assert tab.get("/").status_code == tab.get("/?token=wrong").status_code == tab.get("/news").status_code == 401
        with pytest.raises(WebSocketDisconnect), tab.websocket_connect(SOCKET):
            pass
        given = tab.get(f"/?token={TOKEN}")
        assert (given.status_code, given.headers["location"]) == (303, "/")
        cookie = given.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
        assert tab.get("/news").status_code == 200
        with tab.websocket_connect(SOCKET) as socket:
            assert socket.receive_text().isdigit()
        tab.cookies.clear()
        assert tab.get("/", headers={"cookie": f"diffnas-8321={hashed('another token, as long')}"}).status_code == 401


def test_every_answer_says_what_a_browser_may_do(tmp_path: Path) -> None:
    with client(tmp_path) as tab:
        for path in ("/", "/assets/dashboard.js", "/news", "/assets/none.js"):
            policy = tab.get(path).headers["content-security-policy"]
            assert "script-src 'self';" in policy and "unsafe" not in policy and "default-src 'none'" in policy


def test_nothing_is_served_by_a_path(tmp_path: Path) -> None:
    with client(tmp_path) as tab:
        for path in ("/assets/..%2fapp.py", "/assets/../diffnas.db", "/searches/1/samples/..%2f1", "/assets/%00"):
            assert tab.get(path).status_code == 404, path


@pytest.mark.parametrize(("host", "token"), [("0.0.0.0", None), ("example.org", None), ("127.0.0.1", "short")])
def test_an_address_that_others_reach_needs_a_token_that_is_not_guessed(host: str, token: str | None) -> None:
    with pytest.raises(UserError, match="auto"):
        check_access(host, token)


def said(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "agent", "dashboard", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stderr


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    page_memory(tmp_path)
    foreign: Any = tmp_path / "other.db"
    foreign.write_text("This is no memory, but a text that is long enough to be taken for something else. " * 20)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (["--port", port], f"--port {port} is taken"),
            (["nobody"], "'nobody' is not a search of this memory; there are shown"),
            (["--db", "other.db"], "is not a diffnas memory"),
            (["--host", "0.0.0.0"], "--host '0.0.0.0' is reached by others, who could steer the searches; add --token"),
        ):
            code, told = said(tmp_path, *arguments)
            assert (code, len(told.splitlines())) == (2, 1), told
            assert words in told
