import io
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import datasets
import numpy as np
import pytest
from hub_server import BAD_TOKEN, GATED, NO_SUCH_REPOSITORY, NOT_WITHOUT_LOGIN, Answer, Files, serve_hub
from image_files import noise, prepared, refusal
from PIL import Image

from diffusion.data.images import open_images, prepare_images
from diffusion.data.sources import CIFAR10_ID, KINDS

ROOT = Path(__file__).parents[3]
CHILD = """
import socket, sys
from pathlib import Path

look_up = socket.getaddrinfo

def refuse_other_machines(host, *arguments, **options):
    if host != "127.0.0.1":
        raise socket.gaierror(f"{host} is another machine")
    return look_up(host, *arguments, **options)

socket.getaddrinfo = refuse_other_machines

from diffusion.data.images import prepare_images
from diffusion.errors import UserError

for word in sys.argv[2:]:
    try:
        print(prepare_images(word, Path(sys.argv[1])).fingerprint)
    except UserError as error:
        print(error)
"""
"""In a process of its own, since the client reads HF_ENDPOINT when it is imported."""

TRAIN, TEST = noise(3, 8, 8, 3), noise(1, 8, 8, 3)


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


HUB: dict[str, Files | Answer] = {
    "owner/name": {f"train/{i}.png": png(pixels) for i, pixels in enumerate(TRAIN)} | {"test/0.png": png(TEST[0])},
    "owner/bare": {"notes.bin": b"?"},
    "owner/absent": NO_SUCH_REPOSITORY,
    "owner/hidden": NOT_WITHOUT_LOGIN,
    "owner/plain-404": (404, {}),
    "owner/plain-401": (401, {}),
    "owner/gated": GATED,
    "owner/other-token": BAD_TOKEN,
    "owner/hangs-up": (0, {}),
}


