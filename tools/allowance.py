"""What a search may use: money, hours and tokens. Asked before each call and each job, so that no limit is passed.

What was used stands in memory, so the limits hold over every restart. A call is judged by what it may take at most: its
input and the longest answer; a job by the pace of those before it. Calls that several rounds make at once are reserved
until they are written down. What is left of a limit in hours ends a job in the middle, too: its checkpoint is kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import count
from threading import Lock
from typing import Any

from memory.connection import Memory
from memory.ledger import Spent, spent, totals
from tools.errors import AllowanceSpent

CHARACTERS_PER_TOKEN = 3  # specs and JSON have shorter tokens than prose
ANSWER_TOKENS = 1000  # what an answer may take where nothing limits it and none was longer yet
SECONDS_PER_HOUR = 3600.0

PriceOf = Callable[[str, str | None, int | None, int | None], float | None]  # (llm, base_url, input, output) → dollars


@dataclass(frozen=True)
class Limits:
    """What a search may use in all; None: no limit."""

    max_cost: float | None = None  # US dollars
    max_hours: float | None = None  # of wall-clock
    max_tokens: int | None = None  # of input and output together


LIMITS = tuple(limit.name for limit in fields(Limits))


@dataclass(frozen=True)
class Need:
    """The most that one call may take."""

    tokens: int = 0
    cost_usd: float = 0.0


class Allowance:
    """One for a drive of a search, shared by its rounds and threads."""

    def __init__(
        self,
        memory: Memory,
        search: int,
        limits: Limits,
        *,
        price_of: PriceOf,
        llm: str,
        base_url: str | None = None,
        answer_tokens: int | None = None,
        processes: int = 1,
    ) -> None:
        self.memory, self.search, self.limits = memory, search, limits
        self.price_of, self.llm, self.base_url = price_of, llm, base_url
        self.answer_tokens, self.processes = answer_tokens, processes
        self.reserved: dict[int, Need] = {}
        self.tickets, self.lock = count(1), Lock()
        self.why: str | None = None  # the sentence of the first limit that was met
        self.seconds_before = totals(memory.db, search).wall_seconds
        self.started, self.idle_seconds = time.monotonic(), 0.0

    def change(self, **limits: Any) -> None:
        """Other limits from now on, such as ``max_cost=2``; those that are not named stay."""
        self.limits = replace(self.limits, **limits)
        self.why = None

    def idle(self, seconds: float) -> None:
        """Time in which the search was paused does not count."""
        self.idle_seconds += seconds

    @property
    def wall_seconds(self) -> float:
        """How long the search has run, over all its drives."""
        return self.seconds_before + time.monotonic() - self.started - self.idle_seconds

    def cost_usd(
        self, llm: str, base_url: str | None, input_tokens: int | None, output_tokens: int | None
    ) -> float | None:
        """What a call cost by the search's price table; None where it is unknown."""
        return self.price_of(llm, base_url, input_tokens, output_tokens)

    def check_before_call(
        self, estimated_input_tokens: int, *, llm: str | None = None, base_url: str | None = None
    ) -> int:
        """Reserve the most that a call may take; give the ticket to `settle` once the call is in the ledger.

        Raises:
            AllowanceSpent: with this call a limit might be passed.
        """
        model, place = (self.llm, self.base_url) if llm is None else (llm, base_url)
        with self.lock:
            self._check_hours(0.0)
            if self.limits.max_tokens is None and self.limits.max_cost is None:
                return 0
            used = spent(self.memory.db, self.search)
            need = self._need(used, estimated_input_tokens, model, place)
            self._check_tokens(used, need)
            ticket = next(self.tickets)
            self.reserved[ticket] = need
            return ticket

    def settle(self, ticket: int) -> None:
        """The call of a ticket is over and written down."""
        with self.lock:
            self.reserved.pop(ticket, None)

    def check_before_training(self, device_seconds_estimate: float) -> None:
        """Whether a job of so many device-seconds still ends within the hours.

        Raises:
            AllowanceSpent: it would not.
        """
        with self.lock:
            self._check_hours(device_seconds_estimate / self.processes)

    def _need(self, used: Spent, input_tokens: int, llm: str, base_url: str | None) -> Need:
        answer = self._answer_tokens(used)
        dollars = self.price_of(llm, base_url, input_tokens, answer)
        if dollars is None and self.limits.max_cost is not None:
            raise self._over(f"the price of {llm} is unknown, so the limit of ${self.limits.max_cost:g} cannot be kept")
        return Need(input_tokens + answer, dollars or 0.0)

    def _answer_tokens(self, used: Spent) -> int:
        return self.answer_tokens or max(ANSWER_TOKENS, used.longest_answer)

    def _check_tokens(self, used: Spent, need: Need) -> None:
        unknown = [self._estimated(used, call) for call in used.unknown]
        others = [*unknown, *self.reserved.values()]
        tokens = used.tokens + sum(each.tokens for each in others)
        dollars = used.cost_usd + sum(each.cost_usd for each in others)
        most, cap = self.limits.max_tokens, self.limits.max_cost
        if most is not None and tokens + need.tokens > most:
            raise self._over(f"the next call may take {need.tokens} tokens, and {tokens} of {most} are used")
        if cap is not None and dollars + need.cost_usd > cap:
            raise self._over(f"the next call may cost ${need.cost_usd:.4g}, and ${dollars:.4g} of ${cap:g} are used")

    def _estimated(self, used: Spent, call: dict[str, Any]) -> Need:
        """What a call that is in the ledger as unknown may have taken."""
        input_tokens, answer = call["input_tokens"], call["output_tokens"]
        known_tokens = input_tokens is not None and answer is not None
        if not known_tokens:
            input_tokens, answer = call["characters"] // CHARACTERS_PER_TOKEN, self._answer_tokens(used)
        dollars = call["cost_usd"]
        if dollars is None:
            dollars = self.price_of(call["model"], call["base_url"], input_tokens, answer)
        if dollars is None and self.limits.max_cost is not None:
            raise self._over(
                f"what {call['model']} cost is unknown, so the limit of ${self.limits.max_cost:g} cannot be kept"
            )
        return Need(0 if known_tokens else input_tokens + answer, (dollars or 0.0) if call["cost_usd"] is None else 0.0)

    def _check_hours(self, seconds: float) -> None:
        most = self.limits.max_hours
        if most is None or self.wall_seconds + seconds < most * SECONDS_PER_HOUR:
            return
        used = self.wall_seconds / SECONDS_PER_HOUR
        more = f"the next job takes about {seconds / SECONDS_PER_HOUR:.3g} hours, and " if seconds else ""
        raise self._over(f"{more}{used:.3g} of {most:g} hours are used")

    def _over(self, sentence: str) -> AllowanceSpent:
        self.why = self.why or sentence
        return AllowanceSpent(sentence)


def estimated_tokens(*texts: str) -> int:
    """About how many tokens texts have, rather too many."""
    return sum(map(len, texts)) // CHARACTERS_PER_TOKEN + 1
