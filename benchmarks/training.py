"""The population trainer against the plain loop, and the live class-room experiment.

Each comparison alternates both sides in one run and prints ratios of medians.
"""

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import torch
import torch.nn.functional as F

import lthviz
from lthviz import models, train

BATCH, STEPS, REPEATS = 60, 40, 7


def seconds(function, repeats=1):
    begun = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - begun) / repeats


def plain_loop(network, masks, x, y):
    """nn.Sequential, torch.optim.Adam, mask after every step, data in memory."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    weights = dict(network.named_parameters())

    def steps():
        for batch in torch.randint(0, len(y), (STEPS, BATCH)):
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
            with torch.no_grad():
                for name, mask in masks.items():
                    weights[name].mul_(mask)

    return steps


def population(name, K, networks, masks, x, y):
    parameters = {
        key: torch.stack([network.get_parameter(key).detach() for network in networks])
        for key, _ in networks[0].named_parameters()
    }
    masks = {key: mask.expand(K, *mask.shape).bool() for key, mask in masks.items()}
    shards = train.deal(name, 10, parameters, masks, x, y, BATCH, threads=torch.get_num_threads())

    def advance(shard):
        for batch in torch.randint(0, len(y), (STEPS, shard.K, BATCH)):
            shard.step(batch)

    return shards, advance


def compare(name, shape, K):
    x, y = torch.rand(4000, *shape), torch.randint(0, 10, (4000,))
    networks = [models.build(name, shape, 10, train.generator(k, "init")) for k in range(K)]
    masks = {
        key: (torch.rand_like(value) < 0.5).float()
        for key, value in networks[0].named_parameters()
        if key.endswith("weight")
    }
    alone = plain_loop(copy.deepcopy(networks[0]), masks, x, y)
    shards, advance = population(name, K, networks, masks, x, y)
    square = torch.rand(2048, 2048)
    loops, stacked, products = [], [], []
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:

        def together():
            torch.set_num_threads(1)
            list(pool.map(advance, shards))
            torch.set_num_threads(threads)

        alone()
        together()
        for _ in range(REPEATS):
            loops.append(seconds(alone) / STEPS)
            stacked.append(seconds(together) / STEPS / K)
            products.append(seconds(lambda: torch.mm(square, square), 3))
    weights = models.weight_count(name, shape, 10)
    rate = 6 * weights * BATCH / median(stacked) / 1e9
    product = 2 * 2048**3 / median(products) / 1e9
    print(
        f"{name} on {shape}, K = {K}: plain loop {1e3 * median(loops):.2f} ms, population {1e3 * median(stacked):.3f} ms "
        f"per network and step: {median(loops) / median(stacked):.1f} times as fast"
    )
    if name != "conv-2":
        print(
            f"  {rate:.0f} GFLOP/s (6 per weight and example) against {product:.0f} GFLOP/s of one "
            f"2048 x 2048 torch.mm beside it: {rate / product:.0%}"
        )


def live():
    experiment = lthviz.Experiment(rounds=12, seeds=3, steps=400, evaluate_every=100)
    first = []
    begun = time.perf_counter()

    def watch(moment):
        if not first:
            first.append(time.perf_counter() - begun)

    result = lthviz.run(experiment, store=False, progress=False, watch=watch)
    print(
        f"live class-room experiment (3 seeds, rewind and reinit, 12 rounds, 400 steps): "
        f"{time.perf_counter() - begun:.1f} s, first measurement after {first[0]:.2f} s"
    )
    print(f"  {result.verdict(12)}")


def main():
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    compare("mlp-100-50", (14, 14), 10)
    compare("lenet-300-100", (28, 28), 6)
    compare("conv-2", (28, 28), 4)
    live()


if __name__ == "__main__":
    main()
