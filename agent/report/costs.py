"""The costs of one spec, for `flops`."""

from rich.console import Console

from agent.report.results import Result
from agent.report.tables import print_table, say
from diffusion.cost.closed_form import Cost, cost
from diffusion.errors import UserError
from diffusion.settings import Family
from diffusion.spec import PAPER_STAGES, UNetSpec
from diffusion.under_way import under_way

HALVINGS = ("three", "four", "five")  # of four to six stages


class Verified(Result):
    """The real network, as fvcore counts it."""

    params: int
    macs_paper: int
    difference: int  # of the MACs from the closed form's


class SpecCosts(Cost, Result):
    """``flops --json`` (CONTRACT.md)."""

    verified: Verified | None = None
    """with `--verify`: `params` and `macs_paper` as fvcore counts them, and the `difference` of the MACs"""


def spec_costs(text: str, family: str, resolution: int, channels: int, *, verify: bool) -> SpecCosts:
    """The costs of a spec, with the count of the real network when asked.

    Raises:
        UserError: not a spec, a family, a resolution or a number of channels.
    """
    spec = UNetSpec.parse(text)
    if family not in ("ddpm", "iddpm"):
        raise UserError(f"--family '{family}' does not exist; there are ddpm, iddpm")
    stages = max(spec.stages, PAPER_STAGES)  # images are padded to multiples of 8, whatever the network
    least = 2 ** (stages - 1)
    if resolution < least or resolution % least:
        said = f"{HALVINGS[stages - PAPER_STAGES]} halvings must leave whole pixels"
        raise UserError(f"--resolution {resolution} is not a multiple of {least}; {said}")
    if not 1 <= channels <= 4:
        raise UserError(f"--channels {channels} is not between 1 and 4")
    known: Family = "ddpm" if family == "ddpm" else "iddpm"
    found = SpecCosts(**dict(cost(spec, known, resolution, channels)))
    if not verify:
        return found
    with under_way("counting the real network"):
        from diffusion.cost.verify import fvcore_count

        counted = fvcore_count(spec, known, resolution, channels)
    verified = Verified(**counted, difference=counted["macs_paper"] - found.macs.paper)
    return found.model_copy(update={"verified": verified})


def print_costs(console: Console, found: SpecCosts) -> None:
    """Costs by stage and in all."""
    say(
        console,
        f"{found.spec} as {found.family} at {found.resolution}×{found.resolution}×{found.channels}: "
        f"{found.params:,} params, {found.activation_bytes / 2**20:.1f} MiB kept for one image's backward pass",
    )
    whole = found.macs.paper
    rows = [
        (
            f"stage {row.stage}", f"{row.resolution}×{row.resolution}", f"{row.channels}", f"{row.params:,}",
            f"{row.macs.paper:,}", f"{row.macs.total:,}", f"{row.macs.paper / whole:.0%}",
        )
        for row in found.stages
    ]  # fmt: skip
    rows.append(("all", "", "", f"{found.params:,}", f"{found.macs.paper:,}", f"{found.macs.total:,}", ""))
    columns = ("", "size", "channels", "params", "MACs (paper)", "MACs (total)", "share")
    print_table(console, columns, rows, right="channels,params,MACs (paper),MACs (total),share")
    if verified := found.verified:
        say(
            console,
            f"fvcore counts {verified.macs_paper:,} MACs (paper) and {verified.params:,} params in the built "
            f"network: a difference of {verified.difference}.",
        )
