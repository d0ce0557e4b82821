"""What may be proposed, against one look at every spec by the gates themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from searches import TinySearch

from diffusion.networks import network
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.directives import add_directive
from memory.scores import add_latency
from memory.trials import record_refusal
from tools.errors import Refused
from tools.gates import facts
from tools.gates.feasible import feasible
from tools.gates.latency import _device
from tools.gates.specs import over_budget, refusal
from tools.jobs.training import train_candidate

SPACE = {
    "name": "small",
    "stages": 4,
    "base_channel": [8, 16],
    "num_blocks": [1, 2],
    "channel_mult": [[1, 2], [1, 2], [1, 2], [1, 2]],
    "attn": [[False, True], [False], [False], [False]],
}
TRIED = UNetSpec.parse("b8-n1-m2.2.2.2-a0000")
REFUSED = UNetSpec.parse("b8-n1-m1.1.1.2-a0000")


@pytest.fixture
def search(tmp_path: Path) -> TinySearch:
    return TinySearch(tmp_path, {"space": json.dumps(SPACE)})


def refuse(search: TinySearch, spec: UNetSpec, round_number: int) -> None:
    with opened(search.db) as db:
        record_refusal(
            db, search.search, round_number, proposer="test", raw_text=str(spec), spec=spec, reason=None,
            refusal="No.", kind="directive",
        )  # fmt: skip


def tell(search: TinySearch, kind: str, arguments: dict[str, Any]) -> None:
    with opened(search.db) as db:
        add_directive(db, search.search, kind, arguments, "so it be")


def names(search: TinySearch, round_number: int = 3) -> list[str]:
    return [network(UNetSpec.from_row(row), "ddpm") for row in feasible(search.context(round_number)).rows]


def test_it_is_what_every_gate_leaves_each_network_once(search: TinySearch) -> None:
    train_candidate(search.context(1), TRIED, "First.")
    refuse(search, REFUSED, 3)
    tell(search, "freeze", {"parameter": "attn_0", "value": 0})
    tell(search, "cap", {"what": "params", "at_most": 60_000})
    context, found = search.context(3), feasible(search.context(3))
    every = list(search.plan.config.search_space)
    tried = {network(spec, "ddpm") for spec in (TRIED, REFUSED)}
    expected = {
        network(spec, "ddpm") for spec in every if refusal(context, spec) is None and network(spec, "ddpm") not in tried
    }
    assert sorted(names(search)) == sorted(expected)
    assert 0 < len(expected) < len(every) / 2
    allowed = found.allows(np.array([spec.row for spec in every]))
    assert allowed.tolist() == [network(spec, "ddpm") in expected for spec in every]
    assert any(over_budget(context, spec) for spec in every)


def test_another_spelling_of_a_trial_is_no_new_network(search: TinySearch) -> None:
    train_candidate(search.context(1), TRIED, "First.")
    assert "w16.16.16.16-n1-a0000" not in names(search)
    other = np.array([UNetSpec.parse("b16-n1-m1.1.1.1-a0000").row])
    assert not feasible(search.context(3)).allows(other)[0]


def test_a_spec_outside_the_space_is_not_allowed_and_no_rows_are_no_error(search: TinySearch) -> None:
    outside = np.array([UNetSpec.parse("b12-n1-m1.1.1.1-a0000").row])
    assert not feasible(search.context(3)).allows(outside)[0]
    assert feasible(search.context(3)).allows(outside[:0]).tolist() == []


def test_a_refusal_counts_in_its_round_alone_even_of_another_number_of_stages(search: TinySearch) -> None:
    before = names(search)
    refuse(search, REFUSED, 3)
    refuse(search, UNetSpec.parse("b8-n1-m1.1.1-a000"), 3)
    assert set(before) - set(names(search)) == {network(REFUSED, "ddpm")}
    assert names(search, round_number=4) == before


def test_what_was_measured_to_be_too_slow_is_left_out(search: TinySearch) -> None:
    context = search.context(3)
    threads = context.jobs.share.threads
    with opened(search.db) as db:
        for spec, median_ms in ((TRIED, 9.0), (REFUSED, 3.0)):
            settings = context.limits.protocol.settings
            add_latency(db, spec, settings, _device(context), threads, median_ms=median_ms, forwards=9)
    before = names(search)
    tell(search, "cap", {"what": "latency_ms", "at_most": 10})
    assert names(search) == before
    tell(search, "cap", {"what": "latency_ms", "at_most": 5})
    assert set(before) - set(names(search)) == {network(TRIED, "ddpm")}


def test_a_later_round_counts_no_cost_of_the_space_again(search: TinySearch, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(search, "cap", {"what": "params", "at_most": 60_000})
    before = names(search)

    def counted(*arguments: Any) -> None:
        raise AssertionError("the space is counted again")

    monkeypatch.setattr(facts, "costs", counted)
    assert names(search) == before


def test_when_everything_is_taken_nothing_is_left(search: TinySearch) -> None:
    tell(search, "ban", {"pattern": "b*-n*-m*.*.*.*-a****"})
    found = feasible(search.context(3))
    assert found.rows.shape == (0, 10)
    with pytest.raises(Refused, match="never b"):
        train_candidate(search.context(3), REFUSED, "Anyway.")
