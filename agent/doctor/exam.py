"""The exam of a language model: how it is to be asked, then twenty graded cases; no GPU, no training, no search.

Whatever the model does is a grade and never a traceback: an answer without a call, arguments that do not fit, silence.
Only a backend that refuses every call, or that nobody answers for, ends the exam.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from agent.backends.asking import Asking
from agent.backends.chain import Chain, with_retries
from agent.backends.errors import BackendError
from agent.backends.registry import Backend, cost_usd
from agent.backends.structured import NEXT_WAY, rejects
from agent.config.backend import OFFLINE
from agent.doctor.cases import CASES, FIRST, PASSED, SKILLS, Case
from agent.doctor.report import ExamReport, Grade, Skill
from agent.doctor.scene import READING, Called, Scene, scene
from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from memory.backends import Way

PASS_MARK = 14  # of 20 cases; a constant answer passes 6 at most (docs/backends.md)
PROBES = 2  # easy questions by which a way of asking is chosen
CALLED, RIGHT = 1, 2 * PROBES  # marks: any number of wrong calls is less than one right one
ATTEMPTS, RETRY_SECONDS = 2, 1.0  # a doctor has less patience than a search
SILENT_CASES = 3  # in a row without any answer, after which the others are not asked
SHOWN_CHARACTERS = 120

Tell = Callable[[Grade], None]


@dataclass
class Meter:
    """What the calls of an exam took."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    timed_tokens: int = 0  # written in answers whose number of tokens the server told
    timed_seconds: float = 0.0

    def add(self, answer: AIMessage, seconds: float) -> None:
        """Count one answer."""
        usage = answer.usage_metadata
        self.calls += 1
        self.input_tokens += usage["input_tokens"] if usage else 0
        self.output_tokens += usage["output_tokens"] if usage else 0
        if usage and usage["output_tokens"]:
            self.timed_tokens += usage["output_tokens"]
            self.timed_seconds += seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Written tokens by the second, reading the prompt included; None if the server tells no numbers."""
        return self.timed_tokens / self.timed_seconds if self.timed_tokens and self.timed_seconds else None


def examine(backend: Backend, tell: Tell = lambda grade: None) -> ExamReport:
    """The whole exam; `tell` hears each grade.

    Raises:
        UserError: the backend is no language model, refuses every call, or cannot be reached.
    """
    if backend.llm == OFFLINE:
        raise UserError("'offline' is no language model; name one, such as --llm openai:MODEL --base-url URL")
    started, grades = time.monotonic(), []
    with scene() as search:
        exam = Exam(backend, search)
        way = exam.how_it_answers()
        for case in CASES:
            grades.append(exam.grade(case, way))
            tell(grades[-1])
    return _report(backend, way, grades, exam.meter, time.monotonic() - started)


def _report(backend: Backend, way: Way, grades: list[Grade], meter: Meter, seconds: float) -> ExamReport:
    llm, base_url, passed = backend.llm, backend.address.base_url, sum(grade.passed for grade in grades)
    by_skill = {skill: [grade.passed for grade in grades if grade.skill == skill] for skill in SKILLS}
    return ExamReport(
        llm=llm,
        base_url=base_url,
        answers=way,
        passed=passed,
        cases=len(grades),
        score=passed / len(grades),
        usable=passed >= PASS_MARK,
        skills={skill: Skill(passed=sum(marks), cases=len(marks)) for skill, marks in by_skill.items()},
        tokens_per_second=meter.tokens_per_second,
        calls=meter.calls,
        input_tokens=meter.input_tokens,
        output_tokens=meter.output_tokens,
        cost_usd=cost_usd(llm, base_url, meter.input_tokens, meter.output_tokens),
        seconds=seconds,
        results=grades,
    )


class Exam:
    """One model before one scene."""

    def __init__(self, backend: Backend, search: Scene) -> None:
        self.backend, self.search, self.meter = backend, search, Meter()
        self.asking = Asking(Chain([backend]), list(search.tools.values()))
        self.silent_cases = 0

    def how_it_answers(self) -> Way:
        """The first way in which easy questions are answered rightly, or the best of a bad lot (a wrong call is better
        than none).

        Raises:
            UserError: it gives no answer in any way.
        """
        marks: dict[Way, int] = {}
        failure: BackendError | None = None
        way: Way | None = "tools"
        while way is not None:
            try:
                marks[way] = sum(self._mark(way) for _ in range(PROBES))
                if marks[way] == PROBES * RIGHT:
                    return way
            except BackendError as error:
                failure = error
                if not rejects(way, error) and not error.transient:
                    raise self._unusable(error) from error
                if error.transient and not rejects(way, error):
                    break
            way = NEXT_WAY.get(way)
        if not marks:
            assert failure is not None
            raise self._unusable(failure) from failure
        return max(marks, key=lambda found: marks[found])

    def _mark(self, way: Way) -> int:
        wish = f"Count {FIRST} with count_flops, and do nothing else."
        call = self.search.called(self._asked(way, [self.search.prompt(wish)]))
        if call is None:
            return 0
        return RIGHT if call.tool == "count_flops" and UNetSpec.parse(FIRST) in call.specs else CALLED

    def _unusable(self, error: BackendError) -> UserError:
        place = f" at {self.backend.address.base_url}" if self.backend.address.base_url else ""
        if error.refused:
            return UserError(f"'{self.backend.llm}'{place} refuses every call ({error}); check the key and the name")
        return UserError(f"'{self.backend.llm}'{place} gives no answer ({error}); check that the server runs")

    def grade(self, case: Case, way: Way) -> Grade:
        """One case, whatever happens in it."""
        started, before = time.monotonic(), self.meter.calls
        if self.silent_cases >= SILENT_CASES:
            why: str | None = f"not asked: there was no answer in {SILENT_CASES} cases in a row"
        else:
            why = self._played(case, way)
        seconds = time.monotonic() - started
        return Grade(case.name, case.skill, why == PASSED, why or None, self.meter.calls - before, seconds)

    def _played(self, case: Case, way: Way) -> str:
        """Play a case to its verdict."""
        try:
            with self.search.told(*case.directive):
                verdict = self._converse(case, way)
        except BackendError as error:
            self.silent_cases += 1
            return f"no answer: {error}"
        self.silent_cases = 0
        return verdict

    def _converse(self, case: Case, way: Way) -> str:
        messages: list[AnyMessage] = [self.search.prompt(case.wish), *case.earlier(self.search)]
        for number in range(case.calls):
            answer = self._asked(way, messages)
            call = self.search.called(answer)
            if call is None:
                said = " ".join(answer.text.split())[:SHOWN_CHARACTERS]
                return f"answered without a tool call: {said!r}" if said else "answered nothing"
            if call.wrong:
                return f"called {call.tool}: {call.wrong}"
            verdict = case.judge(self.search, call)
            if verdict is not None:
                return verdict
            messages += self._looked_up(answer, call, number)
        return f"proposed nothing in {case.calls} calls"

    def _looked_up(self, answer: AIMessage, call: Called, number: int) -> list[AnyMessage]:
        """The call with the answer of the real tool; further calls of the same message are left out."""
        assert call.tool in READING, "nothing else leaves a case undecided"
        first = answer.tool_calls[0]
        identity = first["id"] or f"exam_{number}"
        asked = AIMessage(answer.text, tool_calls=[{**first, "id": identity}])
        return [asked, ToolMessage(self.search.answer_to(call), tool_call_id=identity, name=call.tool)]

    def _asked(self, way: Way, messages: list[AnyMessage]) -> AIMessage:
        started = time.monotonic()
        answer = with_retries(
            lambda: self.asking.exchange(self.backend, way, [self.search.system(), *messages]),
            attempts=ATTEMPTS,
            first_seconds=RETRY_SECONDS,
            stop=self.asking.stop,
        )
        self.meter.add(answer, time.monotonic() - started)
        return answer
