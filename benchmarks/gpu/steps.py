"""A training step beside that of diffusers' recipe, and compiled beside not compiled: the race of `train_step`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from diffusers_recipe import Case
from diffusion.cost.throughput import measure_matmul
from diffusion.settings import Precision
from gpu.bench import Bench, Measured
from gpu.results import Figure
from train_step import Contestant, How, break_even, contestant, entrants, peak_share, race, speed_ratio, warm_up

WARM_UP_SHARE = 0.6  # of the time, after which nobody begins any more; the turns take the rest
RACE_SHARE = 0.9
Rival = Callable[[How], How]  # beside whom somebody's steps are told


def step(bench: Bench, case: str) -> None:
    """Everybody who does not compile, each beside the recipe of its precision."""
    hows = entrants("cuda", compiled=False)  # everybody, also on a CPU
    _run(bench, bench.sizes.cases[bench.device][case], hows, lambda how: How("recipe", how.precision))


def compiled(bench: Bench, case: str) -> None:
    """Ours compiled, each beside the same not compiled; the likeliest to pay come first, since each takes a minute."""
    hows = [How("ours", "bf16", channels_last=True), How("ours", "bf16"), How("ours", "fp32")]
    pairs = [one for how in hows for one in (how, replace(how, compiled=True))]
    _run(bench, bench.sizes.cases[bench.device][case], pairs, lambda how: replace(how, compiled=False))


def _run(bench: Bench, case: Case, hows: list[How], rival: Rival) -> None:
    precisions: list[Precision] = ["fp32", "bf16"]
    runners: dict[How, Contestant] = {}
    peaks: dict[Precision, float] = {}
    for precision in precisions:
        bench.row(f"matmul, {precision}", partial(_peak, bench, precision, peaks))
    for how in hows:
        bench.row(f"warm-up: {how}", partial(_warm, bench, case, how, runners), WARM_UP_SHARE)
    bench.row("race", partial(_race, bench, case, list(runners.values())), share=2.0)
    size = f"{case.spec} at {case.resolution}×{case.resolution}, batch {case.batch_size}"
    for runner in runners.values():
        beside = runners.get(rival(runner.how))
        bench.row(f"{size}: {runner.how}", partial(_told, case, runner, beside, peaks), share=2.0)


def _peak(bench: Bench, precision: Precision, peaks: dict[Precision, float]) -> Measured:
    peaks[precision] = measure_matmul(bench.device, bench.cores, precision)
    return f"{peaks[precision] / 1e12:,.1f} TFLOP/s", {"flops_per_second": peaks[precision]}


def _warm(bench: Bench, case: Case, how: How, runners: dict[How, Contestant]) -> Measured:
    runner = contestant(case, how, bench.cores)
    warm_up(runner, bench.device)
    runners[how] = runner
    return f"{runner.warmup_seconds:.1f} s", {"seconds": runner.warmup_seconds}


def _race(bench: Bench, case: Case, runners: list[Contestant]) -> Measured:
    race(runners, bench.sizes.turns, case.steps_a_turn, bench.device, bench.until(RACE_SHARE))
    turns = len(runners[0].seconds_a_step)
    return f"{turns} turns of {case.steps_a_turn} steps", {"turns": turns, "steps_a_turn": case.steps_a_turn}


def _told(case: Case, runner: Contestant, beside: Contestant | None, peaks: dict[Precision, float]) -> Measured:
    """Images a second, the share of the peak, and the ratio to a rival with its quartiles."""
    figures: dict[str, Figure] = {
        "images_per_second": case.batch_size / runner.seconds,
        "ms_a_step": 1000 * runner.seconds,
    }
    said = f"{case.batch_size / runner.seconds:,.0f} images/s, {1000 * runner.seconds:.2f} ms a step"
    if runner.how.precision in peaks:
        figures["peak_share"] = share = peak_share(case, runner, peaks)
        said += f", {share:.0%} of the peak"
    if beside and beside is not runner:
        low, middle, high = speed_ratio(runner, beside)
        figures |= {"rival": str(beside.how), "ratio": middle, "ratio_low": low, "ratio_high": high}
        said += f": {middle:.2f} × {beside.how} ({low:.2f} to {high:.2f})"
    if beside and runner.how.compiled:
        said += f"; {break_even(runner, beside)}"
    return said, figures
