"""What ``diffnas-agent compress`` does: open a search for a student and drive it, or show what it would be."""

from pathlib import Path

from rich.console import Console

from agent.compress.loop import drive_compression
from agent.compress.plan import Compression, Wanted, check, chosen, open_compression, planned
from agent.compress.report import announce
from agent.compress.teachers import find_teacher
from agent.config.sources import Resolved
from agent.estimate.reference import ReferenceUse, print_reference, reference_use
from agent.report.results import Result, Whole
from agent.report.tables import say, show
from agent.search.plan import Plan, written_nowhere
from diffusion.cost.closed_form import Macs
from diffusion.errors import UserError
from diffusion.under_way import under_way
from diffusion.units import format_size
from memory.connection import check_existing_memory


class CompressPlan(Result):
    """``compress --dry-run --json``: what would be done."""

    compression: Whole[Compression]
    """what is asked for"""
    macs: Macs
    """multiply-accumulates of the teacher for one image"""
    params: int
    """its parameters"""
    blocks: int
    """its blocks, each searched by itself"""
    units: int
    """residual blocks with their attention, each of which is chosen"""
    smallest: float
    """the least share of the teacher that a student can have"""
    protocol: str
    """fingerprint of the protocol"""
    training_macs: int
    """multiply-accumulates of all steps of the students, forward and backward, with the teacher's forward passes"""
    reference: ReferenceUse | None = None
    """the features of the real images, as in `run --dry-run`"""


def begin(settings: Resolved, wanted: Wanted, *, dry_run: bool, as_json: bool) -> int:
    """Search for a student, or show what that would be; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    check(wanted)
    if dry_run:
        with written_nowhere(settings.config) as aside:
            found, asked, foreseen = _prepared(settings, wanted, aside.places.out)
        show(foreseen, as_json, lambda console, plan: print_plan(console, found, asked, plan))
        return 0
    if settings.config.places.db.exists():
        check_existing_memory(settings.config.places.db)  # an older one, with the teacher in it, is brought up to date
    found, asked, foreseen = _prepared(settings, wanted, None)
    search = open_compression(found, asked, foreseen.macs.by(found.config.search.count))
    return drive_compression(search, found, as_json=as_json)


def _prepared(settings: Resolved, wanted: Wanted, out: Path | None) -> tuple[Plan, Compression, CompressPlan]:
    """All that is known before anything is computed, in a folder for trainings of its own or that of the settings.

    Raises:
        UserError: one sentence with the remedy; also of a target that is out of reach.
    """
    with under_way("reading the teacher"):
        teacher = find_teacher(settings, wanted.teacher, out)
    asked = chosen(teacher, wanted)
    found = planned(teacher, wanted.seeds)
    foreseen = foresee(found, asked, teacher.folder)
    if out is not None:
        foreseen = foreseen.model_copy(update={"reference": reference_use(found, teacher.home)})
    if asked.target < foreseen.smallest:
        raise UserError(
            f"'--target {asked.target:g}' is out of reach: the smallest student has {foreseen.smallest:.3f} of the "
            "teacher's multiply-accumulates or parameters; ask for that or more"
        )
    return found, asked, foreseen


def foresee(found: Plan, asked: Compression, folder: Path) -> CompressPlan:
    """What a compression would be, by closed forms alone."""
    from diffusion.distill.costs import common_cost, student_cost, units_cost
    from diffusion.distill.teacher import network_of
    from diffusion.distill.units import blocks_of, units_of

    network, count = network_of(folder), found.config.search.count
    units = units_of(network)
    whole = student_cost(network, {unit.name: unit.whole for unit in units})
    least = common_cost(network) + units_cost(units, {unit.name: unit.choices()[0] for unit in units})
    strategy, half = found.protocol.strategy, asked.target * whole.macs_total
    passes = 3 * half + asked.loss.taught_share(strategy.train_steps) * whole.macs_total
    return CompressPlan(
        compression=asked,
        macs=Macs(paper=whole.macs_paper, total=whole.macs_total),
        params=whole.params,
        blocks=len(blocks_of(network)),
        units=len(units),
        smallest=max(least.macs(count) / whole.macs(count), least.params / whole.params),
        protocol=found.protocol.fingerprint,
        training_macs=int(passes * strategy.train_steps * strategy.batch_size * found.config.search.rounds),
    )


def print_plan(console: Console, found: Plan, asked: Compression, plan: CompressPlan) -> None:
    """What would be done."""
    announce(console, found, asked)
    say(
        console,
        f"The teacher has {format_size(plan.macs.paper)} MACs (paper), {format_size(plan.macs.total)} (total) and "
        f"{format_size(plan.params)} params in {plan.units} units of {plan.blocks} blocks; the smallest student has "
        f"{plan.smallest:.1%} of it.",
    )
    say(console, f"Retraining takes {format_size(plan.training_macs)} MACs in all. Nothing was written.")
    print_reference(console, plan.reference)
