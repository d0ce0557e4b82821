import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from diffusion.nag.search.acquisition import (
    ACQUISITIONS,
    Belief,
    acquire,
    independent_thompson,
    log_expected_improvement,
    log_probability_of_improvement,
    upper_confidence_bound,
)


def at(*gains: float, deviation: float = 1.0) -> Belief:
    """What is believed of architectures whose means are so many deviations above a best score of zero."""
    return Belief(np.array(gains) * deviation, np.full(len(gains), deviation))


def test_improvement_agrees_with_its_integral_on_both_sides_of_every_branch() -> None:
    gains = (-8.0, -1.001, -1.0, -0.999, 0.0, 2.5)
    expected = [quad(lambda t, z=z: math.exp(norm.logcdf(t) - norm.logcdf(z)), -np.inf, z)[0] for z in gains]
    found = log_expected_improvement(at(*gains), 0.0)  # E[max(x, 0)] is the integral of Φ up to z
    assert found == pytest.approx(np.log(expected) + norm.logcdf(gains), rel=1e-9)
    assert log_probability_of_improvement(at(*gains), 0.0) == pytest.approx(norm.logcdf(gains), rel=1e-12)


@pytest.mark.parametrize("gain", [-40.0, -1e3, -9.99e5, -1.01e6, -1e9])
def test_improvement_far_in_the_tail_is_its_asymptotic_series(gain: float) -> None:
    density = -0.5 * gain**2 - 0.5 * math.log(2 * math.pi)
    u = gain**-2
    ei = density + math.log(u) + math.log1p(-3 * u + 15 * u**2 - 105 * u**3)  # of φ(z) + zΦ(z), by Mills' ratio
    pi = density - math.log(-gain) + math.log1p(-u + 3 * u**2 - 15 * u**3)
    assert log_expected_improvement(at(gain), 0.0)[0] == pytest.approx(ei, rel=1e-10)
    assert log_probability_of_improvement(at(gain), 0.0)[0] == pytest.approx(pi, rel=1e-10)


def test_improvement_still_tells_the_better_one_where_its_value_rounds_to_zero() -> None:
    belief = at(-60.0, -50.0, -55.0)
    for found in (log_expected_improvement(belief, 0.0), log_probability_of_improvement(belief, 0.0)):
        assert (np.exp(found) == 0).all()
        assert np.isfinite(found).all() and found.argmax() == 1


def test_expected_improvement_is_in_the_unit_of_scores_and_prefers_the_unknown() -> None:
    assert log_expected_improvement(at(0.0, deviation=2.0), 0.0)[0] == pytest.approx(math.log(2) + norm.logpdf(0))
    belief = Belief(np.array([0.1, 0.0]), np.array([0.01, 1.0]))
    assert log_expected_improvement(belief, 0.0).argmax() == 1
    assert log_probability_of_improvement(belief, 0.0).argmax() == 0


def test_a_floor_keeps_agreeing_members_from_certainty() -> None:
    members = np.array([[0.5, 0.2], [0.5, 0.4], [0.5, 0.6]])
    belief = Belief.of_members(members, floor=0.05)
    assert belief.mean == pytest.approx([0.5, 0.4])
    assert belief.deviation == pytest.approx([0.05, 0.2])
    for scores, floor in ((members[:1], 0.05), (members, 0.0), (members, math.nan)):
        with pytest.raises(ValueError, match="it takes two, and a floor above zero"):
            Belief.of_members(scores, floor)


def test_thompson_draws_each_architecture_from_what_is_believed_of_it() -> None:
    belief = Belief(np.repeat([0.0, 3.0], 20_000), np.repeat([1.0, 0.5], 20_000))
    drawn = independent_thompson(belief, np.random.default_rng(0)).reshape(2, -1)
    assert drawn.mean(axis=1) == pytest.approx([0.0, 3.0], abs=0.03)  # four standard errors: 4 / √20,000
    assert drawn.std(axis=1) == pytest.approx([1.0, 0.5], rel=0.02)


def test_every_acquisition_is_found_by_its_name() -> None:
    belief = at(-1.0, 1.0)
    found = {name: acquire(name, belief, 0.0, np.random.default_rng(0)) for name in ACQUISITIONS}
    assert found["ucb"].tolist() == upper_confidence_bound(belief).tolist() == [-0.5, 1.5]
    assert found["ei"] == pytest.approx(log_expected_improvement(belief, 0.0))
    assert found["its"].tolist() == independent_thompson(belief, np.random.default_rng(0)).tolist()
    assert found["pi"][1] == pytest.approx(math.log(norm.cdf(1)))
