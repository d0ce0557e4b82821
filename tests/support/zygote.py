"""Commands of the program in processes of their own, forked from one that has imported all of it before.

As a script it reads a list of jobs as JSON from standard input, each ``{argv, cwd, env, stdin, stdout, is_bound}``, and
gives for each ``{code, out, err, seconds}``. Standard input is ``closed`` or ``null``; standard output is read, or a
reader that leaves after the first bytes (``leaves``). With `is_bound` modes of files hold for the superuser, too.
"""

import ctypes
import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 60.0
CAPABILITIES = 0x20080522  # version 3 of the interface
OVERRIDES = (1 << 1) | (1 << 2)  # of the modes of files: for writing, and for reading


def played(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What becomes of each job."""
    told = subprocess.run(
        [sys.executable, __file__], input=json.dumps(jobs), capture_output=True, text=True, check=False, timeout=900
    )
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)
    return found


def bind_to_modes() -> None:
    """Give up what lets the superuser write where nobody may."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    for place in (0, 1, 2):  # effective, permitted, inheritable
        data[place] &= ~OVERRIDES
    libc.capset(header, data)


def _child(job: dict[str, Any], out: int, err: int) -> None:
    os.chdir(job["cwd"])
    os.environ.update(job["env"])
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(0)
    if job["stdin"] == "null":
        os.open(os.devnull, os.O_RDONLY)
    if job["is_bound"]:
        bind_to_modes()
    code = f"import sys; sys.argv = {['diffnas-agent', *job['argv']]!r}; from agent.cli.main import main; main()"
    coding = job["env"].get("PYTHONIOENCODING", "utf-8")
    sys.stdin = None if job["stdin"] == "closed" else os.fdopen(0, encoding=coding)  # type: ignore[assignment]
    sys.stdout, sys.stderr = (os.fdopen(place, "w", encoding=coding, closefd=False) for place in (1, 2))
    try:
        exec(compile(code, "<command>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 120
    os._exit(status)


def _forked(job: dict[str, Any]) -> dict[str, Any]:
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            _child(job, out_end, err_end)
        finally:
            os._exit(99)
    os.close(out_end)
    os.close(err_end)
    started = time.monotonic()
    texts, open_ends, deadline = {out: b"", err: b""}, {out, err}, time.monotonic() + SECONDS
    while open_ends and time.monotonic() < deadline:
        for end in select.select(list(open_ends), [], [], 0.2)[0]:
            data = os.read(end, 1 << 16)
            texts[end] += data
            if not data or (end == out and job["stdout"] == "leaves"):
                os.close(end)
                open_ends.discard(end)
    if open_ends:
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    said = {name: texts[end].decode("utf-8", "replace") for name, end in (("out", out), ("err", err))}
    return {"code": os.waitstatus_to_exitcode(status), **said, "seconds": time.monotonic() - started}


def _import_all() -> None:
    """Everything that a command may import later."""
    import diffusers
    import langchain_openai

    import agent

    assert diffusers.UNet2DModel and langchain_openai.ChatOpenAI  # they are imported when they are asked for
    for found in pkgutil.walk_packages(agent.__path__, "agent."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _import_all()
    print(json.dumps([_forked(job) for job in json.load(sys.stdin)]))
