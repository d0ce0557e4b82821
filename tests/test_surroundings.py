"""Every command where little is as usual: no input, another encoding, a reader that leaves, folders of all kinds."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
from commands import all_commands
from ended_search import ended_search
from zygote import played

SPEC, SMALL = "b8-n1-m1.1.1.2-a0000", ("--preset", "digits", "--dry-run")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "run": SMALL,
    "resume": ("first",),
    "status": (),
    "compare": ("--preset", "digits", "--searchers", "nobody"),
    "compress": ("2", "--dry-run"),
    "generate": ("--preset", "digits", "--budget", "2M", "--count", "2"),
    "flops": (SPEC,),
    "train": (SPEC, *SMALL),
    "evaluate": ("2",),
    "sample": ("2", "--to", "pictures"),
    "export": ("2", "exported"),
    "audit": (),
    "chat": (),
    "confirm": ("--dry-run",),
    "doctor": (),
    "strategy": SMALL,
    "replay": (),
    "fork": ("--at", "1", "--llm", "offline"),
    "list": (),
    "rank-study": SMALL,
    "report": (),
    "dashboard": ("nobody",),
    "export-study": ("first", "sqlite:///study.db"),
    "memory top": (),
    "memory pareto": (),
    "memory failures": (),
    "memory show": ("2",),
    "memory sql": ("SELECT spec, reason FROM results",),
}
BESIDE: dict[str, tuple[str, ...]] = {  # what is typed beside the commands as such
    "": (),
    "status --watch": (),
    "--plain status": (),
    "--show-completion": (),
}
PLAIN = {"COLUMNS": "40", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
SURROUNDINGS: dict[str, dict[str, Any]] = {
    "closed stdin, Latin-1, 40 columns": {"stdin": "closed", "env": {"PYTHONIOENCODING": "latin-1"}},
    "ASCII and a path of the home folder": {"env": {"PYTHONIOENCODING": "ascii"}, "db": "~/a b/Größe.db"},
    "a reader that leaves": {"stdout": "leaves"},
    "a folder that cannot be written": {"is_bound": True},
}
BY_MARKER = ("ASCII and a path of the home folder", "a reader that leaves")  # half a minute each
ESCAPE = re.compile(r"\x1b")


def test_every_command_has_its_arguments() -> None:
    assert ARGUMENTS.keys() == all_commands().keys()


def takes_db(command: str) -> bool:
    return command in ARGUMENTS and any("--db" in param.opts for param in all_commands()[command].params)


def folder(tmp_path: Path, number: int, db: str) -> Path:
    """A home whose name has spaces and umlauts, and in it a memory."""
    home = tmp_path / f"{number} Übung"
    place = home / db.removeprefix("~/")
    place.parent.mkdir(parents=True)
    ended_search(place.parent).rename(place)
    return home


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in BY_MARKER else []) for name in SURROUNDINGS]
)
def test_no_command_ends_in_a_traceback(tmp_path: Path, name: str) -> None:
    found = SURROUNDINGS[name]
    jobs = []
    for number, (command, arguments) in enumerate((ARGUMENTS | BESIDE).items()):
        home = folder(tmp_path, number, found.get("db", "~/diffnas.db"))
        place = ["--db", found["db"]] if "db" in found and takes_db(command) else []
        job = {"argv": [*command.split(), *arguments, *place], "cwd": str(home), "stdin": "null", "stdout": "read"}
        env = {**PLAIN, "HOME": str(home), **found.get("env", {})}
        jobs.append({**job, "is_bound": False, **{k: v for k, v in found.items() if k != "db"}, "env": env})
        if found.get("is_bound"):
            home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    for job, told in zip(jobs, played(jobs), strict=True):
        said = f"{' '.join(job['argv'])} in {name}: {told}"
        assert "Traceback" not in told["err"], said
        assert told["code"] in (0, 1, 2, 130), said
        assert not ESCAPE.search(told["out"] + told["err"]), said
        if told["code"] == 2:
            assert told["err"].strip(), said
