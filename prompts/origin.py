"""Where a message that a template made came from: it travels with the message into the record of each call.

The origin stands in the message's `additional_kwargs`, which no provider is sent. `agent.replay.replay` reads it.
"""

from typing import Any

from prompts.render import template_sha

ORIGIN = "prompt"


def origin(
    template: str,
    *,
    moment: int | None = None,
    values: dict[str, Any] | None = None,
    seen: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What to give a message as `additional_kwargs`.

    Args:
        template: the prompt's name, such as ``round``.
        moment: where the memory stood when its values were read (`memory.journal.snapshot` gives it), for the prompts
            that are made from the memory: ``system``, ``round`` and ``chat``.
        values: the variables themselves, for the others, such as ``repair``; JSON-ready and short.
        seen: what was seen at that moment and cannot be read from the memory later, such as which process lived.
    """
    found = {"template": template, "sha": template_sha(template), "moment": moment, "values": values}
    return {ORIGIN: found if seen is None else {**found, "seen": seen}}


def origin_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """The origin of a recorded message (as `messages_to_dict` writes it), if it has one."""
    found = message.get("data", {}).get("additional_kwargs", {}).get(ORIGIN)
    return found if isinstance(found, dict) else None
