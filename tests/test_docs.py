"""What is written about the program is true of it: commands, options, events, shapes, tables, tools, links, examples.

Each page keeps its facts in tables whose first column holds a name in backticks; the names there and the names in the
code are the same set, so that neither an option without a word about it nor a word about nothing passes.
"""

import ast
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from bench import planted_in, search_on
from documented import PAGES as DOCUMENTED
from documented import made
from inprocess import InProcessExecutor
from model_server import Say, serve
from planted import STEPS, Planted
from pretended import PretendedExecutor
from searches import TinySearch
from strategy_searches import TinyStrategySearch, tau_of
from typed import Inside, seat, typed_in

from agent.backends.registry import PROVIDERS
from agent.cli.main import app, main
from agent.config.settings import FIELDS, PREFIX
from agent.config.sources import resolve
from agent.estimate.dry_run import estimate
from agent.exit_codes import BY_LIMIT, INTERRUPTED
from agent.report.costs import spec_costs
from agent.report.results import plain
from agent.report.status import search_status
from agent.search.ending import Reason
from agent.searchers.centaur import SuggestedProposer
from diffusion.errors import UserError
from diffusion.networks import networks_in
from diffusion.space import SPACE_NAMES, built_in, find_space
from memory.connection import opened
from memory.directives import add_directive, undo_directive
from memory.ledger import Ledger
from memory.queries.progress import failures
from memory.queries.records import show_trial, top_records
from memory.queries.sql import read_only_sql
from tools.count_flops import CountResult
from tools.errors import JobFailed, Refused
from tools.jobs.rescoring import Rescored
from tools.propose_strategy import propose
from tools.query_memory import Question
from tools.suggest_architectures import Suggested
from tools.train_ract import Outcome

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
CODE = sorted(path for package in ("agent", "memory", "tools") for path in (ROOT / package).rglob("*.py"))
DRIVEN_FROM = "agent/search/session.py"  # `search.started` is said there, before the loop begins
TOLD = "strategy.finished"  # is said when the loop is over

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
FIRST_CELL = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
ENVELOPE = {"event", "time", "search"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(text: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text) if kind == language]


