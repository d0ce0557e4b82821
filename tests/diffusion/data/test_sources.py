import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import noise, prepared, refusal, save_npz, save_pictures
from PIL import Image

from diffusion.data.images import prepare_images
from diffusion.data.sources import KINDS
from diffusion.errors import UserError


def zip_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


class TestNpz:
    def test_colour_images_become_channels_first(self, tmp_path: Path) -> None:
        images = noise(5, 16, 16, 3)
        typed = save_npz(tmp_path, x_train=images, x_test=images[:2], y_train=np.arange(5))
        opened = prepared(typed, tmp_path / "out")
        assert (opened.train == images.transpose(0, 3, 1, 2)).all()
        assert opened.test is not None and (opened.test == opened.train[:2]).all()
        assert (opened.card.name, opened.card.channels, opened.card.notes) == (typed, 3, ())

    @pytest.mark.parametrize("shape", [(3, 8, 8), (3, 8, 8, 1)])
    def test_single_array_of_any_name_is_the_training_split(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        images = prepared(save_npz(tmp_path, faces=noise(*shape)), tmp_path / "out")
        assert (images.card.train_count, images.card.test_count, images.card.channels) == (3, 0, 1)
        assert images.test is None

    def test_order_of_the_bytes_in_the_file_does_not_matter(self, tmp_path: Path) -> None:
        images = noise(5, 16, 16, 3)
        card = prepare_images(save_npz(tmp_path, x_train=images), tmp_path / "out")
        assert prepare_images(save_npz(tmp_path, x_train=np.asfortranarray(images)), tmp_path / "out") == card

    def test_suffix_in_capitals_is_one_as_well(self, tmp_path: Path) -> None:
        path = Path(save_npz(tmp_path, x=noise(3, 8, 8))).rename(tmp_path / "IMAGES.NPZ")
        assert prepared(str(path), tmp_path / "out").train.shape == (3, 1, 8, 8)

    def test_odd_sides_are_padded_on_all_four_sides_and_noted(self, tmp_path: Path) -> None:
        images = noise(3, 28, 28)
        opened = prepared(save_npz(tmp_path, x_train=images, x_test=images), tmp_path / "out")
        train = opened.train
        assert opened.card.notes == ("padded from 28×28 to 32×32 by repeating the edge",)
        assert (train[:, 0, 2:30, 2:30] == images).all()
        assert (train[:, 0, 0, 2:30] == images[:, 0]).all() and (train[:, 0, 2:30, 31] == images[:, :, 27]).all()

    def test_resolution_takes_the_place_of_padding_and_crops_instead_of_stretching(self, tmp_path: Path) -> None:
        images = np.zeros((3, 12, 36, 1), np.uint8)
        images[:, :, 8:28] = 77  # the centre, and the 4 columns beside it that the filter sees
        opened = prepared(save_npz(tmp_path, x_train=images), tmp_path / "out", resolution=24)
        assert opened.train.shape == (3, 1, 24, 24) and (opened.train == 77).all()
        assert opened.card.notes == (
            "3 images resized to 24×24 with antialiasing",
            "3 images not square, centre cropped",
            "3 images smaller than 24×24 enlarged",
            "all 3 training images are equal",
        )

    def test_alpha_is_composited_on_white_and_only_transparent_images_are_noted(self, tmp_path: Path) -> None:
        images = np.zeros((4, 8, 8, 4), np.uint8)
        images[1:, ..., 3] = 255
        images[2, 3, 4, 3] = 51
        opened = prepared(save_npz(tmp_path, x_train=images, x_test=images[1:2]), tmp_path / "out")
        assert (opened.train[0] == 255).all() and (opened.train[1] == 0).all()
        assert (opened.train[2, :, 3, 4] == 204).all()  # four fifths of white show through
        assert opened.card.notes == ("2 images with transparent pixels composited on white",)

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"x_train": np.zeros((4, 8, 8))}, "float64; images must be uint8"),
            ({"x_train": np.zeros((4, 8, 8), bool)}, "bool; images must be uint8"),
            ({"x_train": np.zeros((4, 8, 8), np.int64)}, "int64; images must be uint8"),
            ({"x_train": np.zeros((4, 64), np.uint8)}, r"shape \(4, 64\)"),
            ({"x_train": np.uint8(3)}, r"shape \(\)"),
            ({"x_train": np.zeros((4, 3, 8, 8), np.uint8)}, "N×H×W×C"),
            ({"x_train": np.zeros((4, 8, 8, 2), np.uint8)}, "C 1, 3 or 4"),
            ({"x_train": np.zeros((4, 0, 0), np.uint8)}, r"shape \(4, 0, 0\)"),
            ({"x_train": np.zeros((0, 8, 8), np.uint8)}, "no training images; at least 2"),
            ({"x_train": np.zeros((1, 8, 8), np.uint8)}, "1 training image; at least 2"),
            ({"x_train": np.zeros((4, 1, 1), np.uint8)}, "1×1, smaller than the smallest resolution 8×8; give larger"),
            ({"x_train": np.zeros((4, 8, 16), np.uint8)}, "16×8, not square; give --resolution N"),
            ({"x_train": np.zeros((2, 300, 300), np.uint8)}, "give --resolution N, at most 256"),
            ({"x_train": np.zeros((4, 8, 8), np.uint8), "x_test": np.zeros((4, 16, 16), np.uint8)}, "one shape"),
            ({"x_train": np.zeros((4, 8, 8), np.uint8), "x_test": np.zeros((4, 8, 8))}, "x_test of type float64"),
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

    def test_images_too_small_stay_so_with_a_resolution(self, tmp_path: Path) -> None:
        typed = save_npz(tmp_path, x=np.zeros((4, 7, 30), np.uint8))
        assert "30×7, smaller than the smallest" in refusal(typed, tmp_path / "out", resolution=16)

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


