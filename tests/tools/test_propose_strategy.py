"""The gates before a strategy, and the tool as a model reads it: known costs, bounds by name, what would be right."""

import json
import math
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.utils.function_calling import convert_to_openai_tool
from snapshots import assert_snapshot
from strategy_rows import STANDARD
from strategy_searches import TinyStrategySearch

from diffusion.settings import Strategy
from memory.connection import opened
from memory.strategies import Measured, add_measurement
from tools.errors import Refused
from tools.gates.strategies import FIELDS, StrategyLimits, images_of, shown
from tools.propose_strategy import StrategyArguments, StrategyContext, accuracy, allowed, propose, propose_strategy

SNAPSHOT = Path(__file__).parent / "strategy_snapshots" / "propose_strategy.json"
HALF = StrategyLimits(STANDARD, cost_limit=0.5, sampling_steps=100, train_images=1437)  # of 100 steps × 8 images
PAPERS = {"learning_rate": 2e-4, "dropout": 0.1, "diffusion_steps": 400}


def refused(limits: StrategyLimits, **values: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        limits.strategy({**PAPERS, **values})
    return raised.value


class TestCost:
    def test_it_is_the_share_of_the_images_trained_on(self) -> None:
        assert HALF.standard_images == 800
        assert HALF.cost(STANDARD) == 1.0
        assert HALF.cost(STANDARD.model_copy(update={"train_steps": 50})) == 0.5
        assert HALF.cost(STANDARD.model_copy(update={"batch_size": 16, "train_steps": 10})) == 0.2

    @pytest.mark.parametrize(("limit", "images"), [(0.5, 400), (0.1, 80), (0.29, 232), (0.001, 0), (1.0, 800)])
    def test_a_limit_is_so_many_images_without_a_step_lost_to_rounding(self, limit: float, images: int) -> None:
        assert StrategyLimits(STANDARD, limit, 100, 1437).allowed_images == images

    def test_over_the_limit_says_by_how_much_and_what_would_fit(self) -> None:
        found = refused(HALF, train_steps=80)
        assert found.kind == "over_limit"
        assert str(found) == (
            "80 train_steps of batch_size 8 cost 0.8 of the standard strategy, 0.3 over the limit of 0.5; "
            "with batch_size 8 at most 50 train_steps fit."
        )
        assert HALF.strategy({**PAPERS, "train_steps": 50}).train_steps == 50
        assert refused(HALF, train_steps=51).kind == "over_limit"

    def test_a_batch_of_which_no_step_fits_is_refused(self) -> None:
        assert "not even one step fits: take a smaller batch" in str(refused(HALF, batch_size=401))


class TestWhatIsLeftOut:
    def test_the_training_is_as_long_as_the_limit_allows_and_the_rest_the_standards(self) -> None:
        found = HALF.strategy(PAPERS)
        assert found == Strategy(
            **PAPERS,  # type: ignore[arg-type]
            batch_size=8,
            train_steps=50,
            warmup_steps=5,  # a tenth of the training, as in the standard strategy
            ema_decay=STANDARD.ema_decay,
            gradient_clip=STANDARD.gradient_clip,
        )

    def test_a_larger_batch_has_fewer_steps(self) -> None:
        assert HALF.strategy({**PAPERS, "batch_size": 32}).train_steps == 12

    def test_nothing_is_left_out_of_the_fields_but_the_clipping(self) -> None:
        assert {*FIELDS, "gradient_clip", "weight_decay"} == set(Strategy.model_fields)


class TestBounds:
    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("learning_rate", 0.5, "learning_rate 0.5 is above 0.01; take one from 1e-05 to 0.01."),
            ("learning_rate", -1e-4, "learning_rate -0.0001 is below 1e-05; take one from 1e-05 to 0.01."),
            ("learning_rate", math.nan, "learning_rate nan is no number; take one from 1e-05 to 0.01."),
            ("learning_rate", math.inf, "learning_rate inf is above 0.01; take one from 1e-05 to 0.01."),
            ("dropout", 0.9, "dropout 0.9 is above 0.5; take one from 0 to 0.5."),
            ("diffusion_steps", 99, "diffusion_steps 99 is below 100; take one from 100 to 4000."),
            ("diffusion_steps", 4001, "diffusion_steps 4001 is above 4000; take one from 100 to 4000."),
            ("batch_size", 4, "batch_size 4 is below 8; take one from 8 to 1024."),
            ("batch_size", 1025, "batch_size 1025 is above 1024; take one from 8 to 1024."),
            ("train_steps", 0, "train_steps 0 is below 1; take one from 1 to 100."),
            ("train_steps", 10**400, f"train_steps 1{'0' * 19} is above 100; take one from 1 to 100."),
            ("warmup_steps", -1, "warmup_steps -1 is below 0; take one from 0 to 100."),
            ("warmup_steps", 26, "warmup_steps 26 is above 25, half of the 50 train_steps; take fewer."),
            ("ema_decay", 1.0, "ema_decay 1 is above 0.99999; take one from 0.9 to 0.99999."),
        ],
    )
    def test_what_is_outside_is_refused_by_name(self, name: str, value: float, sentence: str) -> None:
        found = refused(HALF, **{name: value})
        assert (found.kind, str(found)) == ("outside_bounds", sentence)

    def test_no_batch_is_larger_than_the_data_set_or_smaller_than_the_processes(self) -> None:
        bound = StrategyLimits(STANDARD, 0.5, 100, train_images=60, processes=12).bounds()["batch_size"]
        assert bound == (8, 60)  # the standard strategy's own stays allowed
        larger = STANDARD.model_copy(update={"batch_size": 64})
        assert StrategyLimits(larger, 0.5, 100, 1437, processes=12).bounds()["batch_size"].low == 12

    @given(
        learning_rate=st.floats(1e-6, 0.1),
        dropout=st.floats(0, 0.9),
        diffusion_steps=st.integers(50, 10_000),
        batch_size=st.integers(1, 2000),
        warmup_share=st.floats(0, 0.5),
        train_steps=st.integers(1, 10_000),
    )
    def test_a_standard_strategy_lies_within_its_own_bounds_and_costs_one(
        self, warmup_share: float, train_steps: int, **values: Any
    ) -> None:
        warmup_steps = int(warmup_share * train_steps)
        standard = Strategy(**values, train_steps=train_steps, warmup_steps=warmup_steps)
        limits = StrategyLimits(standard, 1.0, sampling_steps=50, train_images=5000)
        assert limits.strategy({name: getattr(standard, name) for name in FIELDS}) == standard
        assert limits.cost(standard) == 1.0

    @given(limit=st.floats(0.01, 1.0), batch_size=st.integers(8, 1024))
    def test_what_is_filled_in_never_exceeds_the_limit(self, limit: float, batch_size: int) -> None:
        limits = StrategyLimits(STANDARD.model_copy(update={"train_steps": 20_000}), limit, 100, 1437)
        found = limits.strategy({**PAPERS, "batch_size": batch_size})
        assert images_of(found) <= limit * limits.standard_images * (1 + 1e-9)
        assert images_of(found) + batch_size > limits.allowed_images


