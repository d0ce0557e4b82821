import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, prepared, refusal, save_npz

from diffusion.data.card import DataCard, card_rows
from diffusion.data.images import fingerprint_of, open_images, prepare_images
from diffusion.errors import UserError


class TestDigits:
    def test_digits_are_split_by_seed_zero_and_scaled_to_bytes(self, tmp_path: Path) -> None:
        from sklearn.datasets import load_digits

        images = prepared("digits", tmp_path)
        card = images.card
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
        assert card.resolution == 16
        assert card.notes == (
            "1,797 images resized to 16×16 with antialiasing",
            "1,797 images smaller than 16×16 enlarged",
        )


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

    @pytest.mark.parametrize("name", ["card.json", "train.npy", "test.npy"])
    @pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
    def test_damaged_file_is_named_with_the_remedy(self, tmp_path: Path, name: str, damage: str) -> None:
        card = prepare_images("digits", tmp_path)
        path = tmp_path / card.fingerprint / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
        if damage == "gone":
            path.unlink()
        words = "holds no prepared images" if (name, damage) == ("card.json", "gone") else f"{name}' is damaged; delete"
        with pytest.raises(UserError, match=words):
            open_images(tmp_path, card.fingerprint)

    def test_array_that_the_card_does_not_describe_is_damaged(self, tmp_path: Path) -> None:
        card = prepare_images("digits", tmp_path)
        np.save(tmp_path / card.fingerprint / "train.npy", noise(1437, 8, 8))
        with pytest.raises(UserError, match=r"train.npy' is damaged"):
            open_images(tmp_path, card.fingerprint)

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


class TestMeasurements:
    def test_mean_is_of_each_channel_of_the_training_images_alone(self, tmp_path: Path) -> None:
        train = np.zeros((4, 8, 8, 3), np.uint8)
        train[..., 1] = 255
        train[:2, ..., 2] = 51  # a fifth, in half of the images
        test = np.full((2, 8, 8, 3), 77, np.uint8)
        card = prepare_images(save_npz(tmp_path, x_train=train, x_test=test), tmp_path / "out")
        assert card.mean == (0.0, 1.0, 0.1)

    def test_mean_of_the_digits_is_numpys(self, tmp_path: Path) -> None:
        images = prepared("digits", tmp_path)
        assert images.card.mean == pytest.approx([images.train.astype(float).mean() / 255], rel=1e-12)

    def test_copies_are_counted_once_each_within_the_training_split_and_between_the_splits(
        self, tmp_path: Path
    ) -> None:
        images = noise(6, 8, 8, 3)
        train = images[[0, 1, 0, 2, 0, 1]]  # 0 twice more, 1 once more
        test = images[[0, 3, 3, 2, 2]]  # 0, 2 and 2 again are in the training split; 3 is not
        card = prepare_images(save_npz(tmp_path, x_train=train, x_test=test), tmp_path / "out")
        assert (card.train_duplicates, card.shared_images) == (3, 3)

    def test_one_pixel_of_one_channel_makes_another_image(self, tmp_path: Path) -> None:
        images = np.repeat(noise(1, 8, 8, 3), 3, axis=0)
        images[1, 7, 7, 2] ^= 1
        images[2] = images[0].transpose(1, 0, 2)
        card = prepare_images(save_npz(tmp_path, x_train=images, x_test=images[:1] ^ 1), tmp_path / "out")
        assert (card.train_duplicates, card.shared_images) == (0, 0)

    def test_no_test_split_shares_nothing_that_could_be_counted(self, tmp_path: Path) -> None:
        assert prepare_images(save_npz(tmp_path, x=noise(3, 8, 8)), tmp_path / "out").shared_images is None

    def test_digits_hold_no_copies(self, tmp_path: Path) -> None:
        from sklearn.datasets import load_digits

        assert len(np.unique(load_digits().images.reshape(1797, 64), axis=0)) == 1797
        card = prepare_images("digits", tmp_path)
        assert (card.train_duplicates, card.shared_images) == (0, 0)

    def test_set_of_one_image_is_noted(self, tmp_path: Path) -> None:
        card = prepare_images(save_npz(tmp_path, x_train=np.full((5, 8, 8), 9, np.uint8)), tmp_path / "out")
        assert card.notes == ("all 5 training images are equal",) and card.train_duplicates == 4


