"""``diffnas-agent audit``: the paper's four models under both counting conventions."""

from agent.cli.options import Json, show


def audit(as_json: Json = False) -> None:
    """The DiffNAS paper's four models under both counting conventions, beside the figures that it prints."""
    from agent.report.audit import audit as audit_of
    from agent.report.audit import print_audit

    show(audit_of(), as_json, print_audit)
