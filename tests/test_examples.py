"""Every example runs, and every notebook gives what stands in its file."""

import os
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from diffusers import DDPMPipeline
from notebooks import NOTEBOOKS, executed, outputs, read
from searches import TinySearch
from typed import seat

from memory.connection import opened

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str, patch: pytest.MonkeyPatch) -> None:
    """An example as its file is run: its own folder comes first where modules are looked for."""
    patch.setattr(sys, "argv", [name, *arguments])
    patch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_each_is_tried_here_or_with_the_command_line() -> None:
    tried = Path(__file__).read_text() + (ROOT / "tests" / "agent" / "searchers" / "test_own.py").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name in tried or path.suffix in (".md", ".ipynb"), path.name


def test_the_library_is_used_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run("library_use.py", patch=monkeypatch)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("b16-n1-m1.2.2.2-a0100: 383,505 params, 4.04M MACs")
    assert said[2] == "built: 383,505 params"
    assert Path(said[3].removeprefix("images: ")).read_bytes()[:4] == b"\x89PNG"


def test_a_tool_of_ones_own_is_called_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seat(tmp_path, monkeypatch)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path))
    run("own_tool.py", patch=monkeypatch)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "round 1: b8-n1-m1.1.1.2-a0000: At 64×64 it costs 63.26 times as much.",
        "round 2: b8-n2-m1.1.1.2-a0000: At 64×64 it costs 63.3 times as much.",
    ]
    with opened(tmp_path / "diffnas.db", read_only=True) as db:
        (answer,) = {row["response_json"] for row in db.query("SELECT response_json FROM model_calls WHERE round = 1")
                     if "count_at" in (row["response_json"] or "")}  # fmt: skip
    assert '"resolution": 64' in answer.replace("\\", "")


def test_a_search_is_driven_from_python_and_its_export_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seat(tmp_path, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        run("from_python.py", str(tmp_path), patch=monkeypatch)
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"exported: {tmp_path}/model"
    with opened(tmp_path / "diffnas.db", read_only=True) as db:
        rounds = [row["attn_0"] for row in db.query("SELECT attn_0 FROM results ORDER BY round")]
        obeyed = [row["seen_round"] for row in db.query("SELECT seen_round FROM directives")]
    assert (rounds, obeyed) == ([0, 0, 0], [1])

    make = DDPMPipeline.__call__  # 400 steps are what its user wants; four tell as much here
    monkeypatch.setattr(DDPMPipeline, "__call__", lambda self, **told: make(self, **{**told, "num_inference_steps": 4}))
    run("load_export.py", str(tmp_path / "model"), patch=monkeypatch)
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" params, 400 diffusion steps")
    assert len(list(tmp_path.glob("whole-*.png"))) == len(list(tmp_path.glob("few-*.png"))) == 4
    assert " from search digits-1, trial " in said[-1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_gives_what_stands_in_its_file(path: Path, tmp_path: Path) -> None:
    made = executed(path, tmp_path)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        shutil.copyfile(made, path)
    now, kept = read(made), read(path)
    assert all(cell.execution_count for cell in kept.cells if cell.cell_type == "code")
    assert outputs(now) == outputs(kept)


def test_a_search_runs_against_the_loopback_server(tmp_path: Path) -> None:
    example: dict[str, Any] = runpy.run_path(str(EXAMPLES / "loopback_server.py"))
    server = example["make_server"]()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        found = TinySearch(tmp_path, {"llm": "openai:scripted", "base_url": url, "rounds": 2})
        assert found.run() == "rounds"
    finally:
        server.shutdown()
        server.server_close()
    assert found.executor.trained[1:] == example["SPECS"][:2]
    assert not found.of("trial.refused")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_openai_compatible_sh_plays_a_whole_search() -> None:
    script = EXAMPLES / "openai_compatible.sh"
    done = subprocess.run([script], capture_output=True, text=True, check=True)
    assert "Proposed by: openai:scripted 2, baseline 1." in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_driven_from_python_runs_as_a_program(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, arguments in (("from_python.py", [tmp_path]), ("load_export.py", [tmp_path / "model"])):
        subprocess.run([sys.executable, EXAMPLES / name, *arguments], env=environment, check=True)
    assert (tmp_path / "whole-0.png").exists()