def sentences(folder: Path, endpoint: str, *words: str, **environment: str) -> dict[str, str]:
    """What preparing each word ends in, a fingerprint or a sentence; prepared sets and the cache lie in `folder`."""
    known = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder / "out"), *words],
        env={**os.environ, **known, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hf_secret" not in child.stdout + child.stderr
    return dict(zip(words, child.stdout.splitlines(), strict=True))


class Visit(NamedTuple):
    """A hub that was asked for all it has, and its address, where nobody listens any more."""

    folder: Path
    address: str
    said: dict[str, str]
    requests: list[str]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    folder = tmp_path_factory.mktemp("hub")
    with serve_hub(HUB) as hub:
        return Visit(folder, hub.url, sentences(folder, hub.url, *HUB), hub.requests)


class TestRealClient:
    def test_data_set_on_the_hub_is_fetched(self, visit: Visit) -> None:
        images = open_images(visit.folder / "out", visit.said["owner/name"])
        assert (images.train == TRAIN.transpose(0, 3, 1, 2)).all()
        assert images.test is not None and (images.test == TEST.transpose(0, 3, 1, 2)).all()

    @pytest.mark.parametrize("word", ["owner/absent", "owner/hidden", "owner/plain-404", "owner/plain-401"])
    def test_hub_that_knows_no_such_data_set_says_so(self, visit: Visit, word: str) -> None:
        assert f"HEAD /datasets/{word}/resolve/main/README.md" in visit.requests
        assert visit.said[word].startswith(f"'{word}' names no data set on Hugging Face")
        assert visit.said[word].endswith(f"; give {KINDS}") and "network" not in visit.said[word]

    def test_no_network_is_another_sentence_comes_soon_and_spares_what_is_cached(self, visit: Visit) -> None:
        start = time.monotonic()
        said = sentences(visit.folder, visit.address, "owner/absent", "owner/name")
        assert time.monotonic() - start < 15  # seconds; the client's own seven trials take 24, a loaded machine a few
        text = said["owner/absent"]
        expected = "'owner/absent' is not in the local Hugging Face cache and there is no network to load it over ("
        assert text.startswith(expected) and text.endswith(f"); connect, or give {KINDS}")
        assert "names no data set" not in text
        assert said["owner/name"] == visit.said["owner/name"]

    def test_offline_mode_is_no_network_and_spares_what_is_cached(self, visit: Visit) -> None:
        said = sentences(visit.folder, visit.address, "owner/absent", "owner/name", HF_HUB_OFFLINE="1")
        assert "there is no network to load it over (HF_HUB_OFFLINE is set); connect, or" in said["owner/absent"]
        assert said["owner/name"] == visit.said["owner/name"]

    def test_hub_that_hangs_up_is_no_network(self, visit: Visit) -> None:
        assert "there is no network to load it over (Server disconnected" in visit.said["owner/hangs-up"]

    def test_gated_data_set_and_wrong_token_are_told_apart(self, visit: Visit) -> None:
        assert "asks for consent on its page" in visit.said["owner/gated"]
        assert "HTTP 401: Invalid credentials in Authorization header" in visit.said["owner/other-token"]

    def test_data_set_without_files_is_passed_on(self, visit: Visit) -> None:
        assert "cannot be loaded from Hugging Face: " in visit.said["owner/bare"]
        assert "data files" in visit.said["owner/bare"]


def serve(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[str, str | None]]:
    """Put an answer or an error in the place of the client; what it is asked for is kept."""
    asked: list[tuple[str, str | None]] = []

    def load_dataset(identifier: str, config: str | None) -> Any:
        asked.append((identifier, config))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def split(pictures: Any) -> Any:
    features = datasets.Features({"label": datasets.Value("int64"), "img": datasets.Image()})
    rows = {"label": list(range(len(pictures))), "img": [Image.fromarray(picture) for picture in pictures]}
    return datasets.Dataset.from_dict(rows, features=features)


class TestSplits:
    def test_image_column_and_splits_are_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        train, validation = noise(3, 8, 8, 3), noise(2, 8, 8, 3)
        answer = datasets.DatasetDict({"validation": split(validation), "train": split(train)})
        asked = serve(monkeypatch, answer)
        images = prepared("owner/name", tmp_path)
        assert asked == [("owner/name", None)]
        assert (images.train == train.transpose(0, 3, 1, 2)).all()
        assert images.test is not None and (images.test == validation.transpose(0, 3, 1, 2)).all()

    def test_set_without_a_train_split_gives_its_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        serve(monkeypatch, datasets.DatasetDict({"test": split(noise(3, 8, 8))}))
        card = prepare_images("owner/name", tmp_path)
        assert (card.train_count, card.test_count, card.channels) == (3, 0, 1)

    def test_pictures_are_fitted_and_noted_as_those_of_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(monkeypatch, datasets.DatasetDict({"train": split(np.full((3, 20, 32, 3), 7, np.uint8))}))
        images = prepared("owner/name", tmp_path, resolution=16)
        assert images.train.shape == (3, 3, 16, 16) and (images.train == 7).all()
        assert images.card.notes[1] == "3 images not square, centre cropped"

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"bytes": b"no picture", "path": None}, "train[0] cannot be read as an image"),
            (None, "train[0] holds no image; choose a data set without gaps"),
            ({"bytes": png(noise(1, 1, 3)), "path": None}, "train[0] is 1×1, smaller than the smallest resolution 8×8"),
        ],
    )
    def test_unfit_row_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any, words: str) -> None:
        features = datasets.Features({"image": datasets.Image()})
        rows = datasets.Dataset.from_dict({"image": [entry, entry]}, features=features)
        serve(monkeypatch, datasets.DatasetDict({"train": rows}))
        assert words in refusal("owner/name", tmp_path / "out")

    def test_set_without_images_lists_its_columns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        serve(monkeypatch, datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a", "b"]})}))
        assert "no column of images, only text" in refusal("owner/name", tmp_path / "out")


class Answered(OSError):
    """As the client raises it for a status that is no success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"Server error '{status}'")
        self.response = SimpleNamespace(status_code=status)


class TestWords:
    def test_cifar10_without_a_file_is_asked_of_the_hub_and_told_how_to_be_put_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = serve(monkeypatch, ConnectionError("Couldn't reach it"))
        text = refusal("cifar10", tmp_path / "out", data_dir=tmp_path)
        assert asked == [(CIFAR10_ID, None)]
        assert text.endswith(
            f"put the images at {tmp_path / 'cifar10.npz'} (numpy.savez with x_train, uint8 (50000, 32, 32, 3), "
            "and x_test; labels are not needed)"
        )

    def test_configuration_stands_after_a_colon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = datasets.DatasetDict({"train": split(noise(3, 8, 8))})
        asked = serve(monkeypatch, answer)
        prepare_images("owner/name:small", tmp_path)
        assert asked == [("owner/name", "small")]

    def test_missing_configuration_is_asked_for_with_the_choices(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "owner" / "name"
        folder.mkdir(parents=True)
        for name in ("small", "large"):
            (folder / f"{name}.csv").write_text("a\n1\n")
        configs = "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in ("small", "large"))
        (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the client's own words, which are looked into
            datasets.load_dataset(str(folder))
        serve(monkeypatch, caught.value)
        text = refusal("owner/name", tmp_path / "out")
        assert text == ("'owner/name' has several configurations ('small', 'large'); name one as in owner/name:NAME")

    @pytest.mark.parametrize("word", ["imagefolder", "csv", "pandas", "webdataset"])
    def test_file_formats_of_the_client_are_no_data_sets(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
    ) -> None:
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
        monkeypatch.chdir(tmp_path)  # whose pictures the client would take
        assert "is a file format of Hugging Face's library, not a data set" in refusal(word, tmp_path / "out")

    def test_other_failures_are_passed_on_in_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        serve(monkeypatch, RuntimeError("Dataset scripts are no longer supported.\nMore."))
        text = refusal("owner/name", tmp_path / "out")
        assert text == "'owner/name' cannot be loaded from Hugging Face: Dataset scripts are no longer supported"

    def test_reason_behind_a_failure_is_told_instead_of_its_wrapping(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrapping = datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset")
        wrapping.__cause__ = OSError("No space left on device")
        serve(monkeypatch, wrapping)
        assert refusal("owner/name", tmp_path / "out").endswith("Hugging Face: No space left on device")

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_hub_in_trouble_is_neither_a_missing_network_nor_a_missing_set(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        wrapping = ConnectionError("Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)")
        wrapping.__cause__ = Answered(status)
        serve(monkeypatch, wrapping)
        text = refusal("owner/name", tmp_path / "out")
        assert f"since Hugging Face answers with HTTP {status}; try again later, or give digits" in text
        assert "network" not in text and "names no" not in text
