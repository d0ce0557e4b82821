"""The doctor: what it sees of a machine, and how it grades models that do well, badly, nothing, and not even answer."""

import json
import random
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from model_server import READ, WRITTEN, Answer, Brain, Broken, Call, ModelServer, Say, Stall, Status, serve

from agent.backends.registry import Address, Backend, make_chain, make_model
from agent.cli.main import main
from agent.config.sources import resolve
from agent.doctor import checks as doctor
from agent.doctor import exam as doctor_exam
from agent.doctor.cases import CASES, DEAR, FIRST, NEARLY, SECOND, SKILLS, THIRD
from agent.doctor.checks import Check, checks, looked_at
from agent.doctor.exam import PASS_MARK, Exam, examine
from agent.doctor.report import ExamReport
from agent.doctor.scene import BEST, TRIED, Scene, scene
from diffusion.errors import UserError
from memory.backends import known_backend
from memory.connection import opened
from tools.gates.specs import refusal

NARROW = "b12-n1-m1.2.2.2-a0000"  # outside the space
NEAR = "b8-n1-m1.2.2.2-a0000"


def train(spec: str) -> Call:
    return Call("train_ract", {"spec": spec, "reason": "It is next."})


def count(spec: str) -> Call:
    return Call("count_flops", {"specs": [spec]})


def scores(images: int, trial: int = 3) -> Call:
    return Call("evaluate_fid", {"trial": trial, "num_images": images})


FINISHES = Call("finish_search", {"reason": "done"})
RIGHT = [
    Call("query_memory", {"question": "failures"}), train(SECOND), scores(5_000),
    Call("count_flops", {"specs": [FIRST, THIRD]}), Call("query_memory", {"question": "effect", "parameter": "mult_1"}),
    train(THIRD), train(THIRD), train("b16-n1-m1.1.1.1-a0010"), train(SECOND),
    train("b8-n1-m1.1.1.2-a0001"), train("b8-n1-m1.2.1.1-a1000"), train("b8-n1-m1.1.1.2-a0010"),
    train("b8-n2-m1.1.1.1-a0000"), train(NEAR), train("b8-n1-m1.1.3.1-a0000"), train("b8-n3-m1.1.1.1-a0000"),
    train("b8-n1-m1.1.1.4-a0000"), scores(2_000), train("b8-n1-m1.1.1.1-a1111"), train("b8-n1-m2.1.1.1-a0000"),
]  # fmt: skip
WRONG = [
    FINISHES, train(FIRST), scores(1_000),
    count(NEAR), Call("query_memory", {"question": "effect", "parameter": "attn_0"}),
    Call("train_ract", {"spec": THIRD}), train(DEAR), train(NEARLY), train(DEAR),
    train("b8-n1-m1.1.1.2-a1001"), train("b8-n1-m1.2.2.2-a0000"), train("b8-n2-m1.1.1.1-a0010"),
    train("b12-n1-m1.1.1.1-a0000"), train(SECOND), train(str(BEST)), train(str(BEST)), train(NARROW),
    scores(2_000, trial=99), FINISHES, train(DEAR),
]  # fmt: skip


def in_order(answers: list[Call]) -> Brain:
    """Answers the two easy questions, and then the cases one after the other."""
    left = iter([count(FIRST), count(FIRST), *answers])
    return lambda messages: next(left)


def examined(server: ModelServer) -> ExamReport:
    return examine(backend(server.url))


def backend(url: str) -> Backend:
    model = make_model("openai:scripted", base_url=url, timeout_seconds=5.0)
    return Backend(Address("openai:scripted", url), model)


@pytest.fixture(scope="module")
def exam() -> Iterator[Scene]:
    with scene() as found:
        yield found


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_exam, "RETRY_SECONDS", 0.0)


