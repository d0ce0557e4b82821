"""Every command that a page shows runs: block by block, with small numbers, where what it speaks of is there.

What cannot run here is named in `shown.NOT_HERE` with the reason. Commands that only read are tried by default, those
that train or play are slow, and so is the tutorial as it is printed.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import shown
from model_server import Say, serve
from typed import Inside, seat, typed_in

READS = {"status", "list", "memory", "flops", "audit", "replay", "chat"}
MAY_END_WITH = {"doctor": {0, 1}, "replay": {0, 1}, "--approve": {130}}  # a model that only talks fails its exam
BLOCKS = [
    pytest.param(block, id=f"{path.stem}: {block[0][0][:50]}",
                 marks=[] if {words.split()[0] for words, _ in block} <= READS else [pytest.mark.slow])
    for path in shown.PAGES for block in shown.shown(path)
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """A folder whose searches were played by an executor, made when it is first asked for."""

    @cache
    def made(executor: Any) -> Path:
        folder = tmp_path_factory.mktemp("shown") / "folder"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            shown.prepare(folder, patch, executor)
        return folder

    return made


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(lambda messages: Say("I would make it wider.")) as server:
        yield server.url


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_shown_block_runs(
    block: list[tuple[str, str | None]],
    prepared: Callable[[Any], Path],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "folder"
    executor = shown.Pretending if shown.is_pretended([words for words, _ in block]) else Inside
    shutil.copytree(prepared(executor), folder)
    seat(folder, monkeypatch)
    shown.keys(monkeypatch, url)
    shown.execute(monkeypatch, executor)
    for command, typed in block:
        words = shown.words_of(command, url)
        if words is None:
            continue
        for name, value in shown.TINY.items():
            monkeypatch.setenv(f"DIFFNAS_{name}", "" if "--bench" in words else str(value))  # a table has its own
        allowed = next((codes for part, codes in MAY_END_WITH.items() if part in words), {0})
        with types(monkeypatch, folder, typed):
            assert typed_in(monkeypatch, *words) in allowed, words


def test_whatever_is_not_run_here_is_shown_somewhere() -> None:
    everything = " ".join(words for path in shown.PAGES for block in shown.shown(path) for words, _ in block)
    assert [part for part in shown.NOT_HERE if part not in everything] == []


def test_a_command_is_made_small_and_keeps_what_it_asks_for() -> None:
    assert shown.words_of("train SPEC --train-steps 600 --snapshot-steps 150,300  # a remark", "U") == [
        *("train", "SPEC", "--train-steps", "2", "--snapshot-steps", "1"),
        *("--set", "batch_size=8", "--num-images", "16", "--sampling-steps", "2"),
    ]
    assert shown.words_of("run --executor ray", "U") is None
    text = "```sh\n$ no\nprintf 'a\\nb\\n' | diffnas-agent chat x\ndiffnas-agent list > f\n```\n"
    assert shown.FENCE.findall(text)
    lines = text.splitlines()
    assert [bool(shown.COMMAND.match(line)) for line in lines] == [False, False, True, True, False]


@contextmanager
def types(patch: pytest.MonkeyPatch, folder: Path, typed: str | None) -> Iterator[None]:
    """Standard input that holds what a page's `printf` says, and then ends."""
    lines = folder / "typed.txt"
    lines.write_text((typed or "").replace("\\n", "\n"))
    with lines.open() as stdin:
        patch.setattr(sys, "stdin", stdin)
        yield


def tutorial() -> list[tuple[str, str]]:
    """The blocks of the tutorial that are typed, in their order."""
    text = (shown.ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    return list(re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_is_done_as_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk(tmp_path, monkeypatch, lambda words: words, {})
    assert (tmp_path / "digit.png").read_bytes()[:4] == b"\x89PNG"


def test_the_tutorial_is_done_with_small_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"100": "2", "360": "16", "3": "1", "4": "2"}
    monkeypatch.setenv("DIFFNAS_SAMPLING_STEPS", "2")
    walk(tmp_path, monkeypatch, lambda words: [small.get(word, word) for word in words], {"num_inference_steps": 4})


def walk(
    folder: Path, patch: pytest.MonkeyPatch, made: Callable[[list[str]], list[str]], draws: dict[str, int]
) -> None:
    """Type what the tutorial shows, and run its Python."""
    from diffusers import DDPMPipeline

    seat(folder, patch)
    draw = DDPMPipeline.__call__
    patch.setattr(DDPMPipeline, "__call__", lambda self, **told: draw(self, **{**told, **draws}))
    for language, body in tutorial():
        if language == "python":
            exec(compile(body, "tutorial.md", "exec"), {})
            continue
        for line in body.splitlines():
            match = shown.COMMAND.match(line)
            assert match, line
            with types(patch, folder, match["typed"]):
                assert typed_in(patch, *made(shlex.split(match["words"], comments=True))) == 0, line
