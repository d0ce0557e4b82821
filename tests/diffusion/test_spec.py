import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from diffusion.errors import UserError
from diffusion.space import SPACE_NAMES, SearchSpace, built_in
from diffusion.spec import PAPER_PARAMETERS, SpecField, UNetSpec

ROOT = Path(__file__).parents[2]
DDPM = UNetSpec(base_channel=128, num_blocks=2, channel_mult=(1, 2, 2, 2), attn=(False, True, False, False))
TINY = SearchSpace(name="tiny", base_channel=(4, 8, 12), num_blocks=(1, 3), channel_mult=(1, 2))

specs = st.builds(
    UNetSpec,
    base_channel=st.integers(1, 256).map(lambda quarter: 4 * quarter),
    num_blocks=st.integers(1, 8),
    channel_mult=st.tuples(*[st.integers(1, 8)] * 4),
    attn=st.tuples(*[st.booleans()] * 4),
)


def refusal(value: Any) -> str:
    """The sentence; it is one line and quotes what was given first."""
    with pytest.raises(UserError) as caught:
        UNetSpec.parse(value)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(f"'{value}'")
    return text


class TestSpec:
    def test_the_text_form_reads_as_the_design_says(self) -> None:
        assert str(DDPM) == "b128-n2-m1.2.2.2-a0100"
        assert UNetSpec.parse("b128-n2-m1.2.2.2-a0100") == DDPM
        assert UNetSpec.parse(" b128-n2-m1.2.2.2-a0100\n") == DDPM

    def test_the_json_object_of_the_contract_is_a_spec(self) -> None:
        value = {
            "base_channel": 128,
            "num_blocks": 2,
            "channel_mult": [1, 2, 2, 2],
            "attn": [False, True, False, False],
        }
        assert UNetSpec.parse(value) == DDPM
        assert DDPM.model_dump(mode="json") == value
        assert UNetSpec.parse(json.dumps(value)) == DDPM

    @pytest.mark.parametrize(
        "text",
        ["{", '{"base_channel":}', '{"base_channel":' + "9" * 5000 + "}", '{"a":' * 100_000],
        ids=["cut", "empty", "long", "deep"],
    )
    def test_broken_json_is_said_to_be_broken(self, text: str) -> None:
        assert " is not a spec: its JSON is broken (" in refusal(text)

    def test_the_row_has_the_ten_numbers_in_the_order_of_the_parameters(self) -> None:
        assert dict(zip(PAPER_PARAMETERS, DDPM.row, strict=True)) == {
            "base_channel": 128, "num_blocks": 2,
            "mult_0": 1, "mult_1": 2, "mult_2": 2, "mult_3": 2,
            "attn_0": 0, "attn_1": 1, "attn_2": 0, "attn_3": 0,
        }  # fmt: skip

    def test_channels_are_base_times_multiplier_stage_by_stage(self) -> None:
        assert UNetSpec.parse("b12-n1-m1.3.2.4-a0000").channels == (12, 36, 24, 48)

    @given(specs)
    def test_text_object_and_row_round_trip(self, spec: UNetSpec) -> None:
        assert UNetSpec.parse(str(spec)) == spec
        assert UNetSpec.parse(spec.model_dump()) == spec
        assert UNetSpec.parse(spec) is spec
        assert UNetSpec.from_row(spec.row) == spec
        assert UNetSpec.from_row(np.array(spec.row)) == spec
        assert UNetSpec.model_validate_json(spec.model_dump_json()) == spec

    @given(specs, specs)
    def test_equal_text_means_equal_spec_and_equal_hash(self, one: UNetSpec, other: UNetSpec) -> None:
        assert (str(one) == str(other)) == (one == other) == (len({one, other}) == 1)
        assert len({one, UNetSpec.parse(str(one))}) == 1

    def test_a_spec_is_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            DDPM.base_channel = 64  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("text", "field", "allowed"),
        [
            ("b130-n2-m1.2.2.2-a0100", "base_channel=130", "a multiple of 4"),
            ("b0-n2-m1.2.2.2-a0100", "base_channel=0", "greater than or equal to 4"),
            ("b1028-n2-m1.2.2.2-a0100", "base_channel=1028", "less than or equal to 1024"),
            ("b128-n0-m1.2.2.2-a0100", "num_blocks=0", "greater than or equal to 1"),
            ("b128-n9-m1.2.2.2-a0100", "num_blocks=9", "less than or equal to 8"),
            ("b128-n2-m1.2.0.2-a0100", "channel_mult.2=0", "greater than or equal to 1"),
            ("b128-n2-m1.2.2.9-a0100", "channel_mult.3=9", "less than or equal to 8"),
        ],
    )
    def test_a_bad_value_is_one_sentence_with_field_value_and_what_is_allowed(
        self, text: str, field: str, allowed: str
    ) -> None:
        assert refusal(text).endswith(f": {field}: input should be {allowed}")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "b128",
            "b128-n2-m1.2-a01",
            "b128-n2-m1.2.2.2.2.2.2-a0100000",
            "b128-n2-m1.2.2.2-a0102",
            "b-128-n2-m1.2.2.2-a0100",
            "B128-N2-M1.2.2.2-A0100",
            f"b{'9' * 5000}-n2-m1.2.2.2-a0100",
        ],
        ids=lambda text: text[:24],
    )
    def test_other_text_is_answered_with_an_example(self, text: str) -> None:
        assert refusal(text).endswith(" is not a spec; write it like b128-n2-m1.2.2.2-a0100")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"base_channel": "wide"}, "base_channel=wide: input should be a valid integer"),
            ({"channel_mult": [1, 2]}, "channel_mult=[1, 2]: tuple should have at least 3 items"),
            ({"channel_mult": [1, 2, 2]}, "3 multipliers and 4 attention flags; every stage has one of each"),
            ({"attn": [False] * 7}, "at most 6 items"),
            ({"attn": [0, 2, 0, 0]}, "attn.1=2: input should be a valid boolean"),
            ({"heads": 4}, "heads=4: extra inputs are not permitted"),
        ],
    )
    def test_a_bad_object_names_the_field(self, change: dict[str, Any], said: str) -> None:
        assert said in refusal({**DDPM.model_dump(mode="json"), **change})

    def test_a_missing_field_is_named(self) -> None:
        value = DDPM.model_dump(mode="json")
        del value["num_blocks"]
        assert refusal(value).endswith("num_blocks: field required")

    @given(st.text(max_size=40) | st.from_regex(r"b\d*-n\d*-m[\d.]*-a\d*", fullmatch=True))
    def test_any_text_is_a_spec_or_a_user_error(self, text: str) -> None:
        try:
            spec = UNetSpec.parse(text)
        except UserError:
            return
        assert UNetSpec.parse(str(spec)) == spec

    def test_a_pydantic_field_takes_text_and_object(self) -> None:
        class Holder(BaseModel):
            spec: SpecField

        assert Holder.model_validate({"spec": str(DDPM)}).spec == DDPM
        assert Holder.model_validate({"spec": DDPM.model_dump(mode="json")}).spec == DDPM
        assert Holder(spec=DDPM).spec == DDPM
        with pytest.raises(ValidationError, match="write it like b128"):
            Holder.model_validate({"spec": "wide"})


