"""Three ways of making the class-room network small, in float32 and in int8: what lesson 11 shows."""

import numpy as np
import torch

from .. import data, models
from ..deploy import quantize
from ..masks import Mask, prune
from ..train import batch_order, initial, taught

MODEL, DATASET, RATE, STEPS, BATCH, LR = "mlp-100-50", "mnist-5k-14", 0.2, 1000, 60, 0.002
#: Single weights, the smallest of each layer or of the whole network; whole hidden units, those with the smallest
#: incoming weights.
WAYS = ("layer", "global", "units")


def study() -> dict:
    """Ten seeds, 18 rounds of 20 %, down to about 2 % of the weights."""
    return made_small(seeds=range(10), rounds=18)


def made_small(seeds, rounds: int) -> dict:
    """Iterative pruning with rewinding in three ways, with the settings of the class-room experiment of the atlas.

    Every round trains what is left from theta_0; "units" keeps as many weights as "layer", or as few less as whole
    units allow. int8 is :func:`lthviz.deploy.quantize` on the trained weights of all layers; biases stay.

    Returns
    -------
    dict
        ``accuracy (way, round, seed)`` and ``int8 (way, round, seed)`` on the test digits, ``pruned_at/WAY/LAYER
        (seed, out, in)``: the round that removed the weight, rounds + 1 if it survived; ``ways``, ``rate``,
        ``steps``, ``seeds``.
    """
    digits = data.load(DATASET)
    x, y, x_test, y_test = (
        torch.tensor(getattr(digits, name)) for name in ("x_train", "y_train", "x_test", "y_test")
    )
    theta = initial(MODEL, digits.input_shape, digits.classes, seeds)
    layers = [name for name in theta if name.endswith(".weight")]
    gone = {way: {name: np.full(theta[name].shape, rounds + 1, np.uint8) for name in layers} for way in WAYS}
    accuracy, int8 = [], []
    for round in range(rounds + 1):
        order = torch.stack([batch_order(seed, round, len(y), BATCH, STEPS) for seed in seeds])
        start = {name: torch.cat([value] * len(WAYS)) for name, value in theta.items()}
        masks = {
            name: torch.tensor(np.concatenate([gone[way][name] > round for way in WAYS])) for name in layers
        }
        weights, *measured = _train(
            start, masks, (x, y), (x_test, y_test), order.repeat(len(WAYS), 1, 1), digits
        )
        for kept, new in zip((accuracy, int8), measured):
            kept.append(new.reshape(len(WAYS), -1))
        if round == rounds:
            break
        for w, way in enumerate(WAYS):
            for s in range(len(seeds)):
                mask = Mask({name: gone[way][name][s] > round for name in layers})
                trained = {name: weights[name][w * len(seeds) + s] for name in layers}
                left = sum((gone["layer"][name][s] > round + 1).sum() for name in layers)
                new = _prune(way, trained, mask, left, digits)
                for name in layers:
                    gone[way][name][s][mask[name] & ~new[name]] = round + 1
    return {
        f"pruned_at/{way}/{name.removesuffix('.weight')}": gone[way][name] for way in WAYS for name in layers
    } | {
        "accuracy": np.stack(accuracy, 1),
        "int8": np.stack(int8, 1),
        "ways": np.array(WAYS),
        "rate": np.array(RATE),
        "steps": np.array(STEPS),
        "seeds": np.array(seeds),
    }


def _prune(way, weights, mask, left, digits) -> Mask:
    """The next mask of one network, from its trained weights; "units" keeps at most ``left`` weights."""
    scores = {name: np.abs(values) for name, values in weights.items()}
    if way != "units":
        return prune(
            scores, rate=RATE, mask=mask, scope=way, output_layer="fc3.weight" if way == "layer" else None
        )
    widths = models.narrowed(MODEL, digits.input_shape, digits.classes, left)[1]
    new, before = {}, np.ones(digits.input_shape, bool).ravel()
    for (name, values), width in zip(weights.items(), [*widths, digits.classes]):
        units = np.zeros(len(values), bool)
        units[np.argsort(-np.linalg.norm(values, axis=1), kind="stable")[:width]] = True
        new[name], before = units[:, None] & before, units
    return Mask(new)


def _train(start, masks, examples, test, order, digits):
    """Trained parameters, test accuracy, and that of the same networks in int8; K networks in front."""

    def learn(population, batches, mine):
        for batch in batches:
            population.step(batch)
        found = {name: value.numpy().copy() for name, value in population.parameters.items()}
        exact = population.evaluate(*test)[1]
        for name in masks:
            values, scales = quantize(found[name].reshape(-1, found[name].shape[-1]))
            population.parameters[name].copy_(
                torch.tensor(values * scales).view_as(population.parameters[name])
            )
        return found, exact, population.evaluate(*test)[1]

    done = taught(learn, MODEL, digits.classes, start, masks, *examples, order, lr=LR)
    found, *measured = zip(*done, strict=True)
    return {name: np.concatenate([one[name] for one in found]) for name in start}, *map(
        np.concatenate, measured
    )