@pytest.mark.parametrize(
    ("value", "text"),
    [(2e-4, "0.0002"), (0.0, "0"), (128, "128"), (0.99999, "0.99999"), (0.99999123, "0.99999123"), (1e-5, "1e-05")],
)
def test_a_value_is_written_with_every_digit_that_counts(value: float, text: str) -> None:
    assert shown(value) == text
    assert float(text) == value


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> TinyStrategySearch:
    return TinyStrategySearch(tmp_path_factory.mktemp("propose"), {"diffusion_steps": 1000, "sampling_steps": 2})


def outcome(context: StrategyContext, **values: Any) -> str:
    """The kind of the refusal, or "accepted"."""
    try:
        propose(context, {**PAPERS, **values}, "Because  it\nshould.", "raw")
    except Refused as objection:
        return objection.kind
    return "accepted"


def test_the_gates_of_a_search_one_after_the_other(search: TinyStrategySearch) -> None:
    first, second = search.context(1, "me"), search.context(2, "me")
    assert outcome(first, train_steps=80) == "over_limit"
    assert outcome(first, dropout=0.9) == "outside_bounds"
    assert outcome(first) == "accepted"
    assert outcome(first) == "accepted"  # the same again, after a kill: the row that is there
    assert outcome(first, dropout=0.2) == "round_taken"
    assert outcome(second) == "repeated"
    assert outcome(second, dropout=0.2) == "accepted"
    assert [(row.round, row.proposer, row.reason, row.cost) for row in search.strategies()] == [
        (1, "me", "Because it should.", 0.5),
        (2, "me", "Because it should.", 0.5),
    ]
    rows = search.rows("SELECT round, refusal_kind, refusal, raw_text, spec FROM proposals ORDER BY id")
    assert [(row["round"], row["refusal_kind"]) for row in rows] == [
        (1, "over_limit"), (1, "outside_bounds"), (1, "round_taken"), (2, "repeated"),
    ]  # fmt: skip
    assert [event["reason"] for event in search.of("strategy.refused")] == [row["refusal"] for row in rows]
    assert {(row["raw_text"], row["spec"]) for row in rows} == {("raw", None)}
    assert len(search.of("strategy.proposed")) == 3


def test_a_repeat_is_refused_with_the_stored_result(tmp_path: Path) -> None:
    search = TinyStrategySearch(tmp_path)
    propose(search.context(1), PAPERS, "First.")
    with pytest.raises(Refused, match=r"strategy 1 of round 1 already \(not measured\)\. Propose other values\."):
        allowed(search.context(2), PAPERS)
    with opened(search.db) as db:
        add_measurement(db, 1, Measured(0.712, 0.42, 0.88, 72.0, 24))
    sentence = r"\(τ 0\.71 \[0\.42, 0\.88\] over 24 specs, 3 device-seconds per training\)"
    with pytest.raises(Refused, match=sentence):
        allowed(search.context(2), PAPERS)
    assert accuracy(search.strategies()[0]) == "τ 0.71 [0.42, 0.88] over 24 specs, 3 device-seconds per training"


class TestTheToolAsAModelReadsIt:
    schema: dict[str, Any] = convert_to_openai_tool(propose_strategy)

    def test_the_schema_is_the_reviewed_one(self) -> None:
        assert_snapshot(SNAPSHOT, json.dumps(self.schema, indent=1, ensure_ascii=False) + "\n")

    def test_the_paper_s_three_and_the_reason_are_required(self) -> None:
        required = {"learning_rate", "dropout", "diffusion_steps", "reason"}
        parameters = self.schema["function"]["parameters"]
        assert set(parameters["required"]) == required
        assert set(parameters["properties"]) == {*FIELDS, "reason"}
        assert all(argument.get("description") for argument in parameters["properties"].values())

    def test_nothing_in_it_that_servers_cannot_read_and_nothing_that_is_injected(self) -> None:
        text = json.dumps(self.schema)
        assert not any(word in text for word in ("runtime", "$ref", "$defs", "prefixItems"))
        assert StrategyArguments.model_config["extra"] == "forbid"

    def test_the_description_is_a_dedented_docstring_whose_first_line_is_a_sentence(self) -> None:
        description = self.schema["function"]["description"]
        assert description == cleandoc(description)
        first, blank, *rest = description.splitlines()
        assert first.endswith(".") and blank == "" and rest
