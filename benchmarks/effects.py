"""The effects that the course rests on, from the atlas: accuracy against density, rewind against re-init."""

import lthviz
from lthviz.result import interval

EARLY = 200  # steps, or as soon after it as was measured


def percent(values):
    mean, low, high = interval(values)
    return f"{100 * mean:5.1f} ±{50 * (high - low):4.1f}"


def main():
    for result in lthviz.atlas():
        print(f"\n{result.experiment.describe()}")
        early = int(result.steps[result.steps >= EARLY][0])
        print(f"test accuracy in %, mean ± half the 95 % interval over seeds; in brackets at step {early}")
        print("density  " + "".join(f"{arm:>24}" for arm in result.arms))
        shown = [0]
        for round in range(1, result.rounds + 1):
            if result.density[round] <= 0.62 * result.density[shown[-1]] or round == result.rounds:
                shown.append(round)
        for round in shown:
            cells = "".join(
                f"{percent(result.accuracy(arm)[round]):>15}"
                f" ({100 * result.accuracy(arm, early)[round].mean():5.1f})"
                for arm in result.arms
            )
            print(f"{100 * result.density[round]:6.2f} % {cells}")


if __name__ == "__main__":
    main()
