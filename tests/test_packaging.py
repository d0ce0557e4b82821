"""What is shipped: the version, the data files of the packages, what they need, the pins, and the names in
``.env.example``.
"""

import ast
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("agent", "diffusion", "memory", "prompts", "tools")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETTING = re.compile(r"^#?\s?([A-Z][A-Z0-9_]+)=(.*)$")
ASKED_FOR = {"matplotlib"}  # by a sentence, where a picture is wanted
FOR_RAY = ROOT / "tools" / "executors" / "ray_cluster.py"  # imported only where --executor ray is asked for


def unshipped(files: Iterable[Path], globs: dict[str, list[str]], root: Path) -> list[str]:
    """Data files that no package-data glob of their package names, so that a wheel would lack them."""
    files = list(files)
    shipped = {path for package, patterns in globs.items() for glob in patterns for path in (root / package).glob(glob)}
    return [str(path.relative_to(root)) for path in files if path not in shipped]


def data_files() -> list[Path]:
    """What lies in the packages and is no Python."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    return sorted(path for path in found if path.is_file() and path.suffix not in (".py", ".pyc"))


def environment_names(text: str) -> list[str]:
    """The variables of an ``.env`` file in their order, those commented out included."""
    return [match[1] for line in text.splitlines() if (match := SETTING.match(line))]


def unexplained(text: str) -> list[str]:
    """Variables without a comment of words on the line before."""
    lines = ["", *text.splitlines()]
    return [
        match[1]
        for before, line in itertools.pairwise(lines)
        if (match := SETTING.match(line)) and (not before.startswith("# ") or SETTING.match(before))
    ]


def pins() -> dict[str, str]:
    """The versions in ``constraints.txt`` by normalised name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version
        for line in lines
        if line and not line.startswith("#")
        for name, version in [line.split("==")]
    }


def requirements() -> list[Requirement]:
    """Everything that pyproject.toml asks for, with all extras."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [Requirement(line) for lines in (PROJECT["project"]["dependencies"], *extras) for line in lines]


def imported(source: str) -> Iterator[tuple[str, bool]]:
    """The packages that a source imports from elsewhere, each with whether that waits until a function is called."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(inside) for node in functions for inside in ast.walk(node)}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in {name.partition(".")[0] for name in names} - {*PACKAGES, *sys.stdlib_module_names}:
            yield name, id(node) in late


def undeclared(source: str, providers: Mapping[str, list[str]], required: set[str], optional: set[str]) -> set[str]:
    """Imports of a source that no declared requirement provides; what is optional may only be imported late."""

    def is_provided(name: str, late: bool) -> bool:
        by = {canonicalize_name(distribution) for distribution in providers.get(name, [])}
        return not by.isdisjoint(required | optional if late else required)

    return {name for name, late in imported(source) if not is_provided(name, late)}


def declared(lines: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_the_installed_version_is_the_written_one() -> None:
    try:
        installed = importlib.metadata.version("diffnas-agent")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("diffnas-agent is not installed here")
    assert installed == PROJECT["project"]["version"]


def test_the_changelog_knows_the_version_or_has_it_still_before_it() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{PROJECT['project']['version']}]" in changelog


def test_a_data_file_outside_the_globs_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    files = [tmp_path / "prompts" / name for name in ("system.md.j2", "notes.txt")]
    for path in files:
        path.touch()
    assert unshipped(files, {"prompts": ["*.j2"]}, tmp_path) == ["prompts/notes.txt"]


def test_every_data_file_of_a_package_is_shipped() -> None:
    assert unshipped(data_files(), PROJECT["tool"]["setuptools"]["package-data"], ROOT) == []


def test_no_data_file_of_a_package_is_ignored_by_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = "\n".join(str(path.relative_to(ROOT)) for path in data_files())
    ignored = subprocess.run(
        ["git", "check-ignore", "--stdin"], cwd=ROOT, input=names, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""


def test_an_import_that_nothing_declared_provides_is_named() -> None:
    source = "import os, a.b\nfrom c import d\nfrom agent import x\ndef f():\n    import c, e\n"
    providers = {"a": ["A_dist"], "c": ["c"], "e": ["unknown"]}
    assert undeclared(source, providers, {"a-dist"}, {"c"}) == {"c", "e"}
    assert undeclared(source, providers, {"a-dist", "c"}, set()) == {"e"}


def test_every_import_is_of_a_declared_requirement() -> None:
    providers = importlib.metadata.packages_distributions()
    extras = PROJECT["project"]["optional-dependencies"]
    required = declared(PROJECT["project"]["dependencies"])
    optional = declared(itertools.chain(*(lines for name, lines in extras.items() if name != "dev"))) | ASKED_FOR
    complaints = {
        str(path.relative_to(ROOT)): found
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (found := undeclared(path.read_text(encoding="utf-8"), providers, required, optional))
    }
    assert complaints == {str(FOR_RAY.relative_to(ROOT)): {"ray"}}


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    wrong = [
        str(requirement)
        for requirement in requirements()
        if pinned.get(canonicalize_name(requirement.name), "no version") not in requirement.specifier
    ]
    assert wrong == []


def test_requirements_have_lower_bounds_only() -> None:
    bounded = [str(item) for item in requirements() if {part.operator for part in item.specifier} != {">="}]
    assert bounded == []


def test_the_pins_name_no_registry_and_no_path() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"://| @ |--", text)


def test_an_unexplained_variable_is_named() -> None:
    text = "# What it is for.\nDIFFNAS_A=1\nDIFFNAS_B=2\n# Another.\n# DIFFNAS_C=\n"
    assert environment_names(text) == ["DIFFNAS_A", "DIFFNAS_B", "DIFFNAS_C"]
    assert unexplained(text) == ["DIFFNAS_B"]


def test_the_example_environment_names_each_variable_once_and_explains_it() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    names = environment_names(text)
    assert len(names) == len(set(names))
    assert unexplained(text) == []


def test_the_example_environment_is_sorted_within_each_section() -> None:
    sections = (ROOT / ".env.example").read_text(encoding="utf-8").split("\n## ")
    for names in map(environment_names, sections):
        assert names == sorted(names)


def test_the_example_environment_holds_no_key() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    keys = [match for line in lines if (match := SETTING.match(line)) and match[1].endswith("_API_KEY")]
    assert keys
    assert [match[2] for match in keys] == [""] * len(keys)
