"""The documentation is built as a site, warnings as errors, and loads nothing from elsewhere."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parent.parent
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
ELSEWHERE = re.compile(r"^(https?:)?//")
STYLE_LOADS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""")


class Loads(HTMLParser):
    """What a page loads by itself, without a reader who clicks, and its fragments and text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = {name: value or "" for name, value in attrs}
        if tag in LOADS and told.get(LOADS[tag]):
            self.found.append(told[LOADS[tag]])
        if tag == "link" and set(told.get("rel", "").split()) & LOADING_LINKS:
            self.found.append(told["href"])
        self.found += STYLE_LOADS.findall(told.get("style", ""))


def loads(text: str) -> Loads:
    page = Loads()
    page.feed(text)
    page.found += STYLE_LOADS.findall(text)
    return page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in this process: sockets to other machines are forbidden here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setattr(sys, "dont_write_bytecode", True)  # of the hooks, which lie among the pages
        folder = tmp_path_factory.mktemp("site")
        config: Any = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        build(config)
    return folder


def test_every_page_is_there_and_reached_from_every_other(site: Path) -> None:
    pages = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.name for path in site.glob("*.html")}
    start = (site / "index.html").read_text(encoding="utf-8")
    assert {name for name in pages if f'href="{name}"' not in start} <= {"index.html"}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 40
    found = {
        (path.name, each)
        for path in files
        for each in loads(path.read_text(encoding="utf-8")).found
        if ELSEWHERE.match(each)
    }
    assert found == set()


def test_what_would_be_loaded_from_elsewhere_is_found() -> None:
    planted = (
        '<link rel="stylesheet" href="https://a/x.css"><script src="//b/x.js"></script><img src="http://c/x.png">'
        '<p style="background: url(https://d/x.png)"><style>@import "https://e/x.css";</style><a href="https://f">f</a>'
        '<link rel="preconnect" href="https://g">'
    )
    hosts = [re.sub(r"\W", "", each.partition("//")[2][:1]) for each in loads(planted).found if ELSEWHERE.match(each)]
    assert sorted(set(hosts)) == ["a", "b", "c", "d", "e", "g"]


def test_formulas_are_mathml_and_none_is_left_as_it_was_typed(site: Path) -> None:
    text = (site / "science.html").read_text(encoding="utf-8")
    assert loads(text).tags.count("math") > 20
    assert not re.search(r'class="arithmatex"|\\\(|\\frac|\$\$', text)


def test_a_list_and_a_table_are_what_they_look_like(site: Path) -> None:
    """A list or table without an empty line before it is a paragraph to Markdown, and none to a code host."""
    for path in site.glob("*.html"):
        body = re.sub(r"<(pre|code|math)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for paragraph in re.findall(r"<p>(.*?)</p>", body, flags=re.DOTALL):
            assert not re.search(r"^(- |\d\. |\| )", paragraph, re.MULTILINE), (path.name, paragraph[:200])


def test_a_link_out_of_the_folder_leads_to_a_page_made_of_the_file(site: Path) -> None:
    made = site / "source" / "diffusion" / "process.py.html"
    assert "BETA_START" in made.read_text(encoding="utf-8")
    assert 'href="source/diffusion/process.py.html"' in (site / "science.html").read_text(encoding="utf-8")
    notebook = (site / "source" / "examples" / "paper_audit.ipynb.html").read_text(encoding="utf-8")
    assert "dearer than its own baseline" in notebook and "<table" in notebook


def test_the_hooks_are_no_part_of_the_site(site: Path) -> None:
    assert not list(site.rglob("*.pyc")) and not list(site.rglob("hooks*"))
