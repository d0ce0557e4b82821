"""``python -m diffusion.distill.job --job job.json``: what is left of a teacher, chosen in a process of its own.

Lines: ``progress`` {phase, step, total_steps, error}, where the phase is ``supernets``, ``judging`` or ``evolution``
and the error is a mean over blocks, or that of the best student, and ``done`` {method, macs_paper, macs_total, params,
loss, judged, device_seconds}. The file ``found-KEY.json`` in the run folder holds the last line with ``choices`` and,
by blocks, the ``curve`` of targets, costs and predicted losses; a search that has it is not done again.

Supernets are saved every few steps and each block's judgement when it is there. Every random number is a function of
(seed, purpose, step): a search that was killed ends as if it had not been.
"""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.data.images import open_images
from diffusion.data.pictures import Values
from diffusion.distill.allocation import Whole
from diffusion.distill.baselines import Within, unsearched
from diffusion.distill.costs import common_cost, student_cost, units_cost
from diffusion.distill.plan import SEARCHED, SUPERNETS, DistillJob
from diffusion.distill.search import JudgedBlock, curve, judged, within
from diffusion.distill.student import ranked_channels, sliced
from diffusion.distill.supernet import InPlace, SupernetTrainer, supernets_of
from diffusion.distill.teacher import load_teacher, teacher_sha256
from diffusion.distill.units import Choices, units_of
from diffusion.distill.watching import Batch, Seen, noised, watched
from diffusion.distill.whole_search import evolve
from diffusion.errors import TrainingFailed, UserError
from diffusion.process import NoiseProcess, to_model
from diffusion.streams import Order, generator, stream_seed
from diffusion.training.checkpoint import drop_torn_files, save_tensors, write_json
from diffusion.training.child import Lines, Stop, locked, run_child

if TYPE_CHECKING:
    from diffusers import UNet2DModel

CHECKPOINT = "pool.safetensors"
SAID = ("method", "macs_paper", "macs_total", "params", "loss", "judged", "device_seconds")


class Stopped(Exception):
    """The parent asked for an end before anything was found; what was done is saved."""


def distill(text: str, lines: Lines, stop: Stop) -> bool:
    """Choose what is left of a teacher, or go on with that."""
    job = DistillJob.model_validate_json(text)
    with locked(job.run_folder):
        drop_torn_files(job.run_folder)
        if not job.found.exists():
            try:
                write_json(job.found, Distillation(job, lines, stop).found())
            except Stopped:
                return False
        found = json.loads(job.found.read_bytes())
        lines.emit("done", **{name: found[name] for name in SAID})
    return True


