"""A Hugging Face hub on loopback that holds data sets of files, and answers for others as it is told to.

It speaks what `datasets.load_dataset` asks for: a file's head and body, the description of a repository, its tree.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NO_SUCH_REPOSITORY = (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
NOT_WITHOUT_LOGIN = (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."})
"""What the real hub says of a repository that is not there to somebody who is not logged in."""
NO_SUCH_FILE = (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": COMMIT})
BAD_TOKEN = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
GATED = (401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this dataset is restricted."})

Answer = tuple[int, Mapping[str, str]]
Files = dict[str, bytes]


@dataclass
class Hub:
    """A running hub: its address and what it was asked."""

    url: str = ""
    requests: list[str] = field(default_factory=list)


@contextmanager
def serve_hub(repositories: Mapping[str, Files | Answer]) -> Iterator[Hub]:
    """Answer on a free port of loopback until the block ends; a status of 0 hangs up without a word."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a body waits 40 ms for the other side to confirm the headers

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self._send(*answer_to(self.path, body, repositories))

        do_HEAD = do_POST = do_GET  # noqa: N815 - the names that http.server looks for

        def _send(self, answer: Answer, body: bytes) -> None:
            status, headers = answer
            self.close_connection = status == 0
            if self.close_connection:
                return
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()


def answer_to(address: str, body: bytes, repositories: Mapping[str, Files | Answer]) -> tuple[Answer, bytes]:
    """Status, headers and body for one request."""
    url = urlparse(address)
    if url.path == "/":
        return (200, {}), b""
    owner, name, *what = [*url.path.removeprefix("/api").removeprefix("/datasets/").split("/"), ""]
    held = repositories.get(f"{owner}/{name}", NO_SUCH_REPOSITORY)
    if isinstance(held, tuple):
        return held, b'{"error": "scripted"}'
    if url.path.startswith("/api"):
        description = describe(f"{owner}/{name}", what[:-1], url.query, body, held)
        return (200, {"content-type": "application/json"}), json.dumps(description).encode()
    path = "/".join(what[2:-1])  # resolve, COMMIT, and then the file's
    if path not in held:
        return NO_SUCH_FILE, b""
    return (200, {"ETag": f'"{digest(held[path])}"', "X-Repo-Commit": COMMIT}), held[path]


def describe(name: str, what: list[str], query: str, body: bytes, files: Files) -> Any:
    """The repository, its tree below a folder, or some of its files, as the hub's API describes them."""
    entries = [
        {"type": "file", "path": path, "size": len(content), "oid": digest(content)} for path, content in files.items()
    ]
    if what[:1] == ["paths-info"]:
        wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
        return [entry for entry in entries if entry["path"] in wanted]
    if what[:1] == ["tree"]:
        below = "".join(f"{part}/" for part in what[2:])
        return tree(entries, below, deep="recursive=true" in query.lower())
    return {"id": name, "sha": COMMIT, "tags": [], "siblings": [{"rfilename": path} for path in files]}


def tree(entries: list[dict[str, Any]], below: str, deep: bool) -> list[dict[str, Any]]:
    """What lies in a folder, or everything below it."""
    inside = [entry for entry in entries if entry["path"].startswith(below)]
    if deep:
        return inside
    files = [entry for entry in inside if "/" not in entry["path"][len(below) :]]
    folders = {entry["path"][len(below) :].partition("/")[0] for entry in inside if entry not in files}
    return files + [{"type": "directory", "path": below + name, "size": 0, "oid": "0"} for name in sorted(folders)]


def digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
