"""The walls of the house: whose names the packages have, who imports whom, and how large a room may be.

Each check is a function from source text to complaints, and each is tried on a planted bad snippet before the tree.
"""

import ast
import importlib.metadata
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("agent", "diffusion", "memory", "prompts", "tools")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TOOLS = {
    "count_flops",
    "train_ract",
    "evaluate_fid",
    "query_memory",
    "finish_search",
    "suggest_architectures",
    "compress_unet",
}

MAY_IMPORT = {  # a package's name allows all of it, a module's name that module
    "agent": {"agent", "tools", "memory", "prompts", "diffusion"},
    "tools": {"tools", "memory", "diffusion"},
    "memory": {
        "memory", "diffusion.spec", "diffusion.settings", "diffusion.units", "diffusion.errors",
        "diffusion.cost.closed_form", "diffusion.networks",
    },
    "prompts": {"prompts", "diffusion.errors"},
    "diffusion": {"diffusion"},
}  # fmt: skip
SLOW_TO_IMPORT = re.compile(
    r"(torch|torchvision|torch_fidelity|diffusers|accelerate|fvcore|sklearn|datasets|lang\w+)\b"
)
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
SQL = re.compile(r"\s*(--.*\n\s*)*(SELECT|WITH|CREATE|INSERT|UPDATE|DELETE|ALTER|DROP|PRAGMA)\b", re.IGNORECASE)
SENTENCE_END = re.compile(r"\w[.!?:](\s|$)")

MOST_MODULES_OF_A_FOLDER = 15
CROWDED_ON_PURPOSE = {"agent.cli"}  # one small file a command
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 40
MOST_CHARACTERS_OF_A_STRING = 400


@cache
def parsed(source: str) -> ast.Module:
    """A source as its tree: one reading of each file serves all questions."""
    return ast.parse(source)


def module_name(path: Path) -> str:
    """``diffusion/spec.py`` → ``diffusion.spec``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST) -> list[str]:
    """The modules that one statement imports; a name imported from one of our packages is taken for its module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    source = "." * node.level + (node.module or "")
    return [f"{source}.{alias.name}" for alias in node.names] if source in PACKAGES else [source]


def imports(source: str) -> list[str]:
    """Every module that a source imports, also inside functions."""
    return [name for node in ast.walk(parsed(source)) for name in imported(node)]


def eager_imports(source: str) -> list[str]:
    """The modules imported when a source is imported: neither inside functions nor for the type checker alone."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            yield node
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield from statements(node.orelse)
                continue
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from statements(handler.body)

    return [name for node in statements(parsed(source).body) for name in imported(node)]


def slow_imports(start: str, source_of: Callable[[str], str | None]) -> list[str]:
    """Chains such as ``agent.cli.main → agent.config.settings → torch``: what importing a module drags in."""
    chains: list[tuple[str, ...]] = [(start,)]
    complaints, seen = [], {start}
    for chain in chains:
        for name in eager_imports(source_of(chain[-1]) or ""):
            if SLOW_TO_IMPORT.match(name):
                complaints.append(" → ".join((*chain, name)))
            elif name not in seen:
                seen.add(name)
                chains.append((*chain, name))
    return complaints


def import_graph(tree: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules of a tree with those of it that they import, lazily and for the type checker alone included."""

    def targets(module: str, node: ast.AST) -> Iterator[str]:
        names = imported(node)
        if isinstance(node, ast.ImportFrom):
            names = [*names, *(f"{node.module}.{alias.name}" for alias in node.names)]  # a name may be a module
        yield from (name for name in names if name in tree and name != module)

    return {
        module: {name for node in ast.walk(parsed(source)) for name in targets(module, node)}
        for module, source in tree.items()
    }


def folder_graph(graph: Mapping[str, set[str]], package: str) -> dict[str, set[str]]:
    """The folders of a package with those that they import; modules beside the folders are left out."""
    folders: dict[str, set[str]] = defaultdict(set)
    for module, names in graph.items():
        both = [name.split(".") for name in (module, *names)]
        inside = [".".join(parts[:2]) for parts in both if len(parts) > 2 and parts[0] == package]
        if inside and module.startswith(f"{inside[0]}."):
            folders[inside[0]] |= set(inside[1:]) - {inside[0]}
    return folders