def sections(text: str) -> dict[str, str]:
    """The text under each heading, up to the next heading of any level; headings without their backticks."""
    plain = FENCE.sub("", text)
    parts = HEADING.split(plain)
    return {title.replace("`", ""): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def names(body: str) -> list[str]:
    """The names in the first column of every table in a text."""
    return FIRST_CELL.findall(body)


def tables(body: str) -> dict[str, list[str]]:
    """The names in the first column of each table, by the heading of that column."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", body + "\n", re.MULTILINE):
        found[block.split("|")[1].strip()] = names(block)
    return found


def listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def by_stage(choices: Iterable[Iterable[int]]) -> str:
    """The choices of each stage, written once where all are the same."""
    texts = [listed(values) for values in choices]
    return f"{texts[0]} each" if len(set(texts)) == 1 else " · ".join(texts)


def anchor(heading: str) -> str:
    """The fragment that a heading is reached by, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    """A baseline, computed for real, and five rounds in which the model only talks; the second trial fails, the last is
    far behind.
    """
    with serve(lambda messages: Say("I would make it wider.")) as server:
        options = {"rounds": 5, "name": "first", "llm": "openai:scripted", "base_url": server.url}
        options |= {"prune": True, "train_steps": 10}
        found = TinySearch(tmp_path_factory.mktemp("docs"), options)
        real, pretended = InProcessExecutor(), PretendedExecutor()

        def trial() -> int:
            return len(found.of("trial.started"))

        def second_fails(job: Any, on_progress: Any) -> Any:
            on_progress({"event": "note", "text": "memory suffices for 4 images at once"})
            if trial() == 2:
                raise JobFailed("the loss is nan at step 1")
            return (real if trial() == 1 else pretended).train(job, on_progress)

        def last_is_behind(job: Any, on_progress: Any) -> Any:
            done = (real if trial() == 1 else pretended).evaluate(job, on_progress)
            whole = job.protocol.strategy.train_steps == 10
            return done if whole else {**done, "value": 100.0 if trial() == 6 else 1.0}

        found.executor.train, found.executor.evaluate = second_fails, last_is_behind
        found.run()
    return found


class TestCommandLine:
    def commands(self) -> dict[str, Any]:
        """Every command by its whole name."""
        group: Any = typer.main.get_command(app)
        found = {}
        for name, command in group.commands.items():
            found[name] = command
            found |= {f"{name} {sub}": inner for sub, inner in getattr(command, "commands", {}).items()}
        return found

    def parameters(self, command: Any) -> set[str]:
        """What a command takes, as it is typed: long options, and arguments by their metavar."""
        found = set()
        for parameter in command.params:
            options = [text for text in parameter.opts if text.startswith("--")]
            found.add(options[0] if options else re.sub(r"[\[\]]", "", parameter.metavar))
        return found - {"--help"}

    def test_every_command_is_documented_and_every_documented_one_exists(self) -> None:
        documented = {title.removeprefix("diffnas-agent ") for title in sections(page("docs/cli.md"))}
        assert {title for title in documented if title[0].islower()} == set(self.commands())

    def test_every_option_and_argument_is_documented_and_nothing_else(self) -> None:
        text = sections(page("docs/cli.md"))
        for name, command in self.commands().items():
            documented = {cell.split()[0] for cell in names(text[f"diffnas-agent {name}"])}
            assert documented == self.parameters(command), name

    def test_exit_codes(self) -> None:
        documented = names(sections(page("docs/cli.md"))["Exit codes"])
        assert documented == ["0", "1", "2", str(BY_LIMIT), str(INTERRUPTED)]

    @pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
    def test_every_command_that_a_page_shows_can_be_typed(self, path: Path) -> None:
        commands = self.commands()
        for line in shown_commands(path.read_text(encoding="utf-8")):
            words = shlex.split(line, comments=True)[1:]
            if not words:
                continue
            name = " ".join(words[:2]) if words[0] == "memory" and len(words) > 1 else words[0]
            if not name.startswith("-"):
                typed = {word.partition("=")[0] for word in words if re.fullmatch(r"--\S+", word)}
                assert typed <= self.parameters(commands[name]) | {"--help"}, line


def shown_commands(text: str) -> Iterator[str]:
    """Lines of code that call the program."""
    for language in ("sh", "console"):
        for body in fences(text, language):
            for line in body.splitlines():
                if line.removeprefix("$ ").startswith("diffnas-agent "):
                    yield line.removeprefix("$ ")


def counted_commands() -> list[tuple[str, str]]:
    """(command, what the page says it prints) of every ``console`` fence that calls ``flops``."""
    found = []
    for path in PAGES:
        for body in fences(path.read_text(encoding="utf-8"), "console"):
            command, _, output = body.partition("\n")
            assert command.startswith("$ diffnas-agent flops "), f"{path.name}: {command} is not compared; use sh"
            found.append((command.removeprefix("$ "), output))
    return found


@pytest.mark.parametrize(("command", "output"), counted_commands(), ids=lambda text: text.splitlines()[0][:70])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_shown_count_is_what_the_program_prints(
    command: str, output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == output.splitlines()


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    """A search whose user gave two directives before it began, and takes one back in the middle."""
    executor = Planted((50.0, 99.0, 200.0))
    found = TinySearch(tmp_path_factory.mktemp("steered"), {"rounds": 1}, executor=executor)
    with opened(found.db) as db:
        add_directive(db, found.search, "freeze", {"parameter": "attn_0", "value": 0}, "/freeze attn_0=0")
        add_directive(db, found.search, "rounds", {"rounds": 2}, "/rounds 2")

    def second_takes_it_back(spec: str, seed: int) -> None:
        if found.of("directive.added") and not found.of("directive.removed"):
            with opened(found.db) as db, suppress(UserError):
                undo_directive(db, found.search, 1)

    executor.before_training = second_takes_it_back
    found.run()
    return found


@pytest.fixture(scope="module")
def looked_up(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    """A search on a table that has no seeds for a race."""
    with pytest.MonkeyPatch.context() as patch:
        table = planted_in(tmp_path_factory.mktemp("tables"), patch)
        found = search_on(tmp_path_factory.mktemp("looked-up"), table, rounds=4, race_trainings=20)
        found.run()
    return found


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    """A search with replicas, one of which fails, and a race at its end."""
    executor = Planted((50.0, 99.0, 200.0))

    def third_seed_fails(spec: str, seed: int) -> None:
        if seed == 2:
            raise JobFailed("the loss is nan at step 1")

    executor.before_training = third_seed_fails
    options = {"replicas": 3, "race_trainings": 8, "train_steps": STEPS}
    found = TinySearch(tmp_path_factory.mktemp("raced"), options, executor=executor)
    found.run()
    return found


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> TinyStrategySearch:
    """A search for a strategy in which the model asks for too much once; everything is measured."""
    found = TinyStrategySearch(tmp_path_factory.mktemp("strategies"), measure=tau_of(lambda strategy: 0.5))
    context = found.context(1, "test")
    with pytest.raises(Refused):
        propose(context, {"learning_rate": 5.0, "dropout": 0.1, "diffusion_steps": 400}, "Much faster.")
    found.run()
    return found


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The events of a compression whose search fails once."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        seat(tmp_path_factory.mktemp("compressed"), patch)
        tiny = ["--set", "batch_size=8", "--set", "num_images=16", "--set", "sampling_steps=2", "--train-steps", "1"]
        assert typed_in(patch, "train", "b4-n1-m1.2.2-a000", *tiny) == 0
        said.truncate(0)
        with patch.context() as broken:
            broken.setattr(Inside, "distill", raising(JobFailed("the disk is full")))
            assert typed_in(patch, "compress", "1", "--json") == 1
        again = ["compress", "1", "--candidates", "4", "--supernet-steps", "1", "--target", "0.7", "--json"]
        assert typed_in(patch, *again) == 0
    return [json.loads(line) for line in said.getvalue().strip("\0").splitlines()]


def raising(error: Exception) -> Callable[..., Any]:
    """A function that raises."""

    def fail(*_: Any) -> Any:
        raise error

    return fail


class TestEvents:
    def said(self) -> dict[str, str]:
        """Every event that the code reports, with the file that does."""
        found = {}
        for path in CODE:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "report" and node.args:
                    event = node.args[0]
                    assert isinstance(event, ast.Constant) or path.name in ("progress.py", "events.py", "context.py"), (
                        f"{path}: {node.lineno}"
                    )
                    if isinstance(event, ast.Constant):
                        found[event.value] = str(path.relative_to(ROOT))
        return found

    def documented(self) -> dict[str, set[str]]:
        """Each event with its fields."""
        parts = re.split(r"^## ", page("docs/json.md"), flags=re.MULTILINE)
        text = "\n".join(part.partition("\n")[2] for part in parts if part.startswith("Events of"))
        return {title: set(names(body)) for title, body in sections(text).items()}

    def test_every_event_is_documented_and_every_documented_one_is_said(self) -> None:
        assert set(self.documented()) == set(self.said())

    def test_the_fields_of_an_event_are_the_documented_ones(
        self,
        search: TinySearch,
        raced: TinySearch,
        looked_up: TinySearch,
        steered: TinySearch,
        strategies: TinyStrategySearch,
        compressed: list[dict[str, Any]],
    ) -> None:
        documented = self.documented()
        driven = {event for event, path in self.said().items() if path == DRIVEN_FROM} | {"search.started", TOLD}
        events = [*search.events, *raced.events, *looked_up.events, *steered.events, *strategies.events]
        events += [event for event in compressed if event["event"] != "search.started"]
        assert {event["event"] for event in events} == set(documented) - driven
        for event in events:
            assert set(event) - ENVELOPE == documented[event["event"]], event["event"]

    def test_the_fields_of_an_event_said_before_the_loop_are_the_documented_ones(self) -> None:
        for node in ast.walk(ast.parse(page(DRIVEN_FROM))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "self.report":
                (event,) = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
                assert {word.arg for word in node.keywords} == self.documented()[event]

    def test_the_envelope(self) -> None:
        section = sections(page("docs/json.md"))["Events of run --json and resume --json"]
        assert set(names(section)) == ENVELOPE

    def test_the_reasons_for_which_a_search_ends(self) -> None:
        row = next(line for line in page("docs/json.md").splitlines() if line.startswith("| `reason` | `rounds`"))
        assert set(re.findall(r"`(\w+)`", row)) - {"reason"} == set(get_args(Reason))


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.name)
def test_what_is_made_from_the_code_is_as_the_code_has_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert made(text) == text, "run `make docs`"


def test_a_field_of_a_model_that_lost_its_words_is_found() -> None:
    text = "<!-- fields of memory.ledger.Ledger -->\n\n| `tokens` | old |\n\n<!-- end -->\n"
    assert names(made(text)) == list(Ledger.model_fields)
    assert made(made(text)) == made(text) != text


class TestShapes:
    def documented(self, title: str) -> set[str]:
        return set(names(sections(page("docs/json.md"))[title]))

    def test_flops(self) -> None:
        found = plain(spec_costs("b8-n1-m1.1.1.1-a0000", "ddpm", 8, 1, verify=False))
        assert self.documented("flops --json") == set(found) | {"verified"}
        stage = next(line for line in page("docs/json.md").splitlines() if line.startswith("| `stages`"))
        assert {f"`{name}`" for name in found["stages"][0]} <= set(re.findall(r"`\w+`", stage))

    def test_dry_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        found = plain(estimate(resolve({})))
        assert self.documented("run --dry-run --json") == set(found)
        row = next(line for line in page("docs/json.md").splitlines() if line.startswith("| `cost` | `baseline_macs`"))
        assert set(re.findall(r"`(\w+)`", row)) - {"cost"} == set(found["cost"])

    def test_status(self, search: TinySearch) -> None:
        with opened(search.db, read_only=True) as db:
            found = plain(search_status(db, None))
        assert self.documented("status --json") == set(found)
        row = next(line for line in page("docs/json.md").splitlines() if line.startswith("| `trials` | how many"))
        assert set(re.findall(r"`(\w+)`", row)) - {"trials"} == set(found["trials"])

    def test_memory(self, search: TinySearch) -> None:
        with opened(search.db, read_only=True) as db:
            top, failed, shown = top_records(db)[0], failures(db, search.search, limit=100), show_trial(db, 1)
        assert self.documented("memory top --json") == set(top)
        assert {row["kind"] for row in failed} == {"failed", "pruned", "refused"}
        assert all(self.documented("memory failures --json") == set(row) for row in failed)
        assert self.documented("memory show --json") == set(shown)

    def test_ledger(self) -> None:
        assert self.documented("Ledger") == set(Ledger.model_fields)


class TestMemory:
    def test_every_table_and_view_is_documented_and_nothing_else(self, search: TinySearch) -> None:
        text = sections(page("docs/memory.md"))
        rows = search.rows("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')")
        kept = {row["name"] for row in rows if row["type"] == "table"} - {"_sqlite_migrations", "sqlite_sequence"}
        assert set(names(text["Tables"])) == kept
        assert {row["name"] for row in rows if row["type"] == "view"} == {"results", "all_results"} <= set(text)

    def test_every_column_of_the_views_is_documented_and_nothing_else(self, search: TinySearch) -> None:
        documented = names(sections(page("docs/memory.md"))["results"])
        for view in ("results", "all_results"):
            assert [row["name"] for row in search.rows(f"SELECT name FROM pragma_table_info('{view}')")] == documented

    @pytest.mark.parametrize("statement", fences(page("docs/memory.md"), "sql"))
    def test_a_shown_statement_runs(self, search: TinySearch, statement: str) -> None:
        assert read_only_sql(search.db, statement)

    def test_the_statements_that_other_pages_show_run(self, search: TinySearch) -> None:
        shown = [shlex.split(line)[3] for path in PAGES for line in shown_commands(path.read_text()) if " sql " in line]
        assert shown
        for statement in shown:
            assert read_only_sql(search.db, statement)

    def test_the_kinds_of_refusals_are_those_of_the_code(self) -> None:
        documented = set(names(sections(page("docs/memory.md"))["Refusals"]))
        gates, answers = (
            page("tools/gates/specs.py") + page("tools/jobs/training.py"),
            page("agent/searchers/model/middleware.py") + page("memory/trials.py") + page("agent/backends/repair.py"),
        )
        assert set(re.findall(r'Refused\(\s*"(\w+)"', gates)) <= documented
        assert {kind for kind in documented if f'"{kind}"' in gates + answers} == documented


TOOLS = SuggestedProposer.tools  # all that there are
RESULTS = {"count_flops": CountResult, "train_ract": Outcome, "evaluate_fid": Rescored}
RESULTS |= {"suggest_architectures": Suggested}


class TestTools:
    def test_every_tool_is_documented_and_nothing_else(self) -> None:
        titles = [title for title in sections(page("docs/tools.md")) if title.islower()]
        assert titles == [tool.name for tool in TOOLS]

    @pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
    def test_every_argument_and_result_is_documented_and_nothing_else(self, tool: Any) -> None:
        found = tables(sections(page("docs/tools.md"))[tool.name])
        assert found["argument"] == list(tool.tool_call_schema.model_json_schema()["properties"])
        result = RESULTS.get(tool.name)
        assert found.get("result") == (list(result.model_fields) if result else None)

    def test_the_questions(self) -> None:
        found = tables(sections(page("docs/tools.md"))["query_memory"])
        assert found["question"] == list(get_args(Question))


class TestSettings:
    """Rows, defaults and presets are compared in tests/agent/test_config.py."""

    def test_every_variable_that_a_page_names_exists(self) -> None:
        settings = {PREFIX + name.upper() for name in FIELDS}
        keys = {provider.key for provider in PROVIDERS.values() if provider.key}
        for path in PAGES:
            text = path.read_text(encoding="utf-8")
            assert set(re.findall(r"\bDIFFNAS_[A-Z_]+\b", text)) <= settings, path.name
            assert set(re.findall(r"\b[A-Z]+_API_KEY\b", text)) <= keys, path.name
        assert all(key in page("docs/configuration.md") for key in keys)

    def test_the_search_spaces(self) -> None:
        text = sections(page("docs/spaces.md"))["The built-in spaces"]
        assert names(text) == list(SPACE_NAMES)
        for name, space in ((name, built_in(name)) for name in SPACE_NAMES):
            row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
            cells = [
                *(str(space.stages), listed(space.base_channel), listed(space.num_blocks)),
                *(by_stage(space.channel_mult), by_stage([map(int, flags) for flags in space.attn])),
                *(f"`{space.baseline}`", f"{networks_in(space, 'ddpm'):,}"),
            ]
            assert [cell.strip() for cell in row.strip("|").split("|")][1:] == cells

    def test_a_shown_toml_file_is_one_that_can_be_used(self) -> None:
        shown = fences(page("docs/configuration.md"), "toml") + fences(page("docs/spaces.md"), "toml")
        assert len(shown) == 2
        for body in shown:
            assert set(tomllib.loads(body)) <= set(FIELDS)

    def test_a_shown_space_is_one_that_can_be_searched(self, tmp_path: Path) -> None:
        (body,) = fences(page("docs/spaces.md"), "text")
        (tmp_path / "small.toml").write_text(body, encoding="utf-8")
        assert find_space(str(tmp_path / "small.toml")).name == "small"


class TestPages:
    @pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
    def test_links_between_pages_resolve(self, path: Path) -> None:
        for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
            if "://" in target:
                continue
            file, _, fragment = target.partition("#")
            place = path.parent / file if file else path
            assert place.exists(), target
            if fragment:
                headings = HEADING.findall(FENCE.sub("", place.read_text(encoding="utf-8")))
                assert fragment in map(anchor, headings), target

    def test_the_readme_leads_to_the_first_page_and_that_one_to_every_other(self) -> None:
        linked = {target.partition("#")[0] for target in LINK.findall(page("docs/index.md"))}
        assert "docs/index.md" in LINK.findall(page("README.md"))
        assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked

    def test_the_readme_maps_every_folder(self) -> None:
        tracked = {"agent", "tools", "memory", "diffusion", "prompts", "tests", "benchmarks", "docs", "examples"}
        assert set(names(sections(page("README.md"))["Map"])) == {f"{folder}/" for folder in tracked}
        assert {path.parent.name for path in ROOT.glob("*/__init__.py")} <= tracked

    def test_one_command_checks_everything(self) -> None:
        assert "make test" in page("README.md").split("```sh")[1].split("```")[0]
        assert "```\nmake test\n```" in page("CONTRIBUTING.md")
        assert "make test" in [line.strip() for line in page(".ci/run").splitlines()]
        assert re.search(r"^test:", page("Makefile"), re.MULTILINE)

    @pytest.mark.parametrize("path", [*PAGES, ROOT / ".env.example"], ids=lambda path: str(path.relative_to(ROOT)))
    def test_a_page_names_no_folder_of_somebodys_machine(self, path: Path) -> None:
        assert not re.findall(r"(?:/home|/root|/work|/tmp|/Users)/\w+", path.read_text(encoding="utf-8"))


class TestExamples:
    def test_the_examples_are_listed(self) -> None:
        files = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()}
        assert set(LINK.findall(page("examples/README.md"))) == files - {"README.md"}

    def test_the_script_types_options_that_exist(self) -> None:
        script = page("examples/openai_compatible.sh").replace("\\\n", " ")
        commands = TestCommandLine().commands()
        (line,) = [line for line in script.splitlines() if line.startswith("diffnas-agent run ")]
        assert set(re.findall(r"(--[a-z-]+)", line)) <= TestCommandLine().parameters(commands["run"])
        subprocess.run(["bash", "-n", "examples/openai_compatible.sh"], cwd=ROOT, check=True)


def test_an_anchor_is_made_as_code_hosts_make_it() -> None:
    assert anchor("`run --dry-run --json`") == "run---dry-run---json"
    assert anchor("Two ways to count") == "two-ways-to-count"


def test_the_parsers_of_this_file_find_what_is_planted() -> None:
    text = "# A\n| event | x |\n| --- | --- |\n| `one` | 1 |\n## `b c`\n```sh\n# none\ndiffnas-agent list # a\n```\n"
    assert sections(text).keys() == {"A", "b c"}
    assert tables(sections(text)["A"]) == {"event": ["one"]}
    assert list(shown_commands(text)) == ["diffnas-agent list # a"]