class TestFolder:
    def test_pictures_are_read_recursively_in_sorted_order_without_hidden_files(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        typed = save_pictures(folder, "b/1.png", "a/2.png", "a/1.bmp", ".cache/3.png", "b/.4.png", "__MACOSX/5.png")
        expected = [np.asarray(Image.open(folder / name)) for name in ("a/1.bmp", "a/2.png", "b/1.png")]
        assert (prepared(typed, tmp_path / "out").train == np.stack(expected).transpose(0, 3, 1, 2)).all()

    def test_train_and_test_folders_are_splits_and_the_rest_is_noted(self, tmp_path: Path) -> None:
        names = ("train/1.png", "train/x/2.png", "test/3.png", "val/4.png", "5.png")
        card = prepare_images(save_pictures(tmp_path / "photos", *names), tmp_path / "out")
        assert (card.train_count, card.test_count) == (2, 1)
        assert card.notes == ("2 images outside the splits left out, such as 5.png",)

    @pytest.mark.parametrize("test", ["Test", "validation", "valid", "VAL"])
    def test_splits_are_known_by_other_names_and_cases(self, tmp_path: Path, test: str) -> None:
        typed = save_pictures(tmp_path / "photos", "Train/1.png", "Train/2.png", f"{test}/3.png")
        card = prepare_images(typed, tmp_path / "out")
        assert (card.train_count, card.test_count, card.notes) == (2, 1, ())

    def test_without_a_train_folder_all_are_for_training(self, tmp_path: Path) -> None:
        card = prepare_images(save_pictures(tmp_path / "photos", "test/1.png", "cats/2.png"), tmp_path / "out")
        assert (card.train_count, card.test_count) == (2, 0)

    def test_splits_of_two_sizes_are_refused(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "train/a.png", "train/b.png")
        typed = save_pictures(tmp_path / "photos", "test/c.png", shape=(16, 16, 3))
        assert "train/a.png is 8×8 but test/c.png is 16×16" in refusal(typed, tmp_path / "out")

    def test_same_picture_in_both_splits_is_counted(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "train/a.png", "train/b.png", "test/c.png")
        Image.open(tmp_path / "photos/train/b.png").save(tmp_path / "photos/test/d.bmp")
        assert prepare_images(typed, tmp_path / "out").shared_images == 1

    def test_linked_folders_are_followed_and_circles_end(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "elsewhere", "a.png", "b.png")
        typed = save_pictures(tmp_path / "photos", "c.png")
        (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
        assert prepare_images(typed, tmp_path / "out").train_count == 3

    def test_files_of_another_kind_are_left_out_and_noted(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png")
        (tmp_path / "photos/labels.csv").write_text("1,2")
        (tmp_path / "photos/LICENSE").write_text("free")
        (tmp_path / "photos/dead.png").symlink_to("nowhere")
        os.mkfifo(tmp_path / "photos/pipe.png")  # reading it would wait for ever
        (tmp_path / "photos/b.png").rename(tmp_path / "photos/without_suffix")
        card = prepare_images(typed, tmp_path / "out")
        assert card.train_count == 2
        assert card.notes == ("4 other files left out, such as LICENSE",)

    def test_empty_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        typed = str(tmp_path / "photos")
        assert refusal(typed, tmp_path / "out") == f"'{typed}' is an empty folder; put at least 2 images into it"

    def test_folder_of_texts_is_refused_with_one_of_them(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        for name in ("b.txt", "a.txt"):
            (tmp_path / "photos" / name).write_text("a cat")
        text = refusal(str(tmp_path / "photos"), tmp_path / "out")
        assert text.endswith(
            "holds no images, only 2 files of another kind such as a.txt; put at least 2 images into it"
        )

    def test_empty_train_folder_is_named(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "test/a.png", "test/b.png")
        (tmp_path / "photos/train").mkdir()
        assert "holds no images in its folder train" in refusal(typed, tmp_path / "out")

    def test_single_picture_is_too_few(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png")
        assert "holds 1 training image; at least 2" in refusal(typed, tmp_path / "out")

    def test_folder_that_may_not_be_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "locked/b.png")
        scan = os.scandir

        def guarded(path: Any) -> Any:
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", guarded)
        assert "cannot be read (Permission denied: " in refusal(typed, tmp_path / "out")

    @pytest.mark.parametrize("name", ["two\nlines.png", "\x1b[31mred.png", b"caf\xe9.png"])
    def test_name_that_no_terminal_shows_is_spelled_out(self, tmp_path: Path, name: str | bytes) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png")
        path = tmp_path / "photos" / os.fsdecode(name)
        path.write_text("no picture")
        assert "cannot be read as an image" in refusal(typed, tmp_path / "out")
        path.rename(path.with_suffix(".txt"))
        assert prepare_images(typed, tmp_path / "out").notes[0].isprintable()


@pytest.mark.parametrize("word", ["./none", "/none/at/all", "a/b/c", "two words", "-x", "", "~nobody-here/x", "a\0b"])
def test_word_that_can_be_nothing_lists_what_exists(tmp_path: Path, word: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare_images(word, tmp_path / "out")
    assert str(caught.value) == f"'{word}' is no data set; give {KINDS}"


def test_word_too_long_for_a_file_is_asked_of_the_hub(tmp_path: Path) -> None:
    assert "Hugging Face" in refusal("a" * 300, tmp_path / "out")


def test_file_of_another_kind_lists_what_exists(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "is a file but no data set" in refusal(str(tmp_path / "a.png"), tmp_path / "out")
