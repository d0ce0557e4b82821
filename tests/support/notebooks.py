"""Runs the notebooks of examples/ in kernels of their own, from an empty folder; ``UPDATE_SNAPSHOTS=1`` keeps what they
gave. ``python tests/support/notebooks.py FROM TO`` runs one: a process of its own, since a client leaves sockets open.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SECONDS = 240  # for one cell


def read(path: Path) -> Any:
    """A notebook as it lies in its file."""
    return nbformat.read(path, as_version=4)


def executed(path: Path, folder: Path) -> Path:
    """A copy of the notebook in a folder, with what its cells give now.

    Raises:
        subprocess.CalledProcessError: one of them raises.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder), "JUPYTER_DATA_DIR": str(folder)}
    made = folder / path.name
    subprocess.run([sys.executable, __file__, path, made], cwd=folder, env=environment, check=True)
    return made


def outputs(notebook: Any) -> list[list[str | dict[str, str]]]:
    """What each cell of code gave: what was printed, or what the value of its last line looks like, in every form."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[each.text if each.output_type == "stream" else dict(each.data) for each in cell.outputs] for cell in cells]


def main(path: Path, made: Path) -> None:
    """Execute a notebook and write it, without what is only of this machine."""
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = read(path)
    with tempfile.TemporaryDirectory() as folder:  # its socket is a file there, closed to other users
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        NotebookClient(notebook, kernel, timeout=SECONDS, record_timing=False).execute()
    notebook.metadata.language_info = {"name": "python"}
    made.write_text(nbformat.writes(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
