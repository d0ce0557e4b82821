"""What a call costs: a table in a data file, and one's own file over it. An unknown price is None, never 0.

The table that comes with the program holds what providers published. A file of one's own (setting ``prices``) has the
same shape, wins over it, and alone may price a server that is named with ``--base-url``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent.config.backend import OFFLINE
from diffusion.errors import UserError
from diffusion.files.text import read_toml
from diffusion.frozen import MOST

TOKENS_PER_PRICE = 1e6

Price = tuple[float, float]  # US dollars per million input and output tokens


@dataclass(frozen=True)
class PriceTable:
    """Prices by backend id: those of the providers' own servers, and one's own, which count for every server."""

    published: Mapping[str, Price]
    own: Mapping[str, Price]

    def price(self, llm: str, base_url: str | None) -> Price | None:
        """The price of a model at its provider's, or at a server of one's own; None where it is unknown."""
        if llm == OFFLINE:
            return (0.0, 0.0)
        if llm in self.own:
            return self.own[llm]
        return None if base_url else self.published.get(llm)

    def cost_usd(
        self, llm: str, base_url: str | None, input_tokens: int | None, output_tokens: int | None
    ) -> float | None:
        """What a call cost; None where its price or its tokens are unknown."""
        price = self.price(llm, base_url)
        if price is None:
            return None
        if price == (0.0, 0.0):
            return 0.0
        if input_tokens is None or output_tokens is None:
            return None
        return (input_tokens * price[0] + output_tokens * price[1]) / TOKENS_PER_PRICE


@cache
def price_table(path: Path | None = None) -> PriceTable:
    """The published prices, and those of a file of one's own over them.

    Raises:
        UserError: the file is not there or does not hold prices.
    """
    published = _checked(Path(__file__).parent / "prices.toml")
    return PriceTable(published, {} if path is None else _checked(path))


def _checked(path: Path) -> dict[str, Price]:
    found = read_toml(path, "name a TOML file of prices with --prices FILE")
    return {llm: _price(path, llm, value) for llm, value in found.items()}


def _price(path: Path, llm: str, value: object) -> Price:
    numbers = [part for part in value if _is_price(part)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(numbers) != 2 or len(value) != 2:
        raise UserError(f"'{path}': {llm!r} needs [input, output] in dollars per million tokens, such as [2.0, 8.0]")
    return float(numbers[0]), float(numbers[1])


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
