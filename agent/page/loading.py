"""How the model of a search is had: lines to be copied."""

from pathlib import Path

from agent.page.data import Loading, Point
from agent.trials.model_card import fewer_steps
from diffusion.errors import command
from diffusion.settings import Protocol
from memory.searches import SearchRow

FOLDER = "my-model"

WITH_PIPELINE = """from diffusers import DDPMPipeline

pipeline = DDPMPipeline.from_pretrained("{folder}")
images = pipeline(batch_size=16, num_inference_steps={steps}).images"""

WITH_STUDENT = """from pathlib import Path

from diffusers import DDPMPipeline, DDPMScheduler

from diffusion.distill.folder import load_student  # of the package diffnas-agent

folder = Path("{folder}")
pipeline = DDPMPipeline(load_student(folder), DDPMScheduler.from_pretrained(folder, subfolder="scheduler"))
images = pipeline(batch_size=16, num_inference_steps={steps}).images"""


def loading(search: SearchRow, protocol: Protocol, trial: Point | None, bench: str | None, db: Path) -> Loading:
    """How the model of a trial is loaded, or what has to come before."""
    if trial is None:
        return Loading(says="There is no trained model yet.", command=None, python=None)
    steps = protocol.strategy.diffusion_steps
    if bench is not None:
        says = f"The results were looked up in the table {bench}, so there are no weights; this trains the network."
        return Loading(says=says, command=_train(protocol, trial), python=None)
    is_student = search.kind == "compress" and trial.round > 0
    says = f"Export trial {trial.trial}, {trial.spec}, as a folder that diffusers loads; its card says how it was made."
    if protocol.settings.values == "latents":
        says += " It draws latents: the exported card shows how they are decoded."
    exported = command("export", trial.trial, FOLDER, db=db)
    python = (WITH_STUDENT if is_student else WITH_PIPELINE).format(folder=FOLDER, steps=steps)
    if protocol.settings.family == "ddpm":
        says += f" Fewer than {steps:,} steps need another scheduler, such as DDIM with {fewer_steps(steps)}."
    return Loading(says=says, command=exported, python=python)


def _train(protocol: Protocol, trial: Point) -> str:
    dataset, steps = protocol.settings.dataset, protocol.strategy.train_steps
    return command("train", trial.spec, "--dataset", dataset, "--train-steps", steps)
