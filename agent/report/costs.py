"""The costs of one spec, for `flops`."""

from typing import Any

from rich.console import Console

from agent.report.tables import print_table, say
from diffusion.cost.closed_form import cost
from diffusion.errors import UserError
from diffusion.spec import UNetSpec


def spec_costs(text: str, family: str, resolution: int, channels: int, *, verify: bool) -> dict[str, Any]:
    """``flops --json`` (CONTRACT.md), with the count of the real network under ``verified`` when asked.

    Raises:
        UserError: not a spec, a family, a resolution or a number of channels.
    """
    spec = UNetSpec.parse(text)
    if family not in ("ddpm", "iddpm"):
        raise UserError(f"--family '{family}' does not exist; there are ddpm, iddpm")
    if resolution < 8 or resolution % 8:
        raise UserError(f"--resolution {resolution} is not a multiple of 8; three halvings must leave whole pixels")
    if not 1 <= channels <= 4:
        raise UserError(f"--channels {channels} is not between 1 and 4")
    found = cost(spec, "ddpm" if family == "ddpm" else "iddpm", resolution, channels).model_dump()
    if verify:
        from diffusion.cost.verify import fvcore_count

        counted = fvcore_count(spec, "ddpm" if family == "ddpm" else "iddpm", resolution, channels)
        found["verified"] = counted | {"difference": counted["macs_paper"] - found["macs"]["paper"]}
    return found


def print_costs(console: Console, found: dict[str, Any]) -> None:
    """Costs by stage and in all."""
    say(
        console,
        f"{found['spec']} as {found['family']} at {found['resolution']}×{found['resolution']}×{found['channels']}: "
        f"{found['params']:,} params, {found['activation_bytes'] / 2**20:.1f} MiB kept for one image's backward pass",
    )
    whole = found["macs"]["paper"]
    rows = [
        (
            f"stage {row['stage']}", f"{row['resolution']}×{row['resolution']}", row["channels"], f"{row['params']:,}",
            f"{row['macs']['paper']:,}", f"{row['macs']['total']:,}", f"{row['macs']['paper'] / whole:.0%}",
        )
        for row in found["stages"]
    ]  # fmt: skip
    rows.append(
        ("all", "", "", f"{found['params']:,}", f"{found['macs']['paper']:,}", f"{found['macs']['total']:,}", "")
    )
    columns = ("", "size", "channels", "params", "MACs (paper)", "MACs (total)", "share")
    print_table(console, columns, rows, right="channels,params,MACs (paper),MACs (total),share")
    if verified := found.get("verified"):
        say(
            console,
            f"fvcore counts {verified['macs_paper']:,} MACs (paper) and {verified['params']:,} params in the built "
            f"network: a difference of {verified['difference']}.",
        )
