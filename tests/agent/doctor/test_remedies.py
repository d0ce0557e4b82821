"""Each check of the doctor that fails says what mends it; a check without a circumstance here fails the test."""

import builtins
import importlib
import importlib.metadata
import os
import shutil
import sqlite3
import stat
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ended_search import ended_search

from agent.config.sources import resolve
from agent.doctor import checks as doctor
from agent.doctor.checks import Check, checks
from prompts.render import environment

Patch = pytest.MonkeyPatch
Usage = namedtuple("Usage", "total used free")


def old_python(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(doctor.sys, "version_info", (3, 10, 4))
    return {}


def old_sqlite(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(doctor.sqlite3, "sqlite_version_info", (3, 30, 0))
    return {}


def missing_package(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(importlib.metadata, "requires", lambda name: ["rich>=14", "nowhere>=1", "ray; extra == 'ray'"])
    return {}


def broken_import(patch: Patch, folder: Path) -> dict[str, Any]:
    def fails(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    patch.setattr(doctor.importlib, "import_module", fails)
    return {}


def without_ray(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(doctor, "find_spec", lambda name: None)
    return {"executor": "ray"}


def without_tracker(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(doctor, "find_spec", lambda name: None)
    return {"log_with": "tensorboard"}


def no_prompts(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(environment(), "list_templates", list)
    return {}


def a_driver(patch: Patch, folder: Path) -> None:
    patch.setattr("tools.executors.machine.NVIDIA_DRIVER", (folder,))
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def built_for_cpus(patch: Patch, folder: Path) -> dict[str, Any]:
    a_driver(patch, folder)
    patch.setattr(torch.version, "cuda", None)
    return {}


def hidden(patch: Patch, folder: Path) -> dict[str, Any]:
    a_driver(patch, folder)
    patch.setenv("CUDA_VISIBLE_DEVICES", "")
    return {}


def old_driver(patch: Patch, folder: Path) -> dict[str, Any]:
    a_driver(patch, folder)
    patch.setattr(torch.version, "cuda", "13.0")
    return {}


def no_images(patch: Patch, folder: Path) -> dict[str, Any]:
    return {"dataset": "none.npz", "budget": "1G"}


def no_weights(patch: Patch, folder: Path) -> dict[str, Any]:
    return {"feature_network": "inception-v3-compat", "feature_weights": "none.pth"}


def another_program(patch: Patch, folder: Path) -> dict[str, Any]:
    with sqlite3.connect("diffnas.db") as other:
        other.execute("CREATE TABLE invoices (id)")
    return {}


def older_memory(patch: Patch, folder: Path) -> dict[str, Any]:
    with sqlite3.connect(ended_search(folder)) as older:
        older.execute("DELETE FROM _sqlite_migrations WHERE name = (SELECT max(name) FROM _sqlite_migrations)")
    return {}


def full_disk(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(shutil, "disk_usage", lambda place: Usage(2**40, 2**40, 2**20))
    return {}


def locked_folder(patch: Patch, folder: Path) -> dict[str, Any]:
    patch.setattr(doctor.os, "access", lambda place, mode: False)
    return {}


def no_key(patch: Patch, folder: Path) -> dict[str, Any]:
    return {"llm": "openai:gpt-4.1"}


def no_extra(patch: Patch, folder: Path) -> dict[str, Any]:
    real = builtins.__import__

    def imported(name: str, *rest: Any) -> Any:
        if name.startswith("langchain_anthropic"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *rest)

    patch.setattr(builtins, "__import__", imported)
    patch.setitem(sys.modules, "langchain_anthropic", None)
    patch.setenv("ANTHROPIC_API_KEY", "k")
    return {"llm": "anthropic:claude"}


CIRCUMSTANCES: tuple[tuple[str, Callable[[Patch, Path], dict[str, Any]], str], ...] = (
    ("python", old_python, "make run PYTHON=python3.11"),
    ("sqlite", old_sqlite, "uv venv --managed-python"),
    ("packages", missing_package, "pip install nowhere"),
    ("imports", broken_import, "pip install torch torchvision"),
    ("extras", without_ray, "pip install 'diffnas-agent[ray]'"),
    ("extras", without_tracker, "pip install tensorboard"),
    ("prompts", no_prompts, "pip install --force-reinstall diffnas-agent"),
    ("accelerator", built_for_cpus, "pip install --force-reinstall torch torchvision"),
    ("accelerator", hidden, "unset CUDA_VISIBLE_DEVICES"),
    ("accelerator", old_driver, "nvidia-smi"),
    ("data", no_images, "a path to an .npz file"),
    ("features", no_weights, "name the file that https://github.com/toshas/torch-fidelity/"),
    ("memory", another_program, "name another file with --db"),
    ("memory", older_memory, "`diffnas-agent run` or `resume` brings it up to date"),
    ("output", full_disk, "export DIFFNAS_OUT=FOLDER"),
    ("output", locked_folder, "export DIFFNAS_OUT=FOLDER"),
    ("backends", no_key, "OPENAI_API_KEY"),
    ("backends", no_extra, "pip install 'diffnas-agent[anthropic]'"),
)


def looked(name: str, options: dict[str, Any]) -> Check:
    """One check of a machine with these settings, and no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "looked_at", lambda each, look: REAL(each, look) if each == name else SimpleNamespace())
        found = [check for check in checks(resolve(options).config) if isinstance(check, Check)]
    (only,) = found
    return only


REAL = doctor.looked_at


def test_every_check_has_a_circumstance_in_which_it_fails(monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "looked_at", lambda name, look: name)
    assert {name for name, _, _ in CIRCUMSTANCES} == set(checks(resolve({}).config))  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("name", "circumstance", "remedy"),
    CIRCUMSTANCES,
    ids=[circumstance.__name__ for _, circumstance, _ in CIRCUMSTANCES],
)
def test_a_check_that_fails_says_what_mends_it(
    name: str, circumstance: Callable[[Patch, Path], dict[str, Any]], remedy: str, monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = looked(name, circumstance(monkeypatch, tmp_path))
    assert found.state in ("failed", "warning")
    assert remedy in f"{found.found} {found.remedy}"
    assert found.remedy


def test_the_doctor_changes_no_older_memory(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    older_memory(monkeypatch, tmp_path)
    before = (tmp_path / "diffnas.db").read_bytes()
    looked("memory", {})
    assert (tmp_path / "diffnas.db").read_bytes() == before
    assert os.stat(tmp_path).st_mode & stat.S_IWUSR
