"""The settings of a run and where each came from.

Later wins: built-in defaults, ``--preset``, ``diffnas.toml`` (or ``--config``), ``.env`` and the environment
(``DIFFNAS_*``), options. No secret is a setting: the providers' keys stay in the environment.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from diffusion.errors import UserError
from diffusion.settings import Family, Sampler, Schedule, Strategy, Tracker
from diffusion.spec import SPACES, SearchSpace, SpecField, UNetSpec
from diffusion.training.compilation import Compile
from diffusion.units import parse_size

PREFIX = "DIFFNAS_"
SEARCHERS = ("llm",)

Size = Annotated[int, BeforeValidator(parse_size)]


def parse_list(value: object) -> object:
    """``250,500`` or ``a,b`` as a tuple of its parts; anything but text is left to pydantic."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Steps = Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, NoDecode, BeforeValidator(parse_list)]


def parse_parallel(value: object) -> object:
    """``auto`` or a number of rounds, also as text.

    Raises:
        UserError: it is neither.
    """
    text = str(value).strip()
    if text != "auto" and not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"'{text}' is not a number of rounds; write 1, 2, … or auto")
    return text if text == "auto" else int(text)


Parallel = Annotated[int | Literal["auto"], NoDecode, BeforeValidator(parse_parallel)]


class RunConfig(BaseSettings):
    """Everything that a search can be told; the names are the options', the keys of diffnas.toml and, after
    ``DIFFNAS_``, of the environment.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    # what is searched
    preset: str = "digits"
    budget: Size = Field(description="hard limit on the MACs of a spec, such as 6.06G")
    count: Literal["paper", "total"] = "paper"
    space: str = "images-32"
    baseline: Annotated[SpecField, NoDecode] = UNetSpec.parse("b128-n2-m1.2.2.2-a0100")
    rounds: Annotated[int, Field(ge=0, le=10_000)] = 10
    searcher: str = "llm"
    seed: Annotated[int, Field(ge=0)] = 0
    name: str | None = None

    # who proposes
    llm: str = "offline"
    base_url: str | None = None
    llm_fallbacks: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(parse_list)] = None
    llm_chat: str | None = None
    llm_max_tokens: Annotated[int, Field(ge=1)] | None = None
    llm_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    llm_retries: Annotated[int, Field(ge=0)] = 5
    llm_retry_seconds: Annotated[float, Field(ge=0)] = 1.0

    # what the search itself may use
    max_cost: Annotated[float, Field(gt=0)] | None = None
    max_hours: Annotated[float, Field(gt=0)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    prices: Path | None = None
    approve: bool = False

    # the data and the noise process
    dataset: str = "digits"
    data_dir: Path = Path("data")
    resolution: int | None = None
    family: Family = "ddpm"
    schedule: Schedule = "linear"
    horizontal_flips: bool = False

    # the strategy
    learning_rate: float = 2e-4
    dropout: float = 0.1
    diffusion_steps: int = 1000
    batch_size: int = 128
    warmup_steps: int = 0
    ema_decay: float = 0.9999
    gradient_clip: float = 1.0
    train_steps: int = 1000
    checkpoint_steps: Annotated[int, Field(ge=1)] = 1000
    snapshot_steps: Steps = None

    # the score
    feature_network: str = "inception-v3-compat"
    feature_weights: Path | None = None
    reference_split: Literal["train", "test"] = "train"
    sampler: Sampler = "ddim"
    sampling_steps: Annotated[int, Field(ge=1)] = 100
    num_images: Annotated[int, Field(ge=2)] = 50_000
    replicas: Annotated[int, Field(ge=1)] = 3
    race_trainings: Annotated[int, Field(ge=0)] | None = None

    # where and how jobs run
    parallel: Parallel = "auto"
    nproc: Annotated[int, Field(ge=1)] = 1
    executor: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    prune: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Compile = "auto"
    log_with: Tracker | None = None

    # where things go
    db: Path = Path("diffnas.db")
    out: Path = Path("runs")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is passed in alone: `resolve` merges the sources itself, to know which one decided what."""
        return (init_settings,)

    @property
    def search_space(self) -> SearchSpace:
        """The space by its name."""
        return SPACES[self.space]


def strategy_of(config: RunConfig) -> Strategy:
    """The training strategy that the settings name.

    Raises:
        ValidationError: a value is outside its bounds.
    """
    return Strategy(**{name: getattr(config, name) for name in Strategy.model_fields})