class TestSpace:
    def test_the_space_of_the_paper_holds_122880_specs(self) -> None:
        assert built_in("images-32").size == 122_880 == len(built_in("images-32").rows())
        assert built_in("images-32").why_not(DDPM) is None

    def test_the_digits_space_holds_49152_specs(self) -> None:
        assert built_in("digits-8").size == 49_152 == len(built_in("digits-8").rows())

    def test_spaces_are_found_by_their_names(self) -> None:
        assert set(SPACE_NAMES) == {"images-32", "images-32-wide", "digits-8", "images-64", "images-128", "images-256"}

    @pytest.mark.parametrize("space", [TINY, built_in("digits-8")], ids=lambda space: space.name)
    def test_rows_are_the_iteration_without_repeats(self, space: SearchSpace) -> None:
        listed = [spec.row for spec in space]
        assert [tuple(row) for row in space.rows().tolist()] == listed
        assert len(set(listed)) == len(listed) == space.size

    def test_why_not_names_the_parameter_and_what_is_allowed(self) -> None:
        spec = UNetSpec.parse("b128-n2-m1.2.5.2-a0100")
        assert built_in("images-32").why_not(spec) == "mult_2=5 is outside the space images-32: allowed are 1, 2, 3, 4"
        assert (
            built_in("digits-8").why_not(DDPM)
            == "base_channel=128 is outside the space digits-8: allowed are 8, 16, 24, 32"
        )

    def test_a_space_without_attention_refuses_attention(self) -> None:
        space = SearchSpace(name="plain", base_channel=(128,), num_blocks=(2,), channel_mult=(1, 2), attn=(False,))
        assert space.size == 16
        assert space.why_not(DDPM) == "attn_1=1 is outside the space plain: allowed are 0"

    def test_samples_are_members_repeatable_and_reach_every_value(self) -> None:
        drawn = [built_in("images-32").sample(random.Random(seed)) for seed in range(200)]
        assert drawn == [built_in("images-32").sample(random.Random(seed)) for seed in range(200)]
        assert all(built_in("images-32").why_not(spec) is None for spec in drawn)
        seen = [tuple(sorted(set(column))) for column in zip(*(spec.row for spec in drawn), strict=True)]
        assert seen == list(built_in("images-32").choices.values())

    def test_a_space_is_frozen_and_hashable(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            TINY.name = "other"  # type: ignore[misc]
        assert len({TINY, TINY.model_copy()}) == 1


@pytest.mark.parametrize("name", ["spec", "neighbourhood", "cost.closed_form", "settings", "units"])
def test_specs_costs_and_settings_import_no_torch(name: str) -> None:
    code = f"import sys, diffusion.{name}; print(sorted({{'torch', 'diffusers', 'accelerate'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
