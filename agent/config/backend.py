"""Which language models are asked, how patiently, and what they may cost; each setting is one field."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from diffusion.files.paths import UserPath
from diffusion.frozen import MOST, MOST_AT_ONCE, Frozen, Setting
from diffusion.units import parse_list

MOST_SECONDS = 10**6  # of one wait: eleven days, and within what threads and sockets can wait
MOST_TOKENS = 10**15
OFFLINE = "offline"  # the backend for machines without a language model; it costs nothing
WITHOUT_MODEL = {"llm": OFFLINE, "base_url": None, "llm_fallbacks": None}
"""The settings of what asks no language model, whatever the environment says of one."""


class BackendSettings(Frozen):
    """The language model, and what the search itself may use. See [the allowance](replay.md#the-allowance)."""

    llm: Annotated[
        str,
        Setting(
            "backend: `openai:MODEL`, `anthropic:MODEL`, `ollama:MODEL` or `offline`",
            "ID",
            more="`offline` is no language model",
        ),
    ] = OFFLINE
    base_url: Annotated[
        str | None,
        Setting(
            "an OpenAI-compatible server, e.g. `http://HOST:8000/v1`",
            "URL",
            more="used with `--llm openai:MODEL`, and no key is needed unless the server asks for one",
            example="http://127.0.0.1:8000/v1",
        ),
    ] = None
    llm_fallbacks: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(parse_list),
        Setting(
            "backends that are asked, in order, when `--llm` gives no answer: `ID` or `ID@URL`",
            "ID,ID,…",
            more="in TOML a list; see [backends.md](backends.md#several-backends-in-order)",
            example="openai:gpt-4.1-mini,offline",
        ),
    ] = None
    llm_chat: Annotated[
        str | None,
        Setting(
            "the backend of `chat`: `ID` or `ID@URL`",
            more="without it that of the search",
            example="openai:gpt-4.1-mini",
        ),
    ] = None
    llm_max_tokens: Annotated[
        int | None,
        Field(ge=1, le=MOST),
        Setting(
            "the most tokens of one answer",
            more="small models may talk without end, and a limit costs less than a time-out",
            example="1000",
        ),
    ] = None
    llm_timeout_seconds: Annotated[
        float,
        Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False),
        Setting("seconds after which an answer is given up"),
    ] = 120.0
    llm_retries: Annotated[
        int,
        Field(ge=0, le=MOST_AT_ONCE),
        Setting(
            "how often a call that failed is made again",
            more="after a time-out, HTTP 408, 409, 425, 429, a failure of the server or no connection",
        ),
    ] = 5
    llm_retry_seconds: Annotated[
        float,
        Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False),
        Setting(
            "seconds before the first repetition",
            more="each further one waits twice as long, at most a minute, give or take a quarter; a server that asks "
            "for more time (`Retry-After`) is given it",
        ),
    ] = 1.0
    max_cost: Annotated[
        float | None,
        Field(gt=0, le=MOST, allow_inf_nan=False),
        Setting(
            "most dollars that language models may cost",
            "USD",
            more="refused with a model whose price is unknown",
            example="2.0",
        ),
    ] = None
    max_hours: Annotated[
        float | None,
        Field(gt=0, le=MOST, allow_inf_nan=False),
        Setting("most hours that the search may run, over all resumes", "HOURS", example="3.0"),
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(gt=0, le=MOST_TOKENS),
        Setting("most tokens that language models may read and write", "N", example="500000"),
    ] = None
    prices: Annotated[
        UserPath | None,
        Setting("prices of models, in TOML, over those that come with the program", "FILE", example="prices.toml"),
    ] = None
    approve: Annotated[
        bool,
        Setting(
            "ask before each training: approve, change or reject it. `--yes`: ask nothing",
            "--approve/--no-approve/--yes",
            more="see [chat.md](chat.md#approve-each-training)",
        ),
    ] = False
