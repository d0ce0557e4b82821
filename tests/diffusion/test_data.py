import io
import os
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets.exceptions import DatasetNotFoundError
from PIL import Image

from diffusion.data import fingerprint_of, open_images, prepare_images
from diffusion.errors import UserError
from diffusion.sources import CIFAR10_ID, KINDS

RNG = np.random.default_rng(0)


def noise(*shape: int) -> Any:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def save_npz(folder: Path, **arrays: Any) -> str:
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return str(path)


def save_pictures(folder: Path, *names: str, shape: tuple[int, ...] = (8, 8, 3)) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(*shape)).save(path)
    return str(folder)


def train_of(dataset: str, folder: Path, **options: Any) -> Any:
    card = prepare_images(dataset, folder, **options)
    return open_images(folder, card.fingerprint).train


def refusal(dataset: str, folder: Path, **options: Any) -> str:
    """The sentence; it starts with what was typed and is one line, and nothing was written."""
    with pytest.raises(UserError) as caught:
        prepare_images(dataset, folder, **options)
    text = str(caught.value)
    assert "\n" not in text and not folder.exists()
    assert text.startswith(("'--resolution", f"'{dataset}'"))
    return text


class TestDigits:
    def test_digits_are_split_by_seed_zero_and_scaled_to_bytes(self, tmp_path: Path) -> None:
        from sklearn.datasets import load_digits

        card = prepare_images("digits", tmp_path)
        images = open_images(tmp_path, card.fingerprint)
        order = np.random.RandomState(0).permutation(1797)
        first, held_out = load_digits().images[order[0]], load_digits().images[order[1437]]
        assert (card.resolution, card.channels, card.train_count, card.test_count) == (8, 1, 1437, 360)
        assert card.notes == ()
        assert images.test is not None and images.train.dtype == np.uint8
        assert np.abs(images.train[0, 0] - first * 255 / 16).max() <= 0.5
        assert np.abs(images.test[0, 0] - held_out * 255 / 16).max() <= 0.5

    def test_fingerprint_of_the_digits_is_the_same_on_every_machine(self, tmp_path: Path) -> None:
        assert prepare_images("digits", tmp_path).fingerprint == "91a34b1631fe"

    def test_digits_can_be_resized(self, tmp_path: Path) -> None:
        card = prepare_images("digits", tmp_path, resolution=16)
        assert card.resolution == 16 and card.notes == ("shorter side resized to 16 and centre cropped",)


class TestPreparedFolder:
    def test_second_call_writes_nothing(self, tmp_path: Path) -> None:
        card = prepare_images("digits", tmp_path)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert prepare_images("digits", tmp_path) == card
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written

    def test_folder_holds_plain_arrays_and_a_card_and_no_leftovers(self, tmp_path: Path) -> None:
        card = prepare_images("digits", tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [card.fingerprint]
        names = sorted(path.name for path in (tmp_path / card.fingerprint).iterdir())
        assert names == ["card.json", "test.npy", "train.npy"]

    def test_opened_images_are_mapped_read_only_and_carry_their_card(self, tmp_path: Path) -> None:
        card = prepare_images("digits", tmp_path)
        images = open_images(tmp_path, card.fingerprint)
        assert images.card == card
        assert isinstance(images.train, np.memmap) and not images.train.flags.writeable

    def test_crash_while_writing_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            prepare_images("digits", tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_process_that_comes_second_keeps_the_first_ones_copy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card, replace = prepare_images("digits", tmp_path / "theirs"), os.replace

        def after_the_other(source: Path, target: Path) -> None:
            replace(tmp_path / "theirs" / card.fingerprint, target)
            replace(source, target)

        monkeypatch.setattr(os, "replace", after_the_other)
        assert prepare_images("digits", tmp_path / "ours") == card
        assert [path.name for path in (tmp_path / "ours").iterdir()] == [card.fingerprint]

    def test_unknown_fingerprint_is_the_users_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="holds no prepared images"):
            open_images(tmp_path, "0123456789ab")

    def test_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="file' cannot be written"):
            prepare_images("digits", tmp_path / "file")

    def test_fingerprint_sees_every_pixel_the_shape_and_the_split(self) -> None:
        images = noise(4, 1, 8, 8)
        other = images.copy()
        other[3, 0, 7, 7] ^= 1
        prints = {
            fingerprint_of(images, None),
            fingerprint_of(other, None),
            fingerprint_of(images.reshape(4, 1, 4, 16), None),
            fingerprint_of(images[:2], images[2:]),
            fingerprint_of(images, images[:0]),
        }
        assert len(prints) == 5 and all(len(text) == 12 for text in prints)


