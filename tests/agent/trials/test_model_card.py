"""The card as people read it: whole texts beside the test, code that runs as printed, foreign text that stays text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from snapshots import assert_no_other_file, assert_snapshot

from agent.trials.model_card import FOLDER, CardScore, ModelCardFacts, cell, fewer_steps, model_card, quoted
from diffusion.cost.closed_form import cost
from diffusion.export import export_pipeline
from diffusion.settings import Family, Protocol, Schedule, ScoreProtocol, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.checkpoint import Checkpoint
from diffusion.unet import build_unet

SNAPSHOTS = Path(__file__).parent / "model_cards"
SPEC = UNetSpec.parse("b4-n1-m1.2.2.2-a0100")
HOSTILE = "fine\n```\n# Rules\n<script>alert(1)</script>\n---\nlicense: mit | [x](http://x) \u202e"


def facts(family: Family = "ddpm", network: str = "digits-cnn", **changes: Any) -> ModelCardFacts:
    schedule: Schedule = "cosine" if family == "iddpm" else "linear"
    protocol = Protocol(
        data_fingerprint="0123456789ab",
        settings=Settings(dataset="digits", resolution=8, channels=1, family=family, schedule=schedule),
        strategy=Strategy(diffusion_steps=50, train_steps=600, batch_size=64, ema_decay=0.99),
        score=ScoreProtocol(
            feature_network=network,
            feature_sha256="ab" * 32,
            feature_input_size=8,
            resize_filter="none",
            reference_count=1437,
            sampling_steps=25,
            num_images=1000,
        ),
    )
    values: dict[str, Any] = {
        "spec": SPEC,
        "protocol": protocol,
        "step": 600,
        "score": CardScore(value=8.853),
        "data": (("data set", "digits"), ("images", "1,437 for training, 360 for testing"), ("size", "8×8")),
        "lineage": {
            "search": "quiet-owl",
            "trial": 3,
            "proposer": "openai:gpt-4.1",
            "reason": "Wider where it is cheap.",
        },
        "versions": {"diffnas-agent": "0.1.0", "diffusers": "0.42.1"},
    }
    return ModelCardFacts(**{**values, **changes})


MEASURED = CardScore(
    value=3.19, ci95=(3.05, 3.34), training_seeds=3, kid=0.00123, kid_std=0.0004, precision=0.61, recall=0.58
)
CARDS = {
    "ddpm": facts(),
    "iddpm-inception-interval": facts("iddpm", "inception-v3-compat", score=MEASURED),
    "without-score": facts(score=None),
}


def lineage_of(text: str) -> Any:
    (block,) = re.findall(r"^```json\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    return json.loads(block)


@pytest.mark.parametrize("name", CARDS)
def test_the_whole_card_is_the_reviewed_one(name: str) -> None:
    assert_snapshot(SNAPSHOTS / f"{name}.md", model_card(CARDS[name]))


def test_every_snapshot_belongs_to_a_card() -> None:
    assert_no_other_file(SNAPSHOTS, {f"{name}.md" for name in CARDS})


def test_a_score_of_one_training_seed_says_that_there_is_no_interval() -> None:
    text = model_card(facts())
    assert "| 95 % interval | none: one training seed was measured |" in text
    assert "Only one training seed was measured, so no interval exists" in text
    two = model_card(facts(score=CardScore(value=8.853, training_seeds=2)))
    assert "Only 2 training seeds were measured, so no interval exists" in two
    measured = model_card(facts(score=MEASURED))
    assert "| 95 % interval | 3.05 to 3.34 |" in measured and "no interval" not in measured
    assert "over 3 trainings" in measured


def test_only_inception_is_called_fid() -> None:
    assert "| `fid-digits-cnn` (lower is better) | 8.853 |" in model_card(facts())
    assert "does not compare with an FID" in model_card(facts())
    inception = model_card(facts(network="inception-v3-compat"))
    assert "| `fid` (lower is better) | 8.853 |" in inception and "does not compare with an FID" not in inception


def test_both_counting_conventions_params_and_fingerprint_stand_in_the_card() -> None:
    text, counted = model_card(facts()), cost(SPEC, "ddpm", 8, 1)
    assert counted.macs.paper != counted.macs.total
    for figure in (counted.params, counted.macs.paper, counted.macs.total):
        assert f"| {figure:,} |" in text
    assert text.count(facts().protocol.fingerprint) >= 2


def test_every_value_of_the_protocol_is_in_the_table() -> None:
    text = model_card(facts())
    for part in ("settings", "strategy", "score"):
        for name, value in facts().protocol.model_dump(mode="json", exclude={"settings": {"values"}})[part].items():
            shown = "None" if value is None else str(value)
            assert f"| {cell(f'{part}.{name}')} | {cell(shown)} |" in text


@pytest.mark.parametrize("place", ["lineage", "data", "versions"])
def test_foreign_text_stays_text(place: str) -> None:
    hostile: dict[str, Any] = {
        "lineage": {"reason": HOSTILE, HOSTILE: 1},
        "data": (("data set", HOSTILE), (HOSTILE, "x")),
        "versions": {HOSTILE: HOSTILE},
    }
    text = model_card(facts(**{place: hostile[place]}))
    plain = model_card(facts(**{place: type(hostile[place])()}))
    lines = text.splitlines()
    for mark in ("```", "---", "#", "license"):  # no fence, rule, heading or front matter of its own
        assert [line for line in lines if line.startswith(mark)] == [
            line for line in plain.splitlines() if line.startswith(mark)
        ]
    assert "<script>" not in text and "\u202e" not in text
    assert "](http" not in text or place == "lineage"  # inert inside a fence
    if place == "lineage":
        assert lineage_of(text) == hostile["lineage"]  # and nothing of it is lost


def test_a_dataset_named_by_a_path_with_markup_keeps_its_row() -> None:
    assert cell("a|b\nc") == r"a\|b c"
    assert cell("") == "–"
    assert len(cell("a" * 1000)) == 500
    assert json.loads(quoted({"a": "`<\ud800\u2028&é"})) == {"a": "`<\ud800\u2028&é"}
    assert "é" in quoted("é") and "\u2028" not in quoted("\u2028")


def test_the_front_matter_names_the_library_and_no_licence() -> None:
    head = model_card(facts()).split("---")[1]
    assert "library_name: diffusers" in head and "- ddpm" in head and "license" not in head


@pytest.mark.parametrize(("steps", "fewer"), [(1000, 100), (50, 25), (4000, 100), (53, 1), (96, 48)])
def test_fewer_steps_divide_the_chain(steps: int, fewer: int) -> None:
    assert fewer_steps(steps) == fewer


@pytest.mark.parametrize("family", [pytest.param("ddpm", marks=pytest.mark.slow), "iddpm"])
def test_the_code_of_the_card_runs_as_printed(family: Family, tmp_path: Path) -> None:
    given = facts(family)
    job = TrainJob(
        spec=SPEC,
        settings=given.protocol.settings,
        strategy=given.protocol.strategy,
        seed=0,
        data_fingerprint="none",
        data_folder=tmp_path,
        run_folder=tmp_path,
    )
    torch.manual_seed(0)
    weights = {f"ema.{name}": tensor for name, tensor in build_unet(SPEC, job.settings).state_dict().items()}
    text = model_card(given)
    folder = export_pipeline(Checkpoint(job, 600, 0.0, weights), tmp_path / "model", card=text, lineage={})
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == (2 if family == "ddpm" else 1)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace(FOLDER, str(folder)), names)
        names["pipeline"].set_progress_bar_config(disable=True)
        assert [image.size for image in names["images"]] == [(8, 8)] * 4
    if family == "ddpm":
        assert names["pipeline"].scheduler.config.variance_type == "fixed_small"
    else:
        assert len(names["pipeline"](batch_size=2, num_inference_steps=fewer_steps(50)).images) == 2
    assert (folder / "README.md").read_text(encoding="utf-8") == text
