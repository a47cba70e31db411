"""The table of lesson 10: the tiny language model, pruned without training again, with and without outliers."""

import copy
import time

import torch

from lthviz import language, llm
from lthviz.train import generator

SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8)
STRENGTHS = (4, 16)


def perplexity(model, method, calibration, **target) -> tuple[float, float]:
    """Perplexity after pruning a copy, and the seconds that pruning took."""
    pruned, begun = copy.deepcopy(model), time.perf_counter()
    llm.prune(pruned, calibration, method, batch_size=16, **target)
    seconds = time.perf_counter() - begun
    return llm.perplexity(pruned, language.stretches(), batch_size=16), seconds


def table(model, calibration) -> dict[str, float]:
    """One row a method; the columns are sparsities, and 2:4. Returned is each method's perplexity at 50 %."""
    names = [f"{s:.0%}" for s in SPARSITIES]
    print(f"{'':10}" + "".join(f"{name:>8}" for name in (*names, "2:4")) + "  seconds to prune")
    half = {}
    for method in llm.METHODS:
        targets = [{"sparsity": s} for s in SPARSITIES] + [{"pattern": (2, 4)}]
        found = [perplexity(model, method, calibration, **target) for target in targets]
        mean = sum(seconds for _, seconds in found) / len(found)
        print(f"{method:10}" + "".join(f"{value:8.2f}" for value, _ in found) + f"  {mean:.2f}")
        half[method] = found[SPARSITIES.index(0.5)][0]
    return half


def outliers(model, calibration, half) -> None:
    """One row a method at 50 % sparsity; the columns are strengths of outliers, 1 being ``half`` from the table."""
    print(f"\n{'50 %':10}" + "".join(f"{f'x {strength}':>8}" for strength in (1, *STRENGTHS)))
    strange = [language.with_outliers(model, s, 6, generator(0, "outliers")) for s in STRENGTHS]
    for method in llm.METHODS:
        found = [perplexity(one, method, calibration, sparsity=0.5)[0] for one in strange]
        print(f"{method:10}" + "".join(f"{value:8.2f}" for value in (half[method], *found)))


def main():
    begun, model = time.perf_counter(), language.load()
    calibration = language.windows(language.split()[0], 32, generator(0, "calibration"))
    dense = llm.perplexity(model, language.stretches(), batch_size=16)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; dense: perplexity {dense:.2f}")
    outliers(model, calibration, table(model, calibration))
    print(f"{time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
