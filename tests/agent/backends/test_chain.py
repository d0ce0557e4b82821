"""The same short search with every kind of backend, and what happens when one after the other fails."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from model_server import READ, WRITTEN, Answer, Brain, Call, ModelServer, Say, Status, serve, tool_answers, well_behaved
from searches import TinySearch

from agent.backends.chain import RETRY_CEILING_SECONDS, Chain, own_words, wait_seconds, with_retries
from agent.backends.errors import BackendError
from agent.backends.offline import OfflineModel
from agent.backends.registry import Address, Backend, addresses_of, check_backends, make_chain
from agent.config.sources import resolve
from diffusion.errors import UserError
from memory.backends import known_backend, remember_backend
from memory.connection import opened
from tools.errors import Interrupted

A, B = "b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000"
KINDS = ("native", "tools rejected", "tools ignored", "offline", "chain")


def unused_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def backend_options(kind: str, stack: ExitStack) -> tuple[dict[str, Any], ModelServer | None]:
    """The settings of a backend of this kind, and its server."""
    if kind == "offline":
        return {"llm": "offline", "searcher": "llm"}, None
    tools: Any = {"tools rejected": "rejected", "tools ignored": "ignored"}.get(kind, "native")
    server = stack.enter_context(serve(well_behaved([A, B]), tools=tools))
    if kind != "chain":
        return {"llm": "openai:scripted", "base_url": server.url}, server
    down = stack.enter_context(serve(lambda messages: Status(503)))
    fallbacks = f"openai:refused@{down.url},openai:scripted@{server.url}"
    return {"llm": "openai:absent", "base_url": unused_url(), "llm_fallbacks": fallbacks, "llm_retries": 1}, server


@pytest.fixture(scope="module", params=KINDS)
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, TinySearch, ModelServer | None]]:
    with ExitStack() as stack:
        options, server = backend_options(request.param, stack)
        search = TinySearch(tmp_path_factory.mktemp("kinds"), {"rounds": 2, **options})
        assert search.run() == "rounds"
        yield request.param, search, server


class TestTheSameSearchWithEveryBackend:
    def test_it_ends_sound(self, played: tuple[str, TinySearch, ModelServer | None]) -> None:
        _, search, server = played
        rows = search.rows("SELECT round, spec, state, proposer, rfid FROM results ORDER BY round")
        assert [row["round"] for row in rows] == [0, 1, 2]
        assert {row["state"] for row in rows} == {"scored"}
        assert all(row["rfid"] > 0 for row in rows)
        assert len({row["spec"] for row in rows}) == 3
        assert not search.of("fallback")
        assert not search.of("trial.refused")
        assert search.of("search.finished")[0]["reason"] == "rounds"
        if server is not None:
            assert [row["spec"] for row in rows[1:]] == [A, B]

    def test_trials_name_the_backend_that_proposed_them(
        self, played: tuple[str, TinySearch, ModelServer | None]
    ) -> None:
        kind, search, _ = played
        named = {row["proposer"] for row in search.rows("SELECT proposer FROM results WHERE round > 0")}
        assert named == {"offline" if kind == "offline" else "openai:scripted"}

    def test_every_request_is_a_row_with_its_model(self, played: tuple[str, TinySearch, ModelServer | None]) -> None:
        kind, search, server = played
        calls = search.rows("SELECT model, error FROM model_calls ORDER BY id")
        if server is not None:
            assert sum(call["model"] == "openai:scripted" for call in calls) == len(server.requests)
        if kind == "chain":  # the first two are asked with patience once, and once in the second round
            failed = [call["model"] for call in calls if call["error"]]
            assert failed == ["openai:absent"] * 2 + ["openai:refused"] * 2 + ["openai:absent", "openai:refused"]

    def test_the_ledger_is_what_the_server_told(self, played: tuple[str, TinySearch, ModelServer | None]) -> None:
        _, search, server = played
        if server is None:
            return
        answered = sum(not isinstance(answer, Status) for answer in server.answers)
        ledger = search.of("search.finished")[0]["ledger"]
        assert (ledger["input_tokens"], ledger["output_tokens"]) == (READ * answered, WRITTEN * answered)

    def test_how_the_model_answers_is_remembered(self, played: tuple[str, TinySearch, ModelServer | None]) -> None:
        kind, search, server = played
        if server is None:
            return
        with opened(search.db, read_only=True) as db:
            known = known_backend(db, "openai:scripted", search.plan.config.backend.base_url)
        assert (known and (known.answers, known.source)) == (
            ("json_schema", "search") if kind == "tools rejected" else None
        )

    def test_a_rejected_way_is_tried_once_in_the_whole_search(
        self, played: tuple[str, TinySearch, ModelServer | None]
    ) -> None:
        kind, _, server = played
        if server is not None and kind == "tools rejected":
            assert ["tools" in request for request in server.requests] == [True] + [False] * 4


def over_chain(servers: list[str], folder: Path, **options: Any) -> TinySearch:
    """A search over the servers in order; an address without a server is a model's own name."""
    first, *others = servers
    fallbacks = ",".join(url if url == "offline" else f"openai:m{n}@{url}" for n, url in enumerate(others, 1))
    given = {"llm": "openai:m0", "base_url": first, "llm_fallbacks": fallbacks, "llm_retries": 0, **options}
    return TinySearch(folder, given)


