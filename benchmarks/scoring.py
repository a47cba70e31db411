"""What the scores at initialisation cost, in forward and backward passes of the same batch.

All of them alternate in one run; the numbers are ratios of medians.
"""

from statistics import median

import torch
import torch.nn.functional as F

from lthviz import criteria, models, prune_at_init, train

from .training import seconds

BATCH, REPEATS = 100, 31


def compare(name, shape):
    draw = train.generator(0, "order")
    network = models.build(name, shape, 10, train.generator(0, "init"))
    batch = torch.rand(BATCH, *shape, generator=draw), torch.randint(0, 10, (BATCH,), generator=draw)

    def once():
        F.cross_entropy(network(batch[0]), batch[1]).backward()
        network.zero_grad()

    sides = {
        "pass": once,
        "snip": lambda: criteria.snip(network, F.cross_entropy, batch),
        "grasp": lambda: criteria.grasp(network, F.cross_entropy, batch),
        "one synflow iteration": lambda: criteria.synflow(network, None, batch),
    }
    taken = {side: [] for side in sides}
    for repeat in range(REPEATS + 3):
        for side, act in sides.items():
            spent = seconds(act)
            if repeat >= 3:  # the first ones warm up
                taken[side].append(spent)
    one = median(taken.pop("pass"))
    costs = ", ".join(f"{side} {median(times) / one:.1f}" for side, times in taken.items())
    print(
        f"{name} on {shape}, batch of {BATCH}: forward and backward {1e3 * one:.2f} ms; in such passes: {costs}"
    )
    whole = seconds(lambda: prune_at_init(network, None, batch, "synflow", 0.01))
    print(f"  prune_at_init with synflow, 100 iterations to density 0.01: {whole:.2f} s")


def main():
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    compare("lenet-300-100", (28, 28))
    compare("mlp-100-50", (14, 14))
    compare("conv-2", (28, 28))


if __name__ == "__main__":
    main()
