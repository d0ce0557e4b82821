from typing import get_args

from diffusion.verdicts import VERSUS_BASELINE, Answer, if_measured


def test_every_answer_has_its_words() -> None:
    assert tuple(VERSUS_BASELINE) == get_args(Answer)


def test_what_nobody_could_measure_is_not_said() -> None:
    assert if_measured("worse", " ({})") == " (worse than the baseline)"
    assert if_measured("unmeasured", " ({})") == ""
