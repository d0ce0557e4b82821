import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.errors import UserError
from diffusion.units import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6.06G", 6_060_000_000),
        ("20M", 20_000_000),
        ("20000000", 20_000_000),
        ("1.5k", 1_500),
        (" 2 T ", 2 * 10**12),
        (".5K", 500),
        ("7.", 7),
        (6_060_000_000, 6_060_000_000),
        (6.06e9, 6_060_000_000),
        ("9007199254740993", 2**53 + 1),  # the first whole number that a float cannot hold
        ("1.0000000000000001T", 10**12),
    ],
)
def test_a_size_is_the_whole_number_that_it_says(text: str | int | float, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize("text", ["", "6.06X", "G", "-5M", "0", "0.4", "1e9", "6,06G", "6.06GB", "nan", "9" * 30])
def test_other_text_is_one_sentence_that_starts_with_it(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_size(text)
    assert str(caught.value) == f"'{text}' is not a number of MACs; write 6.06G, 20M or 20000000"


def test_the_sentence_says_what_was_to_be_counted() -> None:
    with pytest.raises(UserError, match=r"^'many' is not a number of parameters; "):
        parse_size("many", "parameters")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (6_053_953_536, "6.054G"),
        (35_746_307, "35.75M"),
        (999, "999"),
        (1000, "1K"),
        (1_000_000, "1M"),
        (2.5e12, "2.5T"),
        (0, "0"),
        (-1500, "-1.5K"),
    ],
)
def test_people_read_four_digits_and_a_suffix(number: float, text: str) -> None:
    assert format_size(number) == text


@given(st.integers(1, 10**15))
def test_what_is_written_is_read_back_to_four_digits(number: int) -> None:
    # half a unit of the fourth digit is at most 5e-4 of the number
    assert parse_size(format_size(number)) == pytest.approx(number, rel=5.01e-4)


@given(st.integers(1, 2**63 - 1))
def test_a_whole_number_is_read_exactly(number: int) -> None:
    assert parse_size(str(number)) == parse_size(number) == number