class TestFailing:
    def test_a_refusal_is_asked_once_and_the_search_goes_on(self, tmp_path: Path) -> None:
        with serve(lambda messages: Status(401)) as wrong_key, serve(well_behaved([A, B])) as good:
            search = over_chain([wrong_key.url, good.url], tmp_path, rounds=2)
            assert search.run() == "rounds"
        assert len(wrong_key.requests) == 1
        assert search.executor.trained[1:] == [A, B]

    def test_only_where_all_refuse_the_search_is_refused(self, tmp_path: Path) -> None:
        with serve(lambda messages: Status(401)) as one, serve(lambda messages: Status(404)) as other:
            search = over_chain([one.url, other.url], tmp_path, rounds=1)
            with pytest.raises(BackendError) as raised:
                search.run()
        assert raised.value.status == 401

    def test_a_silent_backend_beside_one_that_refuses_is_no_refusal(self, tmp_path: Path) -> None:
        with serve(lambda messages: Status(503)) as down, serve(lambda messages: Status(401)) as wrong_key:
            search = over_chain([down.url, wrong_key.url], tmp_path, rounds=1)
            assert search.run() == "rounds"
        assert "503" in search.of("fallback")[0]["reason"]

    def test_a_round_stays_with_the_backend_that_answered(self, tmp_path: Path) -> None:
        first_answers: Iterator[Answer] = iter([Call("count_flops", {"specs": [A]}), Status(500)])
        with serve(lambda messages: next(first_answers)) as first, serve(well_behaved([A])) as second:
            search = over_chain([first.url, second.url], tmp_path, rounds=1)
            assert search.run() == "rounds"
        assert (len(first.requests), len(second.requests)) == (2, 1)  # the second takes over what the first counted
        assert search.rows("SELECT proposer FROM results WHERE round = 1")[0]["proposer"] == "openai:m1"

    def test_a_model_without_tool_calling_goes_on_with_anothers_conversation(self, tmp_path: Path) -> None:
        first_answers: Iterator[Answer] = iter([Call("count_flops", {"specs": [A]}), Status(500)])
        with (
            serve(lambda messages: next(first_answers)) as first,
            serve(well_behaved([A]), tools="rejected") as second,
        ):
            search = over_chain([first.url, second.url], tmp_path, rounds=1)
            assert search.run() == "rounds"
        said = second.requests[1]["messages"]
        assert tool_answers(said)[0][0] == "count_flops"
        assert {message["role"] for message in said} == {"system", "user", "assistant"}
        assert search.executor.trained[1:] == [A]

    @pytest.mark.parametrize(
        "begun",
        [
            [Call("query_memory", {"question": "effect", "parameter": "mult_0"})],
            [Call("train_ract", {"spec": {"base_channel": 7}, "reason": "x"})],
            [Call("count_flops", {"specs": [A]}), Call("train_ract", {"spec": A, "reason": "x"})],
        ],
        ids=["another question", "a refused call", "a finished training"],
    )
    def test_offline_takes_over_in_the_middle_of_a_round(self, begun: list[Answer], tmp_path: Path) -> None:
        answers = iter([*begun, Status(500)])
        with serve(lambda messages: next(answers)) as first:
            search = over_chain([first.url, "offline"], tmp_path, rounds=1)
            assert search.run() == "rounds"
        row = search.rows("SELECT spec, state, proposer FROM results WHERE round = 1")[0]
        assert row["state"] == "scored"
        assert row["proposer"] == ("openai:m0" if len(begun) == 2 else "offline")
        assert not search.of("fallback")


