import io
import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.data.images import open_images, prepare_images
from diffusion.errors import TrainingFailed, UserError
from diffusion.samplers import sample_images
from diffusion.scores.fid import extract_features, feature_statistics, frechet_distance
from diffusion.scores.fidelity import kernel_distance, precision_recall
from diffusion.scores.job import Progress, Stopped, evaluate, weights_digest
from diffusion.scores.networks import score_network
from diffusion.settings import Protocol, ScoreJob, ScoreProtocol, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.checkpoint import ema_model, newest_checkpoint, save_checkpoint
from diffusion.training.child import Lines, Stop
from diffusion.training.job import train

NUM_IMAGES = 12


class Never(Stop):
    """Nobody asks for a stop; signals are left alone."""

    def __init__(self) -> None:
        self.asked = False


class Recorder(Lines):
    """Keeps the lines; asks for a stop as soon as a phase has begun."""

    def __init__(self, stop: Stop | None = None, phase: str = "", least: int = 0) -> None:
        super().__init__(io.StringIO())
        self.said: list[dict[str, Any]] = []
        self.stop, self.phase, self.least = stop, phase, least

    def emit(self, event: str, **values: Any) -> None:
        self.said.append({"event": event, **values})
        if self.stop and values.get("phase") == self.phase and values["images"] >= self.least:
            self.stop.asked = True

    @property
    def phases(self) -> list[tuple[str, int, int]]:
        return [
            (line["phase"], line["images"], line["total_images"]) for line in self.said if line["event"] == "progress"
        ]


