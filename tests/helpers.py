"""What several test files share: made-up results (invented numbers, never trained ones), and what an explorer shows."""

import numpy as np

from lthviz.experiment import Experiment
from lthviz.masks import Mask, prune
from lthviz.result import Result

QUANTITIES = ("test_accuracy", "validation_accuracy", "validation_loss")
#: How fast each arm gets worse in the made-up results, in accuracy a halving of density.
SLOPES = {"rewind": 0.005, "reinit": 0.02, "shuffle": 0.03, "random": 0.04, "small-dense": 0.025}


def made_up(noise=0.004, finished_rounds=None, **settings) -> Result:
    """A result with invented numbers: smooth curves plus noise, and real nested masks of random scores.

    With ``finished_rounds`` the next round is half measured and the later ones are missing, as in a
    result that is still running.
    """
    settings = {"rate": 0.5, "rounds": 4, "steps": 200, "arms": ("rewind", "reinit"), "seeds": 3} | settings
    experiment = Experiment(**settings)
    rng = np.random.default_rng(0)
    steps = np.array(sorted({*range(0, experiment.steps, experiment.evaluate_every), experiment.steps}))
    shapes, seeds, rounds = experiment.layer_shapes, len(experiment.seeds), experiment.rounds
    pruned_at = {layer: np.full((seeds, *shape), rounds + 1, np.int16) for layer, shape in shapes.items()}
    output = list(shapes)[-1] if experiment.scope == "layer" else None
    for row in range(seeds):
        mask = Mask({layer: np.ones(shape, bool) for layer, shape in shapes.items()})
        for r in range(1, rounds + 1):
            scores = {layer: rng.random(shape) for layer, shape in shapes.items()}
            smaller = prune(
                scores, rate=experiment.rate, mask=mask, scope=experiment.scope, output_layer=output
            )
            for layer in shapes:
                pruned_at[layer][row][mask[layer] & ~smaller[layer]] = r
            mask = smaller
    shown = rounds + 1 if finished_rounds is None else min(finished_rounds + 2, rounds + 1)
    arrays = {"steps": steps}
    edges = np.linspace(-0.5, 0.5, 41)
    for layer, when in pruned_at.items():
        kept = np.stack([(when > r).reshape(seeds, -1).sum(1) for r in range(shown)])
        arrays[f"kept/{layer}"] = kept
        arrays[f"pruned_at/{layer}"] = when
        counts = [
            [[np.histogram(rng.normal(0, width, n), edges)[0] for n in row] for row in kept]
            for width in (0.1, 0.15)
        ]
        arrays[f"histogram/{layer}/edges"] = edges
        arrays[f"histogram/{layer}/initial"], arrays[f"histogram/{layer}/final"] = np.array(counts)
    size = sum(kept[0, 0] for name, kept in arrays.items() if name.startswith("kept/"))
    density = sum(kept[:, 0] for name, kept in arrays.items() if name.startswith("kept/")) / size
    learnt = 1 - np.exp(-4 * steps / experiment.steps)
    overfit = 0.2 * (steps / experiment.steps) ** 2
    for arm in experiment.arms:
        level = 0.95 + SLOPES[arm] * np.log2(density)[:, None, None]
        level = level + rng.normal(0, noise, (shown, seeds, 1))
        accuracy = 0.1 + (level - 0.1) * learnt
        arrays[f"test_accuracy/{arm}"] = accuracy
        arrays[f"validation_accuracy/{arm}"] = accuracy - 0.01
        arrays[f"validation_loss/{arm}"] = 2.3 - 2 * accuracy + overfit * (1 + density[:, None, None])
        arrays[f"diverged/{arm}"] = np.zeros((shown, seeds), bool)
        arrays[f"density/{arm}"] = density * (0.97 if arm == "small-dense" else 1.0)
        arrays[f"density/{arm}"][0] = 1.0
        if finished_rounds is not None and shown > finished_rounds + 1:
            for quantity in QUANTITIES:
                arrays[f"{quantity}/{arm}"][-1, :, len(steps) // 2 :] = np.nan
            if arm != "rewind":
                arrays[f"density/{arm}"][-1] = np.nan
    if finished_rounds is not None:
        for name in arrays:
            if name.endswith(("/initial", "/final")):
                arrays[name] = arrays[name][: finished_rounds + 1]
        if finished_rounds < 0:
            arrays = {name: value for name, value in arrays.items() if not name.startswith("histogram/")}
    return Result(experiment, arrays, {"made up": True, "finished": finished_rounds is None})


def shown(explorer, name):
    """An array or the sentences as the browser gets them."""
    spec = explorer.arrays[name]
    if "texts" in spec:
        return spec["texts"]
    return np.frombuffer(spec["data"], spec["dtype"]).reshape(spec["shape"])
