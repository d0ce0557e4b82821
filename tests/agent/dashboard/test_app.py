"""What a tab is told, what it lacks, and what it may do: exactly once, whatever it sends twice."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from dashboards import Running, begun, dashboard, rows, talkable
from ended_search import digits_protocol
from pages import BEST, TRIALS, add_trial
from starlette.testclient import TestClient

from agent.dashboard.app import make_app
from agent.dashboard.begin import arguments
from agent.dashboard.parts import Parts
from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from memory.connection import opened

KEY = "0123456789abcdef"
FREEZE = "/freeze attn_0=0"


@pytest.fixture
def tab(tmp_path: Path) -> Any:
    app = make_app(talkable(tmp_path), None, None, host="127.0.0.1", port=8321)
    with TestClient(app, base_url="http://127.0.0.1:8321") as found:
        yield found


def say(tab: Any, text: str, key: str = KEY) -> list[Any]:
    answer = tab.post("/searches/1/say", json={"key": key, "text": text})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def asked(tab: Any, known: dict[str, Any]) -> dict[str, Any]:
    query = {"epoch": known["epoch"], "have": known["version"], "shown": known["search"]}
    return dict(tab.get("/news", params=query).json())


def test_parts_give_what_is_newer_than_a_version() -> None:
    parts = Parts()
    assert parts.put("a", 1, 1) and not parts.put("a", 1, 2)
    assert parts.put_rows("r", {1: "x", 2: "y"}, 1) and parts.put_rows("r", {2: "z"}, 2)
    assert parts.since(1) == {"values": {}, "rows": {"r": [[2, "z"]]}, "orders": {"r": [2]}}
    assert parts.since(0)["values"] == {"a": 1} and parts.since(2) == {"values": {}, "rows": {}, "orders": {}}


def test_a_tab_is_told_all_once_and_then_what_is_new(tab: Any, tmp_path: Path) -> None:
    first = tab.get("/news").json()
    assert len(first["shown"]["rows"]["trials"]) == len(TRIALS) and first["shown"]["values"]["about"]["name"] == "shown"
    assert not any(asked(tab, first)["shown"][part] for part in ("values", "rows", "orders"))
    with opened(tmp_path / "diffnas.db") as db:
        add_trial(db, 1, 5, UNetSpec.parse("b8-n1-m1.1.1.1-a0100"), 55.0, digits_protocol(), tmp_path, "A word")
    second = asked(tab, first)["shown"]
    assert [key for key, _ in second["rows"]["trials"]] == [len(TRIALS) + 1]
    assert second["values"]["said"]["recommended"] == len(TRIALS) + 1
    whole = tab.get("/news").json()["shown"]
    kept = dict([*first["shown"]["rows"]["trials"], *second["rows"]["trials"]])
    assert kept == dict(whole["rows"]["trials"])


def test_a_memory_in_the_place_of_another_is_told_whole(tab: Any, tmp_path: Path) -> None:
    first = tab.get("/news").json()
    (tmp_path / "new").mkdir()
    os.replace(talkable(tmp_path / "new"), tmp_path / "diffnas.db")
    second = asked(tab, first)
    assert second["epoch"] != first["epoch"] and len(second["shown"]["rows"]["trials"]) == len(TRIALS)


def test_a_directive_that_is_sent_twice_is_given_once(tab: Any, tmp_path: Path) -> None:
    assert any(
        "Directive 2 is given" in line for event in say(tab, "/freeze attn_0=0") for line in event.get("say", [])
    )
    say(tab, "/freeze attn_0=0")
    assert rows(tmp_path, "SELECT count(*) FROM directives WHERE kind = 'freeze'") == [(1,)]
    assert say(tab, "/undo 2", "undo-the-second")[-1] == {"done": "undo-the-second"}
    assert rows(tmp_path, "SELECT state FROM directives WHERE id = 2") == [("undone",)]


def test_a_contradiction_is_asked_about_and_answered_once(tab: Any, tmp_path: Path) -> None:
    say(tab, "/freeze attn_0=0", "first-of-two")
    events: list[Any] = []
    asking = threading.Thread(target=lambda: events.extend(say(tab, "/freeze attn_0=1", "second-of-two")))
    asking.start()
    deadline = time.monotonic() + 60
    while not (open_ := tab.get("/news").json()["questions"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    place = f"/searches/1/questions/{open_[0]['name']}"
    assert (
        tab.post(place, json={"agreed": True}).status_code == tab.post(place, json={"agreed": True}).status_code == 204
    )
    assert tab.post(place, json={"agreed": False}).status_code == 409
    asking.join(60)
    assert rows(tmp_path, "SELECT state FROM directives WHERE kind = 'freeze' ORDER BY id") == [
        ("undone",),
        ("active",),
    ]
    assert tab.post("/searches/1/questions/unknown-1", json={"agreed": True}).status_code == 409


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.0, 2.0, 2.5])
def test_a_message_survives_a_kill_and_is_neither_lost_nor_doubled(tmp_path: Path, delay: float) -> None:
    talkable(tmp_path)
    lines = {"plain-question": "what is best", "slash-freeze": "/freeze attn_0=0"}
    first = begun(tmp_path)

    def send(key: str, text: str) -> None:
        with suppress(OSError, HTTPException):
            first.post("searches/1/say", key=key, text=text)

    threads = [threading.Thread(target=send, args=pair) for pair in lines.items()]
    for thread in threads:
        thread.start()
    time.sleep(delay)
    first.kill()
    for thread in threads:
        thread.join(60)
    with dashboard(tmp_path) as second:
        for key, text in [*lines.items(), *lines.items()]:
            assert second.post("searches/1/say", key=key, text=text)[-1] == {"done": key}
    expected = [("plain-question", "user"), ("plain-question-answer", "assistant"), ("slash-freeze", "user")]
    assert sorted(rows(tmp_path, "SELECT key, role FROM messages")) == expected
    assert rows(tmp_path, "SELECT count(*) FROM directives WHERE key = 'slash-freeze'") == [(1,)]


def test_a_question_that_was_open_at_a_kill_is_asked_again(tmp_path: Path) -> None:
    talkable(tmp_path)
    heard: list[Any] = []
    first = begun(tmp_path)

    def send(dashboard: Running) -> None:
        with suppress(OSError, HTTPException):
            heard.extend(dashboard.post("searches/1/say", key="contradicts", text="/exploit"))

    def asked(dashboard: Running) -> str:
        sending = threading.Thread(target=send, args=[dashboard])
        sending.start()
        deadline = time.monotonic() + 60
        while not (questions := dashboard.get("news")["questions"]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return str(questions[0]["name"])

    assert asked(first)
    first.kill()
    assert rows(tmp_path, "SELECT count(*) FROM directives WHERE key = 'contradicts'") == [(0,)]
    with dashboard(tmp_path) as second:
        second.post(f"searches/1/questions/{asked(second)}", agreed=True)
        assert second.post("searches/1/say", key="contradicts", text="/exploit")[-1] == {"done": "contradicts"}
    assert rows(tmp_path, "SELECT count(*) FROM directives WHERE key = 'contradicts'") == [(1,)]
    assert rows(tmp_path, "SELECT count(*) FROM messages WHERE key = 'contradicts'") == [(1,)]


def test_images_come_by_number_and_from_the_run_folder_alone(tab: Any, tmp_path: Path) -> None:
    assert tab.get(f"/searches/1/samples/{BEST}").json() == [0]
    image = tab.get(f"/searches/1/samples/{BEST}/0")
    assert image.headers["content-type"] == "image/webp" and image.content[8:12] == b"WEBP"
    spec = TRIALS[BEST - 1][0]
    (grid,) = (tmp_path / spec).glob("samples-*.png")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (tmp_path / spec).rename(outside / spec)
    (tmp_path / spec).symlink_to(outside / spec)
    assert grid.exists()
    assert tab.get(f"/searches/1/samples/{BEST}/0").status_code == 404
    assert "--out" in tab.get(f"/searches/1/samples/{BEST}").text


@pytest.mark.parametrize(
    "settings", [{}, {"name": "7"}, {"name": "x", "db": "y"}, {"name": "x", "--db": "y"}, {"name": "x", "approve": "1"}]
)
def test_only_settings_of_run_begin_a_search(settings: dict[str, str]) -> None:
    with pytest.raises(UserError):
        arguments(settings, None)


def test_no_python_is_named_from_a_page() -> None:
    with pytest.raises(UserError, match="on the command line alone"):
        arguments({"name": "x", "searcher": "evil.py:Searcher"}, None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_is_begun_once_and_driven_by_a_process_of_its_own(tmp_path: Path) -> None:
    talkable(tmp_path)
    told = {"key": "begin-it-once", "settings": {"name": "second", "bench": "unetbench", "rounds": "2"}}
    with dashboard(tmp_path) as served:
        said = [json.loads(served.send("searches", told)) for _ in range(2)]
        assert said[0] == said[1] and "second has begun" in said[0]["said"]
        with pytest.raises(HTTPError) as refused:
            served.send("searches", {**told, "key": "another-key"})
        assert refused.value.code == 409 and "'second'" in refused.value.read().decode()
        deadline = time.monotonic() + 300
        while states(served) != {"shown": "interrupted", "second": "finished"} and time.monotonic() < deadline:
            time.sleep(0.2)
        assert states(served) == {"shown": "interrupted", "second": "finished"}


def states(served: Running) -> dict[str, str]:
    """Each search of the list with its state, as a tab is told."""
    return {row["name"]: row["state"] for _, row in served.get("news")["list"]["rows"]["searches"]}


def test_two_dashboards_beside_each_other_tell_the_same_and_give_one_directive_once(tmp_path: Path) -> None:
    talkable(tmp_path)
    with dashboard(tmp_path) as first, dashboard(tmp_path) as second:
        both = [
            threading.Thread(target=each.post, args=["searches/1/say"], kwargs={"key": "sent-twice", "text": FREEZE})
            for each in (first, second)
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(120)
        told = [each.get("news")["shown"]["rows"] for each in (first, second)]
        assert told[0]["directives"] == told[1]["directives"] and told[0]["messages"] == told[1]["messages"]
    assert rows(tmp_path, "SELECT count(*) FROM directives WHERE key = 'sent-twice'") == [(1,)]
    assert rows(tmp_path, "SELECT count(*) FROM messages WHERE key = 'sent-twice'") == [(1,)]


def test_ctrl_c_ends_it_with_a_sentence_also_while_tabs_listen(tmp_path: Path) -> None:
    talkable(tmp_path)
    served = begun(tmp_path)
    assert served.status() == 200
    served.process.send_signal(signal.SIGINT)
    told, _ = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert told.splitlines()[-1] == "The dashboard has ended; searches go on."


def test_a_value_never_becomes_an_option_of_its_own() -> None:
    assert arguments({"name": "x", "llm": "--db=y; rm"}, None) == ["run", "--set", "name=x", "--set", "llm=--db=y; rm"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"key": "short", "text": "x"}', b'{"key": "12345678", "text": ""}']
)
def test_what_is_no_message_is_refused_in_a_sentence(tab: Any, body: bytes) -> None:
    answer = tab.post("/searches/1/say", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 409 and len(answer.text.splitlines()) == 1
