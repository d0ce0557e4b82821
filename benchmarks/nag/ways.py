"""Ways to find a good cell by thirty questions for a validation accuracy.

A way is called with an oracle, which counts the questions, the landscape without the data set's accuracies, and a
generator; what it returns is what it believes to be best. All choices in it (views, kernels, how scores are
transformed) were made on other seeds than those that are reported, on the same three data sets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.graphs import Places
from diffusion.nag.nasbench201 import CELLS, EDGES, OPERATIONS, nasbench201, number
from diffusion.nag.search.bo import Search
from diffusion.nag.search.ensemble import normal_scores
from diffusion.nag.search.gaussian_process import GaussianProcess, Kernel, Singles, view
from diffusion.nag.search.generation import STEPS, generating
from diffusion.nag.search.optimisers import guided as candidates_from
from landscape import Floats, Landscape

QUESTIONS = 30  # MLS-Bench, `optimization-nas`


class NoMoreQuestionsError(Exception):
    """A way asked more often than it may."""


@dataclass
class Oracle:
    """Answers with validation accuracies, and keeps them."""

    accuracies: Floats  # of every cell, by number
    questions: int = QUESTIONS
    asked: list[int] = field(default_factory=list)

    def ask(self, cell: int) -> float:
        """The validation accuracy of the cell of that number."""
        if len(self.asked) >= self.questions:
            raise NoMoreQuestionsError(f"{self.questions} questions are asked")
        self.asked.append(cell)
        return float(self.accuracies[cell])

    @property
    def answers(self) -> Floats:
        """In the order of the questions."""
        return self.accuracies[self.asked]

    @property
    def left(self) -> int:
        """How many questions may still be asked."""
        return self.questions - len(self.asked)

    @property
    def best(self) -> int:
        """The first cell of the highest answer."""
        return self.asked[int(np.argmax(self.answers))]


@dataclass(frozen=True)
class Task:
    """What a way is given: the oracle, what is known before the first question, what to draw from."""

    oracle: Oracle
    landscape: Landscape
    data_set: str
    rng: np.random.Generator


Way = Callable[[Task], int]


def random(task: Task) -> int:
    """Cells drawn uniformly, without repeats."""
    for cell in task.rng.choice(CELLS, task.oracle.left, replace=False):
        task.oracle.ask(int(cell))
    return task.oracle.best


def evolution(task: Task) -> int:
    """Regularised evolution (Real et al. 2019): the oldest of ten dies, the better of three has a child."""
    oracle, alive, contestants = task.oracle, 10, 3
    population: list[tuple[tuple[int, ...], float]] = []
    while oracle.left:
        cell = task.rng.integers(len(OPERATIONS), size=len(EDGES))
        if len(population) >= alive:
            chosen = task.rng.choice(alive, contestants, replace=False)
            parent = max((population[-1 - place] for place in chosen), key=lambda each: each[1])[0]
            edge = task.rng.integers(len(EDGES))
            cell = np.array(parent)
            cell[edge] = (cell[edge] + task.rng.integers(1, len(OPERATIONS))) % len(OPERATIONS)
        found = tuple(map(int, cell))
        population.append((found, oracle.ask(int(number([found])[0]))))
    return oracle.best


def gp_over_cells(task: Task) -> int:
    """The plain process: all 15,625 cells by their operators, every answer believed as it is."""
    kernels = [Kernel((1.0,), (length,), noise) for length, noise in product(LENGTHS, NOISES)]
    search = Enumerated(task, np.arange(CELLS), [task.landscape.operators], kernels, standardised)
    return search.run(_drawn(task, CELLS))


def gp_over_networks(task: Task) -> int:
    """4,930 networks by what they compute; answers below the median are as bad as the median."""
    kernels = [Kernel((1.0,), (length,), noise) for length, noise in product(LENGTHS, NOISES)]
    members = task.landscape.members
    search = Enumerated(task, members, [task.landscape.computations], kernels, upper_half)
    return search.run(_drawn(task, len(members)))


def guided(task: Task) -> int:
    """Generated candidates, as in the paper's Algorithm 2, and an upper confidence bound."""
    space = nasbench201()

    def ask(places: Places) -> float:
        return task.oracle.ask(int(number([space.architecture(places)])[0]))

    optimiser = candidates_from(generating(Generator(space, product_score(space).score, steps=STEPS)))
    search = Search(space, ask, optimiser, "ucb", initial=INITIAL, evaluations=task.oracle.questions)
    for _ in search.run(int(task.rng.integers(2**31))):
        pass
    return task.oracle.best


