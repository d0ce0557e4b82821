"""What the card of a student says beside its teacher: scores, latency, and images from the same noise, as measured."""

import json
from pathlib import Path

from sqlite_utils import Database

from agent.compress.plan import stored_compression
from agent.compress.report import Network, compressed
from agent.config.kinds import COMPRESS
from agent.report.tables import score
from agent.trials.model_card import Beside, Row
from diffusion.scores.kept import grid_path
from memory.queries.records import show_trial
from memory.searches import find_search
from memory.trials import Trial, trial_in_round


def beside(db: Database, trial: Trial) -> Beside | None:
    """What was measured of a student and its teacher under one protocol; None of any other trial."""
    search = find_search(db, trial.search)
    if search.kind != COMPRESS.name or trial.round == 0:
        return None
    found = compressed(db, search.id, stored_compression(db, search.id), search.state)
    teacher, first = trial_in_round(db, search.id, 0), trial_in_round(db, search.id, 1)
    if found.teacher is None or found.student is None or teacher is None or first is None:
        return None
    scored = (f"`{found.metric}`, {_of(found.student)}", _score(found.student), _score(found.teacher))
    return Beside((scored, *_latency(first.run_folder)), f"{found.verdict}: {found.why}", _pictures(db, teacher, trial))


def _of(network: Network) -> str:
    return f"{len(network.scores)} training seed{'s'[: len(network.scores) != 1]}"


def _score(network: Network) -> str:
    return f"{score(network.score)} ({network.between})" if network.between else score(network.score)


def _latency(folder: Path) -> list[Row]:
    """Milliseconds for a batch, where both were measured in turns; a row for each device."""
    rows = []
    for path in sorted(folder.glob("latency-*.json")):
        read = json.loads(path.read_text())
        on = path.stem.removeprefix("latency-").rpartition("-")
        what = f"milliseconds for {read['batch']:.0f} images on {on[0]} with {on[2]} thread(s)"
        rows.append((what, f"{read['second_ms']:.4g}", f"{read['first_ms']:.4g}"))
    return rows


def _pictures(db: Database, teacher: Trial, student: Trial) -> dict[str, Path]:
    """The grids of both that were drawn from the noise of one seed."""
    grids = [_grids(db, each) for each in (student, teacher)]
    shared = sorted(grids[0].keys() & grids[1].keys())
    if not shared:
        return {}
    return {"student.png": grids[0][shared[0]], "teacher.png": grids[1][shared[0]]}


def _grids(db: Database, trial: Trial) -> dict[int, Path]:
    """The grids that a trial's scores have left, by the seed of their images."""
    protocol = find_search(db, trial.search).protocol
    rows = [row for row in show_trial(db, trial.id)["scores"] if row["protocol"] == protocol]
    paths = {row["sampling_seed"]: grid_path(trial.run_folder, protocol, row["sampling_seed"]) for row in rows}
    return {seed: path for seed, path in paths.items() if path.is_file()}
