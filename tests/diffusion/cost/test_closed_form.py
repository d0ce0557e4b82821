"""The closed form against hand-known answers, against itself in bulk, and against three counts of the real network."""

import importlib.util
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from counted import meta_count
from torch.utils.flop_counter import FlopCounterMode

from diffusion.cost import verify
from diffusion.cost.closed_form import cost, costs
from diffusion.settings import Family, Settings
from diffusion.space import SearchSpace, built_in
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet, unet_arguments

DDPM = UNetSpec.parse("b128-n2-m1.2.2.2-a0100")
IDDPM = UNetSpec.parse("b128-n3-m1.2.2.2-a0110")
Case = tuple[UNetSpec, Family, int, int]  # resolution and channels last
FAMILIES: tuple[Family, ...] = ("ddpm", "iddpm")
FVCORE_LARGEST = 300_000_000  # MACs; a larger network takes seconds to trace
SMALL = SearchSpace(name="small", base_channel=(4, 8, 12, 20, 32), num_blocks=(1, 2), channel_mult=(1, 2, 3, 4))


STAGES = (3, 5, 6)  # the paper's four are drawn from its own space


def of_stages(stages: int) -> SearchSpace:
    """Small networks of so many stages, attention where there are few positions."""
    attn = [[False]] * (stages - 3) + [[False, True]] * 3
    return SearchSpace(
        name="any", stages=stages, base_channel=(8, 12, 32), num_blocks=(1, 2), channel_mult=(1, 2, 3), attn=attn
    )


def drawn_small(count: int, seed: int) -> list[Case]:
    """Random networks that are quick to run, of both families at all resolutions in turn: twelve have each once."""
    rng = random.Random(seed)
    found: list[Case] = []
    for _, kind in zip(range(count), itertools.cycle(itertools.product(FAMILIES, (8, 16, 32), (1, 3))), strict=False):
        while cost(spec := SMALL.sample(rng), *kind).macs.paper > FVCORE_LARGEST:
            pass
        found.append((spec, *kind))
    return found


@pytest.mark.parametrize(
    ("spec", "family", "params", "paper", "total"),
    [
        (DDPM, "ddpm", 35_746_307, 6_053_953_536, 6_221_856_768),
        (IDDPM, "iddpm", 52_546_438, 8_137_015_296, 8_386_707_456),
    ],
    ids=["ddpm", "iddpm"],
)
def test_the_baselines_of_the_paper_cost_what_is_known(
    spec: UNetSpec, family: Family, params: int, paper: int, total: int
) -> None:
    counted = cost(spec, family)
    assert (counted.params, counted.macs.paper, counted.macs.total) == (params, paper, total)
    assert (counted.macs.by("paper"), counted.macs.by("total")) == (paper, total)
    assert (counted.spec, counted.family, counted.resolution, counted.channels) == (str(spec), family, 32, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_stages_add_up_to_the_whole(family: Family) -> None:
    for spec in (DDPM, IDDPM, UNetSpec.parse("b12-n1-m1.3.2.4-a1011")):
        counted = cost(spec, family)
        assert sum(stage.params for stage in counted.stages) == counted.params
        assert sum(stage.macs.paper for stage in counted.stages) == counted.macs.paper
        assert sum(stage.macs.total for stage in counted.stages) == counted.macs.total
        assert [stage.stage for stage in counted.stages] == [0, 1, 2, 3]
        assert [stage.resolution for stage in counted.stages] == [32, 16, 8, 4]
        assert tuple(stage.channels for stage in counted.stages) == spec.channels


def test_attention_counts_to_its_own_stage() -> None:
    """QKᵀ and AV are 2·width·pixels² a block; two blocks down, three up (Vaswani et al. 2017)."""
    stages = cost(DDPM).stages
    assert [stage.macs.total - stage.macs.paper for stage in stages] == [
        0,
        5 * 2 * 256 * 256**2,
        0,
        2 * 256 * 16**2,  # the middle block's alone
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("space", [built_in("images-32"), built_in("digits-8")], ids=lambda space: space.name)
@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (32, 3)])
def test_counting_one_equals_counting_many(space: SearchSpace, family: Family, resolution: int, channels: int) -> None:
    rows = space.rows()[np.random.default_rng(0).choice(space.size, 250, replace=False)]
    many = costs(rows, family, resolution, channels)
    for index, row in enumerate(rows):
        one = cost(UNetSpec.from_row(row), family, resolution, channels)
        expected = (one.params, one.macs.paper, one.macs.total, one.activation_bytes)
        assert tuple(int(column[index]) for column in many) == expected, one.spec
    assert (many.macs("paper") == many.macs_paper).all() and (many.macs("total") == many.macs_total).all()
    assert {column.dtype for column in many} == {np.dtype(np.int64)} and {len(column) for column in many} == {250}


