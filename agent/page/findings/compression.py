"""A compression: teacher and student side by side."""

from sqlite_utils import Database

from agent.compress.plan import stored_compression
from agent.compress.report import Compressed, Network, compressed
from agent.page.data import Figure, Finding, Table
from agent.report.tables import NONE, score
from diffusion.units import format_size
from memory.searches import SearchRow


def found_in(db: Database, search: SearchRow) -> Finding:
    """Teacher and student side by side."""
    found = compressed(db, search.id, stored_compression(db, search.id), search.state)
    title = f"Compression {found.name}: {found.method}, at most {found.target:.0%} of the teacher"
    networks = [(name, each) for name, each in (("teacher", found.teacher), ("student", found.student)) if each]
    columns = ["network", "MACs paper", "MACs total", "params", found.metric, "95 % interval", "scores"]
    table = Table(caption="Teacher and student", columns=columns, rows=[_network(*each) for each in networks])
    return Finding(
        anchor=f"compress-{search.id}",
        title=title,
        says=_compressed(found),
        figures=[_sizes(found)] if len(networks) > 1 else [],
        tables=[table] if networks else [],
    )


def _compressed(found: Compressed) -> list[str]:
    if found.student is None or found.macs_share is None or found.params_share is None:
        return ["There is no scored student yet."]
    size = f"{found.macs_share:.1%} of the multiply-accumulates and {found.params_share:.1%} of the parameters"
    says = [f"The student has {size} of its teacher; {found.verdict}: {found.why}."]
    if found.latency:
        says.append("{batch:.0f} images take {first_ms:.4g} ms the teacher, {second_ms:.4g} ms the student.".format(
            **found.latency))  # fmt: skip
    return says


def _network(name: str, found: Network) -> list[str]:
    sizes = [format_size(each) for each in (found.macs.paper, found.macs.total, found.params)]
    return [name, *sizes, score(found.score), found.between or NONE, str(len(found.scores))]


def _sizes(found: Compressed) -> Figure:
    data = [
        {
            "network": name, "paper": each.macs.paper, "total": each.macs.total, "score": each.score,
            "low": each.ci95 and each.ci95[0], "high": each.ci95 and each.ci95[1],
        }
        for name, each in (("teacher", found.teacher), ("student", found.student))
        if each and each.score is not None
    ]  # fmt: skip
    says = "Scores of teacher and student over their multiply-accumulates; the numbers are in the table below."
    return Figure(draws="sizes", title="Teacher and student", says=says, data=data)