class TestCases:
    def test_there_are_twenty_and_each_skill_has_some(self) -> None:
        assert len(CASES) == len({case.name for case in CASES}) == len(RIGHT) == len(WRONG) == 20
        assert {case.skill for case in CASES} == set(SKILLS)

    @pytest.mark.parametrize("number", range(20), ids=lambda number: CASES[number].name)
    def test_the_right_call_passes_and_the_wrong_one_does_not(self, exam: Scene, number: int) -> None:
        case = CASES[number]
        verdicts = []
        for call in (RIGHT[number], WRONG[number]):
            answer = AIMessage("", tool_calls=[{"name": call.name, "args": call.arguments, "id": "1"}])
            called = exam.called(answer)
            assert called is not None
            with exam.told(*case.directive):
                verdicts.append(called.wrong or case.judge(exam, called))
        assert verdicts[0] == ""
        assert verdicts[1]

    def test_a_wrong_spec_may_be_counted_but_decides_nothing(self, exam: Scene) -> None:
        called = exam.called(AIMessage("", tool_calls=[{"name": "count_flops", "args": {"specs": [DEAR]}, "id": "1"}]))
        assert called is not None
        assert CASES[6].judge(exam, called) is None
        assert json.loads(exam.answer_to(called))[0]["within_budget"] is False

    def test_the_scene_is_as_the_cases_say(self, exam: Scene) -> None:
        text = exam.prompt().text
        assert "# Round 4 of 10" in text
        assert all(spec in text for spec in TRIED)
        with exam.told(*CASES[9].directive):
            assert "no attention at stage 0" in exam.prompt().text
        assert "no attention at stage 0" not in exam.prompt().text


class TestWhatNoModelIsNeededFor:
    """Whoever pays no attention stays at least four points below the pass mark."""

    def passed(self, exam: Scene, call: Call) -> int:
        """How many cases pass with this answer to all of them."""
        called = exam.called(AIMessage("", tool_calls=[{"name": call.name, "args": call.arguments, "id": "1"}]))
        assert called is not None
        found = 0
        for case in CASES:
            with exam.told(*case.directive):
                found += not called.wrong and case.judge(exam, called) == ""
        return found

    def test_a_constant_answer(self, exam: Scene) -> None:
        specs = [str(spec) for spec in exam.context.limits.space if refusal(exam.context, spec) is None]
        most = ["b8-n1-m2.1.3.4-a0111", "b8-n2-m1.2.3.4-a0111", FIRST, SECOND, THIRD]  # the first is the best of all
        others = [FINISHES, count(FIRST), scores(2_000), Call("query_memory", {"question": "failures"})]
        calls = [*map(train, [*most, *random.Random(0).sample(specs, 60)]), *others]
        assert max(self.passed(exam, call) for call in calls) == 6 <= PASS_MARK - 4

    @pytest.mark.parametrize("seed", range(3))
    def test_a_random_valid_call(self, exam: Scene, seed: int) -> None:
        rng, specs = (
            random.Random(seed),
            [spec for spec in exam.context.limits.space if not refusal(exam.context, spec)],
        )

        def brain(messages: list[dict[str, Any]]) -> Answer:
            spec = str(rng.choice(specs))
            questions = ["best", "pareto", "failures", "remaining"]
            return rng.choice([
                train(spec), count(spec), scores(rng.choice([1_000, 2_000, 5_000]), rng.randint(1, 4)), FINISHES,
                Call("query_memory", {"question": rng.choice(questions)}),
            ])  # fmt: skip

        with serve(brain) as server:
            assert examined(server).passed <= PASS_MARK - 4

    def test_offline(self) -> None:
        with scene() as search:
            exam = Exam(Backend(Address("offline"), make_model("offline")), search)
            grades = [exam.grade(case, "tools") for case in CASES]
        assert 1 <= sum(grade.passed for grade in grades) <= PASS_MARK - 4


