"""A confirmation: full trainings with several seeds."""

from sqlite_utils import Database

from agent.page.data import Finding, Table
from agent.report.tables import NONE, score, span
from agent.trials.confirmed import ConfirmedSpec, confirmed
from diffusion.units import format_size
from memory.searches import SearchRow


def found_in(db: Database, search: SearchRow) -> Finding:
    """What full trainings with several seeds say."""
    found = confirmed(db, search.id)
    columns = ["network", found.metric, "95 % interval", "scores by seed", "verdict", "MACs paper", "params"]
    rows = [_confirmed(row) for row in found.rows]
    return Finding(
        anchor=f"confirm-{search.id}",
        title=f"Confirmation {found.name}: trained in full",
        says=[f"{found.why}." if found.why and not found.why.endswith(".") else found.why or "Nothing is scored yet."],
        figures=[],
        tables=[Table(caption="Full trainings", columns=columns, rows=rows)] if rows else [],
    )


def _confirmed(row: ConfirmedSpec) -> list[str]:
    interval = span(*row.ci95 or (None, None))
    verdict = "baseline" if row.is_baseline else row.verdict or NONE
    scores = ", ".join(map(score, row.scores))
    return [row.spec, score(row.score), interval, scores, verdict, format_size(row.macs.paper), format_size(row.params)]