class TestNpz:
    def test_colour_images_become_channels_first(self, tmp_path: Path) -> None:
        images = noise(5, 16, 16, 3)
        typed = save_npz(tmp_path, x_train=images, x_test=images[:2], y_train=np.arange(5))
        card = prepare_images(typed, tmp_path / "out")
        opened = open_images(tmp_path / "out", card.fingerprint)
        assert (opened.train == images.transpose(0, 3, 1, 2)).all()
        assert opened.test is not None and (opened.test == opened.train[:2]).all()
        assert (card.name, card.channels, card.notes) == (typed, 3, ())

    @pytest.mark.parametrize("shape", [(3, 8, 8), (3, 8, 8, 1)])
    def test_single_array_of_any_name_is_the_training_split(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        images = noise(*shape)
        card = prepare_images(save_npz(tmp_path, faces=images), tmp_path / "out")
        assert (card.train_count, card.test_count, card.channels) == (3, 0, 1)
        assert open_images(tmp_path / "out", card.fingerprint).test is None

    def test_odd_sides_are_padded_on_all_four_sides_and_noted(self, tmp_path: Path) -> None:
        images = noise(3, 28, 28)
        typed = save_npz(tmp_path, x_train=images, x_test=images)
        card = prepare_images(typed, tmp_path / "out")
        train = open_images(tmp_path / "out", card.fingerprint).train
        assert card.notes == ("padded from 28×28 to 32×32 by repeating the edge",)
        assert (train[:, 0, 2:30, 2:30] == images).all()
        assert (train[:, 0, 0, 2:30] == images[:, 0]).all() and (train[:, 0, 2:30, 31] == images[:, :, 27]).all()

    def test_resolution_takes_the_place_of_padding(self, tmp_path: Path) -> None:
        typed = save_npz(tmp_path, x_train=np.full((3, 12, 30, 1), 77, np.uint8))
        train = train_of(typed, tmp_path / "out", resolution=24)
        assert train.shape == (3, 1, 24, 24) and (train == 77).all()

    def test_alpha_is_composited_on_white(self, tmp_path: Path) -> None:
        images = np.zeros((2, 8, 8, 4), np.uint8)
        images[1, ..., 3] = 255
        card = prepare_images(save_npz(tmp_path, x_train=images), tmp_path / "out")
        train = open_images(tmp_path / "out", card.fingerprint).train
        assert (train[0] == 255).all() and (train[1] == 0).all()
        assert card.notes == ("transparent pixels composited on white",)

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"x_train": np.zeros((4, 8, 8))}, "float64; images must be uint8"),
            ({"x_train": np.zeros((4, 64), np.uint8)}, r"shape \(4, 64\)"),
            ({"x_train": np.zeros((4, 3, 8, 8), np.uint8)}, "N×H×W×C"),
            ({"x_train": np.zeros((4, 0, 0), np.uint8)}, r"shape \(4, 0, 0\)"),
            ({"x_train": np.zeros((0, 8, 8), np.uint8)}, "no training images; at least 2"),
            ({"x_train": np.zeros((1, 8, 8), np.uint8)}, "1 training image; at least 2"),
            ({"x_train": np.zeros((4, 8, 16), np.uint8)}, "16×8, not square; give --resolution N"),
            ({"x_train": np.zeros((2, 300, 300), np.uint8)}, "give --resolution N, at most 256"),
            ({"x_train": np.zeros((4, 8, 8), np.uint8), "x_test": np.zeros((4, 16, 16), np.uint8)}, "one shape"),
            ({"a": np.zeros((4, 8, 8), np.uint8), "b": np.zeros(4)}, "holds a, b; it must hold x_train"),
            ({}, "holds nothing"),
            ({"x_train": np.array([{}, {}], dtype=object)}, "pickled objects, which are refused"),
        ],
    )
    def test_unfit_arrays_are_refused(self, tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
        typed = save_npz(tmp_path, **arrays)
        with pytest.raises(UserError, match=words):
            prepare_images(typed, tmp_path / "out")
        refusal(typed, tmp_path / "out")

    def test_damaged_files_are_refused(self, tmp_path: Path) -> None:
        whole = Path(save_npz(tmp_path, x_train=noise(20, 8, 8)))
        content, broken = whole.read_bytes(), tmp_path / "broken.npz"
        flipped = bytearray(content)
        flipped[300] ^= 255
        array = io.BytesIO()
        np.save(array, noise(4, 8, 8))
        for damaged in (b"", b"hello", content[:700], bytes(flipped), array.getvalue(), zip_of("x_train.npy", b"no")):
            broken.write_bytes(damaged)
            refusal(str(broken), tmp_path / "out")

    def test_absent_file_is_named(self, tmp_path: Path) -> None:
        assert "does not exist" in refusal(str(tmp_path / "none.npz"), tmp_path / "out")

    def test_cifar10_is_taken_from_the_data_folder_first(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "cifar10.npz", x_train=noise(4, 32, 32, 3), x_test=noise(2, 32, 32, 3))
        card = prepare_images("cifar10", tmp_path / "out", data_dir=tmp_path)
        assert (card.name, card.train_count, card.test_count, card.resolution) == ("cifar10", 4, 2, 32)


def zip_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


class TestFolder:
    def test_pictures_are_read_recursively_in_sorted_order_without_hidden_files(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        typed = save_pictures(folder, "b/1.png", "a/2.png", "a/1.bmp", ".cache/3.png", "b/.4.png", "__MACOSX/5.png")
        expected = [np.asarray(Image.open(folder / name)) for name in ("a/1.bmp", "a/2.png", "b/1.png")]
        train = train_of(typed, tmp_path / "out")
        assert (train == np.stack(expected).transpose(0, 3, 1, 2)).all()

    def test_train_and_test_folders_are_splits(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "train/1.png", "train/x/2.png", "test/3.png", "other/4.png")
        card = prepare_images(typed, tmp_path / "out")
        assert (card.train_count, card.test_count) == (2, 1)

    def test_grey_pictures_of_all_kinds_stay_one_channel(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.new("L", (8, 8), 128).save(folder / "a.png")
        Image.new("1", (8, 8), 1).save(folder / "b.png")
        Image.fromarray(np.full((8, 8), 65535 // 5, np.uint16)).save(folder / "c.png")
        train = train_of(str(folder), tmp_path / "out")
        assert train.shape == (3, 1, 8, 8) and [int(image.max()) for image in train] == [128, 255, 51]

    def test_grey_among_colour_is_made_rgb_and_noted(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "a.png", shape=(8, 8))
        typed = save_pictures(tmp_path / "photos", "b.png", "c.png")
        card = prepare_images(typed, tmp_path / "out")
        train = open_images(tmp_path / "out", card.fingerprint).train
        assert card.channels == 3 and card.notes == ("1 grey images among colour ones made RGB",)
        assert (train[0, 0] == train[0, 2]).all() and not (train[1, 0] == train[1, 2]).all()

    def test_transparency_is_composited_on_white_and_noted(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(folder / "a.png")
        Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(folder / "b.png")
        card = prepare_images(str(folder), tmp_path / "out")
        train = open_images(tmp_path / "out", card.fingerprint).train
        assert (train[0] == 255).all() and (train[1, 1] == 0).all()
        assert card.notes == ("transparent pixels composited on white",)

    def test_photos_are_turned_upright(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        pixels, exif = noise(8, 8, 3), Image.Exif()
        exif[0x0112] = 6  # Orientation: the camera was turned a quarter
        for name in ("a.png", "b.png"):
            Image.fromarray(pixels).save(folder / name, exif=exif)
        assert (train_of(str(folder), tmp_path / "out")[0].transpose(1, 2, 0) == np.rot90(pixels, -1)).all()

    def test_mixed_sizes_name_two_files_and_the_remedy(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "a.png", "b.png")
        typed = save_pictures(tmp_path / "photos", "c.png", shape=(16, 16, 3))
        text = refusal(typed, tmp_path / "out")
        assert "a.png is 8×8 but c.png is 16×16; give --resolution N" in text
        assert train_of(typed, tmp_path / "out", resolution=8).shape == (3, 3, 8, 8)

    def test_splits_of_two_sizes_are_refused(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "train/a.png", "train/b.png")
        typed = save_pictures(tmp_path / "photos", "test/c.png", shape=(16, 16, 3))
        assert "train/a.png is 8×8 but test/c.png is 16×16" in refusal(typed, tmp_path / "out")

    def test_oblong_pictures_are_cropped_to_the_centre(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        stripes = np.zeros((16, 48), np.uint8)
        stripes[:, 10:38] = 200  # the centre, and the 6 columns beside it that the filter sees
        for name in ("a.png", "b.png"):
            Image.fromarray(stripes).save(folder / name)
        assert "a.png is 48×16, not square; give --resolution N" in refusal(str(folder), tmp_path / "out")
        card = prepare_images(str(folder), tmp_path / "out", resolution=8)
        train = open_images(tmp_path / "out", card.fingerprint).train
        assert train.shape == (2, 1, 8, 8) and (train == 200).all()
        assert card.notes == ("shorter side resized to 8 and centre cropped",)

    @pytest.mark.parametrize("damage", ["cut", "empty", "text"])
    def test_broken_picture_is_named(self, tmp_path: Path, damage: str) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "sub/b.png", "c.png", shape=(32, 32, 3))
        path = tmp_path / "photos" / "sub" / "b.png"
        path.write_bytes({"cut": path.read_bytes()[:800], "empty": b"", "text": b"not a picture"}[damage])
        assert "sub/b.png cannot be read as an image" in refusal(typed, tmp_path / "out")

    @pytest.mark.parametrize("limit", [100, 200])  # 256 pixels: twice and once over, an error and a warning of Pillow
    def test_decompression_bomb_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png", shape=(16, 16, 3))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert "a.png has more pixels than Pillow reads safely" in refusal(typed, tmp_path / "out")

    def test_picture_with_32_bit_pixels_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.new("F", (8, 8), 0.5).save(folder / "a.tif")
        assert "a.tif has 32-bit pixels" in refusal(str(folder), tmp_path / "out")

    def test_files_of_another_kind_are_left_out_and_noted(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png")
        (tmp_path / "photos" / "labels.csv").write_text("1,2")
        (tmp_path / "photos" / "LICENSE").write_text("free")
        (tmp_path / "photos" / "b.png").rename(tmp_path / "photos" / "without_suffix")
        card = prepare_images(typed, tmp_path / "out")
        assert card.train_count == 2
        assert card.notes == ("2 files that are no images left out, such as LICENSE",)

    @pytest.mark.parametrize("names", [(), ("a.png",)])
    def test_fewer_than_two_pictures_are_refused(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        (tmp_path / "photos").mkdir()
        assert "at least 2" in refusal(save_pictures(tmp_path / "photos", *names), tmp_path / "out")


class TestHuggingFace:
    @staticmethod
    def serve(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
        asked: list[str] = []

        def load_dataset(identifier: str) -> Any:
            asked.append(identifier)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return asked

    @staticmethod
    def split(pictures: Any, column: str = "img") -> Any:
        features = datasets.Features({"label": datasets.Value("int64"), column: datasets.Image()})
        rows = {"label": list(range(len(pictures))), column: [Image.fromarray(picture) for picture in pictures]}
        return datasets.Dataset.from_dict(rows, features=features)

    def test_image_column_and_splits_are_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        train, validation = noise(3, 8, 8, 3), noise(2, 8, 8, 3)
        answer = datasets.DatasetDict({"validation": self.split(validation), "train": self.split(train)})
        asked = self.serve(monkeypatch, answer)
        card = prepare_images("owner/name", tmp_path)
        images = open_images(tmp_path, card.fingerprint)
        assert asked == ["owner/name"]
        assert (images.train == train.transpose(0, 3, 1, 2)).all()
        assert images.test is not None and (images.test == validation.transpose(0, 3, 1, 2)).all()

    def test_set_without_a_train_split_gives_its_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serve(monkeypatch, datasets.DatasetDict({"test": self.split(noise(3, 8, 8))}))
        card = prepare_images("owner/name", tmp_path)
        assert (card.train_count, card.test_count, card.channels) == (3, 0, 1)

    def test_broken_row_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = {"image": [{"bytes": b"no picture", "path": None}] * 2}
        features = datasets.Features({"image": datasets.Image()})
        self.serve(monkeypatch, datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)}))
        assert "train[0] cannot be read as an image" in refusal("owner/name", tmp_path / "out")

    def test_set_without_images_lists_its_columns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serve(monkeypatch, datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a", "b"]})}))
        assert "no column of images, only text" in refusal("owner/name", tmp_path / "out")

    def test_cifar10_without_a_file_is_asked_of_the_hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.serve(monkeypatch, ConnectionError("Couldn't reach it"))
        text = refusal("cifar10", tmp_path / "out", data_dir=tmp_path)
        assert asked == [CIFAR10_ID]
        assert f"put the images at {tmp_path / 'cifar10.npz'}" in text

    def test_no_network_and_no_such_set_are_two_sentences(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.serve(monkeypatch, ConnectionError("Couldn't reach 'owner/name' on the Hub (OfflineModeIsEnabled)"))
        offline = refusal("owner/name", tmp_path / "out")
        self.serve(monkeypatch, DatasetNotFoundError("Dataset 'owner/name' doesn't exist on the Hub.\nSee the docs."))
        unknown = refusal("owner/name", tmp_path / "out")
        assert "no network" in offline and "names no data set" not in offline
        assert "names no data set on Hugging Face" in unknown and "network" not in unknown

    def test_client_that_reports_a_dead_network_as_a_missing_file_is_understood(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.serve(monkeypatch, FileNotFoundError("Couldn't find 'a/b' on the Hub either: LocalEntryNotFoundError: x"))
        assert "no network" in refusal("owner/name", tmp_path / "out")

    def test_other_failures_are_passed_on_in_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serve(monkeypatch, RuntimeError("Dataset scripts are no longer supported.\nMore."))
        text = refusal("owner/name", tmp_path / "out")
        assert text == "'owner/name' cannot be loaded from Hugging Face: Dataset scripts are no longer supported"

    def test_real_client_without_a_network_says_so(self, tmp_path: Path) -> None:
        assert "no network" in refusal("diffnas-tests/absent", tmp_path / "out")  # HF_HUB_OFFLINE is set in conftest.py


@pytest.mark.parametrize("word", ["./none", "/none/at/all", "a/b/c", "two words", "-x", ""])
def test_word_that_can_be_nothing_lists_what_exists(tmp_path: Path, word: str) -> None:
    assert refusal(word, tmp_path / "out") == f"'{word}' is no data set; give {KINDS}"


def test_file_of_another_kind_lists_what_exists(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "is a file but no data set" in refusal(str(tmp_path / "a.png"), tmp_path / "out")


@pytest.mark.parametrize("resolution", [0, -8, 4, 30, 264])
def test_resolution_must_be_a_multiple_of_eight_up_to_256(tmp_path: Path, resolution: int) -> None:
    assert f"'--resolution {resolution}' is not a multiple of 8" in refusal(
        "digits", tmp_path / "out", resolution=resolution
    )


def test_module_imports_neither_torch_nor_the_loaders_libraries() -> None:
    import subprocess
    import sys

    code = "import sys, diffusion.data; print([m for m in ('torch', 'PIL', 'sklearn', 'datasets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
