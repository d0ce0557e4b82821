"""What is searched, on which data, scored how, and where things go; each setting is one field."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from diffusion.errors import UserError
from diffusion.files.paths import UserPath
from diffusion.frozen import LARGEST_SEED, MOST, MOST_AT_ONCE, Frozen, Setting
from diffusion.settings import Family, Sampler, Schedule
from diffusion.space import SearchSpace, built_in, find_space, stored_space
from diffusion.spec import SpecField, UNetSpec
from diffusion.units import parse_size, shortened, whole_number

Size = Annotated[int, BeforeValidator(parse_size)]


def parse_parallel(value: object) -> object:
    """``auto`` or a number of rounds, also as text.

    Raises:
        UserError: it is neither.
    """
    text = str(value).strip()
    if text == "auto":
        return text
    number = whole_number(text)
    if not number or number > MOST_AT_ONCE:
        raise UserError(f"'{shortened(text)}' is not a number of rounds; write 1, 2, … or auto")
    return number


class SearchSettings(Frozen):
    """What is searched."""

    preset: Annotated[
        str,
        Setting(
            "`digits`, `ddpm-cifar10`, `iddpm-cifar10` or one of MLS-Bench",
            "NAME",
            more="defaults for a whole search; see [Presets](#presets)",
        ),
    ] = "digits"
    budget: Annotated[
        Size,
        Setting(
            "hard limit on the MACs of a spec, e.g. `6.06G`",
            "MACS",
            more="multiply-accumulates for one image; a spec above it is refused before anything is spent",
            example="6.06G",
        ),
    ]
    count: Annotated[
        Literal["paper", "total"],
        Setting(
            "counting convention of the budget",
            "paper|total",
            more="see [two ways to count](science.md#two-ways-to-count)",
        ),
    ] = "paper"
    space: Annotated[
        SearchSpace,
        BeforeValidator(find_space),
        PlainSerializer(stored_space),
        Setting(
            "search space: a built-in one such as `images-32`, or a file of choices",
            "NAME|FILE",
            more="what each number of a spec may be, also as a table `[space]`; see [Your own search space](spaces.md)",
        ),
    ] = built_in("images-32")
    bench: Annotated[
        str | None,
        Setting(
            "look results up in a table of trained networks, such as `unetbench`, instead of training",
            "NAME",
            more="space, baseline, data and protocol are the table's, and nothing is prepared; see "
            "[UNetBench](unetbench.md)",
            example="unetbench",
        ),
    ] = None
    baseline: Annotated[
        SpecField,
        Setting(
            "the spec of round 0",
            "SPEC",
            more="if it exceeds the budget, the widest of its shape that does not is taken, and the run says so",
        ),
    ] = UNetSpec.parse("b128-n2-m1.2.2.2-a0100")
    max_params: Annotated[
        Size | None,
        Setting(
            "limit on the parameters of a spec, e.g. `2M`",
            "N",
            more="holds from the first proposal on, beside the budget; a baseline above it is refused",
            example="40M",
        ),
    ] = None
    max_memory: Annotated[
        Size | None,
        Setting(
            "limit on the memory of a training, e.g. `8G`",
            "BYTES",
            more="the estimated peak of one process; `--dry-run` says what the baseline's is",
            example="8G",
        ),
    ] = None
    max_latency: Annotated[
        float | None,
        Field(gt=0, le=MOST, allow_inf_nan=False),
        Setting(
            "limit on the milliseconds of one image through the network",
            "MS",
            more="measured on this machine, once for each spec that is proposed",
            example="50",
        ),
    ] = None
    memory: Annotated[
        Literal["none", "search", "all"],
        Setting(
            "what proposers are told of: nothing, this search, or every search of the protocol",
            "none|search|all",
            more="`none` is the zero-shot proposal of the paper's Eq. 8, `search` its Eq. 9",
        ),
    ] = "search"
    centaur_share: Annotated[
        float,
        Field(ge=0, le=1),
        Setting(
            "share of the rounds of `centaur` in which the language model decides",
            more="in the others the surrogate's first suggestion is trained",
        ),
    ] = 0.3
    rounds: Annotated[
        int,
        Field(ge=0, le=MOST_AT_ONCE),
        Setting("rounds after the baseline", "N", more="each ends with one scored or failed trial"),
    ] = 10
    searcher: Annotated[
        str,
        Setting(
            "who proposes: `llm`, `centaur`, `random`, `local`, `evolution`, `gp`, `tpe`, `cma` or `nag`",
            "NAME",
            more="typed, also [one of your own](searchers.md#a-searcher-of-your-own); without one `llm`, or `centaur` "
            "where no language model is chosen; see [searchers](searchers.md)",
        ),
    ] = "llm"
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED), Setting("seed of trainings, images and proposals", "N")] = 0
    name: Annotated[
        str | None,
        Setting(
            "name of the search",
            "NAME",
            more="letters, digits, dots and dashes; without one, the data set's name and a number, such as `digits-1`",
            example="first-try",
        ),
    ] = None
    parallel: Annotated[
        int | Literal["auto"],
        BeforeValidator(parse_parallel),
        Setting(
            "rounds at once: the next spec is proposed while others train",
            "K|auto",
            more="the model is told which; `auto` is one for every five rounds, at most as many as find room on cores "
            "or GPUs. No round runs beside the baseline",
        ),
    ] = "auto"
    prune: Annotated[
        bool,
        Setting(
            "stop trainings early that are clearly behind the others",
            "--prune/--no-prune",
            more="at 40 and 70 % of the steps each is scored at about an eighth of a score's cost and held against the "
            "others; see [early stopping](science.md#early-stopping)",
        ),
    ] = False
    replicas: Annotated[
        int,
        Field(ge=1, le=MOST_AT_ONCE),
        Setting(
            "training seeds of the baseline",
            more="from three on scores have intervals and verdicts, see "
            "[what a score says](science.md#what-a-score-says)",
        ),
    ] = 3
    race_trainings: Annotated[
        int | None,
        Field(ge=0, le=MOST_AT_ONCE),
        Setting(
            "trainings that the race at the end may use, 0 for none",
            more="without it as many as the search has rounds",
            example="5",
        ),
    ] = None


class DataSettings(Frozen):
    """The data and the noise process."""

    dataset: Annotated[
        str,
        Setting(
            "`digits`, `cifar10`, an `.npz`, a folder of images, or a Hugging Face id",
            "DATA",
            more="see [Your own data set](data.md)",
        ),
    ] = "digits"
    data_dir: Annotated[
        UserPath, Setting("where data sets are looked for", "DIR", more="`cifar10.npz`, before Hugging Face is asked")
    ] = Path("data")
    resolution: Annotated[
        int | None,
        Field(ge=1, le=MOST),  # which of them images can have is said with the data
        Setting(
            "resize the images to N×N",
            "N",
            more="the shorter side, and the centre is cropped; a multiple of 8, at most 256; without it images keep "
            "their size",
            example="32",
        ),
    ] = None
    family: Annotated[
        Family,
        Setting(
            "network and objective: `ddpm`, or `iddpm` with learned variance",
            "ddpm|iddpm",
            more="Ho et al. 2020, and Nichol & Dhariwal 2021 with the hybrid loss",
        ),
    ] = "ddpm"
    schedule: Annotated[
        Schedule,
        Setting(
            "the noise schedule: `linear`, `cosine` or `scaled_linear`",
            more="cosine is IDDPM's, scaled_linear that of latent diffusion",
        ),
    ] = "linear"
    horizontal_flips: Annotated[bool, Setting("whether training images are mirrored at random")] = False


class ScoreSettings(Frozen):
    """The score."""

    feature_network: Annotated[
        str,
        Setting(
            "features of the score: `digits-cnn`, `efficientnet-lite0` or `inception-v3-compat`",
            "NAME",
            more="`inception-v3-compat` gives plain `fid`, the others `fid-digits-cnn` and `fid-efficientnet-lite0`; "
            "see [feature networks](science.md#feature-networks)",
        ),
    ] = "inception-v3-compat"
    feature_weights: Annotated[
        UserPath | None,
        Setting(
            "Inception's weights, if they lie elsewhere than torch hub's",
            "FILE",
            more="compared with their hash, no part of the protocol",
            example="weights-inception-2015-12-05-6726825d.pth",
        ),
    ] = None
    reference_split: Annotated[
        Literal["train", "test"], Setting("which real images the score compares with", "train|test")
    ] = "train"
    sampler: Annotated[
        Sampler,
        Setting("`ddim`, `ddpm`, `iddpm` or `dpm-solver++`", "NAME", more="see [samplers](science.md#samplers)"),
    ] = "ddim"
    sampling_steps: Annotated[
        int, Field(ge=1, le=MOST), Setting("steps of the sampler for each image", "N", more="at most `diffusion_steps`")
    ] = 100
    num_images: Annotated[
        int,
        Field(ge=2, le=MOST),
        Setting(
            "images sampled for each score", "N", more="the score falls as it grows, so it is part of the protocol"
        ),
    ] = 50_000


class Places(Frozen):
    """Where things go."""

    db: Annotated[
        UserPath,
        Setting(
            "the memory (default `./diffnas.db`, or `DIFFNAS_DB`)",
            "PATH",
            more="LangGraph's checkpoints of the current round lie beside it, in `diffnas.threads.db`",
        ),
    ] = Path("diffnas.db")
    out: Annotated[
        UserPath,
        Setting(
            "checkpoints, images, reports (default `./runs`)",
            "DIR",
            more="prepared data and reference statistics, too",
        ),
    ] = Path("runs")
