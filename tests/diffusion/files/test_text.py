"""Text that people write is read in any Unicode that says what it is, and named where it is something else."""

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.backends.pricing import price_table
from agent.config.sources import load_provider_keys, resolve
from diffusion.errors import UserError
from diffusion.files.text import read_toml
from diffusion.space import find_space

ROOT = Path(__file__).parents[3]
WRITINGS = {  # as editors and shells write a file; the mark of UTF-16 comes from the codec
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 of the other order": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
}
BROKEN = {
    "Latin-1": ("# Größe\n".encode("latin-1"), "is no text in UTF-8 (invalid start byte at byte 4); save it in UTF-8"),
    "UTF-16 without a mark": ("seed\n".encode("utf-16-le"), "holds zero bytes, as UTF-16 without a byte order mark"),
    "half of UTF-16": (codecs.BOM_UTF16_LE + b"a", "is no text in UTF-16 (truncated data at byte 2); save it in UTF-8"),
}


def _settings() -> bool:
    return resolve({}).config.search.seed == 7


def _named_settings() -> bool:
    return resolve({}, Path("own.toml")).config.search.seed == 7


def _dotenv() -> bool:
    load_provider_keys()
    return resolve({}).config.search.seed == 7


def _prices() -> bool:
    return price_table(Path("prices.toml").absolute()).price("openai:größer", None) == (1.0, 2.0)


def _space() -> bool:
    return find_space("space.toml").base_channel == (8,)


READERS: dict[str, tuple[str, Callable[[], bool]]] = {
    "diffnas.toml": ("# größer\nseed = 7\n", _settings),
    "own.toml": ("# größer\nseed = 7\n", _named_settings),
    ".env": ("# größer\nDIFFNAS_SEED=7\nOPENAI_API_KEY=k\n", _dotenv),
    "prices.toml": ('"openai:größer" = [1.0, 2.0]\n', _prices),
    "space.toml": ('# größer\nname = "mine"\nbase_channel = [8]\nnum_blocks = [1]\nchannel_mult = [1]\n', _space),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No files but those that a test writes."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("writing", WRITINGS)
def test_a_file_of_a_person_is_read_however_it_is_written(name: str, writing: str) -> None:
    text, is_read = READERS[name]
    Path(name).write_bytes(WRITINGS[writing](text))
    assert is_read()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_is_no_text_is_named_in_one_sentence(name: str, broken: str) -> None:
    content, said = BROKEN[broken]
    Path(name).write_bytes(content)
    with pytest.raises(UserError) as stopped:
        READERS[name][1]()
    assert str(stopped.value).removeprefix("--space: ").partition("' ")[0].endswith(name)
    assert said in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_a_folder_and_a_file_that_is_not_there_are_named() -> None:
    Path("folder").mkdir()
    with pytest.raises(UserError, match=r"'folder' cannot be read \(Is a directory\); name another"):
        read_toml(Path("folder"), "name another")


def test_toml_is_read_in_one_place() -> None:
    files = [file for part in ("agent", "diffusion", "memory", "tools") for file in (ROOT / part).rglob("*.py")]
    assert [file.name for file in files if "tomllib" in file.read_text(encoding="utf-8")] == ["text.py"]
