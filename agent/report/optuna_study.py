"""``diffnas-agent export-study``: a search as a study of Optuna, so that optuna-dashboard and its like can show it.

The trials stand in the order of their rounds; their number in the memory is an attribute. Nothing is read back.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from agent.config.stored import stored_config
from agent.report.results import Result
from agent.report.tables import say
from diffusion.errors import UserError
from diffusion.files.paths import user_path
from diffusion.networks import network
from diffusion.settings import Protocol
from diffusion.spec import UNetSpec
from diffusion.statistics.pruning import rung_protocol
from diffusion.under_way import each
from memory.connection import opened
from memory.queries.ranking import Record
from memory.queries.records import show_trial
from memory.searches import SearchRow, find_search

STATES = {
    "scored": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "trained": TrialState.RUNNING,  # its score is not taken yet
    "running": TrialState.RUNNING,
}
TOLD = ("protocol", "proposer", "reason", "seed", "params", "cached", "device_seconds", "ci95", "verdict", "error")
"""What stands beside a trial under the same name as in ``memory show``."""


class ExportedStudy(Result):
    """``export-study --json``."""

    search: int
    """id of the search"""
    name: str
    """its name, and that of the study"""
    storage: str
    """the URL, a password in it hidden"""
    metric: str
    """name of the score, which the study minimises"""
    protocol: str
    """fingerprint of the protocol"""
    trials: dict[str, int]
    """those that were written, counted as `complete`, `pruned`, `fail` and `running`"""


def export_study(db_path: Path, name: str, url: str) -> ExportedStudy:
    """Write a search as a new study.

    Raises:
        UserError: there is no such search, the URL is none of a database, or it has a study of that name.
    """
    place = storage_place(url, db_path)
    with opened(db_path, read_only=True) as db:
        search = find_search(db, name)
        rows = db.conn.execute("SELECT trial FROM results WHERE search = ? ORDER BY round", [search.id])
        found = rows.fetchall()
        records = [show_trial(db, row["trial"]) for row in each("reading trials", found, len(found))]
        protocol = db.conn.execute("SELECT metric FROM protocols WHERE fingerprint = ?", [search.protocol]).fetchone()
    distributions = distributions_of(search, records)
    trials = [as_optuna(record, distributions) for record in records]
    write_study(place, url, search, protocol["metric"], trials)
    counts = Counter(trial.state.name.lower() for trial in trials)
    return ExportedStudy(
        search=search.id,
        name=search.name,
        storage=place.render_as_string(hide_password=True),
        metric=protocol["metric"],
        protocol=search.protocol,
        trials={state.name.lower(): counts[state.name.lower()] for state in dict.fromkeys(STATES.values())},
    )


def storage_place(url: str, db_path: Path) -> URL:
    """The URL, read.

    Raises:
        UserError: it is none, keeps nothing, or is the memory's own file.
    """
    try:
        place = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise UserError(f"'{url}' is not the URL of a database; write sqlite:///study.db") from None
    if place.get_backend_name() == "sqlite":
        if not place.database or place.database == ":memory:":
            raise UserError(f"'{url}' names no file; write sqlite:///study.db")
        file = user_path(place.database)
        place = place.set(database=str(file))
        if file.resolve() == db_path.resolve():
            raise UserError(f"'{url}' is the memory itself; name a file of its own, such as sqlite:///study.db")
    return place


def distributions_of(search: SearchRow, records: Iterable[Record]) -> dict[str, BaseDistribution]:
    """What each number may be: the choices of the space, and what trials from elsewhere have beside them."""
    values: dict[str, set[int]] = defaultdict(set)
    for name, choices in stored_config(search.config_json).search_space.choices.items():
        values[name] |= set(choices)
    for record in records:
        for name, number in UNetSpec.parse(record["spec"]).numbers.items():
            values[name].add(number)
    return {name: _distribution(name, sorted(found)) for name, found in values.items()}


def _distribution(name: str, values: list[int]) -> BaseDistribution:
    """Attention and uneven choices are categories, which Optuna's numbers cannot be."""
    steps = {after - before for before, after in pairwise(values)} or {1}
    if name.startswith("attn"):
        return CategoricalDistribution([bool(value) for value in values])
    return (
        IntDistribution(values[0], values[-1], step=steps.pop()) if len(steps) == 1 else CategoricalDistribution(values)
    )


