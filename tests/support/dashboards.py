"""A dashboard as a process of its own, and what a tab asks of it."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pages import BUDGET, TRIALS, page_memory

from agent.config.settings import RunConfig
from memory.connection import opened

COMMAND = [sys.executable, "-m", "agent", "dashboard", "--no-open"]
ROOT = Path(__file__).parents[2]


def talkable(folder: Path, text: str = "a plain word") -> Path:
    """The memory of `pages.page_memory`, with settings that a chat can be begun with."""
    path = page_memory(folder, text)
    values = {"preset": "digits", "space": "digits-8", "budget": BUDGET, "rounds": 9, "baseline": TRIALS[0][0]}
    config = RunConfig.from_flat({**values, "db": path, "out": folder / "runs"}).as_json()
    with opened(path) as db:
        db.conn.execute("UPDATE searches SET config_json = ?", [json.dumps({**config, "race_trainings": 0})])
    return path


def rows(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    """What the memory of a folder answers."""
    with opened(folder / "diffnas.db", read_only=True) as db:
        return [tuple(row) for row in db.conn.execute(statement)]


@dataclass
class Running:
    """A dashboard that listens at `url`."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def post(self, path: str, **body: Any) -> list[Any]:
        """The lines of JSON that come back; as many as there are when the server dies."""
        asked = self._asked(path, body)
        found = []
        with urllib.request.urlopen(asked, timeout=120) as answer:
            for line in answer:
                found.append(json.loads(line))
        return found

    def send(self, path: str, body: Any) -> bytes:
        """What comes back, whole."""
        with urllib.request.urlopen(self._asked(path, body), timeout=300) as answer:
            return bytes(answer.read())

    def _asked(self, path: str, body: Any) -> urllib.request.Request:
        headers = {"content-type": "application/json"}
        return urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)

    def get(self, path: str) -> Any:
        """The JSON of a place."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def status(self, path: str = "", **headers: str) -> int:
        try:
            asked = urllib.request.Request(self.url + path, headers=headers)
            return int(urllib.request.urlopen(asked, timeout=60).status)
        except urllib.error.HTTPError as error:
            return error.code


def begun(folder: Path, *arguments: str, port: int = 0, **environment: str) -> Running:
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    assert url.startswith("http://"), url
    return Running(process, url)


@contextmanager
def dashboard(folder: Path, *arguments: str, port: int = 0, **environment: str) -> Iterator[Running]:
    """A dashboard on the memory of a folder until the block ends."""
    found = begun(folder, *arguments, port=port, **environment)
    try:
        yield found
    finally:
        found.kill()