class TestRetries:
    def failing(self, error: BackendError, times: int) -> Any:
        left = [error] * times

        def call() -> str:
            if left:
                raise left.pop()
            return "answered"

        return call

    def silent(self, status: int | None = 503, after: str | None = None) -> BackendError:
        error = RuntimeError("scripted")
        error.status_code = status  # type: ignore[attr-defined]
        response = type("Response", (), {"headers": {"retry-after": after} if after else {}})
        error.response = response  # type: ignore[attr-defined]
        return BackendError(error)

    def test_what_may_pass_is_tried_again_and_what_will_not_is_not(self) -> None:
        stop = Event()
        call = self.failing(self.silent(), 2)
        assert with_retries(call, attempts=3, first_seconds=0.0, stop=stop) == "answered"
        with pytest.raises(BackendError):
            with_retries(self.failing(self.silent(), 3), attempts=3, first_seconds=0.0, stop=stop)
        with pytest.raises(BackendError):
            with_retries(self.failing(self.silent(400), 1), attempts=3, first_seconds=0.0, stop=stop)

    def test_waits_double_with_a_quarter_of_jitter_up_to_a_ceiling(self) -> None:
        for attempt, nominal in enumerate([1.0, 2.0, 4.0, 8.0]):
            waits = [wait_seconds(attempt, 1.0) for _ in range(200)]
            assert 0.75 * nominal <= min(waits) < max(waits) <= 1.25 * nominal
            assert max(waits) - min(waits) > 0.2 * nominal
        assert max(wait_seconds(20, 1.0) for _ in range(50)) <= RETRY_CEILING_SECONDS

    def test_a_server_that_asks_for_time_is_given_it_within_reason(self) -> None:
        assert self.silent(429, "7").retry_after_seconds == 7.0
        assert self.silent(429, "Wed, 21 Oct 2026 07:28:00 GMT").retry_after_seconds is None
        assert wait_seconds(0, 1.0, 7.0) == 7.0
        assert wait_seconds(0, 1.0, 9999.0) == RETRY_CEILING_SECONDS

    def test_a_stop_ends_a_wait_at_once(self) -> None:
        stop = Event()
        Timer(0.05, stop.set).start()
        with pytest.raises(Interrupted):
            with_retries(self.failing(self.silent(), 1), attempts=2, first_seconds=3600.0, stop=stop)

    def test_a_backend_that_was_silent_is_asked_once_until_it_answers(self) -> None:
        one, other = (Backend(Address(f"openai:{name}", "http://127.0.0.1:9/v1"), OfflineModel()) for name in "ab")
        chain = Chain([one, other], retries=3)
        assert chain.attempts(one) == 4
        chain.failed(one, self.silent())
        assert (chain.attempts(one), chain.attempts(other)) == (1, 4)
        chain.answered(one)
        assert chain.attempts(one) == 4

    def test_the_only_backend_is_always_asked_with_patience(self) -> None:
        alone = Backend(Address("openai:a"), OfflineModel())
        chain = Chain([alone], retries=3)
        chain.failed(alone, self.silent())
        assert chain.attempts(alone) == 4