class TestCard:
    def test_card_from_before_the_measurements_still_loads(self, tmp_path: Path) -> None:
        card = self.older(tmp_path)
        assert (card.mean, card.train_duplicates, card.shared_images) == ((), None, None)
        assert ("mean", "not measured") in card_rows(card) and ("duplicates", "not counted") in card_rows(card)

    def test_preparing_again_completes_an_older_card_and_keeps_its_words(self, tmp_path: Path) -> None:
        older = self.older(tmp_path, notes=["of old"])
        fresh = prepare_images("digits", tmp_path)
        completed = open_images(tmp_path, fresh.fingerprint).card
        assert completed.notes == older.notes == ("of old",)
        assert completed.mean == fresh.mean != () and completed.train_duplicates == completed.shared_images == 0
        assert sorted(path.name for path in (tmp_path / fresh.fingerprint).iterdir()) == [
            "card.json", "test.npy", "train.npy",
        ]  # fmt: skip

    def test_older_card_that_cannot_be_rewritten_is_left_as_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older = self.older(tmp_path)

        def read_only(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "replace", read_only)
        assert prepare_images("digits", tmp_path).mean != ()
        assert open_images(tmp_path, older.fingerprint).card == older
        assert len(list((tmp_path / older.fingerprint).iterdir())) == 3

    @staticmethod
    def older(folder: Path, **changes: object) -> DataCard:
        """The digits with a card as it was before mean and duplicates."""
        card = prepare_images("digits", folder)
        path = folder / card.fingerprint / "card.json"
        values = {**json.loads(path.read_text()), **changes}
        for name in ("mean", "train_duplicates", "shared_images"):
            del values[name]
        path.write_text(json.dumps(values))
        return open_images(folder, card.fingerprint).card

    def test_rows_of_a_card_say_what_people_ask(self) -> None:
        card = DataCard(
            name="photos",
            resolution=32,
            channels=3,
            train_count=50_000,
            test_count=10_000,
            fingerprint="0123456789ab",
            notes=("1 image not square, centre cropped", "2 other files left out, such as a.txt"),
            mean=(0.49139968, 0.48215841, 0.44653091),
            train_duplicates=1,
            shared_images=2000,
        )
        assert card_rows(card) == [
            ("data set", "photos"),
            ("images", "50,000 for training, 10,000 for testing"),
            ("size", "32×32"),
            ("channels", "3 (red, green, blue)"),
            ("mean", "0.4914, 0.4822, 0.4465"),
            ("fingerprint", "0123456789ab"),
            ("duplicates", "1 training image equal to an earlier one, 2,000 test images also in the training split"),
            ("note", "1 image not square, centre cropped"),
            ("note", "2 other files left out, such as a.txt"),
        ]

    def test_rows_of_a_grey_set_without_a_test_split(self, tmp_path: Path) -> None:
        rows = dict(card_rows(prepare_images(save_npz(tmp_path, x=noise(3, 8, 8)), tmp_path / "out")))
        assert rows["images"] == "3 for training, no test split" and rows["channels"] == "1 (grey)"
        assert rows["duplicates"] == "0 training images equal to an earlier one"


@pytest.mark.parametrize("resolution", [0, -8, 4, 30, 264])
def test_resolution_must_be_a_multiple_of_eight_up_to_256(tmp_path: Path, resolution: int) -> None:
    assert f"'--resolution {resolution}' is not a multiple of 8" in refusal(
        "digits", tmp_path / "out", resolution=resolution
    )


@pytest.mark.parametrize("resolution", range(8, 257, 8))
def test_every_resolution_from_8_to_256_is_prepared(tmp_path: Path, resolution: int) -> None:
    typed = save_npz(tmp_path, x_train=np.full((2, 40, 24, 3), 77, np.uint8))
    images = prepared(typed, tmp_path / "out", resolution=resolution)
    assert images.train.shape == (2, 3, resolution, resolution) and (images.train == 77).all()


def test_module_imports_neither_torch_nor_the_loaders_libraries() -> None:
    libraries = ("torch", "PIL", "sklearn", "datasets")
    code = f"import sys, diffusion.data.images; print([m for m in {libraries} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
