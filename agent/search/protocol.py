"""What scores of a search are comparable under: the protocol that settings and a data card make."""

from pathlib import PurePath
from typing import Literal

from agent.config.settings import RunConfig
from diffusion.data.card import DataCard
from diffusion.errors import UserError
from diffusion.files.paths import user_path
from diffusion.scores.networks import network_for, taken_with
from diffusion.settings import Protocol, Sampling, ScoreProtocol, Settings, choose_sampling


def settings_of(config: RunConfig, card: DataCard) -> Settings:
    """What is fixed of the data and the noise.

    Raises:
        UserError: a variance is to be learned of latents.
    """
    settings = Settings(
        dataset=PurePath(card.name).name if is_path(card.name) else card.name,  # a card names no folder of a machine
        resolution=card.resolution,
        channels=card.channels,
        family=config.data.family,
        schedule=config.data.schedule,
        horizontal_flips=config.data.horizontal_flips,
        values=card.values,
    )
    if settings.values and settings.family == "iddpm":
        raise UserError(
            f"--family iddpm: '{settings.dataset}' holds latents, and the bound that teaches a variance is one of 256 "
            "levels of grey; take ddpm"
        )
    return settings


def protocol_of(config: RunConfig, card: DataCard, settings: Settings) -> Protocol:
    """The protocol of a search.

    Raises:
        UserError: as `score_protocol` and `sampling_of`.
    """
    return Protocol(
        data_fingerprint=card.fingerprint,
        settings=settings,
        strategy=config.strategy,
        score=score_protocol(
            card,
            feature_network=config.score.feature_network,
            reference_split=config.score.reference_split,
            sampling=sampling_of(config),
            num_images=config.score.num_images,
        ),
    )


def sampling_of(config: RunConfig) -> Sampling:
    """How images are drawn.

    Raises:
        UserError: the family or the diffusion steps do not allow it.
    """
    sampler, steps = config.score.sampler, config.score.sampling_steps
    return choose_sampling(sampler, steps, config.data.family, config.strategy.diffusion_steps)


def score_protocol(
    card: DataCard,
    *,
    feature_network: str,
    reference_split: Literal["train", "test"],
    sampling: Sampling,
    num_images: int,
) -> ScoreProtocol:
    """How a score on this data set is taken.

    Raises:
        UserError: no such network, or the data set has no test images.
    """
    network = network_for(card.values, feature_network)
    count = card.train_count if reference_split == "train" else card.test_count
    if count < 2:
        raise UserError(f"--reference-split {reference_split}: '{card.name}' has {count} such images; take the other")
    return ScoreProtocol(
        reference_split=reference_split, reference_count=count, **taken_with(network, sampling, num_images)
    )


def is_path(dataset: str) -> bool:
    """Whether a data set was named by where it lies; a Hugging Face id has a slash too, but nothing lies there."""
    return PurePath(dataset).suffix == ".npz" or user_path(dataset).exists()