def circle(graph: Mapping[str, set[str]]) -> str | None:
    """One circle of a graph, such as ``a → b → a``, if there is any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " → ".join(reversed(error.args[1]))  # it lists who is imported before who imports
    return None


def crowded(modules: Iterable[str]) -> list[str]:
    """Folders that hold more modules than a reader keeps in mind."""
    counts = Counter(module.rpartition(".")[0] for module in modules)
    return [
        f"{folder} holds {count} modules"
        for folder, count in counts.items()
        if count > MOST_MODULES_OF_A_FOLDER and folder not in CROWDED_ON_PURPOSE
    ]


def more_than_a_docstring(source: str) -> list[str]:
    """What an ``__init__.py`` holds beside its docstring."""
    body = parsed(source).body
    if not body or ast.get_docstring(parsed(source)) is None:
        return ["has no docstring"]
    return [f"line {node.lineno} defines something: {ast.unparse(node)[:60]}" for node in body[1:]]


def wrong_way_imports(module: str, source: str) -> list[str]:
    """Imports against the one way: agent → tools → memory → diffusion.spec, tools → diffusion, agent → prompts."""
    package, _, rest = module.partition(".")
    complaints = []
    for name in imports(source):
        ours = name.split(".")[0] in PACKAGES
        if name.startswith("."):
            complaints.append(f"{module} imports '{name}' relatively; write the module's whole name")
        elif ours and not any(f"{name}.".startswith(f"{allowed}.") for allowed in MAY_IMPORT[package]):
            complaints.append(f"{module} imports {name}")
        elif package == "tools" and {rest, name.removeprefix("tools.")} <= TOOLS:
            complaints.append(f"tool {module} imports tool {name}")
        elif package == "memory" and SLOW_TO_IMPORT.match(name):
            complaints.append(f"{module} imports {name}, but knows no torch and no model")
    return complaints


def pickles(source: str) -> list[str]:
    """Ways in which a file could run code when it is read."""
    complaints = [f"imports {name}" for name in imports(source) if name.split(".")[0] in PICKLES]
    for node in ast.walk(parsed(source)):
        if not isinstance(node, ast.Call):
            continue
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if keywords.get("allow_pickle") == "True":
            complaints.append(f"line {node.lineno} allows pickle")
        if ast.unparse(node.func) == "torch.load" and keywords.get("weights_only") != "True":
            complaints.append(f"line {node.lineno} calls torch.load without weights_only=True")
    return complaints


def sqlite_connections(source: str) -> list[str]:
    """Calls of SQLite's own connect, under whatever name the module was imported."""
    complaints, names = [], set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name for alias in node.names if alias.name in ("sqlite3", "aiosqlite")}
        elif isinstance(node, ast.ImportFrom) and node.module in ("sqlite3", "sqlite3.dbapi2", "aiosqlite"):
            complaints += [f"line {node.lineno} imports connect" for alias in node.names if alias.name == "connect"]
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Attribute) and node.attr == "connect" and ast.unparse(node.value) in names:
            complaints.append(f"line {node.lineno} uses {ast.unparse(node)}; call memory.connection.connect")
    return complaints


def too_long(source: str) -> list[str]:
    """Files and functions that do not fit into one sitting."""
    lines = len(source.splitlines())
    complaints = [f"has {lines} lines"] if lines > MOST_LINES_OF_A_FILE else []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                complaints.append(f"{node.name} has {length} lines")
    return complaints


def prompts_in_code(source: str) -> list[str]:
    """Long prose that is neither docstring nor SQL: what is said to a model belongs into ``prompts/``."""
    nodes = list(ast.walk(parsed(source)))
    counted = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    complaints = []
    for node in nodes:  # an f-string comes before its pieces
        pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
        strings = [piece for piece in pieces if isinstance(piece, ast.Constant) and isinstance(piece.value, str)]
        text = "".join(str(piece.value) for piece in strings if id(piece) not in counted)
        counted |= {id(piece) for piece in strings}
        prose = len(SENTENCE_END.findall(text)) > 1 and not SQL.match(text)
        if len(text) > MOST_CHARACTERS_OF_A_STRING and prose:
            complaints.append(f"a string of {len(text)} characters: {text[:50]!r}…")
    return complaints


def top_level_names(distribution: importlib.metadata.Distribution) -> set[str]:
    """The packages and modules that a distribution puts beside ours: what it declares and what it installs."""
    declared = (distribution.read_text("top_level.txt") or "").split()
    files = [file.parts for file in distribution.files or []]
    return {*declared, *(parts[0].removesuffix(".py") for parts in files)}


