"""What a search may use, before it begins: tokens, money, device-seconds and wall-clock.

Rounds are counted at the budget, so device-seconds and wall-clock are about the most that a search takes. Tokens rest
on the prompts as they are and on how many calls a round usually takes. The time that a language model takes to answer
is not known before it is asked, and left out.
"""

import json
import math

from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.backends.pricing import price_table
from agent.config.groups import SearchSettings
from agent.estimate.calibration import Calibration
from agent.estimate.reference import ReferenceUse
from agent.report.results import Result
from agent.search.plan import Plan
from agent.searchers.centaur import SuggestedProposer, is_models
from agent.searchers.model.proposer import LLMProposer
from diffusion.cost.closed_form import cost
from prompts.render import SAMPLES, render
from tools.allowance import estimated_tokens

CALLS_PER_ROUND = 4  # a question to the memory, a count, a training, a score
ANSWER_TOKENS = 120  # a tool call with its reason
RESULT_TOKENS = 400  # what a tool gives back
FIRST_ROUND_TOKENS, TOKENS_PER_ROUND, MOST_ROUND_TOKENS = 300, 150, 3500  # the digest grows until its tables are full


class Use(Result):
    """What a search may use; None where nothing is known."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    device_seconds: float | None
    wall_seconds: float | None
    calibration: Calibration | None


def forecast(
    planned: Plan, calibration: Calibration | None, parallel: int, reference: ReferenceUse | None = None
) -> Use:
    """The estimates; None where nothing is known."""
    config = planned.config
    tokens = forecast_tokens(config.search)
    dollars = price_table(config.backend.prices).cost_usd(config.backend.llm, config.backend.base_url, *tokens)
    times = forecast_seconds(planned, calibration, parallel, reference) if calibration else (None, None)
    return Use(
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cost_usd=dollars,
        device_seconds=times[0],
        wall_seconds=times[1],
        calibration=calibration,
    )


def forecast_tokens(search: SearchSettings) -> tuple[int, int]:
    """Input and output tokens of all rounds that a language model plays."""
    played = [number for number in range(1, search.rounds + 1) if _is_models(search, number)]
    player = SuggestedProposer if search.searcher == "centaur" else LLMProposer
    tools = [json.dumps(convert_to_openai_tool(tool)) for tool in player.tools]
    fixed = estimated_tokens(render("system", **SAMPLES["system"]), *tools)
    exchanged = (ANSWER_TOKENS + RESULT_TOKENS) * sum(range(CALLS_PER_ROUND))
    digests = (min(FIRST_ROUND_TOKENS + TOKENS_PER_ROUND * number, MOST_ROUND_TOKENS) for number in played)
    read = sum(CALLS_PER_ROUND * (fixed + digest) + exchanged for digest in digests)
    return read, len(played) * CALLS_PER_ROUND * ANSWER_TOKENS


def _is_models(search: SearchSettings, number: int) -> bool:
    if search.searcher == "centaur":
        return is_models(search.seed, number, search.centaur_share)
    return search.searcher == "llm"


def forecast_seconds(
    planned: Plan, calibration: Calibration, parallel: int, reference: ReferenceUse | None
) -> tuple[float, float]:
    """Device-seconds and wall-clock of the real images' features, the baseline, its replicas, all rounds at the budget,
    and the race.
    """
    config, settings = planned.config, planned.protocol.settings
    baseline = cost(planned.baseline, settings.family, settings.resolution, settings.channels).macs.by(
        config.search.count
    )
    image = (reference.seconds_an_image if reference else None) or 0.0
    seen, once = image * config.score.num_images, (reference.seconds if reference else None) or 0.0
    at_baseline, at_budget = (
        _trial_seconds(planned, calibration, times) + seen for times in (1.0, config.search.budget / baseline)
    )
    race = config.search.rounds if config.search.race_trainings is None else config.search.race_trainings
    jobs = (
        (1, at_baseline),
        (config.search.replicas - 1, at_baseline),
        (config.search.rounds, at_budget),
        (race, at_budget),
    )
    device = sum(count * seconds for count, seconds in jobs) * config.jobs.nproc
    return device + once, sum(math.ceil(count / parallel) * seconds for count, seconds in jobs) + once


def _trial_seconds(planned: Plan, calibration: Calibration, times_macs: float) -> float:
    config = planned.config
    denoised = config.score.num_images * config.score.sampling_steps
    trained = calibration.training_seconds(config.strategy.train_steps, times_macs)
    return trained + calibration.scoring_seconds(denoised, config.strategy.batch_size, times_macs)
