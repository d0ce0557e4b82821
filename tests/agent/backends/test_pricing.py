"""Prices: the published ones, one's own over them, and what is unknown stays unknown."""

from pathlib import Path

import pytest

from agent.backends.pricing import price_table
from diffusion.errors import UserError

SERVER = "http://127.0.0.1:8000/v1"


def own(folder: Path, text: str) -> Path:
    path = folder / "prices.toml"
    path.write_text(text)
    return path


def test_a_published_price_counts_at_the_providers_own_server_alone() -> None:
    table = price_table()
    assert table.cost_usd("openai:gpt-4.1", None, 1_000_000, 500_000) == 6.0
    assert table.cost_usd("openai:gpt-4.1", SERVER, 1_000_000, 500_000) is None


def test_an_own_price_wins_and_counts_for_a_server(tmp_path: Path) -> None:
    table = price_table(own(tmp_path, '"openai:gpt-4.1" = [1, 2]\n"openai:mine" = [0, 0]\n'))
    assert table.cost_usd("openai:gpt-4.1", SERVER, 1_000_000, 1_000_000) == 3.0
    assert table.cost_usd("openai:gpt-4o", None, 1_000_000, 0) == 2.5
    assert table.cost_usd("openai:mine", SERVER, 5, None) == 0.0


def test_what_is_unknown_is_none_and_never_zero() -> None:
    table = price_table()
    assert table.cost_usd("openai:unheard-of", None, 10, 10) is None
    assert table.cost_usd("openai:gpt-4.1", None, None, 10) is None
    assert table.cost_usd("openai:gpt-4.1", None, 10, None) is None
    assert table.cost_usd("offline", None, None, None) == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"openai:a" = 2.0\n', "'openai:a' needs \\[input, output\\] in dollars per million tokens"),
        ('"openai:a" = [2.0]\n', "'openai:a' needs"),
        ('"openai:a" = [2.0, -1.0]\n', "'openai:a' needs"),
        ('"openai:a" = [2.0, nan]\n', "'openai:a' needs"),
        ('"openai:a" = [true, 1.0]\n', "'openai:a' needs"),
        ("openai\n", "is not TOML"),
    ],
)
def test_a_file_that_holds_no_prices_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^'{own(tmp_path, text)}'.*{said}"):
        price_table(tmp_path / "prices.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(No such .*\); name a TOML file of prices"):
        price_table(tmp_path / "none.toml")