def transfer(task: Task) -> int:
    """Networks also by how they rank on the other two data sets, whose validation accuracies are all known.

    It draws nothing: the first question is for the best of the other two.
    """
    return _transfer(task, task.landscape.transferred(task.data_set))


def transfer_of_100(task: Task) -> int:
    """As `transfer`, but of the other two data sets only a hundred networks drawn at random are known.

    A process over networks says from these how all others rank there.
    """
    landscape, ranks = task.landscape, []
    known = task.rng.choice(len(landscape.members), 100, replace=False).tolist()
    kernels = [Kernel((1.0,), (length,), noise) for length, noise in product(LENGTHS, NOISES)]
    process = GaussianProcess([landscape.computations], kernels, known)
    for other in landscape.others(task.data_set):
        accuracies = landscape.validation(other)[landscape.members[known]]
        ranks.append(normal_scores(process.posterior(upper_half(accuracies)).mean()))
    return _transfer(task, view(np.mean(ranks, axis=0)[:, None]))


WAYS: Mapping[str, Way] = {
    "random": random,
    "evolution": evolution,
    "gp": gp_over_cells,
    "gp-networks": gp_over_networks,
    "guided": guided,
    "transfer-100": transfer_of_100,
    "transfer": transfer,
}

INITIAL = 8  # questions before a process is asked
LENGTHS = (0.7, 1.0, 1.4, 2.0, 4.0)
NOISES = (0.01, 0.03, 0.1)
Transform = Callable[[Floats], Floats]


@dataclass
class Enumerated:
    """Expected improvement over all members, averaged over kernels."""

    task: Task
    members: NDArray[np.int64]  # numbers of cells
    views: list[Singles]
    kernels: list[Kernel]
    transform: Transform  # of answers, into targets of a process

    def run(self, first: list[int]) -> int:
        """Ask for the first members, then for the most promising; the best answer's cell."""
        oracle, process = self.task.oracle, GaussianProcess(self.views, self.kernels)
        while oracle.left:
            asked = process.observed
            if len(asked) < len(first):
                member = first[len(asked)]
            else:
                worth = process.posterior(self.transform(oracle.answers)).log_expected_improvement(asked)
                worth[asked] = -np.inf
                member = int(worth.argmax())
            oracle.ask(int(self.members[member]))
            process.observe(member)
        return oracle.best


def standardised(accuracies: Floats) -> Floats:
    """In deviations from the mean."""
    return (accuracies - accuracies.mean()) / max(float(accuracies.std()), 1e-9)


def upper_half(accuracies: Floats) -> Floats:
    """Minus log errors in deviations from their mean, none below the median.

    How bad the bad ones are is most of the variance of all cells, and nothing that the search needs to know.
    """
    logs = -np.log(100 - accuracies)
    return standardised(np.maximum(logs, np.median(logs)))


def _drawn(task: Task, members: int) -> list[int]:
    return [int(each) for each in task.rng.choice(members, INITIAL, replace=False)]


def _transfer(task: Task, elsewhere: Singles) -> int:
    kernels = [
        Kernel((weight, 1 - weight), (length, flat), noise)
        for weight, length, flat, noise in product((0.1, 0.3), (0.7, 1.4, 2.8), (1.0, 2.0, 4.0), (0.01, 0.05))
    ]
    views = [task.landscape.computations, elsewhere]
    search = Enumerated(task, task.landscape.members, views, kernels, upper_half)
    return search.run([int(elsewhere[:, 0].argmax())])
