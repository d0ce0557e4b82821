"""A rank study of real networks: tiny trainings on the digits, in this process."""

from pathlib import Path
from threading import Event

import inprocess
import pytest

from agent.config.sources import resolve
from agent.study.arms import Asked
from agent.study.plan import plan_study
from agent.study.report import measured_study
from agent.study.run import changed_score, run_study
from agent.study.store import open_study, stored_study
from diffusion.settings import Strategy
from memory.connection import opened
from memory.scores import score_of
from tools.executors.machine import Machine, Node


class Inside(inprocess.InProcessExecutor):
    """Real jobs, in this process."""

    def __init__(self, stop: Event) -> None:
        super().__init__()


@pytest.mark.slow
def test_real_networks_go_through_the_whole_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.search.wiring.LocalExecutor", Inside)
    monkeypatch.setattr("agent.config.bench.this_machine", lambda: Machine((Node(cores=1),)))  # one thread
    given = {"preset": "digits", "num_images": 16, "sampling_steps": 2, "parallel": 1, "db": tmp_path / "diffnas.db"}
    config = resolve({**given, "out": tmp_path / "runs", "budget": "600K", "baseline": "b8-n1-m1.1.1.1-a0000"}).config
    short = {"batch_size": 8, "diffusion_steps": 50}
    rapid, standard = Strategy(train_steps=1, **short), Strategy(train_steps=2, dropout=0.3, **short)
    study = plan_study(config, Asked("tiny", 5, rapid, standard, truth_steps=2))
    with opened(config.places.db) as db:
        study = open_study(db, study)
    also = [changed_score(study.arms[0], "num_images=8")]
    assert run_study(study, as_json=False, also=also) == 0
    with opened(config.places.db, read_only=True) as db:
        found = measured_study(db, stored_study(db, "tiny"))
        first = study.arms[1]
        trainings = db.conn.execute("SELECT training FROM trials WHERE search = ?", [first.search]).fetchall()
        assert all(score_of(db, row["training"], first.protocol_at(1).fingerprint) for row in trainings)
    assert (found.failed, found.waiting, found.truth.specs_with_truth) == ([], [], 5)
    assert [(row.arm, row.step, row.ranked) for row in found.proxies] == [
        ("rapid", 1, 5), ("standard", 1, 5), ("standard", 2, 5),
    ]  # fmt: skip
    assert all(row.device_seconds.total > row.device_seconds.train > 0 for row in found.proxies)
    assert [row.changes for row in found.cheaper_scores] == [{"num_images": 8}]