def as_optuna(record: Record, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """A record of ``memory show`` as a trial. One that was scored without a number failed, as Optuna sees it."""
    numbers, state = UNetSpec.parse(record["spec"]).numbers, STATES[record["state"]]
    curve = {} if state is TrialState.FAIL else scores_on_the_way(record)
    value = record["rfid"]
    if state is TrialState.COMPLETE and value is None:
        state = TrialState.FAIL
    elif state is TrialState.PRUNED and curve:
        value = curve[max(curve)]  # as Optuna does; the dashboard draws a pruned trial only with a value
    trial = optuna.create_trial(
        state=state,
        value=value,
        params={name: bool(number) if name.startswith("attn") else number for name, number in numbers.items()},
        distributions={name: distributions[name] for name in numbers},
        user_attrs=attributes_of(record),
        intermediate_values=curve,
    )
    trial.datetime_start, trial.datetime_complete = local_time(record["created"]), local_time(record["finished"])
    return trial


def attributes_of(record: Record) -> dict[str, Any]:
    """What Optuna has no place of its own for; what a trial does not have is left out."""
    spec = UNetSpec.parse(record["spec"])
    found = {
        "trial": record["trial"],
        "round": record["round"],
        "spec": str(spec),
        "network": network(spec, record["family"]),
        "widths": list(spec.channels),
        "macs_paper": record["macs"]["paper"],
        "macs_total": record["macs"]["total"],
        **{name: record[name] for name in TOLD},
    }
    return {name: value for name, value in found.items() if value is not None}


def scores_on_the_way(record: Record) -> dict[int, float]:
    """The scores before the last step, by step: as the search takes its scores, else as it looks at the rungs."""
    protocol, found = Protocol.model_validate(record["protocol_content"]), dict[int, float]()
    last = protocol.strategy.train_steps
    for step in sorted({row["step"] for row in record["scores"] if 0 < row["step"] < last}):
        shorter = protocol.strategy.model_copy(update={"train_steps": step})
        for way in (protocol.model_copy(update={"strategy": shorter}), rung_protocol(protocol, step)):
            key = (step, way.fingerprint, record["metric"])
            rows = [row for row in record["scores"] if (row["step"], row["protocol"], row["metric"]) == key]
            if values := [row["value"] for row in rows if row["value"] is not None]:
                found.setdefault(step, fmean(values))
    return found


def local_time(moment: str | None) -> datetime | None:
    """A time of the memory as Optuna keeps its own: local, and without saying so."""
    return None if moment is None else datetime.fromisoformat(moment).astimezone().replace(tzinfo=None)


def write_study(place: URL, url: str, search: SearchRow, metric: str, trials: list[FrozenTrial]) -> None:
    """The whole study, or after an error or Ctrl-C none.

    Raises:
        UserError: the storage cannot be opened, or has a study of that name.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = optuna.storages.RDBStorage(place.render_as_string(hide_password=False))
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0].rstrip(".")
        raise UserError(f"'{url}' cannot hold a study: {why}") from None
    try:
        study = optuna.create_study(storage=storage, study_name=search.name, direction="minimize")
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(f"'{search.name}' is a study of {url} already; name another file, or delete it there") from None
    try:
        told = {"search": search.id, "metric": metric, "protocol": search.protocol, "backend": search.backend}
        for name, value in {**told, "budget_macs": search.budget_macs, "count": search.count_convention}.items():
            study.set_user_attr(name, value)
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            study.set_metric_names([metric])
        study.add_trials(trials)
    except BaseException:
        optuna.delete_study(study_name=search.name, storage=storage)
        raise


def print_exported_study(console: Console, found: ExportedStudy) -> None:
    """What was written, and how it is looked at."""
    counts = ", ".join(f"{count} {state}" for state, count in found.trials.items() if count)
    say(
        console,
        f"{found.name}: {counts or 'no trial yet'}; {found.metric}, protocol {found.protocol}. Look at it with:",
    )
    say(console, f"optuna-dashboard {found.storage}", whole=True)