@pytest.fixture(autouse=True)
def _threads_put_back() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def training(folder: Path, train_steps: int = 4, run: str = "run", **changes: Any) -> TrainJob:
    """A tiny training on 24 training and 10 test images of noise."""
    if not (folder / "images.npz").exists():
        images = np.random.default_rng(0).integers(0, 256, (34, 8, 8)).astype(np.uint8)
        np.savez(folder / "images.npz", x_train=images[:24], x_test=images[24:])
    card = prepare_images(str(folder / "images.npz"), folder / "data")
    return TrainJob(
        spec=UNetSpec.parse("b4-n1-m1.2.2.2-a0100"),
        settings=Settings(dataset=card.name, resolution=8, channels=1),
        strategy=Strategy(batch_size=8, diffusion_steps=50, train_steps=train_steps, learning_rate=1e-3),
        seed=0,
        data_fingerprint=card.fingerprint,
        data_folder=folder / "data",
        run_folder=folder / run,
        **changes,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """A training of four steps that has ended; nobody scores in its folder."""
    job = training(tmp_path_factory.mktemp("trained"))
    assert train(job.model_dump_json(), Lines(io.StringIO()), Never())
    return job


@pytest.fixture
def job(trained: TrainJob, tmp_path: Path) -> TrainJob:
    """The same in a folder of the test's own."""
    (tmp_path / "run").mkdir()
    for path in trained.run_folder.glob("*.safetensors"):
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    return trained.model_copy(update={"run_folder": tmp_path / "run"})


def scoring(job: TrainJob, **changes: Any) -> ScoreJob:
    network = score_network(changes.get("feature_network", "digits-cnn"))
    score = ScoreProtocol(
        feature_network=network.name,
        feature_sha256=network.sha256,
        feature_input_size=network.input_size,
        resize_filter=network.resize_filter,
        reference_count=24,
        sampling_steps=2,
        num_images=NUM_IMAGES,
    ).model_copy(update=changes)
    return ScoreJob(
        run_folder=job.run_folder,
        data_folder=job.data_folder,
        cache_folder=job.run_folder / "cache",
        protocol=Protocol(
            data_fingerprint=job.data_fingerprint, settings=job.settings, strategy=job.strategy, score=score
        ),
    )


def scored(asked: ScoreJob, lines: Lines | None = None) -> dict[str, Any]:
    """The ``done`` line."""
    lines = lines or Recorder()
    assert isinstance(lines, Recorder)
    assert evaluate(asked.model_dump_json(), lines, Never())
    return lines.said[-1]


class TestScore:
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_it_is_what_the_parts_give_one_by_one(self, split: str, job: TrainJob) -> None:
        asked = scoring(job, reference_split=split)
        done = scored(asked)

        checkpoint = newest_checkpoint(job.run_folder)
        assert checkpoint is not None
        images = sample_images(
            ema_model(checkpoint),
            job.settings,
            asked.protocol.score.sampling,
            diffusion_steps=50,
            indices=range(NUM_IMAGES),
            seed=0,
        )
        data = open_images(job.data_folder, job.data_fingerprint)
        real = extract_features(data.train if split == "train" else np.asarray(data.test), "digits-cnn")
        ours = extract_features(images, "digits-cnn")
        kernel, shares = kernel_distance(ours, real), precision_recall(ours, real)
        expected = {
            "value": frechet_distance(feature_statistics(ours), feature_statistics(real)),
            "kid": kernel.mean,
            "kid_std": kernel.std,
            "precision": shares.precision,
            "recall": shares.recall,
        }
        assert {name: done[name] for name in expected} == pytest.approx(expected, rel=1e-4)  # features kept as float32
        assert (done["metric"], done["step"], done["num_images"]) == ("fid-digits-cnn", 4, NUM_IMAGES)
        assert Path(done["grid"]).exists() and done["device_seconds"] > 0

    def test_a_score_that_is_there_is_not_taken_again(self, job: TrainJob) -> None:
        asked, lines = scoring(job), Recorder()
        first = scored(asked)
        assert scored(asked, lines) == first and lines.phases == []
        path = job.run_folder / f"score-{asked.protocol.fingerprint}-0.json"
        assert {"event": "done", **json.loads(path.read_text())} == first

    def test_each_phase_says_how_far_it_is_and_real_images_are_looked_at_once(self, job: TrainJob) -> None:
        first, second = Recorder(), Recorder()
        scored(scoring(job), first)
        scored(scoring(job, num_images=9), second)
        both = [("sampling", 0, 12), ("sampling", 12, 12), ("features", 0, 12), ("features", 12, 12)]
        assert first.phases == [
            ("network", 0, 12), ("reference", 0, 24), ("reference", 24, 24), *both, ("distance", 0, 12)
        ]  # fmt: skip
        assert [phase for phase, *_ in second.phases] == ["network", *["sampling"] * 2, *["features"] * 2, "distance"]

    def test_a_phase_says_when_it_will_be_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines, now = Recorder(), [5.0]
        monkeypatch.setattr("diffusion.scores.job.time.monotonic", lambda: now[0])
        progress = Progress(lines, Never(), "reference", 100)
        for done in (40, 50, 80):  # 40 were there before
            progress(done)
            now[0] += 3
        assert [line["eta_seconds"] for line in lines.said] == [None, 15.0, 3.0]

    def test_a_snapshot_is_scored_as_the_shorter_training_that_it_equals(self, job: TrainJob, tmp_path: Path) -> None:
        longer = training(tmp_path, train_steps=7, run="longer", snapshot_steps=(4,))
        assert train(longer.model_dump_json(), Lines(io.StringIO()), Never())
        short = scoring(job)
        found = scored(short.model_copy(update={"run_folder": longer.run_folder}))
        assert found["step"] == 4 and found["value"] == scored(short)["value"]
        assert scored(scoring(longer))["value"] != found["value"]


class TestStop:
    @pytest.mark.parametrize("phase", ["network", "reference", "sampling", "features", "distance"])
    def test_a_scoring_that_is_stopped_leaves_no_score(self, phase: str, job: TrainJob) -> None:
        stop = Never()
        lines = Recorder(stop, phase)
        assert evaluate(scoring(job).model_dump_json(), lines, stop) is False
        assert lines.phases[-1][0] == phase and lines.said[-1]["event"] == "progress"
        names = {path.name for path in job.run_folder.iterdir()}
        assert names - {"cache"} == {".lock", "step-00000004.safetensors"}

    def test_a_scoring_that_is_stopped_goes_on_with_the_images_that_it_drew(
        self, job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("diffusion.scores.parts.WORTH_KEEPING_SECONDS", 0.0)
        monkeypatch.setattr("diffusion.samplers.LARGEST_BATCH", 4)
        expected, drawn = scored(scoring(job)), []
        again = job.model_copy(update={"run_folder": tmp_path / "again"})
        again.run_folder.mkdir()
        for path in job.run_folder.glob("*.safetensors"):
            (again.run_folder / path.name).write_bytes(path.read_bytes())

        def draw(*args: Any, indices: range, **rest: Any) -> Any:
            drawn.append(indices)
            return sample_images(*args, indices=indices, **rest)

        monkeypatch.setattr("diffusion.samplers.sample_images", draw)
        for phase, least in (("sampling", 1), ("sampling", 5), ("features", 1)):
            stop = Never()
            assert evaluate(scoring(again).model_dump_json(), Recorder(stop, phase, least), stop) is False
            assert any(again.run_folder.glob("score-*.parts/*.npz"))
        found = scored(scoring(again))
        assert drawn == [range(4), range(4, 8), range(8, 12)], "each image was drawn once"
        assert {**found, "device_seconds": 0, "grid": ""} == {**expected, "device_seconds": 0, "grid": ""}
        assert not any(again.run_folder.glob("*.parts"))

    def test_images_of_other_weights_are_not_taken_for_these(self) -> None:
        first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        assert weights_digest(first) == weights_digest(first) != weights_digest(second)

    def test_lines_are_at_least_a_second_apart_but_for_the_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines, now = Recorder(), [0.0]
        monkeypatch.setattr("diffusion.scores.job.time.monotonic", lambda: now[0])
        progress = Progress(lines, Never(), "features", 10)
        for done in range(1, 11):
            progress(done)
            now[0] += 0.4
        assert [images for _, images, _ in lines.phases] == [1, 4, 7, 10]

    def test_a_stop_does_not_wait_for_the_next_line(self) -> None:
        stop = Never()
        progress = Progress(Recorder(), stop, "features", 10)
        progress(1)
        stop.asked = True
        with pytest.raises(Stopped):
            progress(2)


class TestRefusals:
    def refused(self, asked: ScoreJob, error: type[Exception] = TrainingFailed) -> str:
        lines = Recorder()
        with pytest.raises(error) as caught:
            evaluate(asked.model_dump_json(), lines, Never())
        assert "sampling" not in [phase for phase, _, _ in lines.phases], "it was sampled in vain"
        return str(caught.value)

    def test_a_training_that_is_not_finished(self, job: TrainJob) -> None:
        asked = scoring(job.model_copy(update={"strategy": job.strategy.model_copy(update={"train_steps": 100})}))
        assert self.refused(asked) == f"'{job.run_folder}' holds no checkpoint of step 100 to score; train that far"

    @pytest.mark.parametrize("kept", [0, 5, 0.5, 0.999])
    def test_a_checkpoint_cut_in_half_and_what_mends_it(self, kept: float, job: TrainJob) -> None:
        (path,) = job.run_folder.glob("*.safetensors")
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
        (job.run_folder / "job.json").write_text(job.model_dump_json())
        text = self.refused(scoring(job))
        assert text.startswith(f"'{path}' is cut or damaged; delete it and run python -m diffusion.training.job --job ")
        path.unlink()
        assert train((job.run_folder / "job.json").read_text(), Lines(io.StringIO()), Never())
        assert path.read_bytes()[-100:] == content[-100:]

    def test_weights_of_another_training_and_in_what_it_differs(self, job: TrainJob) -> None:
        other = job.model_copy(
            update={
                "settings": job.settings.model_copy(
                    update={"schedule": "cosine", "dataset": "the same by another word"}
                ),
                "strategy": job.strategy.model_copy(update={"learning_rate": 2e-3, "dropout": 0.5}),
            }
        )
        assert self.refused(scoring(other)) == (
            f"'{job.run_folder}' holds weights of another training than this protocol's: schedule linear instead of "
            "cosine, learning_rate 0.001 instead of 0.002, dropout 0.1 instead of 0.5; score it under its own protocol"
        )

    def test_weights_that_were_trained_on_other_data(self, job: TrainJob) -> None:
        asked = scoring(job.model_copy(update={"data_fingerprint": "0123456789ab"}))
        assert f"data {job.data_fingerprint} instead of 0123456789ab" in self.refused(asked)

    def test_weights_of_another_spec_than_the_one_beside_them(self, job: TrainJob) -> None:
        checkpoint = newest_checkpoint(job.run_folder)
        assert checkpoint is not None
        wider = checkpoint.job.model_copy(update={"spec": UNetSpec.parse("b8-n1-m1.2.2.2-a0100")})
        save_checkpoint(job.run_folder, type(checkpoint)(wider, 4, 0.0, checkpoint.tensors))
        text = self.refused(scoring(job))
        assert "are not those of its spec b8-n1-m1.2.2.2-a0100 (size mismatch for " in text and "\n" not in text

    def test_a_protocol_of_another_version_of_the_feature_network(self, job: TrainJob) -> None:
        text = self.refused(scoring(job, feature_sha256="0" * 64))
        assert text.startswith("'digits-cnn' of this protocol has weights 000000000000, those here are 12cda8917b7b;")

    @pytest.mark.parametrize("real_images_are_cached", [True, False])
    def test_missing_weights_of_the_feature_network(
        self, real_images_are_cached: bool, job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_network(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
        if real_images_are_cached:
            for part in ("statistics", "features"):
                monkeypatch.setattr(f"diffusion.scores.reference.Reference.{part}", lambda *_: None)
        for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.setenv(variable, str(tmp_path))
        asked = scoring(job, feature_network="inception-v3-compat")
        assert "needs weights that cannot be downloaded" in self.refused(asked, UserError)
        named = asked.model_copy(update={"feature_weights": tmp_path / "nowhere.pth"})
        assert self.refused(named, UserError).startswith(f"'{tmp_path / 'nowhere.pth'}' does not exist")
