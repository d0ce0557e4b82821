"""What the documentation site does beside what mkdocs does, so that the pages stay those that a code host shows.

- A link that leaves docs/ leads to a page made of the file: Markdown as it is, a notebook as its cells, code as code.
  So the site needs no address of a repository.
- Headings have the fragments that code hosts give them.
- Formulas, written between dollar signs, become MathML: no script, and nothing from elsewhere.
"""

import base64
import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ALSO = ("CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")  # pages of the navigation that lie elsewhere
OUTSIDE = "source/"  # where they stand on the site
FENCE = re.compile(r"^(`{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
PLAIN = re.compile(r"<style.*?</style>| (?:border|class|style)=\"[^\"]*\"", re.DOTALL)  # what pandas adds to a table
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
LANGUAGES = {".py": "python", ".sh": "sh", ".toml": "toml", ".j2": "jinja", ".json": "json"}


def anchor(heading: str, separator: str = "-") -> str:
    """The fragment that a heading is reached by, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fragments as code hosts make them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, and whatever a page links to beyond docs/."""
    waiting = [*ALSO, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not path.startswith("docs/"):
            files.append(File.generated(config, site_uri(path), content=content_of(path)))
        if path.endswith(".md"):
            text = FENCE.sub("", (ROOT / path).read_text(encoding="utf-8"))
            linked = (repository_path(path, target) for _, target, _ in LINK.findall(text))
            waiting += [each for each in linked if each and (ROOT / each).is_file() and is_outside(each)]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where their files stand on the site; code is left alone."""
    parts, done = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [relinked(markdown[done : fence.start()], page.file.src_uri), fence[0]]
        done = fence.end()
    return "".join([*parts, relinked(markdown[done:], page.file.src_uri)])


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML."""

    def made(found: re.Match[str]) -> str:
        return convert(html.unescape(found[2]).strip()[2:-2], display="block" if found[1] == "div" else "inline")

    return FORMULA.sub(made, content)


def is_outside(path: str) -> bool:
    """Whether a file of the repository is no file of docs/."""
    return not path.startswith("docs/")


def site_uri(path: str) -> str:
    """Where the page of a file of the repository stands, as a source of the site."""
    if not is_outside(path):
        return path.removeprefix("docs/")
    return OUTSIDE + path + ("" if path.endswith(".md") else ".md")


def origin(uri: str) -> str:
    """The file of the repository that a source of the site is made of."""
    if not uri.startswith(OUTSIDE):
        return f"docs/{uri}"
    path = uri.removeprefix(OUTSIDE)
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def repository_path(page: str, target: str) -> str | None:
    """The file of the repository that a link leads to; None where it leads elsewhere or within the page."""
    file = target.partition("#")[0]
    if not file or "://" in target or target.startswith(("mailto:", "/")):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), file))


def relinked(text: str, uri: str) -> str:
    """Text whose links are those of the site."""

    def led(found: re.Match[str]) -> str:
        path = repository_path(origin(uri), found[2])
        if path is None or not (ROOT / path).is_file():
            return found[0]
        _, mark, fragment = found[2].partition("#")
        way = posixpath.relpath(site_uri(path), posixpath.dirname(uri) or ".")
        return f"{found[1]}{way}{mark}{fragment}{found[3]}"

    return LINK.sub(led, text)


def content_of(path: str) -> str:
    """The page of a file that lies elsewhere."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return cells(json.loads(text))
    return f"{UNSEARCHED}# {path}\n\n{fenced(text, LANGUAGES.get(Path(path).suffix, 'text'))}\n"


def fenced(text: str, language: str) -> str:
    """A text as code, whatever it holds."""
    longest = max((len(run) for run in re.findall(r"^`+", text, re.MULTILINE)), default=0)
    rule = "`" * max(3, longest + 1)
    return f"{rule}{language}\n{text.rstrip()}\n{rule}"


def cells(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its words, its code, and what that gave."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else fenced(text, "python"))
        parts += [shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def shown(output: dict[str, Any]) -> str:
    """What a cell gave: a picture, a table, or text."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        base64.b64decode(picture, validate=True)
        return f'<img alt="what the cell above draws" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        return PLAIN.sub("", "".join(data["text/html"]))
    return fenced("".join(data.get("text/plain", output.get("text", ""))), "text")
