"""The dashboard of a running search in a browser: it follows, steers, comes back, and is fit to see."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import SCHEMES, SIZES, serious_problems
from dashboards import ROOT, begun, rows, talkable
from injections import AT_ONCE
from model_server import serve
from pages import BEST, TRIALS
from processes import ARGUMENTS, PLANTED, start
from wishing import Model

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PATIENCE = 120_000  # milliseconds, beside whatever else this machine does


def says(page: Any, where: str, text: str) -> None:
    page.wait_for_function(
        "([where, text]) => document.querySelector(where).textContent.includes(text)",
        arg=[where, text],
        timeout=PATIENCE,
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The folder of a search under way whose model wants attention at stage 0."""
    with serve(Model()) as server:
        options = ["--llm", "openai:scripted", "--base-url", server.url, "--rounds", "300", "--parallel", "1"]
        support = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
        process = start(
            tmp_path, "run", "--json", "--name", "first", *ARGUMENTS, *options, command=PLANTED, PYTHONPATH=support,
            OPENAI_API_KEY="none",
        )  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            if '"trial.scored"' in line:
                break
        yield tmp_path
        process.kill()
        process.communicate()


def test_a_wish_becomes_a_directive_that_the_search_obeys_and_is_undone(
    open_page: Any, serving: Any, shot: Any, running: Path
) -> None:
    served = serving(running, OPENAI_API_KEY="none")
    page = open_page(served.url)
    says(page, "#line", "live")
    page.locator("#score-by-cost svg.plot").wait_for(timeout=PATIENCE)
    before = page.locator("#trials tbody tr").count()
    page.wait_for_function(
        "before => document.querySelectorAll('#trials tbody tr').length > before", arg=before, timeout=PATIENCE
    )
    page.get_by_label("Filter").fill("baseline")
    page.get_by_label("Message").fill("Please, no attention at stage 0.")
    page.get_by_role("button", name="Send").click()
    confirm = page.get_by_role("button", name="Confirm")
    confirm.wait_for(timeout=PATIENCE)
    assert page.get_by_label("Filter").input_value() == "baseline"  # no update takes it away
    assert rows(running, "SELECT count(*) FROM directives") == [(0,)]
    confirm.click()
    says(page, "#directives", "in force, obeyed since round")
    says(page, "#said", "As you say.")
    assert rows(running, "SELECT kind, state FROM directives") == [("freeze", "active")]
    says(page, "#log-rounds", "refused (directive)")
    shot(page, "dashboard-running")
    page.get_by_role("button", name="Undo directive 1").click()
    says(page, "#directives", "undone")
    assert rows(running, "SELECT state FROM directives") == [("undone",)]
    page.get_by_role("button", name="Pause").click()
    says(page, "#state", "paused")
    page.get_by_role("button", name="Resume").click()
    says(page, "#state", "running")


def test_a_point_tells_its_trial_and_the_table_is_filtered_and_sorted(
    open_page: Any, serving: Any, tmp_path: Path
) -> None:
    talkable(tmp_path)
    served = serving(tmp_path)
    page = open_page(served.url)
    point = page.locator("#score-by-cost svg.plot > [data-mark=dot]").first.locator("> *").nth(BEST - 1)
    point.wait_for(timeout=PATIENCE)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert TRIALS[BEST - 1][0] in page.locator("#score-by-cost [aria-label=tip]").last.text_content()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator("tr.picked").get_attribute("id") == f"trial-{BEST}"
    page.wait_for_function("() => document.querySelector('#grids img')?.naturalWidth > 0", timeout=PATIENCE)
    page.get_by_label("Filter").fill("n2")
    assert page.locator("#count").inner_text() == f"1 of {len(TRIALS)}"
    page.get_by_label("Filter").fill("")
    page.locator("#trials").get_by_role("button", name="score", exact=True).click()
    assert page.locator("#trials tbody tr td:nth-child(5)").all_inner_texts() == ["60", "80", "100", "120", "–"]


def test_a_message_that_was_typed_while_the_dashboard_was_dead_arrives_once(
    open_page: Any, serving: Any, tmp_path: Path
) -> None:
    talkable(tmp_path)
    first = begun(tmp_path)
    page = open_page(first.url, is_lost=True)
    says(page, "#line", "live")
    page.locator("#score-by-cost svg.plot").wait_for(timeout=PATIENCE)  # live is the socket; the search comes after it
    first.kill()
    says(page, "#line", "not connected")
    page.get_by_label("Message").fill("/explore")
    page.get_by_role("button", name="Send").click()
    says(page, "#said", "Not sent yet")
    serving(tmp_path, port=first.port)
    says(page, "#line", "live")
    says(page, "#directives", "“/explore”")
    time.sleep(1)
    assert rows(tmp_path, "SELECT count(*) FROM messages") == [(1,)]
    assert rows(tmp_path, "SELECT count(*) FROM directives WHERE text = '/explore'") == [(1,)]


def test_everything_is_reached_and_done_by_keyboard(open_page: Any, serving: Any, tmp_path: Path) -> None:
    talkable(tmp_path)
    page = open_page(serving(tmp_path).url)
    page.locator("#score-by-cost svg.plot").wait_for(timeout=PATIENCE)
    page.get_by_label("Message").focus()
    page.keyboard.type("/freeze attn_0=0")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on Send
    says(page, "#directives", "/freeze attn_0=0")
    passed = set()
    for _ in range(150):  # once around
        page.keyboard.press("Tab")
        passed.add(
            page.evaluate("(e => e.ariaLabel || e.id || e.name || e.textContent.trim())(document.activeElement)")
        )
    assert {"resume", "count", "filter", "Undo directive 2"} <= passed, passed


def test_hostile_texts_are_shown_and_do_nothing(open_page: Any, serving: Any, tmp_path: Path) -> None:
    talkable(tmp_path, AT_ONCE)
    served = serving(tmp_path)
    page = open_page(served.url)
    page.locator("#score-by-cost svg.plot").wait_for(timeout=PATIENCE)
    page.get_by_label("Message").fill(AT_ONCE)
    page.get_by_role("button", name="Send").click()
    says(page, "#said", "Plain wishes need a language model")
    page.reload()
    says(page, "#said", "onerror")
    assert "taken" not in page.title()
    assert page.locator("main img[src=x], main svg[onload]").count() == 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_serious_problem_and_nothing_is_wider_than_the_window(
    open_page: Any, serving: Any, shot: Any, tmp_path: Path, size: str, scheme: str
) -> None:
    talkable(tmp_path)
    served = serving(tmp_path)
    page = open_page(served.url, size, scheme)
    page.locator("#curves-figure svg.plot").wait_for(timeout=PATIENCE)
    page.get_by_text("Start a search").click()
    page.get_by_label("Message").fill("/freeze attn_0=0")
    page.get_by_role("button", name="Send").click()
    says(page, "#directives", "/freeze attn_0=0")
    assert serious_problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, f"dashboard-{size}-{scheme}")
    assert re.search(r"shown: 4 of 9", page.title())
