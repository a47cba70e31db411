"""What an exchange every 100 steps costs: RigL against the loop with a mask that stays.

Both sides alternate in one run, on one thread as in an experiment; the ratios are those of medians.
"""

from statistics import median

import torch
import torch.nn.functional as F

from lthviz import models, train
from lthviz.dynamic import RigL

from .training import seconds

BATCH, EVERY, REPEATS, DENSITY = 60, 100, 15, 0.1


def alternate(static, moving):
    """Milliseconds a step of both, medians; the first run of each does not count."""
    times = [(seconds(static), seconds(moving)) for _ in range(REPEATS + 1)][1:]
    return [1e3 * median(side) / EVERY for side in zip(*times, strict=True)]


def report(what, static, moving):
    print(
        f"{what}: static mask {static:.3f} ms, RigL every {EVERY} steps {moving:.3f} ms a step: "
        f"{moving / static:.2f} times"
    )


def examples(shape):
    draw = torch.Generator().manual_seed(0)
    return torch.rand((4000, *shape), generator=draw), torch.randint(0, 10, (4000,), generator=draw)


def one_network(name, shape):
    """RigL on a model of one's own against nn.Sequential, torch.optim.Adam, mask after every step."""
    x, y = examples(shape)
    draw = torch.Generator().manual_seed(1)

    def side():
        network = models.build(name, shape, 10, train.generator(0, "init"))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
        sparse = RigL(network, optimizer, density=DENSITY, steps=10**6, every=EVERY, generator=draw)
        return network, optimizer, sparse

    def loop(network, optimizer, step):
        def steps():
            for batch in torch.randint(0, len(y), (EVERY, BATCH), generator=draw):
                optimizer.zero_grad()
                F.cross_entropy(network(x[batch]), y[batch]).backward()
                step()

        return steps

    network, optimizer, sparse = side()
    weights = [(network.get_parameter(key), torch.tensor(mask).float()) for key, mask in sparse.mask.items()]

    def held():
        optimizer.step()
        with torch.no_grad():
            for weight, mask in weights:
                weight.mul_(mask)

    static = loop(network, optimizer, held)
    network, optimizer, sparse = side()
    report(f"{name}, one network", *alternate(static, loop(network, optimizer, sparse.step)))


def population(name, shape, K):
    x, y = examples(shape)
    draw = torch.Generator().manual_seed(1)
    networks = [models.build(name, shape, 10, train.generator(k, "init")) for k in range(K)]
    parameters = {
        key: torch.stack([network.get_parameter(key).detach() for network in networks])
        for key, _ in networks[0].named_parameters()
    }
    masks = {
        key: torch.rand(value.shape, generator=draw) < DENSITY
        for key, value in parameters.items()
        if key.endswith("weight")
    }

    def loop(every):
        trained = train.Population(name, 10, parameters, masks, x, y, BATCH)

        def steps():
            for step, batch in enumerate(
                torch.randint(0, len(y), (EVERY, K, BATCH), generator=draw), start=1
            ):
                if step % every:
                    trained.step(batch)
                else:
                    trained.exchange(batch, 0.3, "rigl")

        return steps

    report(f"{name}, population of {K}", *alternate(loop(EVERY + 1), loop(EVERY)))


def main():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one_network("lenet-300-100", (28, 28))
    population("mlp-100-50", (14, 14), 10)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
