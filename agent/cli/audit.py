"""``diffnas-agent audit``: the paper's four models under both counting conventions."""

from typing import Annotated

from agent.cli.options import Json, option, show


def audit(
    ddpm_searched: Annotated[str | None, option("SPEC", "The searched DDPM model, if you know its numbers.")] = None,
    iddpm_searched: Annotated[str | None, option("SPEC", "The searched IDDPM model, if you know its numbers.")] = None,
    as_json: Json = False,
) -> None:
    """The DiffNAS paper's four models under both counting conventions, beside the paper's figures."""
    from agent.report.audit import audit as audit_of
    from agent.report.audit import print_audit
    from diffusion.spec import UNetSpec

    ddpm, iddpm = (text and UNetSpec.parse(text) for text in (ddpm_searched, iddpm_searched))
    show(audit_of(ddpm or None, iddpm or None), as_json, print_audit)
