"""Does a predictor that has seen other data sets, told by their images, give a search a better start?

``python benchmarks/nag/images.py --fashion FOLDER --cifar10 FILE --out FOLDER`` makes three small real sets at 8×8 in
grey (the embedded digits, Fashion-MNIST as Debian's `dataset-fashion-mnist` has it, CIFAR-10), has the product train
random networks on each (a memory a set, each search resumed where it stopped), and plays searches among the networks of
each set in turn, with the other two to learn from. ``--networks 6 --train-steps 20 --seeds 2`` make it small.

The start is the first five networks; all ways go on alike, by expected improvement of a Gaussian process:

    told its images   ranked by a predictor conditioned on a set of images (Eq. 10), told this set's own
    told another's    the same predictor, told the images of a set that it has learned from: do images matter?
    told nothing      an ensemble that has learned the ranks of both sets as if they were one
    largest           most multiply-accumulates first: what anybody would do without a predictor
    cold              drawn at random

Networks differ from set to set, so that nothing is looked up. Two data sets are few to learn from.
"""

import argparse
import gzip
import itertools
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from diffusion.cost.closed_form import costs
from diffusion.data.sources import load_digits
from diffusion.nag.closed_form import product_score
from diffusion.nag.predictor import fit_ranks
from diffusion.nag.ranks import rank_correlation, to_ranks
from diffusion.nag.transfer import Episode, MetaTraining, SetConditioned, meta_train, told
from diffusion.nag.unets import unet_graphs
from diffusion.networks import networks
from diffusion.scores.digits_cnn import load_digits_cnn
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from diffusion.statistics.paired import mean_interval, paired_tests
from diffusion.statistics.surrogate import Surrogate
from memory.connection import opened
from memory.queries.so_far import trials_so_far
from memory.searches import find_search, list_searches
from records import Records

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]
SETS = ("digits", "fashion", "cifar10")
SPACE = built_in("digits-8")
BUDGET = "4M"  # three minutes a network would be too long for two cores
KEPT = 4_000  # images of a set
SEEN = 64  # images that a set is told by
QUERIES = 16  # networks of an episode
START = 5
MARKS = (5, 10, 15)  # trained networks after which the best is looked at


class Key(NamedTuple):
    """One search."""

    way: str
    data_set: str
    seed: int


class Played(BaseModel):
    """How it went."""

    key: Key
    regrets: list[float]  # log of the best score so far over the best of all, after each network
    correlation: float | None  # of the predicted ranks with the true ones, before anything is trained here


@dataclass(frozen=True)
class Known:
    """A data set and the networks that were trained on it."""

    images: Images  # (M, 8, 8)
    specs: tuple[UNetSpec, ...]
    log_scores: Floats  # (N,), lower is better

    @property
    def rows(self) -> NDArray[np.int64]:
        return np.array([spec.row for spec in self.specs], dtype=np.int64)

    @property
    def ranks(self) -> Floats:
        return to_ranks(-self.log_scores)


def images_of(name: str, asked: argparse.Namespace) -> Images:
    """A set at 8×8 in grey.  → (M, 8, 8)"""
    if name == "digits":
        return load_digits().train
    if name == "fashion":
        raw = gzip.decompress((asked.fashion / "train-images-idx3-ubyte.gz").read_bytes())
        grey = np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(-1, 28, 28)[:KEPT]
        grey = np.pad(grey, ((0, 0), (2, 2), (2, 2)))
    else:
        grey = np.load(asked.cifar10)["x_train"][:KEPT].mean(axis=3)
    return np.asarray(grey.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).round(), dtype=np.uint8)


