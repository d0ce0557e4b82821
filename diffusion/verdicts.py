"""The words of a verdict, and what each says of a spec; how one comes about stands in `diffusion.statistics.noise`."""

from typing import Literal

Answer = Literal["better", "worse", "inconclusive", "unmeasured"]

VERSUS_BASELINE: dict[Answer, str] = {
    "better": "better than the baseline",
    "worse": "worse than the baseline",
    "inconclusive": "no clear difference from the baseline",
    "unmeasured": "not compared: noise unmeasured",
}


def if_measured(answer: Answer, form: str) -> str:
    """What is said against the baseline, in the place of ``{}``; nothing where nobody can say it."""
    return "" if answer == "unmeasured" else form.format(VERSUS_BASELINE[answer])