def clashes(installed: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Distributions other than this one that install something under one of our five names."""
    return [
        f"{distribution} installs a top-level '{name}'"
        for distribution, names in installed
        if re.sub(r"[-_.]+", "-", distribution).lower() != "diffnas-agent"
        for name in sorted(set(names) & set(PACKAGES))
    ]


def sources(*paths: Path) -> dict[str, str]:
    """Module names with their texts."""
    return {module_name(path): path.read_text(encoding="utf-8") for path in paths}


def complaints_about_the_tree(check: Callable[[str], list[str]], *exempt: str) -> list[str]:
    """What a check says about every module that is not exempt."""
    return [
        f"{module}: {complaint}"
        for module, source in sources(*FILES).items()
        if module not in exempt
        for complaint in check(source)
    ]


def test_no_other_distribution_installs_a_package_of_our_name() -> None:
    assert clashes([("someone_else", ["tools", "numpy"])]) == ["someone_else installs a top-level 'tools'"]
    assert clashes([("diffnas_agent", PACKAGES)]) == []
    installed = list(importlib.metadata.distributions())
    assert clashes((item.metadata["Name"], top_level_names(item)) for item in installed) == []


def test_a_distribution_without_a_declaration_is_seen_by_its_files(tmp_path: Path) -> None:
    info = tmp_path / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "RECORD").write_text("memory.py,,\ntools/__init__.py,,\nother-1.dist-info/METADATA,,\n")
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert clashes([("other", top_level_names(found))]) == [
        "other installs a top-level 'memory'",
        "other installs a top-level 'tools'",
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_this_tree(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).parent == ROOT / package


def test_every_folder_with_code_is_a_package() -> None:
    assert [str(path) for path in FILES if not (path.parent / "__init__.py").exists()] == []


def test_an_init_file_is_a_docstring_alone() -> None:
    assert more_than_a_docstring('"""Says what it is."""') == []
    assert more_than_a_docstring("") == ["has no docstring"]
    assert more_than_a_docstring('"""Doc."""\nVERSION = 1') == ["line 2 defines something: VERSION = 1"]
    inits = sources(*(path for path in FILES if path.name == "__init__.py"))
    assert {module: found for module, source in inits.items() if (found := more_than_a_docstring(source))} == {}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("diffusion.scores.fid", "import memory.connection", "diffusion.scores.fid imports memory.connection"),
        ("diffusion.scores.fid", "from tools import gates", "diffusion.scores.fid imports tools.gates"),
        ("memory.trials", "from diffusion import spec, unet", "memory.trials imports diffusion.unet"),
        ("memory.trials", "def f():\n    from diffusion.unet import load", "memory.trials imports diffusion.unet"),
        ("memory.trials", "import diffusion", "memory.trials imports diffusion"),
        ("memory.trials", "import torch.nn", "memory.trials imports torch.nn, but knows no torch and no model"),
        ("prompts.render", "import diffusion.spec", "prompts.render imports diffusion.spec"),
        ("tools.context", "from agent.config.settings import C", "tools.context imports agent.config.settings"),
        ("tools.context", "from . import x", "tools.context imports '.' relatively; write the module's whole name"),
        ("tools.train_ract", "from tools.count_flops import x", "tool tools.train_ract imports tool tools.count_flops"),
    ],
)  # fmt: skip
def test_an_import_the_wrong_way_is_named(module: str, source: str, complaint: str) -> None:
    assert wrong_way_imports(module, source) == [complaint]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("agent.search.loop", "import tools.gates.specs, memory.trials, prompts.render, diffusion.scores.fid"),
        (
            "tools.train_ract",
            "from memory.trials import x\nfrom diffusion.training.job import y\nfrom tools import gates",
        ),
        ("memory.trials", "from diffusion.cost.closed_form import cost\nimport numpy, sqlite3"),
        ("prompts.render", "from diffusion.errors import UserError"),
    ],
)
def test_an_import_the_right_way_passes(module: str, source: str) -> None:
    assert wrong_way_imports(module, source) == []


def test_imports_go_one_way() -> None:
    found = [line for module, source in sources(*FILES).items() for line in wrong_way_imports(module, source)]
    assert found == []


def test_a_circle_of_imports_is_named_also_a_lazy_and_a_type_only_one() -> None:
    tree = {
        "agent.a.x": "from agent.b import y",
        "agent.b.y": "def f():\n    import agent.c.z",
        "agent.c.z": "if TYPE_CHECKING:\n    from agent.a.x import X",
        "agent.c.w": "import agent.c.z",
    }
    assert circle(import_graph(tree)) in (
        "agent.a.x → agent.b.y → agent.c.z → agent.a.x",
        "agent.b.y → agent.c.z → agent.a.x → agent.b.y",
        "agent.c.z → agent.a.x → agent.b.y → agent.c.z",
    )
    assert circle(import_graph({**tree, "agent.c.z": ""})) is None


def test_a_circle_of_folders_is_named_where_no_files_make_one() -> None:
    tree = {"agent.a.x": "import agent.b.y", "agent.b.z": "import agent.a.w", "agent.b.y": "", "agent.a.w": ""}
    assert circle(import_graph(tree)) is None
    assert circle(folder_graph(import_graph(tree), "agent")) in (
        "agent.a → agent.b → agent.a",
        "agent.b → agent.a → agent.b",
    )


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(import_graph(sources(*FILES))) is None


def test_no_folders_of_the_agent_import_each_other_in_a_circle() -> None:
    graph = folder_graph(import_graph(sources(*FILES)), "agent")
    assert len(graph) > 10
    assert circle(graph) is None


def test_no_folder_is_crowded() -> None:
    assert crowded(f"memory.m{number}" for number in range(16)) == ["memory holds 16 modules"]
    assert crowded(f"agent.cli.m{number}" for number in range(16)) == []
    assert crowded(module_name(path) for path in FILES if path.name != "__init__.py") == []


def test_only_what_runs_at_import_counts_as_eager() -> None:
    source = """
import a
if TYPE_CHECKING:
    import b
try:
    import c
except ImportError:
    import d
class K:
    import e
def f():
    import g
"""
    assert eager_imports(source) == ["a", "c", "d", "e"]


def test_a_slow_import_behind_another_module_is_found() -> None:
    tree = {
        "agent.cli.main": "import typer\nfrom agent.config.settings import C",
        "agent.config.settings": "import torch, langchain_core.tools",
    }
    assert slow_imports("agent.cli.main", tree.get) == [
        "agent.cli.main → agent.config.settings → torch",
        "agent.cli.main → agent.config.settings → langchain_core.tools",
    ]


@pytest.mark.parametrize(
    "module",
    [
        "agent.cli.main",
        "agent.config.sources",
        "agent.report.guide.first_contact",
        "agent.report.status",
        "diffusion.spec",
        "diffusion.settings",
        "diffusion.cost.closed_form",
    ]
    + [module_name(path) for path in FILES if path.relative_to(ROOT).parts[0] == "memory"],
)
def test_a_module_that_must_start_fast_imports_no_torch_and_no_langchain(module: str) -> None:
    tree = sources(*FILES)
    assert module in tree
    assert slow_imports(module, tree.get) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "np.load(p, allow_pickle=True)", "torch.load(p)"],
)
def test_a_way_to_unpickle_is_named(source: str) -> None:
    assert len(pickles(source)) == 1


def test_nothing_is_ever_unpickled() -> None:
    assert pickles("torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)") == []
    assert complaints_about_the_tree(pickles) == []


@pytest.mark.parametrize(
    "source",
    ["import sqlite3\nsqlite3.connect('a')", "import sqlite3 as s\nopen_it = s.connect", "from sqlite3 import connect"],
)
def test_a_connection_past_the_memory_is_named(source: str) -> None:
    assert len(sqlite_connections(source)) == 1


def test_the_memory_is_opened_in_one_place() -> None:
    assert sqlite_connections("import sqlite3\nfrom memory.connection import connect\nconnect(p)") == []
    assert complaints_about_the_tree(sqlite_connections, "memory.file.opening") == []


def test_a_file_and_a_function_fit_into_one_sitting() -> None:
    room = "def f():\n" + "    pass\n" * MOST_LINES_OF_A_FUNCTION
    assert too_long(room) == [f"f has {MOST_LINES_OF_A_FUNCTION + 1} lines"]
    assert too_long("pass\n" * (MOST_LINES_OF_A_FILE + 1)) == [f"has {MOST_LINES_OF_A_FILE + 1} lines"]
    assert complaints_about_the_tree(too_long) == []


def test_no_prompt_stands_in_code() -> None:
    prompt = "You are careful. " * 30
    assert len(prompts_in_code(f"TEXT = {prompt!r}")) == 1
    assert len(prompts_in_code(f"def f(x):\n    return f'{prompt}{{x}}'")) == 1
    assert prompts_in_code(f'def f():\n    """{prompt}"""\nTABLE = "CREATE TABLE a ({"b," * 200})"') == []
    assert complaints_about_the_tree(prompts_in_code) == []