class TestExam:
    def test_a_model_that_does_everything_right_passes_all(self) -> None:
        with serve(in_order(RIGHT)) as server:
            found = examined(server)
        assert (found.passed, found.cases, found.score, found.answers) == (20, 20, 1.0, "tools")
        assert {skill.passed - skill.cases for skill in found.skills.values()} == {0}
        assert (found.calls, found.input_tokens, found.output_tokens) == (22, READ * 22, WRITTEN * 22)
        assert found.cost_usd is None
        assert found.tokens_per_second is not None and found.tokens_per_second > 0

    def test_a_model_that_does_everything_wrong_passes_none_and_is_told_why(self) -> None:
        with serve(in_order(WRONG)) as server:
            report = examined(server)
        assert report.passed == 0
        assert not report.usable
        whys = [grade.why or "" for grade in report.results]
        assert whys[0] == "called finish_search instead of query_memory"
        assert "reason: Field required" in whys[5]
        assert (whys[6] or "").startswith(f"wanted to train {DEAR}, which is refused: {DEAR} costs")
        assert whys[18] == "called finish_search instead of proposing a spec"

    @pytest.mark.parametrize(
        "answer",
        [Say("I would make it wider."), Say(""), Broken("count_flops"), Call("launch", {"x": 1}), count("b9-wide")],
        ids=["words", "nothing", "broken", "unknown", "bad spec"],
    )
    def test_a_model_that_never_makes_a_usable_call_has_no_point(self, answer: Answer) -> None:
        with serve(lambda messages: answer) as server:
            report = examined(server)
        assert (report.passed, len(report.results)) == (0, 20)
        assert all(grade.why for grade in report.results)

    def test_a_model_that_looks_things_up_for_ever_proposes_nothing(self) -> None:
        answers = iter([count(FIRST), count(FIRST)])
        with serve(lambda messages: next(answers, Call("query_memory", {"question": "best"}))) as server:
            report = examined(server)
        assert report.passed == 0
        assert report.results[14].why == "proposed nothing in 5 calls"
        assert report.results[14].calls == 5

    @pytest.mark.parametrize(
        ("tools", "response_format", "way"),
        [
            ("rejected", "native", "json_schema"),
            ("rejected", "rejected", "fenced_json"),
            ("ignored", "native", "tools"),
        ],
    )
    def test_the_way_is_the_first_that_works(self, tools: Any, response_format: Any, way: str) -> None:
        with serve(in_order(RIGHT), tools=tools, response_format=response_format) as server:
            report = examined(server)
        assert (report.answers, report.passed) == (way, 20)

    def test_a_model_that_calls_only_when_it_is_told_how_is_asked_in_words(self) -> None:
        right = iter([count(FIRST), count(FIRST), *RIGHT])

        def brain(messages: list[dict[str, Any]]) -> Answer:
            return next(right) if "How to call a tool" in messages[0]["content"] else Say("Wider.")

        with serve(brain, tools="ignored") as server:
            report = examined(server)
        assert (report.answers, report.passed) == ("json_schema", 20)

    def test_of_ways_that_are_all_wrong_the_one_with_calls_is_taken(self) -> None:
        def brain(messages: list[dict[str, Any]]) -> Answer:
            return count(NEAR) if "How to call a tool" in messages[0]["content"] else Say("Wider.")

        with serve(brain) as server:
            report = examined(server)
        assert report.answers == "json_schema"

    def test_three_silent_cases_end_the_asking_but_not_the_report(self) -> None:
        answers = iter([count(FIRST), count(FIRST), RIGHT[0]])
        with serve(lambda messages: next(answers, Status(503))) as server:
            report = examined(server)
        assert report.passed == 1
        assert [bool(re.match("no answer", grade.why or "")) for grade in report.results[1:4]] == [True] * 3
        assert {grade.why for grade in report.results[4:]} == {"not asked: there was no answer in 3 cases in a row"}
        assert len(server.requests) == 3 + 3 * 2

    @pytest.mark.parametrize(
        ("status", "sentence"),
        [(401, "refuses every call"), (404, "refuses every call"), (503, "gives no answer"), (400, "gives no answer")],
    )
    def test_a_backend_that_cannot_be_asked_is_a_sentence(self, status: int, sentence: str) -> None:
        with serve(lambda messages: Status(status)) as server, pytest.raises(UserError) as mistake:
            examined(server)
        assert str(mistake.value).startswith(f"'openai:scripted' at {server.url} {sentence}")

    def test_a_server_that_is_not_there_and_one_that_hangs_are_said(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        with pytest.raises(UserError, match="gives no answer"):
            examine(backend(url))
        with serve(lambda messages: Stall(1.0)) as server, pytest.raises(UserError, match="gives no answer"):
            examine(
                Backend(
                    Address("openai:s", server.url), make_model("openai:s", base_url=server.url, timeout_seconds=0.2)
                )
            )

    def test_offline_is_no_language_model(self) -> None:
        with pytest.raises(UserError, match=r"^'offline' is no language model"):
            examine(Backend(Address("offline"), make_model("offline")))


class TestMachine:
    def test_what_is_broken_is_a_line_with_a_remedy_and_never_a_traceback(self) -> None:
        def broken() -> Check:
            raise RuntimeError("operator torchvision::nms does not exist")

        def mistaken() -> Check:
            raise UserError("'x' is not a data set; name another with --dataset")

        assert looked_at("imports", broken).state == "failed"
        assert "torchvision::nms" in looked_at("imports", broken).found
        assert looked_at("data", mistaken) == Check(
            "data", "failed", "'x' is not a data set", "name another with --dataset"
        )

    @pytest.mark.filterwarnings("ignore")
    def test_this_machine_is_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        found = {check.name: check for check in checks(resolve({}).config)}
        assert {check.state for check in found.values() if check.name != "packages"} <= {"ok", "warning"}
        assert found["data"].found.startswith("digits: 1,437 and 360 images")
        assert found["backends"].found == "offline"
        assert not list(tmp_path.iterdir())  # it looks, and writes nothing

    def test_a_setting_that_cannot_work_is_found(self, tmp_path: Path) -> None:
        config = resolve({"llm_fallbacks": "openai:gpt-4.1", "db": tmp_path / "none" / "m.db"}).config
        assert looked_at("backends", lambda: doctor.backends(config)).state == "failed"
        assert "does not exist" in looked_at("memory", lambda: doctor.memory(config)).found


class TestCommand:
    def typed(self, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
        monkeypatch.setattr("agent.doctor.visit.checks", lambda config: iter([Check("python", "ok", "3.11")]))
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "doctor", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(str(stopped.value.code))

    def test_a_good_model_is_0_and_how_it_answers_is_remembered(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        db = tmp_path / "m.db"
        with serve(in_order(RIGHT), tools="rejected") as server:
            words = ("--llm", "openai:scripted", "--base-url", server.url, "--db", str(db), "--json")
            assert self.typed(monkeypatch, *words) == 0
        out = capsys.readouterr()
        found = json.loads(out.out)
        assert found["checks"] == [{"name": "python", "state": "ok", "found": "3.11", "remedy": None}]
        assert (found["model"]["passed"], found["model"]["usable"]) == (20, True)
        assert "20 of 20, asked by a JSON schema" in out.err
        with opened(db, read_only=True) as memory:
            known = known_backend(memory, "openai:scripted", server.url)
        assert known is not None
        assert (known.answers, known.passed, known.cases) == ("json_schema", 20, 20)
        assert known.detail[0]["name"] == CASES[0].name
        config = resolve({"llm": "openai:scripted", "base_url": server.url, "db": db}).config
        assert make_chain(config)[0].way == "json_schema"

    def test_a_bad_model_is_1(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serve(lambda messages: Say("Wider.")) as server:
            words = ("--llm", "openai:scripted", "--base-url", server.url, "--db", str(tmp_path / "m.db"))
            assert self.typed(monkeypatch, *words) == 1
        said = capsys.readouterr().out
        assert "openai:scripted: 0 of 20" in said
        assert f"Below {PASS_MARK}" in said

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [(("--llm", "gpt"), "'gpt' is not a backend"), (("--llm", "offline"), "'offline' is no language model")],
    )
    def test_a_mistake_is_2(
        self,
        words: tuple[str, ...],
        sentence: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert self.typed(monkeypatch, *words) == 2
        assert capsys.readouterr().err.startswith(sentence)

    def test_without_a_model_it_looks_at_the_machine_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert self.typed(monkeypatch, "--json") == 0
        assert json.loads(capsys.readouterr().out)["model"] is None

    def test_a_failed_check_is_1(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        found = Check("imports", "failed", "torchvision cannot be imported", "install the pair")
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "doctor"])
        monkeypatch.setattr("agent.doctor.visit.checks", lambda config: iter([found]))
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 1
        assert "install the pair" in capsys.readouterr().out
