"""The file that a report is: nothing that somebody wrote becomes markup, nothing is loaded, every part is there."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from injections import INJECTIONS
from pages import BASELINE, BEST, NAME, TRIALS, page_memory, parsed

from agent.page.data import LONGEST_TEXT, PageData
from agent.page.gather import page_data
from agent.page.html import INERT, embedded, html_of
from diffusion.settings import Protocol
from memory.connection import opened
from memory.searches import find_protocol

ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown(folder: Path, text: str = "a plain word") -> tuple[PageData, Protocol, str]:
    with opened(page_memory(folder, text), read_only=True) as db:
        page = page_data(db, NAME)
        protocol = find_protocol(db, page.about.protocol)
        return page, protocol, html_of(page, protocol)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return shown(tmp_path_factory.mktemp("plain"))[2]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> PageData:
    return shown(tmp_path_factory.mktemp("page"))[0]


@pytest.mark.parametrize("text", INJECTIONS, ids=lambda text: ascii(text)[:30])
def test_what_somebody_wrote_adds_no_element_and_no_attribute(text: str, plain: str, tmp_path: Path) -> None:
    written = text.encode("utf-8", "replace").decode() if "\ud800" in text else text  # SQLite takes no half of a pair
    source = shown(tmp_path, written)[2]
    found, expected = parsed(source), parsed(plain)
    same = {"td": found.elements["td"]}  # a long cell has a class
    assert found.elements | same == expected.elements | same
    names = [(tag, name) for tag, name, _ in found.attributes if name != "class"]
    assert names == [(tag, name) for tag, name, _ in expected.attributes if name != "class"]
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert not ACTING.search(source.replace("\n", ""))
    assert found.texts["script"] and json.loads(found.texts["script"][0])["about"]["name"] == NAME
    assert source.count("x" * (LONGEST_TEXT + 1)) == 0


def test_switched_off_escaping_is_seen(tmp_path: Path, plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.page import html

    unescaped = html._environment().overlay(autoescape=False)
    monkeypatch.setattr(html, "_environment", lambda: unescaped)
    found = parsed(shown(tmp_path, "<script>document.title=1</script>")[2])
    assert found.elements["script"] > parsed(plain).elements["script"]


def test_data_end_no_block_and_come_back_whole() -> None:
    value = {"a": "</script><!--<script>&\u2028\u2029", "b": [1, None, "é"]}
    text = embedded(value)
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029]", text) and len(INERT) == 5


def test_the_policy_lets_this_script_run_and_nothing_else(plain: str) -> None:
    found = parsed(plain)
    policy = next(value for _, name, value in found.attributes if name == "content" and "default-src" in value)
    scripts = re.findall(r"<script>(.*?)</script>", plain, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_nothing_is_loaded_from_anywhere(plain: str) -> None:
    found = parsed(plain)
    loads = [value for _, name, value in found.attributes if name in ("src", "href", "action", "poster", "data")]
    assert loads and all(value.startswith(("#", "data:image/webp;base64,")) for value in loads)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & found.elements.keys()
    assert "@import" not in plain and "url(" not in re.search(r"<style>(.*?)</style>", plain, re.DOTALL)[1]  # type: ignore[index]


def test_every_part_is_there_and_named(plain: str) -> None:
    found = parsed(plain)
    anchors = [value[1:] for tag, name, value in found.attributes if (tag, name) == ("a", "href")]
    assert set(anchors) <= set(found.ids) and len(found.ids) == len(set(found.ids))
    for part in ("cost", "course", "effects", "samples", "curves", "all-trials", "reasoning", "load", "ledger"):
        assert part in anchors
    labelled = [value for _, name, value in found.attributes if name == "aria-labelledby"]
    assert labelled and set(labelled) <= set(found.ids)
    assert found.elements["h1"] == 1 and found.elements["main"] == 1
    assert found.elements["img"] == 2 and all(value for tag, name, value in found.attributes if name == "alt")


def test_the_table_of_trials_holds_every_trial(plain: str) -> None:
    found = parsed(plain)
    assert [each for each in found.ids if each.startswith("trial-")] == [f"trial-{n + 1}" for n in range(len(TRIALS))]
    cells = found.texts["td"]
    assert {spec for spec, _ in TRIALS} <= set(cells)
    assert {"80", "64 to 100", "better", "failed", "baseline"} <= set(cells)


def test_the_figures_get_what_they_draw_and_no_more(plain: str, page: PageData) -> None:
    data: dict[str, Any] = json.loads(parsed(plain).texts["script"][0])
    assert data["fronts"]["paper"] == page.fronts["paper"]
    assert data["trials"][BEST - 1]["score"] == 60.0 and data["trials"][0]["trial"] == BASELINE
    assert "reason" not in data["trials"][0] and not {"ledger", "protocol", "load"} & data.keys()


def test_without_a_trial_it_says_so(tmp_path: Path) -> None:
    path = page_memory(tmp_path)
    with opened(path) as db:
        from pages import of_kind

        search = of_kind(db, "run")
        page = page_data(db, str(search))
        found = parsed(html_of(page, find_protocol(db, page.about.protocol)))
    assert page.said.result == "No trial has a score yet."
    assert "cost" not in found.ids and "load" in found.ids and found.elements["img"] == 0