def train(name: str, asked: argparse.Namespace) -> None:
    """Have the product train networks on a set: a search of its own, begun or gone on with."""
    folder = asked.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data, db = folder / f"{name}.npz", folder / "diffnas.db"
    if not data.exists():
        np.savez(data, x_train=images_of(name, asked))
    with opened(db) as memory:
        begun = name in {each.name for each in list_searches(memory)}
    given = [
        *("run", "--preset", "digits", "--dataset", str(data), "--feature-network", "digits-cnn"),
        *("--reference-split", "train", "--budget", BUDGET, "--searcher", "random", "--name", name),
        *("--rounds", str(asked.networks), "--seed", str(SETS.index(name)), "--set", "replicas=1"),
        *("--set", "race_trainings=0", "--train-steps", str(asked.train_steps), "--num-images", str(asked.images)),
        *("--out", str(folder / "runs")),
    ]
    command = ["resume", name] if begun else given
    subprocess.run([sys.executable, "-m", "agent", *command, "--db", str(db)], check=True, cwd=folder)


@cache
def known(name: str, folder: Path) -> Known:
    """A set with what was scored on it."""
    with opened(folder / "diffnas.db", read_only=True) as db:
        search = find_search(db, name).id
        trials = [trial for trial in trials_so_far(db, search) if trial.score is not None]
    scores = np.array([trial.score for trial in trials])
    return Known(np.load(folder / f"{name}.npz")["x_train"], tuple(trial.spec for trial in trials), np.log(scores))


@cache
def features(images: bytes) -> torch.Tensor:
    """Of 8×8 images in grey.  → (M, 32)"""
    grey = torch.frombuffer(bytearray(images), dtype=torch.uint8).reshape(-1, 1, 8, 8)
    with torch.no_grad():
        return load_digits_cnn().embed(grey.float() / 255)


def look(images: Images, noise: torch.Generator) -> torch.Tensor:
    """Features of some images of a set.  → (SEEN, 32)"""
    return features(images.tobytes())[torch.randint(len(images), (SEEN,), generator=noise)]


@cache
def taught(folder: Path, others: tuple[str, ...], seed: int, steps: int) -> SetConditioned:
    """A predictor that has learned from some sets."""
    graphs = unet_graphs(SPACE)
    sets = [known(name, folder) for name in others]
    encoded = [graphs.encode(each.specs) > 0 for each in sets]
    ranks = [torch.from_numpy(each.ranks).float() for each in sets]

    def draw(noise: torch.Generator) -> Episode:
        at = int(torch.randint(len(sets), (1,), generator=noise))
        chosen = torch.randint(len(encoded[at]), (QUERIES,), generator=noise)
        return Episode(look(sets[at].images, noise), encoded[at][chosen], ranks[at][chosen])

    training = MetaTraining(seed=seed, steps=steps)
    network = SetConditioned(product_score(graphs), graphs.allowed, 32, training)
    return meta_train(network, draw, training)


def conditioned(key: Key, folder: Path, steps: int, images: Images) -> Floats:
    """Predicted ranks of a set's networks by a predictor told these images.  → (N,)"""
    network = taught(folder, others(key), key.seed, steps)
    predictor = told(network, look(images, torch.Generator().manual_seed(key.seed)))
    return predictor.ranks_of(unet_graphs(SPACE).encode(known(key.data_set, folder).specs) > 0).double().numpy()


def pooled(key: Key, folder: Path, steps: int) -> Floats:
    """Predicted ranks by an ensemble that takes the other sets for one."""
    graphs, sets = unet_graphs(SPACE), [known(name, folder) for name in others(key)]
    ensemble = fit_ranks(
        product_score(graphs),
        list(graphs.encode([spec for each in sets for spec in each.specs]) > 0),
        np.concatenate([each.ranks for each in sets]),
        allowed=graphs.allowed,
    )
    return ensemble.ranks_of(graphs.encode(known(key.data_set, folder).specs) > 0).mean(dim=0).double().numpy()


def others(key: Key) -> tuple[str, ...]:
    return tuple(name for name in SETS if name != key.data_set)


