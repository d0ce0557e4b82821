"""Spaces as data: the built-in files, one's own, and what is said of a wrong one."""

import re
from pathlib import Path

import numpy as np
import pytest

from diffusion.cost.closed_form import cost
from diffusion.errors import UserError
from diffusion.space import ENUMERABLE, SAMPLED, SPACE_NAMES, SearchSpace, built_in, find_space, stored_space
from diffusion.spec import UNetSpec
from diffusion.unet import norm_groups

OWN = """
name = "own"
stages = 3
baseline = "b8-n1-m1.2.2-a010"
base_channel = [8, 16]
num_blocks = [1]
channel_mult = [[1], [1, 2], [2]]
attn = [false, true]
"""


def own(folder: Path, change: tuple[str, str] = ("", "")) -> str:
    """The file of a space, with a change of its text."""
    file = folder / "own.toml"
    assert change[0] in OWN
    file.write_text(OWN.replace(*change) if change[0] else OWN)
    return str(file)


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_built_in_space_has_a_baseline_that_can_be_built(name: str) -> None:
    space = built_in(name)
    assert space.name == name and space.baseline is not None and space.why_not(space.baseline) is None
    side = int(re.findall(r"\d+", name)[-1])
    assert side % 2 ** (space.stages - 1) == 0
    assert norm_groups(space.baseline, side) >= 1 and cost(space.baseline, resolution=side).params > 0
    assert space.is_enumerable and len(space.rows()) == space.size


def test_the_spaces_of_before_are_what_they_were() -> None:
    """Their choices are hashed with each search that was made in them."""
    assert (built_in("images-32").fingerprint, built_in("digits-8").fingerprint) == ("5d55d3d43071", "04ab0f771d0b")
    assert (built_in("images-32").size, built_in("digits-8").size) == (122_880, 49_152)


def test_a_file_gives_choices_for_each_stage_or_for_all(tmp_path: Path) -> None:
    space = find_space(own(tmp_path))
    assert space.choices == {
        "base_channel": (8, 16), "num_blocks": (1,), "mult_0": (1,), "mult_1": (1, 2), "mult_2": (2,),
        "attn_0": (0, 1), "attn_1": (0, 1), "attn_2": (0, 1),
    }  # fmt: skip
    assert space.size == len(space.rows()) == len(set(space)) == 32
    assert all(space.why_not(spec) is None for spec in space)
    assert space.why_not(UNetSpec.parse("b8-n1-m1.2.2.2-a0100")) == (
        "it has 4 stages, and a spec of the space own has 3"
    )


def test_what_is_stored_of_a_space_finds_it_again(tmp_path: Path) -> None:
    for space in (built_in("digits-8"), find_space(own(tmp_path))):
        again = find_space(stored_space(space))
        assert (again.fingerprint, again.name) == (space.fingerprint, space.name)
    assert stored_space(built_in("digits-8")) == "digits-8"
    renamed = find_space(own(tmp_path)).model_copy(update={"name": "digits-8"})
    assert find_space(stored_space(renamed)).fingerprint != built_in("digits-8").fingerprint


def test_of_a_huge_space_a_sample_is_looked_at() -> None:
    space = SearchSpace(name="huge", stages=6, base_channel=(32, 64), num_blocks=(1, 2), channel_mult=(1, 2, 3, 4))
    assert space.size == 2 * 2 * 4**6 * 2**6 and space.is_enumerable
    huge = SearchSpace(name="huge", stages=6, base_channel=(32, 64), num_blocks=(1, 2, 3), channel_mult=(1, 2, 3, 4, 5))
    assert huge.size > ENUMERABLE and not huge.is_enumerable
    rows = huge.rows()
    assert len(rows) == SAMPLED + 1 and (rows == huge.rows()).all() and not (rows == huge.rows(seed=1)).all()
    assert UNetSpec.from_row(rows[0]) == huge.smallest
    assert (rows <= huge.largest.row).all() and (rows.max(axis=0) == huge.largest.row).all()
    for column, values in zip(rows.T, huge.choices.values(), strict=True):
        assert np.allclose(np.unique(column[1:], return_counts=True)[1] / SAMPLED, 1 / len(values), atol=0.01)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("num_blocks", "blocks"), "'blocks' in {file} is no key of a space; there are name, stages, base_channel, "
         "num_blocks, channel_mult, attn, baseline"),
        (("num_blocks = [1]", "num_blocks = []"), "'num_blocks' in {file} is empty; name at least one choice"),
        (("[[1], [1, 2], [2]]", "[[1], [1, 2]]"), "{file}: channel_mult has choices for 2 stages, and there are 3"),
        (("[[1], [1, 2], [2]]", "[[1], [2, 1], [2]]"), "{file}: the choices of mult_1 are 2, 1; write each once, "
         "ascending"),
        (("stages = 3", "stages = 7"), "'stages' in {file}: input should be less than or equal to 6"),
        (("b8-n1-m1.2.2-a010", "b8-n2-m1.2.2-a010"), "{file}: baseline b8-n2-m1.2.2-a010: num_blocks=2 is outside the "
         "space own: allowed are 1"),
        (('name = "own"', 'name = "../own"'), "'name' in {file}: string should match pattern"),
        (("[8, 16]", "[8, 18]"), "{file}: base_channel=18: input should be a multiple of 4"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    file = own(tmp_path, change)
    with pytest.raises(UserError, match="^" + re.escape(sentence.format(file=file))) as refused:
        find_space(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere", "'nowhere' does not exist; name a file, or one of digits-8, images-128"),
        ({"name": "x", "depth": 3}, "'depth' in [space] is no key of a space"),
        ("{", "'{' is not a space: its JSON is broken"),
    ],
)
def test_what_is_no_space_is_one_sentence(given: object, sentence: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(sentence)):
        find_space(given)
