"""What a prepared data set is, for people and for those who read it again."""

from typing import Annotated, Literal

from pydantic import Field

from diffusion.frozen import Frozen
from diffusion.units import counted

SIDE_MULTIPLE = 8  # the four stages of a spec halve the side three times
LARGEST_SIDE = 256


class DataCard(Frozen):
    """What a prepared data set is. `fingerprint` covers every pixel; `notes` says what was done to the images.

    Three were added later: a card of before has an empty `mean` until the set is prepared again.
    """

    name: str
    resolution: Annotated[int, Field(ge=8, le=LARGEST_SIDE, multiple_of=SIDE_MULTIPLE)]
    channels: Annotated[int, Field(ge=1, le=4)]
    train_count: Annotated[int, Field(ge=2)]
    test_count: Annotated[int, Field(ge=0)]
    fingerprint: str
    notes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    """Of the training images, one a channel, 0 to 1; of latents as they are."""
    train_duplicates: int | None = None
    """Training images that are exact copies of an earlier one."""
    shared_images: int | None = None
    """Test images that also occur, pixel for pixel, in the training split; None without a test split."""
    values: Literal["latents"] | None = None
    """Of what the images consist, where it is not pixels."""


def card_rows(card: DataCard) -> list[tuple[str, str]]:
    """The card for people: a label and a value a row, a row for each note at the end."""
    test = f", {card.test_count:,} for testing" if card.test_count else ", no test split"
    colours = {} if card.values else {1: "1 (grey)", 3: "3 (red, green, blue)"}
    rows = [
        ("data set", card.name),
        ("images", f"{card.train_count:,} for training{test}"),
        ("size", f"{card.resolution}×{card.resolution}"),
        ("channels", colours.get(card.channels, str(card.channels))),
        ("mean", ", ".join(f"{value:.4f}" for value in card.mean) or "not measured"),
        ("fingerprint", card.fingerprint),
        ("duplicates", _duplicates(card)),
    ]
    if card.values:
        rows.insert(1, ("values", f"{card.values}, scored as such"))
    return rows + [("note", note) for note in card.notes]


def _duplicates(card: DataCard) -> str:
    if card.train_duplicates is None:
        return "not counted"
    within = f"{counted(card.train_duplicates, 'training image')} equal to an earlier one"
    if card.shared_images is None:
        return within
    return f"{within}, {counted(card.shared_images, 'test image')} also in the training split"
