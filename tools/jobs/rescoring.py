"""A further score of a trained trial, under another protocol than its search's."""

from typing import Any

from pydantic import BaseModel

from diffusion.errors import UserError
from diffusion.scores.networks import network_for, taken_with
from diffusion.settings import Protocol, choose_sampling
from memory.scores import score_of
from memory.trials import Trial
from tools.context import SearchContext
from tools.errors import JobFailed, Refused
from tools.jobs.measure import run_and_remember
from tools.jobs.scoring import ScoreResult, known_trial, score_trial


class Rescored(BaseModel):
    """A score under a protocol of its own."""

    trial: int
    spec: str
    rfid: float | None
    metric: str
    num_images: int
    sampler: str
    sampling_steps: int
    protocol: str
    why: str | None = None
    note: str = "It compares with scores of the same protocol alone, not with those of this search."


def score_otherwise(context: SearchContext, trial: int, changes: dict[str, Any]) -> ScoreResult | Rescored:
    """The score of a trial with another sampler, feature network or number of images; taken once.

    Args:
        context: of the round.
        trial: a trained trial of its search.
        changes: fields of the score protocol that are to be others; none gives the score that stands.

    Raises:
        Unavailable: there is no such trial in this search, or it failed.
        Refused: it is not trained yet, or cannot be scored so.
        Interrupted: the user stops the search.
    """
    known = known_trial(context, trial)
    try:
        protocol = changed_protocol(context.limits.protocol, changes)
    except UserError as error:
        raise Refused("arguments", f"{error}.") from None
    if protocol == context.limits.protocol:
        return score_trial(context, trial)
    if context.jobs.table is not None:
        raise Refused("arguments", "This search looks its scores up in a table, which holds no others.")
    why = None
    if score_of(context.db, known.training, protocol.fingerprint) is None:
        job = context.score_job(known.run_folder, known.spec).model_copy(update={"protocol": protocol})
        try:
            run_and_remember(context, known, job)
        except JobFailed as failure:
            why = str(failure)
    found = score_of(context.db, known.training, protocol.fingerprint)
    return _said(trial, known, protocol, found.value if found else None, why)


def _said(trial: int, known: Trial, protocol: Protocol, value: float | None, why: str | None) -> Rescored:
    score = protocol.score
    return Rescored(
        trial=trial,
        spec=str(known.spec),
        rfid=value,
        metric=score.metric,
        num_images=score.num_images,
        sampler=score.sampler,
        sampling_steps=score.sampling_steps,
        protocol=protocol.fingerprint,
        why=why,
    )


def changed_protocol(protocol: Protocol, changes: dict[str, Any]) -> Protocol:
    """A protocol that scores otherwise.

    Raises:
        UserError: no such network, or a sampling that the family or the diffusion steps do not allow.
    """
    score, settings = protocol.score, protocol.settings
    asked = {name: changes.get(name, getattr(score, name)) for name in ("sampler", "sampling_steps", "feature_network")}
    sampling = choose_sampling(
        asked["sampler"], asked["sampling_steps"], settings.family, protocol.strategy.diffusion_steps
    )
    network = network_for(settings.values, asked["feature_network"])
    update = taken_with(network, sampling, changes.get("num_images", score.num_images))
    return protocol.model_copy(update={"score": score.model_copy(update=update)})
