"""The views that people read: one row for each trial, and one for each trial and protocol."""

from diffusion.spec import PARAMETERS

ALL_RESULTS = f"""
    CREATE VIEW all_results AS
    WITH measured AS (
        SELECT training, protocol, metric, step, avg(value) AS value, count(value) AS sampling_seeds,
               sum(device_seconds) AS score_seconds
        FROM scores GROUP BY training, protocol, metric, step
    ),
    shown AS (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training
    )
    SELECT
        trials.id AS trial, trials.search AS search, searches.name AS search_name, trials.round AS round,
        trainings.spec AS spec, {", ".join(f"trainings.{name} AS {name}" for name in PARAMETERS)},
        trainings.macs_paper AS macs_paper, trainings.macs_total AS macs_total, trainings.params AS params,
        measured.value AS rfid, protocols.metric AS metric, protocols.fingerprint AS protocol,
        trials.state AS state, proposals.proposer AS proposer, proposals.reason AS reason, trials.cached AS cached,
        trainings.seed AS seed, trainings.loss AS loss, trainings.steps_done AS steps_done,
        trainings.device_seconds AS device_seconds, measured.score_seconds AS score_seconds,
        measured.sampling_seeds AS sampling_seeds, trials.error AS error, trials.created AS created,
        trials.finished AS finished, trainings.family AS family, trainings.dataset AS dataset,
        trials.training AS training, trials.proposal AS proposal,
        verdicts.ci_low AS ci_low, verdicts.ci_high AS ci_high, verdicts.baseline AS versus_baseline,
        verdicts.incumbent AS versus_incumbent,
        coalesce(json_extract(searches.config_json, '$.train'), 'rapid') AS train,
        protocols.fingerprint = searches.protocol AS own_protocol
    FROM shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN proposals ON proposals.id = trials.proposal
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN verdicts ON verdicts.trial = trials.id AND protocols.fingerprint = searches.protocol
    LEFT JOIN measured ON measured.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR protocols.fingerprint <> searches.protocol)
        AND measured.protocol = protocols.fingerprint
        AND measured.metric = protocols.metric
        AND measured.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = protocols.fingerprint AND metric = protocols.metric
        )
"""
"""One row per trial and protocol under which its training has scores; the score is the mean over sampling seeds.

A failed trial has no score, even if another search has trained and measured the same job since; a pruned one has those
of the steps it reached, each under the protocol of so many steps, and none under its search's own.
"""

RESULTS = "CREATE VIEW results AS SELECT * FROM all_results WHERE own_protocol"
"""One row per trial, under the protocol of its own search."""
