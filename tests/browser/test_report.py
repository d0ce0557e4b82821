"""The report in a browser: what is drawn, what a pointer and a switch do, and that nothing leaves the machine."""

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import SCHEMES, SIZES, serious_problems
from injections import AT_ONCE
from pages import BEST, TRIALS, page_memory

from agent.page.data import Figure, Finding
from agent.page.gather import page_data
from agent.page.html import html_of
from agent.page.report import write_report
from memory.connection import opened
from memory.searches import find_protocol

pytestmark = pytest.mark.browser

BAR = {"low": 0.1, "high": 0.4}
FIGURES: dict[str, list[dict[str, Any]]] = {
    "regret": [
        {"searcher": name, "at": at, "mean": 0.2 / (at + 1), **BAR} for name in ("gp", "local") for at in range(3)
    ],
    "ranking": [
        {"spec": spec, "arm": "rapid", "proxy": value, "truth": value}
        for spec, value in TRIALS[:2]
        if value is not None
    ],
    "sizes": [{"network": name, "paper": 2e6, "total": 3e6, "score": 0.3, **BAR} for name in ("teacher", "student")],
    "strategies": [{"strategy": 1, "cost": 0.5, "tau": 0.3, **BAR}],
}
SCORED = sum(value is not None for _, value in TRIALS)


def written(folder: Path, text: str = "a plain word") -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "report.html"
    write_report(page_memory(folder, text), folder, None, path, None)
    return path.as_uri()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("report"))


def dots(page: Any) -> Any:
    """Those of the trials with a score, in the first figure."""
    return page.locator("#score-by-cost svg.plot > [data-mark=dot]").first.locator("> *")


def tip(page: Any) -> str:
    """What the first figure says of the dot under the pointer."""
    return str(page.locator("#score-by-cost [aria-label=tip]").last.text_content())


def test_every_figure_is_drawn_and_a_dot_tells_its_trial(open_page: Any, report: str) -> None:
    page = open_page(report)
    for figure in ("score-by-cost", "course-figure", "curves-figure", "effect-num_blocks"):
        assert page.locator(f"#{figure} svg.plot").count() == 1, figure
    drawn = dots(page)
    assert drawn.count() == SCORED
    assert page.locator("#score-by-cost svg.plot > [data-mark=rule]").last.locator("> *").count() == SCORED
    page.mouse.move(*centre(drawn.nth(BEST - 1)))
    assert TRIALS[BEST - 1][0] in tip(page) and "48 to 75 (95 %)" in tip(page)
    page.mouse.click(*centre(drawn.nth(BEST - 1)))
    assert page.locator("tr.picked").get_attribute("id") == f"trial-{BEST}"


def test_every_figure_of_a_finding_is_drawn(open_page: Any, tmp_path: Path) -> None:
    with opened(page_memory(tmp_path), read_only=True) as db:
        page = page_data(db)
        figures = [Figure(draws=name, title=name, says=name, data=data) for name, data in FIGURES.items()]  # type: ignore[arg-type]
        finding = Finding(anchor="made-up", title="Made up", says=["Nothing."], figures=figures, tables=[])
        text = html_of(page.model_copy(update={"findings": [finding]}), find_protocol(db, page.about.protocol))
    path = tmp_path / "figures.html"
    path.write_text(text, encoding="utf-8")
    shown = open_page(path.as_uri())
    for number, name in enumerate(FIGURES):
        figure = shown.locator(f"#made-up-figure-{number} svg.plot")
        assert figure.get_attribute("aria-label") == name and figure.get_attribute("role") == "img"
        assert "NaN" not in figure.inner_html()
    assert shown.locator("#made-up-figure-0 svg.plot > [data-mark=line] > *").count() == 2
    assert shown.locator("#made-up-figure-1 svg.plot > [data-mark=dot] > *").count() == 2
    shown.get_by_label("total: with attention's products").check()
    assert "MACs (total)" in shown.locator("#made-up-figure-2 svg.plot").inner_html()


def test_the_switch_counts_otherwise_and_takes_the_budget_away(open_page: Any, report: str) -> None:
    page = open_page(report)
    figure = page.locator("#score-by-cost svg.plot")
    assert "MACs (paper)" in figure.inner_html() and "budget" in figure.inner_html()
    before = dots(page).last.get_attribute("transform")
    page.get_by_label("total: with attention's products").check()
    assert "MACs (total)" in figure.inner_html() and "budget" not in figure.inner_html()
    after = dots(page).last.get_attribute("transform")
    assert after != before  # the last has attention
    page.get_by_label("rounds", exact=True).check()
    assert "round →" in page.locator("#course-figure svg.plot").inner_html()


def test_the_table_is_filtered_and_sorted(open_page: Any, report: str) -> None:
    page = open_page(report)
    page.get_by_label("Filter").fill("n2")
    assert page.locator("#shown").inner_text() == f"1 of {len(TRIALS)}"
    assert page.locator("#trials tbody tr:visible").count() == 1
    page.get_by_label("Filter").fill("")
    page.locator("#trials").get_by_role("button", name="score").click()
    column = page.locator("#trials tbody tr td:nth-child(5)").all_inner_texts()
    assert column == ["60", "80", "100", "120", "–"]
    assert page.locator("#trials th[aria-sort=ascending]").inner_text().startswith("score")


def test_everything_is_reached_by_keyboard_and_lines_are_copied(open_page: Any, report: str) -> None:
    page = open_page(report, permissions=["clipboard-read", "clipboard-write"])
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "To the result"
    button = page.get_by_role("button", name=re.compile("Copy: In Python"))
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('[data-copies=load-python]').textContent !== 'Copy'")
    assert page.locator("[data-copies=load-python]").inner_text() in ("Copied", "Selected: press Ctrl+C")
    first = page.locator("#reasoning summary").first
    first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#reasoning details[open]").count() == 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_follows_the_scheme_and_keeps_nobody_out(
    size: str, scheme: str, open_page: Any, shot: Any, report: str
) -> None:
    page = open_page(report, size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    shot(page, f"report-{size}-{scheme}")
    assert serious_problems(page) == []


def test_what_somebody_wrote_runs_nothing(open_page: Any, tmp_path: Path, report: str) -> None:
    page, plain = open_page(written(tmp_path / "hostile", AT_ONCE)), open_page(report)
    for each in (page, plain):
        each.locator("#score-by-cost svg.plot").wait_for()
        each.mouse.move(*centre(dots(each).nth(2)))
    assert page.title().startswith("shown") and page.locator("[onerror], [onload]").count() == 0
    counts = [each.evaluate("document.querySelectorAll('img, script, svg').length") for each in (page, plain)]
    assert counts[0] == counts[1]
    assert "onerror" in tip(page)


def centre(element: Any) -> tuple[float, float]:
    """Of an element, once it can be seen."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_axe_would_see_a_problem(open_page: Any, report: str) -> None:
    page = open_page(report)
    page.evaluate("document.querySelector('#filter').parentNode.replaceWith(document.querySelector('#filter'))")
    assert any(found.startswith("label") for found in serious_problems(page))


def test_on_paper_all_is_open(open_page: Any, report: str) -> None:
    page = open_page(report)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("nav").is_visible() and page.locator("#score-by-cost svg.plot").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
