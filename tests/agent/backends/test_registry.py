"""Choosing a backend: what is there, what it needs, what it costs."""

import pytest
from langchain_core.messages import HumanMessage

from agent.backends.errors import BackendError
from agent.backends.offline import OfflineModel
from agent.backends.pricing import price_table
from agent.backends.registry import check_backend, cost_usd, make_model
from diffusion.errors import UserError


@pytest.mark.parametrize(
    ("llm", "base_url", "sentence"),
    [
        ("gpt-4.1", None, "'gpt-4.1' is not a backend; there are offline, openai:MODEL, anthropic:MODEL, ollama:MODEL"),
        ("openai:", None, "'openai:' is not a backend"),
        ("openai:gpt-4.1", None, "'openai:gpt-4.1' needs OPENAI_API_KEY; set it in the environment or in .env"),
        (
            "openai:gpt-4.1",
            "127.0.0.1:8000",
            "'127.0.0.1:8000' is not an address; write --base-url http://HOST:PORT/v1",
        ),
        ("offline", "http://127.0.0.1:8000/v1", "'http://127.0.0.1:8000/v1' is a server, but --llm is offline"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_spent(llm: str, base_url: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as wrong:
        check_backend(llm, base_url)
    assert str(wrong.value).startswith(sentence)


def test_a_missing_package_is_named_with_the_extra_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.backends.registry.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package langchain_ollama; pip install 'diffnas-agent\[ollama\]'"):
        check_backend("ollama:qwen3", None)


def test_a_server_of_ones_own_needs_no_key() -> None:
    model = make_model("openai:local", base_url="http://127.0.0.1:9/v1")
    assert model._llm_type == "openai-chat"


def test_offline_is_the_deterministic_model() -> None:
    assert isinstance(make_model("offline"), OfflineModel)
    first, second = (make_model("offline").invoke([HumanMessage("go")]) for _ in range(2))
    assert first.tool_calls == second.tool_calls


def test_a_known_price_is_charged_per_million_tokens_and_an_unknown_one_is_null() -> None:
    assert price_table().published["openai:gpt-4.1"] == (2.0, 8.0)
    assert cost_usd("openai:gpt-4.1", None, 1_000_000, 500_000) == 6.0
    assert cost_usd("openai:gpt-4.1", "http://127.0.0.1/v1", 1, 1) is None
    assert cost_usd("openai:unheard-of", None, 1, 1) is None
    assert cost_usd("offline", None, 1, 1) == 0.0


@pytest.mark.parametrize(
    ("status", "transient", "refused"),
    [(None, True, False), (429, True, False), (500, True, False), (503, True, False), (400, False, False),
     (401, False, True), (403, False, True), (404, False, True)],
)  # fmt: skip
def test_only_what_may_pass_is_tried_again(status: int | None, transient: bool, refused: bool) -> None:
    error = RuntimeError("scripted")
    if status is not None:
        error.status_code = status  # type: ignore[attr-defined]
    found = BackendError(error)
    assert (found.transient, found.refused) == (transient, refused)
