"""A scripted model that proposes attention at the first stage, and in a chat gives one directive against it."""

import threading
from typing import Any

from model_server import Answer, Call, Say, tool_answers

from diffusion.cost.closed_form import costs
from diffusion.space import built_in
from diffusion.spec import UNetSpec

DIRECTIVE = {"instruction": {"kind": "freeze", "parameter": "attn_0", "value": 0}, "said": "no attention at stage 0"}


def twins() -> list[tuple[str, str]]:
    """Cheap specs with attention at stage 0, each with the same without it: enough for a search that is not to end."""
    rows = built_in("digits-8").rows()
    is_small = (rows[:, 0] == 8) & (rows[:, 1] <= 2) & (rows[:, 2] == 1) & (rows[:, 6] == 1)
    fits = costs(rows[is_small], "ddpm", 8, 1).macs("paper") <= 2_000_000
    found = [str(UNetSpec.from_row(row)) for row in rows[is_small][fits]]
    return [(text, text.replace("-a1", "-a0")) for text in found if text != "b8-n1-m1.1.1.1-a1000"]


class Model:
    """Proposes attention at stage 0, and the same without it when that is refused; in chat, gives one directive."""

    def __init__(self) -> None:
        self.left, self.pair, self.lock = twins(), ("", ""), threading.Lock()

    def __call__(self, messages: list[dict[str, Any]]) -> Answer:
        with self.lock:
            chats = messages[0]["content"].startswith("You are the assistant of a search")
            return self.chats(messages) if chats else self.proposes(messages)

    def chats(self, messages: list[dict[str, Any]]) -> Answer:
        return Say("As you say.") if tool_answers(messages) else Call("give_directive", DIRECTIVE)

    def proposes(self, messages: list[dict[str, Any]]) -> Answer:
        answers = tool_answers(messages)
        if not answers:
            self.pair = self.left.pop(0)
            return self.trains(self.pair[0])
        return self.trains(self.pair[1])

    def trains(self, spec: str) -> Call:
        return Call("train_ract", {"spec": spec, "reason": "It is next."})
