"""``diffnas-agent generate``: specs from the generator of DiffusionNAG, within a budget, guided by what was learned."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agent.config.sources import Resolved
from agent.generation.asked import Basis, Wanted, basis_of
from agent.report.console import people
from agent.report.results import Result
from agent.report.tables import print_table, say, show
from diffusion.cost.closed_form import Macs, cost
from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.guidance import Guide, Like
from diffusion.nag.predictor import RankEnsemble
from diffusion.nag.threads import one_thread
from diffusion.nag.training import ScoreTraining, load_score, new_network, save_score, train_score
from diffusion.nag.unets import UNetGraphs
from diffusion.networks import network
from diffusion.spec import UNetSpec
from diffusion.streams import generator
from diffusion.under_way import each, under_way
from diffusion.units import format_size, printable
from tools.generation import Generated, generator_of, guides_of, learned, onehot, ranked

TRAINING_SPECS = 20_000  # drawn from the space, for a score network
LIKE_SCALE = 3.0  # of eight kinds of a stage the wanted one then comes in three of four cases


class PredictedRank(Result):
    """Where a spec would stand among the trials that were learned from: 1 is the best, 0 the worst."""

    rank: float
    """mean over the ensemble"""
    sd: float
    """standard deviation between its members"""


class GeneratedSpec(Result):
    """A generated spec; ``generate --json`` is a list of these, the highest predicted rank first."""

    spec: str
    """its text"""
    widths: str
    """channels of each stage"""
    macs: Macs
    """its cost under both conventions"""
    params: int
    """its parameters"""
    predicted: PredictedRank | None
    """`null` where there were fewer than five scores to learn from"""
    novel: bool
    """whether the network is none that was tried under the protocol"""


def generate(settings: Resolved, wanted: Wanted, *, as_json: bool) -> int:
    """Print specs; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    console = people(stderr=as_json)
    basis = basis_of(settings, wanted)
    with under_way("learning from trials"):
        predictor = learned(basis.band, basis.trials, basis.config.search.seed)
    say(console, _learned_from(basis, predictor))
    specs = _specs(basis, wanted, predictor)
    if len(specs) < wanted.count:
        say(console, f"{len(specs)} of {wanted.count}: nothing else came within the limits.")
    tried = {network(trial.spec, basis.band.family) for trial in basis.trials}
    found = [_row(basis, each, tried) for each in ranked(basis.band.graphs, predictor, specs)]
    show(found, as_json, print_generated)
    return 0


def _learned_from(basis: Basis, predictor: RankEnsemble | None) -> str:
    scored = sum(trial.state == "scored" for trial in basis.trials)
    if predictor is None:
        had = f"'{basis.search}' has {scored} scores" if basis.search else "the memory has no trial of such networks"
        return f"Unguided but for the budget: {had}, and a predictor needs five."
    return (
        f"Guided by the ranks of {len(basis.trials)} trials under the protocol of '{basis.search}'; ranks that were "
        f"left out correlate with the predicted ones at {predictor.correlation:.2f}."
    )


def _specs(basis: Basis, wanted: Wanted, predictor: RankEnsemble | None) -> list[UNetSpec]:
    band = basis.band
    guides = guides_of(band, predictor)
    if wanted.like is not None:
        graph = onehot(band.graphs, [wanted.like])[0]
        guides.append(Guide(Like(product_score(band.graphs), graph), LIKE_SCALE))
    with one_thread():
        source = _generator(band.graphs, wanted.network, basis.config.search.seed)
    with one_thread(), under_way("generating specs"):
        return source.deliver(wanted.count, basis.config.search.seed, guides, fits=band.fits)


def _generator(graphs: UNetGraphs, path: Path | None, seed: int) -> Generator[UNetSpec]:
    """By the exact score of the space, or by a network that is trained where its file is not there."""
    if path is None:
        return generator_of(graphs, steps=Generator.steps)
    if not path.exists():
        training = ScoreTraining(seed=seed)
        fresh = new_network(graphs, training)
        steps = train_score(fresh, graphs.sample(TRAINING_SPECS, generator(seed, "training specs")), training)
        for _ in each(f"training {printable(path.name)}", steps, training.steps):
            pass
        save_score(path, fresh, graphs, training)
    trained, training = load_score(path, graphs)
    return Generator(graphs, trained.score, process=training.process)


def _row(basis: Basis, each: Generated, tried: set[str]) -> GeneratedSpec:
    band, spec = basis.band, each.spec
    counted = cost(spec, band.family, band.resolution, band.channels)
    predicted = None
    if each.rank is not None and each.sd is not None:
        predicted = PredictedRank(rank=round(each.rank, 4), sd=round(each.sd, 4))
    return GeneratedSpec(
        spec=str(spec),
        widths=spec.widths,
        macs=counted.macs,
        params=counted.params,
        predicted=predicted,
        novel=network(spec, band.family) not in tried,
    )


def print_generated(console: Console, found: Sequence[GeneratedSpec]) -> None:
    """A table, the highest predicted rank first."""
    rows = [
        (
            row.spec,
            row.widths,
            format_size(row.macs.paper),
            format_size(row.macs.total),
            format_size(row.params),
            f"{row.predicted.rank:.2f} ± {row.predicted.sd:.2f}" if row.predicted else "–",
            "yes" if row.novel else "no",
        )
        for row in found
    ]
    columns = ("spec", "widths", "MACs (paper)", "MACs (total)", "params", "predicted rank", "novel")
    print_table(console, columns, rows, right="MACs (paper),MACs (total),params")
