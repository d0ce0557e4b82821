"""Instructions and what they do to proposals: each kind against a known answer, and what contradicts what."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from near import near
from planted import Planted
from searches import TinySearch

from diffusion.cost.closed_form import cost
from diffusion.cost.peak_memory import peak_bytes
from diffusion.errors import UserError
from diffusion.neighbourhood import distances
from diffusion.networks import network
from diffusion.space import SearchSpace, built_in
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.directives import active_directives, add_directive, citations, undo_directive
from memory.queries.similar import spec_distance
from memory.scores import add_latency
from tools.count_flops import count
from tools.errors import JobFailed, Refused
from tools.finish_search import finish
from tools.gates.directive_kinds import KINDS, arguments_of, directive_of, parse_directive
from tools.gates.directives import (
    allowed_networks,
    allowed_rows,
    contradictions,
    facts_of,
    first_objection,
    impossible,
    objection,
)
from tools.gates.facts import region
from tools.gates.limits import Limit
from tools.gates.specs import refusal
from tools.jobs.training import train_candidate
from tools.query_memory import ask

PLAIN, ATTENTION = UNetSpec.parse("b8-n1-m1.1.1.2-a0000"), UNetSpec.parse("b8-n1-m1.1.1.1-a1000")
NO_ATTENTION = ("freeze", {"parameter": "attn_0", "value": 0})


@pytest.fixture
def search(tmp_path: Path) -> TinySearch:
    return TinySearch(tmp_path, executor=Planted())


def tell(search: TinySearch, kind: str, arguments: dict[str, Any], text: str = "so it be") -> int:
    with opened(search.db) as db:
        return add_directive(db, search.search, kind, arguments, text)


def active(search: TinySearch) -> list[Any]:
    with opened(search.db, read_only=True) as db:
        return active_directives(db, search.search)


class TestLimits:
    def test_each_leaves_exactly_the_specs_that_it_says(self, search: TinySearch) -> None:
        facts = facts_of(search.context())
        centre = UNetSpec.parse("b16-n1-m1.2.2.2-a0100")
        sample = [
            *map(UNetSpec.from_row, facts.rows[::97]),
            *near(built_in("digits-8"), centre),
            centre,
            PLAIN,
            ATTENTION,
        ]
        rows = np.array([spec.row for spec in sample])
        known: list[tuple[str, dict[str, Any], Any]] = [
            (*NO_ATTENTION, lambda spec: not spec.attn[0]),
            ("restrict", {"parameter": "num_blocks", "values": [1, 3]}, lambda spec: spec.num_blocks in (1, 3)),
            ("cap", {"what": "params", "at_most": 100_000}, lambda spec: cost(spec, "ddpm", 8, 1).params <= 100_000),
            ("cap", {"what": "macs_total", "at_most": 2e6}, lambda spec: cost(spec, "ddpm", 8, 1).macs.total <= 2e6),
            ("ban", {"pattern": str(centre)}, lambda spec: spec != centre),
            ("ban", {"pattern": "b*-n*-m*.*.*.2-a1***"}, lambda spec: not (spec.channel_mult[3] == 2 and spec.attn[0])),
            ("near", {"spec": str(centre), "distance": 1.0}, lambda spec: spec_distance(spec, centre) <= 1 + 1e-9),
        ]
        for kind, arguments, keeps in known:
            limit = parse_directive(kind, arguments)
            assert isinstance(limit, Limit)
            found = limit.mask(rows, facts).tolist()
            assert found == [bool(keeps(spec)) for spec in sample]
            assert 0 < sum(found) < len(found), kind

    def test_distances_are_those_of_the_memory(self, search: TinySearch) -> None:
        rows = search.plan.config.search_space.rows()[::501]
        expected = [spec_distance(UNetSpec.from_row(row), ATTENTION) for row in rows]
        assert np.allclose(distances(rows, ATTENTION), expected)

    def test_memory_is_the_estimate_of_a_training(self, search: TinySearch) -> None:
        context = search.context()
        facts = facts_of(context)
        rows = facts.rows[::4801]
        expected = [
            peak_bytes(context.train_job(spec), context.limits.cost(spec), "cpu")
            for spec in map(UNetSpec.from_row, rows)
        ]
        assert facts.memory_bytes(rows).tolist() == expected

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("b8-n1-m1.2.3.4-a0101", (8, 1, 1, 2, 3, 4, 0, 1, 0, 1)),
            ("b*-n*-m*.*.*.*-a1***", (None,) * 6 + (1, None, None, None)),
            ("b*-n2-m*.*.*-a1**", (None, 2) + (None,) * 3 + (1, None, None)),
            ("b*-n*-m*.*.*.*.*.3-a*****1", (None,) * 7 + (3,) + (None,) * 5 + (1,)),
        ],
    )
    def test_a_region_is_a_partial_spec(self, pattern: str, found: tuple[int | None, ...]) -> None:
        assert region(pattern) == found

    @pytest.mark.parametrize(
        "pattern",
        ["", "b8", "b8-n1-m1.2.3-a0101", "b8-n1-m1.2-a01", "b*-n*-m*.*.*.*.*.*.*-a*******", "b8-n1-m1.2.3.4-a01*", "*"],
    )
    def test_what_is_no_region_is_refused(self, pattern: str) -> None:
        with pytest.raises(UserError, match="is neither a spec nor a region"):
            region(pattern)


class TestParsing:
    @pytest.mark.parametrize(
        ("kind", "arguments", "sentence"),
        [
            ("fly", {}, "'fly' is not a kind of directive"),
            (
                "freeze",
                {"parameter": "attn_9", "value": 0},
                "'attn_9' is not one of the numbers base_channel, ",
            ),
            ("freeze", {"parameter": "attn_0"}, "value: Field required"),
            ("freeze", {"parameter": "attn_0", "value": 0, "x": 1}, "x: Extra inputs are not permitted"),
            ("cap", {"what": "params", "at_most": -1}, "at_most: Input should be greater than 0"),
            ("allowance", {}, "an allowance names max_cost, max_hours or max_tokens"),
            ("rounds", {"rounds": "many"}, "rounds: Input should be a valid integer"),
        ],
    )
    def test_what_does_not_fit_is_one_sentence(self, kind: str, arguments: dict[str, Any], sentence: str) -> None:
        with pytest.raises(UserError) as mistake:
            parse_directive(kind, arguments)
        assert sentence in str(mistake.value)
        assert str(mistake.value).startswith(f"'{kind}")

    def test_what_is_stored_says_the_same_when_it_is_read(self, search: TinySearch) -> None:
        wishes: list[tuple[str, dict[str, Any]]] = [
            NO_ATTENTION,
            ("near", {"spec": str(PLAIN)}),
            ("allowance", {"max_hours": 2}),
            ("pause", {}),
        ]
        for kind, arguments in wishes:
            directive = parse_directive(kind, arguments)
            number = tell(search, kind, arguments_of(directive))
            assert directive_of(next(each for each in active(search) if each.id == number)) == directive
            assert KINDS[kind] is type(directive)
            assert "\n" not in directive.say()


class TestTheGate:
    def test_a_refusal_names_the_directive_and_is_cited_until_it_is_taken_back(self, search: TinySearch) -> None:
        number = tell(search, *NO_ATTENTION, text="no attention at stage 0")
        with pytest.raises(Refused) as refused:
            train_candidate(search.context(), ATTENTION, "Attention helps.")
        assert refused.value.kind == "directive"
        assert str(refused.value) == (
            f'{ATTENTION} breaks directive {number}: "no attention at stage 0" (attn_0 stays 0). It holds until the '
            "user takes it back; propose a spec that obeys it."
        )
        with opened(search.db) as db:
            assert [(row["directive"], row["round"], row["what"]) for row in citations(db, search.search)] == [
                (number, 1, f"refused {ATTENTION}")
            ]
            row = db.conn.execute("SELECT refusal, refusal_kind FROM proposals").fetchone()
            assert tuple(row) == (str(refused.value), "directive")
            undo_directive(db, search.search, None)
        assert train_candidate(search.context(), ATTENTION, "Attention helps.").status == "trained"

    def test_the_baseline_is_exempt(self, search: TinySearch) -> None:
        tell(search, "ban", {"pattern": str(search.plan.baseline)})
        assert refusal(search.context(0), search.plan.baseline) is None
        assert refusal(search.context(1), search.plan.baseline) is not None

    def test_orders_and_modes_forbid_no_spec(self, search: TinySearch) -> None:
        for kind, arguments in (("mode", {"mode": "exploit"}), ("try", {"spec": str(PLAIN)}), ("pause", {})):
            tell(search, kind, arguments)
        assert objection(search.context(), ATTENTION) is None

    def test_the_directives_of_another_search_do_not_count(self, tmp_path: Path, search: TinySearch) -> None:
        other = TinySearch(tmp_path, {"name": "other"}, executor=Planted())
        tell(other, *NO_ATTENTION)
        assert objection(search.context(), ATTENTION) is None
        assert objection(other.context(), ATTENTION) is not None

    def test_counting_says_what_is_forbidden(self, search: TinySearch) -> None:
        number = tell(search, *NO_ATTENTION)
        assert f"breaks directive {number}" in (count(search.context(), ATTENTION).forbidden or "")
        assert count(search.context(), PLAIN).forbidden is None

    def test_the_memory_tells_the_model_what_holds(self, search: TinySearch) -> None:
        number = tell(search, *NO_ATTENTION)
        (row,) = ask(search.context(), "remaining")
        assert row["directives"] == [
            {"name": f'directive {number}: attn_0 stays 0 ("so it be")', "kind": "freeze", "arguments": NO_ATTENTION[1]}
        ]


class TestLatency:
    def known(self, search: TinySearch, spec: UNetSpec, median_ms: float, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tools.gates.latency.device_name", lambda device: "a test's device")
        with opened(search.db) as db:
            settings = search.plan.protocol.settings
            add_latency(
                db,
                spec,
                settings,
                "a test's device",
                search.context().jobs.share.threads,
                median_ms=median_ms,
                forwards=5,
            )

    def test_a_cap_is_held_against_what_was_measured(self, search: TinySearch, monkeypatch: pytest.MonkeyPatch) -> None:
        number = tell(search, "cap", {"what": "latency_ms", "at_most": 5})
        self.known(search, PLAIN, 4.9, monkeypatch)
        self.known(search, ATTENTION, 5.1, monkeypatch)
        assert refusal(search.context(), PLAIN) is None
        found = refusal(search.context(), ATTENTION)
        assert found is not None
        assert found.directive == number
        assert "(at most 5 ms for one image; measured: 5.1 ms)" in str(found)

    def test_a_latency_that_cannot_be_measured_is_a_refusal_that_says_why(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*asked: object) -> float:
            raise JobFailed("no such device")

        tell(search, "cap", {"what": "latency_ms", "at_most": 5})
        monkeypatch.setattr("tools.gates.latency.measured_ms", broken)
        found = refusal(search.context(), PLAIN)
        assert found is not None
        assert found.kind == "unmeasured"
        assert str(found).startswith("no such device, and a directive of the user caps the latency")

    def test_counting_measures_nothing(self, search: TinySearch, monkeypatch: pytest.MonkeyPatch) -> None:
        tell(search, "cap", {"what": "latency_ms", "at_most": 0.001})
        monkeypatch.setattr("tools.gates.latency.measured_ms", lambda *asked: pytest.fail("measured"))
        assert count(search.context(), PLAIN).forbidden is None

    def test_a_network_is_measured_once_whatever_its_spelling(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tools.gates.latency import latency_ms

        measured = iter([(3.5, 9)])
        monkeypatch.setattr("tools.gates.latency.measured_ms", lambda *asked: next(measured))
        wide, narrow = UNetSpec.parse("b16-n1-m2.1.1.1-a0010"), UNetSpec.parse("b8-n1-m4.2.2.2-a0010")
        assert latency_ms(search.context(), wide) == latency_ms(search.context(), narrow) == 3.5

    @pytest.mark.slow
    def test_it_is_measured_in_a_process_once_and_charged(self, search: TinySearch) -> None:
        from tools.gates.latency import latency_ms

        context = search.context()
        first = latency_ms(context, PLAIN)
        assert 0.01 < first < 60_000
        assert latency_ms(context, PLAIN) == first
        (row,) = search.rows("SELECT note, device_seconds FROM ledger")
        assert row["note"] == f"latency of {PLAIN}"
        assert row["device_seconds"] * 1000 > first


class TestContradictions:
    def against(self, search: TinySearch, kind: str, arguments: dict[str, Any]) -> list[str]:
        new, facts = parse_directive(kind, arguments), facts_of(search.context())
        assert impossible(new, facts) is None
        return [each.sentence for each in contradictions(new, active(search), facts, f"the new {kind}")]

    def alone(self, search: TinySearch, kind: str, arguments: dict[str, Any]) -> str | None:
        return impossible(parse_directive(kind, arguments), facts_of(search.context()))

    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            (NO_ATTENTION, ("freeze", {"parameter": "attn_0", "value": 1}), "no spec of the space obeys both"),
            (NO_ATTENTION, ("try", {"spec": str(ATTENTION)}), f"{ATTENTION} would be refused"),
            (("try", {"spec": str(ATTENTION)}), NO_ATTENTION, f"{ATTENTION} would be refused"),
            (
                ("near", {"spec": str(PLAIN), "distance": 0.5}),
                ("ban", {"pattern": str(PLAIN)}),
                "no spec of the space obeys both within the budget",
            ),
            (("mode", {"mode": "explore"}), ("mode", {"mode": "exploit"}), "only one of them can hold"),
            (("rounds", {"rounds": 5}), ("rounds", {"rounds": 6}), "only one of them can hold"),
            (("rounds", {"rounds": 5}), ("stop", {}), "a search that is stopped begins no further round"),
        ],
    )
    def test_two_that_cannot_both_be_obeyed_are_named_with_both_texts(
        self, search: TinySearch, old: tuple[str, Any], new: tuple[str, Any], why: str
    ) -> None:
        number = tell(search, *old, text="the old one")
        (sentence,) = self.against(search, *new)
        assert sentence.startswith(f'"the new {new[0]}" contradicts directive {number}: "the old one": ')
        assert why in sentence

    def test_limits_that_leave_nothing_only_together_are_named_together(self, search: TinySearch) -> None:
        for value in (0, 1):
            tell(search, "ban", {"pattern": f"b*-n*-m*.*.*.*-a0{value}**"}, text=f"ban {value}")
        (sentence,) = self.against(search, "freeze", {"parameter": "attn_0", "value": 0})
        assert 'directive 1: "ban 0" and directive 2: "ban 1" together: no spec' in sentence

    def test_one_that_leaves_nothing_by_itself_says_so(self, search: TinySearch) -> None:
        fits = int(facts_of(search.context()).within_budget.sum())
        none = f"leaves none of the {fits:,} networks that fit the budget"
        assert self.alone(search, "cap", {"what": "params", "at_most": 10}) == none
        for kind, arguments, why in (
            ("try", {"spec": "b32-n3-m4.4.4.4-a1111"}, "is over the budget"),
            ("try", {"spec": "b12-n1-m1.1.1.1-a0000"}, "base_channel=12 is outside the space"),
            ("strategy_bounds", {"field": "dropout", "low": 0, "high": 0.1}, "the strategy of this search is fixed"),
        ):
            assert why in str(self.alone(search, kind, arguments))

    def test_what_can_be_obeyed_together_is_no_contradiction(self, search: TinySearch) -> None:
        tell(search, *NO_ATTENTION)
        for kind, arguments in (
            NO_ATTENTION,
            ("try", {"spec": str(PLAIN)}),
            ("cap", {"what": "latency_ms", "at_most": 1}),
            ("pause", {}),
            ("stop", {}),
            ("allowance", {"max_cost": 1}),
        ):
            assert self.against(search, kind, arguments) == []

    def test_what_is_left_is_counted_exactly(self, search: TinySearch) -> None:
        tell(search, *NO_ATTENTION)
        tell(search, "cap", {"what": "params", "at_most": 60_000})
        facts = facts_of(search.context())
        one_by_one = [
            first_objection(facts, UNetSpec.from_row(row), active(search)) is None and bool(fits)
            for row, fits in zip(facts.rows[::211], facts.within_budget[::211], strict=True)
        ]
        assert allowed_rows(facts, active(search))[::211].tolist() == one_by_one
        assert 0 < sum(one_by_one) < len(one_by_one)


class TestSpellings:
    def test_a_network_is_left_while_one_of_its_spellings_obeys(self, search: TinySearch) -> None:
        tell(search, "freeze", {"parameter": "base_channel", "value": 8})
        context = search.context()
        facts, limits = facts_of(context), map(directive_of, active(search))
        found = allowed_networks(facts, limits)
        members = [spec for spec in built_in("digits-8") if spec.base_channel == 8]
        costs = {spec: context.limits.cost(spec).macs.paper for spec in members}
        expected = {network(spec, "ddpm") for spec, macs in costs.items() if macs <= context.limits.budget_macs}
        assert {network(UNetSpec.from_row(row), "ddpm") for row in found} == expected
        assert len(found) == len(expected)
        assert set(found[:, 0]) == {8}

    def test_a_banned_spec_is_banned_in_every_spelling(self, search: TinySearch) -> None:
        tell(search, "ban", {"pattern": "b16-n1-m2.1.1.1-a0010"})
        facts = facts_of(search.context())
        for text, forbidden in (
            ("b16-n1-m2.1.1.1-a0010", True),
            ("b8-n1-m4.2.2.2-a0010", True),
            ("b8-n1-m4.2.2.2-a0000", False),
        ):
            assert (first_objection(facts, UNetSpec.parse(text), active(search)) is not None) is forbidden

    def test_what_is_written_for_another_number_of_stages_is_refused_with_what_would_be_right(self) -> None:
        space = built_in("images-64")
        for kind, arguments, why in (
            (
                "freeze",
                {"parameter": "mult_5", "value": 1},
                "'mult_5' is not one of the numbers base_channel, num_blocks",
            ),
            (
                "ban",
                {"pattern": "b*-n*-m*.*.*.*-a1***"},
                "4 stages, and a spec of this search has 5, as b*-n*-m*.*.*.*.*-a",
            ),
            ("near", {"spec": str(PLAIN)}, "spec: it has 4 stages, and a spec of this search has 5"),
            ("try", {"spec": str(PLAIN)}, "spec: it has 4 stages, and a spec of this search has 5"),
        ):
            with pytest.raises(UserError) as mistake:
                parse_directive(kind, arguments, space)
            assert why in str(mistake.value)
        assert parse_directive("freeze", {"parameter": "attn_4", "value": 0}, space)
        with pytest.raises(UserError, match="'attn_4' is not one of the numbers base_channel"):
            parse_directive("freeze", {"parameter": "attn_4", "value": 0}, built_in("digits-8"))

    def test_of_a_huge_space_what_directives_leave_is_looked_at(self, search: TinySearch) -> None:
        huge = SearchSpace(
            name="huge",
            stages=6,
            base_channel=[*range(4, 68, 4)],
            num_blocks=[*range(1, 9)],
            channel_mult=[*range(1, 9)],
        )
        assert not huge.is_enumerable
        facts = replace(facts_of(search.context()), space=huge, budget_macs=10**12)
        spec = UNetSpec.parse("b32-n4-m8.7.6.5.4.3-a101010")
        near = parse_directive("near", {"spec": str(spec), "distance": 0.5}, huge)
        freezes = [
            parse_directive("freeze", {"parameter": name, "value": value}, huge) for name, value in spec.numbers.items()
        ]
        assert spec.row in set(map(tuple, allowed_networks(facts, [near]).tolist()))
        assert allowed_networks(facts, freezes).tolist() == [list(spec.row)]
        assert len(allowed_networks(facts, [*freezes, parse_directive("ban", {"pattern": str(spec)}, huge)])) == 0


class TestFinishing:
    def test_the_model_may_not_end_before_the_rounds_that_the_user_asked_for(self, search: TinySearch) -> None:
        search.run()  # three rounds
        number = tell(search, "rounds", {"rounds": 5}, text="five rounds")
        with pytest.raises(Refused, match=f'directive {number}: "five rounds" is not carried out yet'):
            finish(search.context(4), "Enough.")
        with opened(search.db) as db:
            assert citations(db, search.search)[-1]["what"] == "refused to end the search"
            undo_directive(db, search.search, number)
        assert finish(search.context(4), "Enough.") == "The search ends here."
