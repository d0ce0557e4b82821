"""Files that appear whole or not at all, with the mode that the umask gives every new file.

What makes temporary files for its owner alone (`tempfile.mkstemp`, safetensors) hands that mode on when they are
renamed: whoever shares a folder with others could not read its checkpoints, exports and references.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"  # ends the name of what is not whole yet


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write, in the same folder; then it is on the disk and becomes `path`, or disappears where that fails.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PART}")
    try:
        mode = new_mode(part)
        yield part
        with suppress(OSError):  # of a file system that knows no modes
            part.chmod(mode)
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def as_new(folder: Path) -> None:
    """Give the files below a folder the mode of new ones, whoever made them, and see them on the disk.

    Raises:
        OSError: one of them cannot be.
    """
    probe = folder / f".mode{PART}"
    mode = new_mode(probe)
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            with suppress(OSError):
                path.chmod(mode)
            sync(path)


def new_mode(path: Path) -> int:
    """The mode of a file that is made there now; it stays, empty. The umask itself can only be asked by changing it."""
    path.unlink(missing_ok=True)
    path.touch(exist_ok=False)
    return stat.S_IMODE(path.stat().st_mode)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
