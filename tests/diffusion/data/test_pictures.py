import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import noise, prepared, refusal, save_pictures
from numpy.typing import NDArray
from PIL import Image

from diffusion.data.images import prepare_images
from diffusion.data.pictures import Change, Picture, change_notes, read_picture
from diffusion.errors import UserError

FRAMES = [Image.fromarray(noise(8, 8)) for _ in range(3)]


def read(content: bytes, resolution: int | None = None) -> tuple[NDArray[np.uint8], set[Change]]:
    """One picture's values and what was done to it."""
    decoded = read_picture("photos", Picture("a", content), resolution)
    return decoded.pixels, set(decoded.changes)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_16_bits(values: NDArray[np.uint16], colour_type: int) -> bytes:
    """A PNG written by hand, as Pillow writes none of 16 bits but grey ones; 0 is grey, 2 RGB, 6 RGBA."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)  # filter 0, then big-endian samples
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


class TestModes:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}),
            ("BMP", {}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("WEBP", {"lossless": True}),
            ("PPM", {}),
            ("TGA", {}),
            ("JPEG2000", {}),
        ],
    )
    def test_every_lossless_format_gives_the_same_values(self, kind: str, options: dict[str, Any]) -> None:
        pixels = noise(24, 24, 3)
        values, changes = read(encoded(Image.fromarray(pixels), kind, **options))
        assert (values == pixels).all() and changes == set()

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "GIF"])
    def test_grey_pictures_stay_grey(self, kind: str) -> None:
        ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
        values, changes = read(encoded(Image.fromarray(ramp), kind))
        assert values.shape == (8, 8) and changes == set()
        assert np.abs(values.astype(int) - ramp).max() <= (4 if kind == "JPEG" else 0)  # a JPEG of quality 75

    def test_bilevel_picture_is_black_and_white(self) -> None:
        values, _ = read(encoded(Image.fromarray(np.eye(8, dtype=bool))))
        assert (values == np.eye(8) * 255).all()

    def test_cmyk_photo_becomes_rgb(self) -> None:
        # without ink white; magenta and yellow give red; black ink gives black; half of the cyan takes half of the red
        inks = {(0, 0, 0, 0): (255, 255, 255), (0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 255): (0, 0, 0)}
        for ink, colour in {**inks, (128, 0, 0, 0): (127, 255, 255)}.items():
            values, _ = read(encoded(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100))
            assert np.abs(values.astype(int) - colour).max() <= 2

    def test_palette_with_transparent_entries_is_composited_on_white(self) -> None:
        image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 3, "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        values, changes = read(encoded(image, transparency=bytes([255, 0, 51])))
        assert values[0, :3].tolist() == [[255, 0, 0], [255, 255, 255], [204, 204, 255]]  # a fifth of blue on white
        assert changes == {Change.WHITENED}

    @pytest.mark.parametrize(("mode", "shape"), [("RGBA", (8, 8, 3)), ("LA", (8, 8))])
    def test_opaque_alpha_is_dropped_without_a_note(self, mode: str, shape: tuple[int, ...]) -> None:
        values, changes = read(encoded(Image.new("L", (8, 8), 9).convert(mode)))
        assert values.shape == shape and (values == 9).all() and changes == set()

    def test_16_bits_of_grey_are_scaled_to_8_and_rounded(self) -> None:
        levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
        levels[0, :5] = [0, 65535, 65535 // 5, 128, 129]  # 128·255/65535 = 0.498, 129·255/65535 = 0.502
        values, changes = read(png_of_16_bits(levels, 0))
        assert values[0, :5].tolist() == [0, 255, 51, 0, 1] and changes == {Change.NARROWED}
        assert np.abs(values - levels.astype(float) * 255 / 65535).max() <= 0.5
        for kind, mode in (("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")):
            image = Image.frombytes(mode, (8, 8), levels.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
            assert (read(encoded(image, kind))[0] == values).all()

    @pytest.mark.parametrize("colour_type", [2, 6])
    def test_16_bits_of_colour_keep_the_upper_8(self, colour_type: int) -> None:
        levels = np.full((8, 8, 4), 65535, np.uint16)
        levels[..., :3] = [0x12FF, 0x8000, 0xFFFF]
        values, changes = read(png_of_16_bits(levels[..., : 3 if colour_type == 2 else 4], colour_type))
        assert (values == [0x12, 0x80, 0xFF]).all() and changes == {Change.NARROWED}

    @pytest.mark.parametrize("mode", ["F", "I"])
    def test_picture_with_32_bit_pixels_is_refused(self, mode: str) -> None:
        words = f"'photos': a cannot be read as an image .32 bits a pixel, mode {mode}.; repair or remove it"
        with pytest.raises(UserError, match=words):
            read(encoded(Image.new(mode, (8, 8)), "TIFF"))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_photos_are_turned_upright(self, orientation: int) -> None:
        upright = noise(8, 16, 3)
        # what the camera stores for each value of the tag (EXIF 2.3, table 6), from what it saw
        stored = {
            1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
            5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]  # fmt: skip
        exif = Image.Exif()
        exif[0x0112] = orientation
        values, changes = read(encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
        assert (values == upright).all() and changes == set()


class TestFrames:
    @pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
    def test_first_frame_of_several_is_taken(self, kind: str) -> None:
        values, changes = read(encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]))
        assert (values == np.asarray(FRAMES[0])).all() and changes == {Change.FIRST_FRAME}

    def test_animated_webp_is_one_as_well(self) -> None:
        colour = [frame.convert("RGB") for frame in FRAMES]
        values, changes = read(encoded(colour[0], "WEBP", save_all=True, append_images=colour[1:], lossless=True))
        assert (values == np.asarray(colour[0])).all() and changes == {Change.FIRST_FRAME}

    def test_animated_pictures_are_counted_in_a_note(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png", shape=(8, 8))
        for name in ("c.gif", "d.gif"):
            FRAMES[0].save(tmp_path / "photos" / name, save_all=True, append_images=FRAMES[1:])
        images = prepared(typed, tmp_path / "out")
        assert images.card.notes == ("2 images of several frames reduced to the first",)
        assert (images.train[2, 0] == np.asarray(FRAMES[0])).all()


class TestSizes:
    def test_shrinking_averages_instead_of_picking(self) -> None:
        checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
        values, changes = read(encoded(Image.fromarray(checkers)), 8)
        assert np.abs(values.astype(float) - 127.5).max() < 3 and changes == {Change.RESIZED}

    def test_an_area_of_one_grey_keeps_it(self) -> None:
        halves = np.zeros((64, 64), np.uint8)
        halves[:, 32:] = 200
        values, _ = read(encoded(Image.fromarray(halves)), 16)
        assert (values[:, :5] == 0).all() and (values[:, 11:] == 200).all()  # beyond the filter's three pixels

    @pytest.mark.parametrize("turned", [False, True])
    def test_centre_is_cropped_and_nothing_is_stretched(self, turned: bool) -> None:
        picture = np.zeros((32, 96, 3), np.uint8)
        picture[:, 32:64] = np.indices((32, 32)).sum(axis=0)[..., None] * 4  # a ramp, which a resize leaves a ramp
        square = picture[:, 32:64]
        if turned:
            picture = picture.transpose(1, 0, 2)
        values, changes = read(encoded(Image.fromarray(np.ascontiguousarray(picture))), 16)
        expected, _ = read(encoded(Image.fromarray(square)), 16)
        assert changes == {Change.RESIZED, Change.CROPPED}
        inner = (slice(3, 13), slice(3, 13))  # at the edge the filter sees what was cropped
        assert np.abs(values[inner].astype(int) - expected[inner]).max() <= 1

    def test_picture_of_the_right_size_is_not_touched(self) -> None:
        pixels = noise(16, 16, 3)
        values, changes = read(encoded(Image.fromarray(pixels)), 16)
        assert (values == pixels).all() and changes == set()

    def test_sizes_are_noted_with_their_counts(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "a.png", shape=(16, 16, 3))
        save_pictures(tmp_path / "photos", "b.png", "c.png", shape=(12, 20, 3))
        typed = save_pictures(tmp_path / "photos", "d.png", shape=(40, 16, 3))
        assert prepare_images(typed, tmp_path / "out", resolution=16).notes == (
            "2 images resized to 16×16 with antialiasing",
            "3 images not square, centre cropped",
            "2 images smaller than 16×16 enlarged",
        )

    def test_mixed_sizes_name_two_files_and_the_remedy(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "a.png", "b.png")
        typed = save_pictures(tmp_path / "photos", "c.png", shape=(16, 16, 3))
        text = refusal(typed, tmp_path / "out")
        assert "a.png is 8×8 but c.png is 16×16; give --resolution N" in text
        assert prepared(typed, tmp_path / "out", resolution=8).train.shape == (3, 3, 8, 8)

    def test_oblong_picture_is_named(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png", shape=(16, 48))
        assert "a.png is 48×16, not square; give --resolution N" in refusal(typed, tmp_path / "out")

    def test_first_picture_that_is_too_large_is_named_before_the_others_are_read(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", shape=(264, 264))
        (tmp_path / "photos/b.png").write_bytes(b"never read")
        assert "a.png is 264×264; give --resolution N, at most 256" in refusal(typed, tmp_path / "out")

    @pytest.mark.parametrize("resolution", [None, 8, 32])
    def test_single_pixel_in_a_set_is_named(self, tmp_path: Path, resolution: int | None) -> None:
        save_pictures(tmp_path / "photos", "a.png", "b.png")
        typed = save_pictures(tmp_path / "photos", "c.png", shape=(1, 1, 3))
        text = refusal(typed, tmp_path / "out", resolution=resolution)
        assert text == f"'{typed}': c.png is 1×1, smaller than the smallest resolution 8×8; remove it"

    def test_narrow_picture_is_too_small_as_well(self, tmp_path: Path) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png", shape=(100, 7))
        assert "a.png is 7×100, smaller than" in refusal(typed, tmp_path / "out", resolution=16)


class TestSets:
    def test_grey_among_colour_is_made_rgb_and_noted(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "photos", "train/a.png", shape=(8, 8))
        save_pictures(tmp_path / "photos", "test/d.png", shape=(8, 8))
        typed = save_pictures(tmp_path / "photos", "train/b.png", "train/c.png")
        images = prepared(typed, tmp_path / "out")
        grey = np.asarray(Image.open(tmp_path / "photos/train/a.png"))
        assert images.card.channels == 3 and images.test is not None and images.test.shape == (1, 3, 8, 8)
        assert images.card.notes == ("2 grey images among colour ones made RGB",)
        assert (images.train[0] == grey).all() and not (images.train[1, 0] == images.train[1, 2]).all()

    def test_one_of_each_change_is_told_in_the_singular(self) -> None:
        assert change_notes(dict.fromkeys(Change, 1), 8) == (
            "1 image with transparent pixels composited on white",
            "1 image with 16 bits a channel scaled to 8",
            "1 image of several frames reduced to the first",
            "1 image resized to 8×8 with antialiasing",
            "1 image not square, centre cropped",
            "1 image smaller than 8×8 enlarged",
        )


class TestDamage:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
    @pytest.mark.parametrize("damage", ["cut", "empty", "text"])
    def test_broken_picture_is_named(self, tmp_path: Path, kind: str, damage: str) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "c.png", shape=(32, 32, 3))
        path = tmp_path / "photos" / "sub" / f"b.{kind.lower()}"
        path.parent.mkdir()
        whole = encoded(Image.fromarray(noise(32, 32, 3)), kind)
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not a picture"}[damage])
        text = refusal(typed, tmp_path / "out")
        assert f"sub/b.{kind.lower()} cannot be read as an image (" in text and text.endswith("); repair or remove it")

    @pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of metadata that it skips
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "AVIF", "JPEG2000"])
    def test_no_damage_is_our_bug(self, kind: str) -> None:
        whole, random = encoded(Image.fromarray(noise(24, 24, 3)), kind), np.random.default_rng(0)
        refused = 0
        for _ in range(150):
            damaged = np.frombuffer(whole, np.uint8).copy()
            where = random.integers(0, min(random.choice([60, 400, len(whole)]), len(whole)), 5)
            damaged[where] = random.integers(0, 256, 5)
            try:
                assert read(damaged.tobytes(), 16)[0].shape[:2] == (16, 16)
            except UserError:
                refused += 1
        assert refused > 0

    @pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")  # as outside of the tests
    @pytest.mark.parametrize("limit", [100, 200])  # 256 pixels: twice and once over, an error and a warning of Pillow
    def test_decompression_bomb_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
        typed = save_pictures(tmp_path / "photos", "a.png", "b.png", shape=(16, 16, 3))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert "a.png has more pixels than Pillow reads safely" in refusal(typed, tmp_path / "out")
