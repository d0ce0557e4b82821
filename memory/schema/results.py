"""The views that people read: one row for each trial, and one for each trial and protocol."""

from diffusion.spec import PARAMETERS
from memory.schema.standings import WIDTHS, width

_NUMBERS = ", ".join(f"standings.{name} AS {name}" for name in PARAMETERS)
_WIDTHS = ", ".join(f"{width(stage, 'standings')} AS {name}" for stage, name in enumerate(WIDTHS))

ALL_RESULTS = f"""
    CREATE VIEW all_results AS
    SELECT
        standings.trial AS trial, standings.search AS search, searches.name AS search_name, trials.round AS round,
        trainings.spec AS spec, trainings.network AS network, {_NUMBERS}, {_WIDTHS},
        standings.macs_paper AS macs_paper, standings.macs_total AS macs_total, trainings.params AS params,
        standings.rfid AS rfid, protocols.metric AS metric, standings.protocol AS protocol,
        standings.state AS state, proposals.proposer AS proposer, proposals.reason AS reason, trials.cached AS cached,
        standings.seed AS seed, trainings.loss AS loss, trainings.steps_done AS steps_done,
        trainings.device_seconds AS device_seconds, standings.score_seconds AS score_seconds,
        standings.sampling_seeds AS sampling_seeds, trials.error AS error, trials.created AS created,
        trials.finished AS finished, trainings.family AS family, trainings.dataset AS dataset,
        standings.training AS training, trials.proposal AS proposal,
        verdicts.ci_low AS ci_low, verdicts.ci_high AS ci_high, verdicts.baseline AS versus_baseline,
        verdicts.incumbent AS versus_incumbent,
        coalesce(json_extract(searches.config_json, '$.train'), 'rapid') AS train,
        standings.protocol = searches.protocol AS own_protocol
    FROM standings
    JOIN trials ON trials.id = standings.trial
    JOIN searches ON searches.id = standings.search
    JOIN proposals ON proposals.id = trials.proposal
    JOIN trainings ON trainings.id = standings.training
    JOIN protocols ON protocols.fingerprint = standings.protocol
    LEFT JOIN verdicts ON verdicts.trial = standings.trial AND standings.protocol = searches.protocol
"""
"""One row per trial and protocol, as it stands (`memory.schema.standings`), with all that people see of it."""

RESULTS = "CREATE VIEW results AS SELECT * FROM all_results WHERE own_protocol"
"""One row per trial, under the protocol of its own search."""
