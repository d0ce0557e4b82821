"""Makes the table that is shipped from the memory that ``train.py`` filled; ``make docs`` then writes its data sheet.

``python benchmarks/unetbench/table.py --from FOLDER`` writes ``diffusion/unetbench/unetbench.json`` and its checksum. A
memory in which a training or a score is missing is refused; with ``--partial`` what is there is taken, for work on the
code.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sqlite_utils import Database
from train import ATTENTION, BASE_CHANNELS, BLOCKS, MULTIPLIERS, NAME

from agent.study.arms import Arm, Study
from agent.study.store import stored_study
from diffusion.data.images import open_images
from diffusion.errors import UserError
from diffusion.space import SearchSpace
from diffusion.unetbench.table import FOLDER, Contents, NetworkRow, TrainingRow, write_table
from memory.connection import opened
from memory.scores import Score, score_of
from memory.searches import list_searches
from memory.trials import Trial, trial_in_round

DIGITS = 6  # of what is measured: a hundred thousandth of the noise between seeds


def table_in(db: Database, made: str, *, partial: bool = False) -> Contents:
    """The table that a memory holds.

    Raises:
        UserError: a training or a score is missing, and the table is not to be `partial`.
    """
    networks, baseline = NAME, f"{NAME}-baseline"  # the studies of train.py; the second begins when the first is over
    has_both = len({json.loads(row.config_json)["study"] for row in list_searches(db)} & {networks, baseline}) == 2
    studies = [stored_study(db, name) for name in ((networks, baseline) if has_both else (networks,))]
    trials: dict[str, list[tuple[Trial, TrainingRow]]] = defaultdict(list)
    missing = [] if has_both else ["the further seeds of the baseline"]
    for study in studies:
        for arm, number in ((arm, number) for arm in study.arms for number in range(len(study.specs))):
            if found := _training(db, arm, number):
                trials[str(found[0].spec)].append(found)
            else:
                missing.append(f"{study.specs[number]} of {arm.name}")
    if missing and not partial:
        raise UserError(f"'{NAME}' lacks {len(missing)} trainings, first {missing[0]}; go on with train.py")
    return _contents(studies[0], made, [_network(rows) for rows in trials.values()])


def _training(db: Database, arm: Arm, number: int) -> tuple[Trial, TrainingRow] | None:
    """The trial of a spec in an arm, with its scores at every step; None as long as one is missing."""
    trial = trial_in_round(db, arm.search, number)
    if trial is None or trial.training_state not in ("done", "failed"):
        return None
    row = TrainingRow(seed=arm.seed, train_seconds=_rounded(trial.device_seconds))
    if trial.state == "failed":
        return trial, row.model_copy(update={"error": trial.error})
    scores = [score_of(db, trial.training, arm.protocol_at(step).fingerprint) for step in arm.score_steps]
    found: list[Score] = [score for score in scores if score is not None]
    if len(found) < len(scores):
        return None
    measured = {
        "loss": None if trial.loss is None else _rounded(trial.loss),
        "scores": tuple(None if score.value is None else _rounded(score.value) for score in found),
        "score_seconds": tuple(_rounded(score.device_seconds) for score in found),
    }
    return trial, row.model_copy(update=measured)


def _network(rows: list[tuple[Trial, TrainingRow]]) -> NetworkRow:
    trial, _ = rows[0]
    costs = {"macs_paper": trial.macs_paper, "macs_total": trial.macs_total, "params": trial.params}
    return NetworkRow(spec=trial.spec, **costs, trainings=tuple(row for _, row in rows))


def _contents(study: Study, made: str, networks: list[NetworkRow]) -> Contents:
    first = study.arms[0]
    data = first.planned.config.places.out / "data"
    return Contents(
        name=NAME,
        made=made,
        steps=first.score_steps,
        protocol=first.protocol,
        card=open_images(data, first.protocol.data_fingerprint).card,
        space=SearchSpace(
            name=NAME,
            base_channel=BASE_CHANNELS,
            num_blocks=BLOCKS,
            channel_mult=MULTIPLIERS,
            attn=ATTENTION,
            baseline=study.specs[0],
        ),
        networks=tuple(networks),
    )


def timed(contents: Contents, seconds: Mapping[str, Mapping[str, float]]) -> Contents:
    """The table with device-seconds that were measured apart from its trainings, equal for all seeds of a network."""
    networks = []
    for row in contents.networks:
        known = seconds[str(row.spec)]
        update = {"train_seconds": _rounded(known["train"])}
        trainings = tuple(
            training.model_copy(
                update=update | {"score_seconds": tuple(_rounded(known["score"]) for _ in training.score_seconds)}
            )
            for training in row.trainings
        )
        networks.append(row.model_copy(update={"trainings": trainings}))
    return contents.model_copy(update={"networks": tuple(networks)})


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def main() -> int:
    """Make the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="what train.py was given as --out")
    parser.add_argument("--to", type=Path, default=FOLDER)
    parser.add_argument("--made", required=True, help="when, and on what machine")
    parser.add_argument("--seconds", type=Path, help="what seconds.py measured; else what the trainings took")
    parser.add_argument("--partial", action="store_true")
    asked = parser.parse_args()
    with opened(asked.folder / f"{NAME}.db", read_only=True) as db:
        contents = table_in(db, asked.made, partial=asked.partial)
    if asked.seconds:
        contents = timed(contents, json.loads(asked.seconds.read_text())["networks"])
    path = write_table(contents, asked.to)
    print(f"{path}: {len(contents.networks)} networks, {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