def worth(key: Key, folder: Path, steps: int) -> Floats | None:
    """By what the start is chosen, more is better; None for at random."""
    here = known(key.data_set, folder)
    if key.way == "told its images":
        return conditioned(key, folder, steps, here.images)
    if key.way == "told another's":
        return conditioned(key, folder, steps, known(others(key)[key.seed % 2], folder).images)
    if key.way == "told nothing":
        return pooled(key, folder, steps)
    if key.way == "largest":
        return costs(here.rows, "ddpm", 8, 1).macs("paper").astype(np.float64)
    return None


WAYS = ("told its images", "told another's", "told nothing", "largest", "cold")


def play(key: Key, folder: Path, steps: int) -> Played:
    """Search among a set's networks."""
    here, value = known(key.data_set, folder), worth(key, folder, steps)
    rng = np.random.default_rng((key.seed, SETS.index(key.data_set)))
    drawn = rng.permutation(len(here.specs))
    order = drawn if value is None else drawn[np.argsort(-value[drawn], kind="stable")]
    trained = order[:START].tolist()
    points = networks(here.rows, "ddpm")
    while len(trained) < min(MARKS[-1], len(here.specs)):
        left = np.setdiff1d(order, trained)
        surrogate = Surrogate.fit(points[trained], here.log_scores[trained].tolist())
        assert surrogate is not None
        places, _, _ = surrogate.most_promising(points[left], 1)
        trained.append(int(left[places[0]]))
    best = np.minimum.accumulate(here.log_scores[trained]) - here.log_scores.min()
    correlation = None if value is None else rank_correlation(value, here.ranks)
    return Played(key=key, regrets=best.tolist(), correlation=correlation)


def markdown(found: Sequence[Played]) -> str:
    """Mean regrets over sets and seeds, in percent of the best score, and who is better than whom."""
    heads = ["start", *(f"after {mark}" for mark in MARKS), "rank correlation"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    curves = {way: np.array([each.regrets for each in found if each.key.way == way]) for way in WAYS}
    for way, regrets in curves.items():
        cells = [said(100 * np.expm1(regrets[:, min(mark, regrets.shape[1]) - 1]), "%") for mark in MARKS]
        known_ranks = [each.correlation for each in found if each.key.way == way and each.correlation is not None]
        cells.append(said(np.array(known_ranks)) if known_ranks else "–")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    tests = paired_tests({way: regrets[:, START - 1] for way, regrets in curves.items()})
    verdicts = [f"- {t.a} − {t.b}: {t.difference:+.3f}, p {t.p_corrected:.3g}, {t.verdict}" for t in tests]
    return "\n".join(
        [*lines, "", f"Log regret after {START}, paired over sets and seeds, Holm's correction:", *verdicts]
    )


def said(values: Floats, unit: str = "") -> str:
    """``12.3 (10.1 to 14.9)``"""
    mean, low, high = mean_interval(values)
    return f"{mean:.3g}{unit}" + ("" if low is None else f" ({low:.3g} to {high:.3g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True, help="folder of train-images-idx3-ubyte.gz")
    parser.add_argument("--cifar10", type=Path, required=True, help="an .npz with x_train")
    parser.add_argument("--out", type=Path, required=True, help="folder, made or gone on with")
    parser.add_argument("--networks", type=int, default=40, help="of each set, beside the baseline")
    parser.add_argument("--train-steps", type=int, default=300)
    parser.add_argument("--images", type=int, default=1_000, help="sampled for each score")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600, help="of meta-training")
    asked = parser.parse_args()
    for name in SETS:
        train(name, asked)
    records = Records(asked.out / "played.jsonl", Played)
    wanted = [Key(way, name, seed) for name, seed, way in itertools.product(SETS, range(asked.seeds), WAYS)]
    for key in records.missing(wanted, lambda each: each.key):
        records.add(play(key, asked.out, asked.steps))
    print(markdown(records.of(wanted, lambda each: each.key)))


if __name__ == "__main__":
    main()
