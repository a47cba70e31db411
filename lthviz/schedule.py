"""When dynamic methods exchange weights; known without torch, so that costs can be counted."""

import math
from dataclasses import dataclass

from .choices import count, number


@dataclass(frozen=True)
class Schedule:
    """When weights change places, and how many (Evci et al. 2020, section 3).

    Parameters
    ----------
    steps : int
        Length of the whole training.
    alpha : float in [0, 1]
        Fraction of each layer's weights at the start; 0 means static training.
    every : int
        Steps from one exchange to the next.
    until : float in [0, 1]
        Fraction of ``steps`` after which the places are final.

    Raises
    ------
    ValueError
        For a value out of range.
    """

    steps: int
    alpha: float = 0.3
    every: int = 100
    until: float = 0.75

    def __post_init__(self):
        count("steps", self.steps, 1)
        number("alpha", self.alpha, 0, 1)
        count("every", self.every, 1)
        number("until", self.until, 0, 1)

    def fraction(self, step: int) -> float:
        """The fraction exchanged at a step (the first is 1), ``alpha / 2 * (1 + cos(pi * step / end))``.

        0.0 says that this is an ordinary optimiser step.
        """
        end = self.until * self.steps
        if step % self.every or step >= end:
            return 0.0
        return self.alpha / 2 * (1 + math.cos(math.pi * step / end))

    @property
    def exchanges(self) -> list[int]:
        """The steps at which weights change places."""
        return [step for step in range(self.every, self.steps + 1, self.every) if self.fraction(step)]