def test_one_row_in_bulk_is_the_known_answer() -> None:
    many = costs(np.array([DDPM.row]))
    assert [int(column[0]) for column in many[:3]] == [35_746_307, 6_053_953_536, 6_221_856_768]


@pytest.mark.parametrize("count", [8, pytest.param(52, marks=pytest.mark.slow)])
def test_closed_form_equals_fvcores_count_of_the_real_network(count: int) -> None:
    for case in drawn_small(count, seed=0):
        counted = cost(*case)
        assert verify.fvcore_count(*case) == {"params": counted.params, "macs_paper": counted.macs.paper}, case


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_closed_form_equals_torchs_flop_counter(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs of the paper's space at 32×32. What counts nothing is left out, which makes a count twice as fast."""
    for kind in (torch.nn.GroupNorm, torch.nn.SiLU, torch.nn.Dropout):
        monkeypatch.setattr(kind, "forward", lambda self, hidden: hidden)
    for layer in (torch.nn.Conv2d, torch.nn.Linear):
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)
    rng = random.Random(0)
    for index in range(count):
        spec, family = built_in("images-32").sample(rng), FAMILIES[index % 2]
        counted = cost(spec, family)
        expected = {"params": counted.params, "macs_total": counted.macs.total}
        assert meta_count(spec, family, 32, 3) == expected, (spec, family)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [4, pytest.param(120, marks=pytest.mark.slow)])
def test_three_five_and_six_stages_cost_what_both_counters_count(count: int) -> None:
    """Both families, grey and colour; the side is the least that has a pixel at the last stage, or twice that."""
    rng = random.Random(1)
    for index in range(count):
        stages, family, channels = STAGES[index % 3], FAMILIES[index // 3 % 2], (1, 3)[index // 6 % 2]
        side = max(8, 2 ** (stages - 1) << index // 12 % 2)
        spec = of_stages(stages).sample(rng)
        counted = cost(spec, family, side, channels)
        by_torch, by_fvcore = (meta_count, verify.fvcore_count)
        assert by_torch(spec, family, side, channels) == {"params": counted.params, "macs_total": counted.macs.total}
        assert by_fvcore(spec, family, side, channels) == {"params": counted.params, "macs_paper": counted.macs.paper}
        assert len(counted.stages) == stages and sum(stage.params for stage in counted.stages) == counted.params
        many = costs(np.array([spec.row]), family, side, channels)
        assert int(many.macs_total[0]) == counted.macs.total and int(many.params[0]) == counted.params


def test_torchs_flop_counter_knows_the_baseline() -> None:
    assert meta_count(DDPM, "ddpm", 32, 3) == {"params": 35_746_307, "macs_total": 6_221_856_768}


@pytest.mark.parametrize("head_width", [None, 4, 8, 32])
def test_macs_and_parameters_do_not_depend_on_the_number_of_heads(head_width: int | None) -> None:
    from diffusers import UNet2DModel

    spec, settings = UNetSpec.parse("b32-n1-m1.2.2.2-a1100"), Settings(dataset="none", resolution=32, channels=3)
    with torch.device("meta"):
        model = UNet2DModel(**{**unet_arguments(spec, settings), "attention_head_dim": head_width})
        inputs = torch.zeros(1, 3, 32, 32), torch.zeros(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    counted = cost(spec)
    assert counter.get_total_flops() // 2 == counted.macs.total
    assert sum(parameter.numel() for parameter in model.parameters()) == counted.params


def saved_bytes(spec: UNetSpec, family: Family, resolution: int, channels: int) -> int:
    """What autograd keeps of one forward pass at batch 1: each storage once, parameters left out."""
    settings = Settings(dataset="none", resolution=resolution, channels=channels, family=family)
    model = build_unet(spec, settings).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # holding the storage keeps its address from being used again

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.randn(1, channels, resolution, resolution), torch.tensor([5])).sample
    assert output.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def test_activation_bytes_are_within_five_percent_of_what_autograd_keeps() -> None:
    for case in drawn_small(40, seed=1):
        assert cost(*case).activation_bytes == pytest.approx(saved_bytes(*case), rel=0.05), case


def test_the_benchmark_of_the_closed_form_reaches_half_of_its_rates_on_a_busy_machine() -> None:
    path = Path(__file__).parents[3] / "benchmarks" / "count_specs.py"
    found = importlib.util.spec_from_file_location("count_specs", path)
    assert found and found.loader
    benchmark = importlib.util.module_from_spec(found)
    found.loader.exec_module(benchmark)
    rates = benchmark.measure(count_one_by_one=200, count_in_bulk=2_000)
    assert rates.one_by_one >= benchmark.LEAST_ONE_BY_ONE / 2 == 2_500
    assert rates.in_bulk >= benchmark.LEAST_IN_BULK / 2 == 10_000