class TestSettings:
    def test_backends_are_tried_as_they_stand_and_none_twice(self) -> None:
        config = resolve(
            {"llm": "openai:a", "base_url": "http://h/v1", "llm_fallbacks": "openai:a@http://h/v1, ollama:q:4b,offline"}
        ).config
        assert list(map(str, addresses_of(config))) == ["openai:a@http://h/v1", "ollama:q:4b", "offline"]

    def test_chat_may_have_another_backend_and_shares_the_fallbacks(self) -> None:
        config = resolve({"llm": "offline", "llm_chat": "openai:big@https://h/v1", "llm_fallbacks": "offline"}).config
        assert addresses_of(config, "chat") == [Address("openai:big", "https://h/v1"), Address("offline")]
        assert addresses_of(config) == [Address("offline")]
        assert addresses_of(config, "chat", Address("openai:now")) == [Address("openai:now"), Address("offline")]

    def test_a_toml_file_may_write_them_as_a_list(self, tmp_path: Path) -> None:
        file = tmp_path / "diffnas.toml"
        file.write_text('llm_fallbacks = ["openai:a@http://h/v1", "offline"]\n')
        assert resolve({}, file).config.backend.llm_fallbacks == ("openai:a@http://h/v1", "offline")

    @pytest.mark.parametrize("setting", ["llm_fallbacks", "llm_chat"])
    def test_a_backend_that_cannot_be_used_is_said_before_anything_is_spent(self, setting: str) -> None:
        with pytest.raises(UserError, match=r"'gpt-4\.1' is not a backend"):
            check_backends(resolve({setting: "gpt-4.1"}).config)

    def test_what_the_doctor_found_decides_how_a_model_is_asked(self, tmp_path: Path) -> None:
        config = resolve({"llm": "openai:a", "base_url": "http://127.0.0.1:9/v1", "db": tmp_path / "m.db"}).config
        assert make_chain(config)[0].way == "tools"
        with opened(config.places.db) as db:
            remember_backend(db, "openai:a", "http://127.0.0.1:9/v1", "json_schema", source="search")
            remember_backend(db, "openai:a", "http://127.0.0.1:9/v1", "fenced_json", source="doctor")
            remember_backend(db, "openai:a", None, "json_schema", source="doctor", passed=3, cases=20)
        assert make_chain(config)[0].way == "fenced_json"


def test_offline_hears_its_own_words_and_a_finished_training_alone() -> None:
    mine: dict[str, Any] = {"response_metadata": {"backend": "offline"}}

    def call(name: str, identity: str, **more: Any) -> AIMessage:
        return AIMessage("so", tool_calls=[{"name": name, "args": {}, "id": identity}], **more)

    def answer(name: str, identity: str, status: Any = "success") -> ToolMessage:
        return ToolMessage("{}", tool_call_id=identity, name=name, status=status)

    messages: list[AnyMessage] = [
        HumanMessage("go"), call("query_memory", "1"), answer("query_memory", "1"),
        call("query_memory", "2", **mine), answer("query_memory", "2"),
        call("train_ract", "3"), answer("train_ract", "3", "error"),
        call("train_ract", "4"), answer("train_ract", "4"), AIMessage("I am done."),
    ]  # fmt: skip
    kept = own_words(messages)
    assert [m.tool_call_id for m in kept if isinstance(m, ToolMessage)] == ["2", "4"]
    assert [c["id"] for m in kept if isinstance(m, AIMessage) for c in m.tool_calls] == ["2", "4"]


def test_a_reply_of_words_alone_goes_to_repair_and_not_to_the_next_backend(tmp_path: Path) -> None:
    brain: Brain = lambda messages: Say("Let me think.")  # noqa: E731
    with serve(brain) as talker, serve(well_behaved([A])) as other:
        search = over_chain([talker.url, other.url], tmp_path, rounds=1)
        assert search.run() == "rounds"
    assert other.requests == []
    assert search.rows("SELECT proposer FROM results WHERE round = 1")[0]["proposer"] == "fallback"
    assert json.dumps(talker.requests[-1]["messages"]).count("The round is not over") >= 1