class Distillation:
    """One search for what is left of a teacher."""

    def __init__(self, job: DistillJob, lines: Lines, stop: Stop) -> None:
        from accelerate import Accelerator

        torch.set_num_threads(job.threads)
        self.job, self.lines, self.stop, self.device = job, lines, stop, Accelerator().device
        self.before, self.started = 0.0, time.monotonic()
        self.is_shared = any(job.run_folder.glob("found-*.json"))  # the pool, whose cost another search has told
        self.teacher = load_teacher(job.teacher).to(self.device)
        if teacher_sha256(job.teacher) != job.teacher_sha256:
            raise TrainingFailed(f"'{job.teacher}' holds another network than the one that was to be compressed")
        self.units = units_of(self.teacher)
        self.images: Values = open_images(job.data_folder, job.data_fingerprint).train
        channels, side = self.teacher.config["in_channels"], self.teacher.config["sample_size"]
        if self.images.shape[1:] != (channels, side, side):
            raise UserError(f"'{job.teacher}' takes {channels}×{side}×{side}, the data are {self.images.shape[1:]}")
        self.process = NoiseProcess.make(job.settings.schedule, job.diffusion_steps)

    @property
    def seconds(self) -> float:
        """Device-seconds so far, over all restarts."""
        return self.before + time.monotonic() - self.started

    def found(self) -> dict[str, Any]:
        """What is left, with its costs, ready for JSON.

        Raises:
            UserError: the target is out of reach.
            Stopped: a stop was asked.
        """
        choices, more = self._chosen()
        cost = student_cost(self.teacher, choices)
        return {
            "method": self.job.method,
            "target": self.job.target,
            "convention": self.job.convention,
            **cost._asdict(),
            "loss": None,
            "judged": 0,
            "curve": [],
            **more,
            "device_seconds": self.seconds,
            "choices": {name: choice.model_dump(mode="json") for name, choice in choices.items()},
        }

    def _chosen(self) -> tuple[Choices, dict[str, Any]]:
        method = self.job.method
        if method not in SEARCHED:
            return unsearched(method, self._within, self.teacher, self.job.seed), {}
        trainer = self._trained()
        self._save_supernets(trainer)
        return self._blockwise(trainer) if method == "blockwise" else self._global()

    @cached_property
    def _whole(self) -> Whole:
        common, of_units = common_cost(self.teacher), units_cost(self.units, {u.name: u.whole for u in self.units})
        whole, convention = common + of_units, self.job.convention
        return Whole(whole.macs(convention), whole.params, common.macs(convention), common.params)

    @property
    def _within(self) -> Within:
        return Within(self.units, self._whole, self.job.target, self.job.convention)

    # Images: those that students are judged on are seen by no supernet.

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        rng = np.random.Generator(np.random.PCG64(stream_seed(self.job.seed, "calibration")))
        return rng.permutation(len(self.images))

    @property
    def _held_out(self) -> int:
        return min(self.job.calibration_images, len(self.images) // 2)

    def training_batch(self, step: int) -> Batch:
        """The batch of a step of the supernets' training."""
        learned = self._order[: len(self.images) - self._held_out]
        places = Order(stream_seed(self.job.seed, "pool"), len(learned)).batch(step, self.job.batch_size)
        return self._noised(learned[places], "pool noise", step)

    def calibration(self) -> Iterator[Batch]:
        """The batches that students are judged on, the same each time."""
        held_out = self._order[len(self.images) - self._held_out :]
        for number, start in enumerate(range(0, len(held_out), self.job.batch_size)):
            yield self._noised(held_out[start : start + self.job.batch_size], "calibration noise", number)

    def _noised(self, indices: NDArray[np.int64], purpose: str, number: int) -> Batch:
        images = to_model(torch.from_numpy(self.images[np.sort(indices)]).to(self.device))
        return noised(self.process, images, generator(self.job.seed, purpose, number))

    # Supernets, trained and saved

    def _trained(self) -> SupernetTrainer:
        """The supernets after all their steps.

        Raises:
            Stopped: a stop was asked; the step that was reached is saved.
        """
        training = self.job.training
        nets = {name: net.to(self.device) for name, net in supernets_of(self.teacher).items()}
        trainer = SupernetTrainer(self.teacher, nets, training)
        self._restore(trainer)
        if not (self.job.run_folder / CHECKPOINT).exists():
            self._save(trainer)  # whose folder this is, also where nothing is trained
        while trainer.step < training.steps:
            errors = trainer.update(self.training_batch(trainer.step))
            _check_finite(errors.values())
            self._say("supernets", trainer.step, training.steps, sum(errors.values()) / len(errors))
            leaves = self._is_asked_to_leave
            if leaves or trainer.step == training.steps or trainer.step % self.job.checkpoint_steps == 0:
                self._save(trainer)
            if leaves:
                raise Stopped
        return trainer

    def _save(self, trainer: SupernetTrainer) -> None:
        header = {"pool": self.job.pool_key, "step": str(trainer.step), "seconds": repr(self.seconds)}
        save_tensors(self.job.run_folder / CHECKPOINT, trainer.state(), header, f"step {trainer.step}")

    def _restore(self, trainer: SupernetTrainer) -> None:
        path = self.job.run_folder / CHECKPOINT
        if not path.exists():
            return
        try:
            with safe_open(path, framework="pt", device=str(self.device)) as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except SafetensorError as error:
            raise TrainingFailed(f"'{path}' is cut or damaged ({error}); move the folder away") from error
        if header.get("pool") != self.job.pool_key:
            raise TrainingFailed(f"'{path}' is of another search; move the folder away")
        trainer.restore(tensors, int(header["step"]))
        self.before = 0.0 if self.is_shared else float(header["seconds"])

    def _save_supernets(self, trainer: SupernetTrainer) -> None:
        """The weights of all blocks in the teacher's shape, from which students are sliced."""
        path = self.job.run_folder / SUPERNETS
        if not path.exists():
            save_tensors(path, self._with_supernets(trainer), {"pool": self.job.pool_key}, path.name)

    def _with_supernets(self, trainer: SupernetTrainer) -> dict[str, Tensor]:
        state = dict(self.teacher.state_dict())
        for name, net in trainer.supernets.items():
            state |= {f"{name}.{key}": tensor.detach() for key, tensor in net.weights.named_parameters()}
        return state

    # Choosing

    def _blockwise(self, trainer: SupernetTrainer) -> tuple[Choices, dict[str, Any]]:
        blocks: dict[str, JudgedBlock] = {}
        for number, name in enumerate(trainer.supernets, 1):
            blocks[name] = self._judged(trainer, name)
            self._say("judging", number, len(trainer.supernets), None)
        found = within(blocks, self._whole, self.job.target, self.job.convention)
        points = [
            (target, at.macs, at.params, at.loss) for target, at in curve(blocks, self._whole, self.job.convention)
        ]
        judged_students = sum(block.judged for block in blocks.values())
        return found.choices, {"loss": found.loss, "curve": points, "judged": judged_students}

    def _judged(self, trainer: SupernetTrainer, name: str) -> JudgedBlock:
        """The judgement of a block, from its file where it is there."""
        path = self.job.run_folder / f"judged-{name}.json"
        was_there = path.exists()
        if not was_there:
            net, calls = trainer.supernets[name], self._calls[name]
            made = judged(net, calls, self._place, self.job.candidates, self._leave_if_asked)
            _check_finite((*made.errors, *made.in_place))
            write_json(path, made.as_json() | {"seconds": self.seconds})
        found = json.loads(path.read_bytes())
        if was_there and not self.is_shared:
            self.before = max(self.before, found["seconds"])
        return JudgedBlock.from_json(found)

    @cached_property
    def _calls(self) -> dict[str, list[Seen]]:
        """What each block of the teacher is given and gives for the images that students are judged on."""
        calls: dict[str, list[Seen]] = {}
        for batch in self.calibration():
            for name, seen in watched(self.teacher, batch)[0].items():
                calls.setdefault(name, []).append(seen)
        return calls

    @cached_property
    def _place(self) -> InPlace:
        return InPlace(self.teacher, list(self.calibration()))

    def _global(self) -> tuple[Choices, dict[str, Any]]:
        """The whole student of the least error of its output, by evolution; it is judged anew after a kill."""
        from diffusion.training.weights import load_weights

        path, ranking = self.job.run_folder / SUPERNETS, ranked_channels(self.teacher, self.units)
        network: UNet2DModel = load_teacher(self.job.teacher)
        network.load_state_dict(load_weights(path, network, whose="of another network", again="delete it"), assign=True)
        network.to(self.device).requires_grad_(False)

        def error(choices: Choices) -> float:
            self._leave_if_asked()
            return self._place.error(sliced(network, choices, ranking).eval())

        best, count, total = None, 0, self.job.evolution.evaluations
        for each in evolve(self._within, error, self.job.evolution):
            count += 1
            _check_finite([each.error])
            best = each if best is None or each.error < best.error else best
            self._say("evolution", count, total, best.error)
        assert best is not None, "it judges one at least"
        return best.choices, {"loss": best.error, "judged": count}

    def _say(self, phase: str, step: int, total_steps: int, error: float | None) -> None:
        self.lines.emit("progress", phase=phase, step=step, total_steps=total_steps, error=error)

    @property
    def _is_asked_to_leave(self) -> bool:
        return self.stop.asked or not self.lines.is_heard

    def _leave_if_asked(self) -> None:
        if self._is_asked_to_leave:
            raise Stopped


def _check_finite(errors: Iterable[float]) -> None:
    if not all(map(math.isfinite, errors)):
        raise TrainingFailed("the errors of the supernets are not finite; a lower learning rate may help")


if __name__ == "__main__":
    sys.exit(run_child(distill))
