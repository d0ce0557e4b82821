"""Evolution over whole students: within the target always, to a planted best, and the same for a seed."""

import itertools

from teachers import counted, teacher

from diffusion.distill.allocation import Whole
from diffusion.distill.baselines import Within
from diffusion.distill.costs import common_cost
from diffusion.distill.plan import Evolution
from diffusion.distill.units import Choices, units_of
from diffusion.distill.whole_search import Judged, evolve

MODEL = teacher("b8-n1-m1.2.2.2-a0100")
UNITS = units_of(MODEL)
TEACHER, COMMON = counted(MODEL), common_cost(MODEL)
WHOLE = Whole(TEACHER.macs_total, TEACHER.params, COMMON.macs_total, COMMON.params)
WANTED = {unit.name: unit.choices()[(3 * place) % len(unit.choices())] for place, unit in enumerate(UNITS)}


def differs(choices: Choices) -> float:
    """In how many units a student differs from the planted one, and by how much width."""
    return sum(choices[name] != wanted for name, wanted in WANTED.items()) + 0.001 * sum(
        abs(choices[name].width - wanted.width) for name, wanted in WANTED.items()
    )


def searched(how: Evolution, target: float = 0.9) -> list[Judged]:
    return list(evolve(Within(UNITS, WHOLE, target, "total"), differs, how))


def test_it_comes_nearer_to_the_planted_student_than_chance_does() -> None:
    found = searched(Evolution(evaluations=900, population=20, contestants=5))
    best = min(found, key=lambda each: each.error)
    chance = min(each.error for each in searched(Evolution(evaluations=900, population=900)))
    assert best.error < 0.6 * chance
    assert best.error < min(each.error for each in found[:20])


def test_all_students_are_within_the_target_and_none_comes_twice() -> None:
    found = searched(Evolution(evaluations=200, population=15, contestants=4), target=0.5)
    assert len(found) > 100 and all(Within(UNITS, WHOLE, 0.5, "total").holds(each.choices) for each in found)
    assert len({str(each.choices) for each in found}) == len(found)


def test_a_search_is_a_function_of_its_seed_and_may_be_cut_off_anywhere() -> None:
    how = Evolution(evaluations=60, population=10, contestants=3)
    found = searched(how)
    assert searched(how) == found != searched(how.model_copy(update={"seed": 1}))
    assert list(itertools.islice(evolve(Within(UNITS, WHOLE, 0.9, "total"), differs, how), 12)) == found[:12]
