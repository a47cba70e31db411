"""The exercises of lesson 06: points between two networks, barriers, the first stable step, and three ways to retrain."""

import numpy as np

from .check import Wrong, compare, equal, exercise, expect, ladder

# --- A layer in between -----------------------------------------------------------------------------------------------


def interpolate(a, b, alpha, x):
    """A layer with batch norm, at the point (1 - alpha) * a + alpha * b.

    a, b : {"weight": (units, inputs), "bias": (units,), "mean": (units,), "variance": (units,)}
        The last two are what batch norm subtracts from weight @ x + bias, and what it divides by the root of.
    alpha : 0 gives a, 1 gives b
    x : array (examples, inputs), training examples
    Returns such a dictionary, whose mean and variance (divided by the number of examples) are right for x.
    """
    weight = (1 - alpha) * a["weight"] + alpha * b["weight"]
    bias = (1 - alpha) * a["bias"] + alpha * b["bias"]
    z = x @ weight.T + bias
    return {"weight": weight, "bias": bias, "mean": z.mean(0), "variance": z.var(0)}


def _between(a, b, alpha):
    return {name: (1 - alpha) * a[name] + alpha * b[name] for name in a}


def _with_statistics(layer, z):
    return layer | {"mean": z.mean(0), "variance": z.var(0)}


def _no_bias(a, b, alpha, x):
    layer = _between(a, b, alpha)
    return _with_statistics(layer, x @ layer["weight"].T)


def _one_less(a, b, alpha, x):
    layer = interpolate(a, b, alpha, x)
    return layer | {"variance": layer["variance"] * len(x) / (len(x) - 1)}


def _deviation(a, b, alpha, x):
    layer = interpolate(a, b, alpha, x)
    return layer | {"variance": np.sqrt(layer["variance"])}


def _whole(a, b, alpha, x):
    layer = interpolate(a, b, alpha, x)
    z = x @ layer["weight"].T + layer["bias"]
    return layer | {
        "mean": np.full(len(layer["bias"]), z.mean()),
        "variance": np.full(len(layer["bias"]), z.var()),
    }


def _of_the_ends(a, b, alpha, x):
    ends = [interpolate(a, b, end, x) for end in (0, 1)]
    return _between(a, b, alpha) | {name: _between(*ends, alpha)[name] for name in ("mean", "variance")}


@exercise(
    reference=interpolate,
    wrong={
        lambda a, b, alpha, x: _between(
            a, b, alpha
        ): "Mean and variance are interpolated like the weights. But the variance of a "
        "mixture is not the mixture of the variances: compute both from x, with the weights in between.",
        lambda a, b, alpha, x: (
            _between(a, b, alpha) | {name: a[name] for name in ("mean", "variance")}
        ): "Mean and variance are those of a. They belong to a's weights; compute them "
        "from x with the weights in between.",
        lambda a, b, alpha, x: interpolate(
            b, a, alpha, x
        ): "The line runs the other way: alpha = 0 is a, and alpha = 1 is b.",
        lambda a, b, alpha, x: (
            interpolate(a, b, alpha, x) | {"variance": _between(a, b, alpha)["variance"]}
        ): "The mean is measured anew, but the variance is still interpolated. Measure both.",
        lambda a, b, alpha, x: (
            interpolate(a, b, alpha, x) | {"mean": _between(a, b, alpha)["mean"]}
        ): "The variance is measured anew, but the mean is still interpolated. Measure both.",
        _one_less: "You divided by the number of examples minus one, as np.cov and torch do unless told otherwise. Here "
        "the variance is divided by the number of examples.",
        _no_bias: "The mean was computed without the bias. Batch norm sees weight @ x + bias.",
        _deviation: "That is the standard deviation. Asked is the variance, its square.",
        _whole: "One mean for all units together. Batch norm has one for each unit: average over the examples, axis 0.",
        _of_the_ends: "You computed the statistics at both ends and interpolated them. That is right for the mean, but not for the "
        "variance: compute them with the weights in between.",
        lambda a, b, alpha, x: (
            _between(a, b, alpha)
            | {"mean": x.mean(0)[: len(a["bias"])], "variance": x.var(0)[: len(a["bias"])]}
        ): "These are mean and variance of the "
        "inputs. Batch norm stands behind the layer: it sees weight @ x + bias.",
    },
    idea="Weights and biases lie on the line, so they can be mixed. Mean and variance are no weights: they are *measured*, of "
    "what this layer gives for pictures. A layer in between gives something else than both ends, so measure again.",
    steps="weight and bias: (1 - alpha) * a[...] + alpha * b[...]. Then z = x @ weight.T + bias, of shape (examples, units); its "
    "mean(0) and var(0) are the statistics.",
)
def check_interpolate(answer):
    rng = np.random.default_rng(0)

    def layer(units, inputs):
        shapes = {"weight": (units, inputs), "bias": units, "mean": units, "variance": units}
        return {
            name: rng.normal(size=shape) ** (2 if name == "variance" else 1) for name, shape in shapes.items()
        }

    a, b, x = layer(3, 5), layer(3, 5), rng.normal(1, 2, (40, 5))
    for name, alpha in (("the middle", 0.5), ("a quarter of the way", 0.25), ("the end, alpha = 1", 1.0)):
        yield name
        compare(answer, a, b, alpha, x)
    yield "opposite weights: nothing is left in the middle"
    opposite = {name: -values for name, values in a.items()}
    compare(answer, a, opposite, 0.5, x)


# --- The barrier ------------------------------------------------------------------------------------------------------


def barrier(errors, alphas):
    """How far the errors rise above the straight line from the first to the last.

    errors : array (A,), the error of the network at each alpha
    alphas : array (A,), ascending from 0 to 1, not always evenly spaced
    Returns one number, in the unit of the errors; at least 0.
    """
    line = (1 - alphas) * errors[0] + alphas * errors[-1]
    return (errors - line).max()


@exercise(
    reference=barrier,
    wrong={
        lambda errors, alphas: (
            errors.max() - (errors[0] + errors[-1]) / 2
        ): "You subtracted the mean of the ends, as Frankle and "
        "colleagues do. Here the straight line between them counts: if one end is worse, its error alone is no barrier.",
        lambda errors, alphas: (
            errors.max()
        ): "That is the highest error on the way. A barrier is what *rises above* the ends.",
        lambda errors, alphas: (
            errors.max() - errors.min()
        ): "That is highest minus lowest. Subtract what the straight line between "
        "the ends has at the same alpha.",
        lambda errors, alphas: (
            errors.max() - max(errors[0], errors[-1])
        ): "You compared with the worse end everywhere. Near the better end "
        "less is expected: subtract the straight line between the ends.",
        lambda errors, alphas: (
            errors.max() - errors[0]
        ): "You compared with the first end only. The line leads to the last one too.",
        lambda errors, alphas: np.abs(
            errors - (1 - alphas) * errors[0] - alphas * errors[-1]
        ).max(): "You took the absolute value. Where the "
        "errors dip *below* the line there is no barrier: networks in between may be better than both ends.",
        lambda errors, alphas: (
            errors - np.linspace(errors[0], errors[-1], len(errors))
        ).max(): "Your straight line takes the alphas for evenly spaced. Use the alphas that you were given.",
        lambda errors, alphas: (
            errors - (1 - alphas) * errors[0] - alphas * errors[-1]
        ).mean(): "That is the mean over the way. The barrier is its highest point.",
        lambda errors, alphas: (
            errors[len(errors) // 2] - (errors[0] + errors[-1]) / 2
        ): "That is the height in the middle. The highest point may lie elsewhere: take the maximum.",
        lambda errors, alphas: (
            errors - alphas * errors[0] - (1 - alphas) * errors[-1]
        ).max(): "Your line runs the other way: at alpha = 0 it must have the first error, at 1 the last.",
    },
    idea="Stretch a string from the first error to the last. How far does the curve rise above the string, at its highest?",
    steps="The string at each alpha: (1 - alphas) * errors[0] + alphas * errors[-1]. Subtract it, take the maximum. At the ends the "
    "difference is 0, so the result is never negative.",
)
def check_barrier(answer):
    even = np.linspace(0, 1, 5)
    yield "a hill, one end worse than the other, alphas that are not evenly spaced"
    compare(answer, np.array([8.0, 7.0, 16.0, 22.0, 12.0]), np.array([0.0, 0.2, 0.7, 0.8, 1.0]))
    yield "a hill between equal ends"
    compare(answer, np.array([6.0, 12.0, 20.0, 9.0, 6.0]), even)
    yield "one end is worse, and a straight line leads there"
    compare(answer, np.array([6.0, 7.0, 8.0, 9.0, 10.0]), even)
    yield "a dip: in between it is better"
    compare(answer, np.array([8.0, 6.0, 5.0, 6.5, 8.5]), even)


# --- The first stable step --------------------------------------------------------------------------------------------


def smallest_stable_step(steps, barriers, limit=2.0):
    """From which step on two copies of a network end in the same place.

    steps : array (K,), ascending: the steps after which the copies were made
    barriers : array (K, seeds), in points
    limit : stable means that the mean over the seeds is below it
    Returns the first of the steps at which, *and at all later ones*, the network is stable; np.inf if there is none.
    """
    stable = barriers.mean(1) < limit
    for i in range(len(steps)):
        if stable[i:].all():
            return steps[i]
    return np.inf


def _from(stable, steps):
    return next((step for i, step in enumerate(steps) if stable[i:].all()), np.inf)


@exercise(
    reference=smallest_stable_step,
    wrong={
        lambda steps, barriers, limit=2.0: next(
            (step for step, row in zip(steps, barriers) if row.mean() < limit), np.inf
        ): "You stopped at the first step below the limit. At a later one the network is unstable again, so this may be luck: all "
        "later ones must be stable too.",
        lambda steps, barriers, limit=2.0: _from(
            barriers.max(1) < limit, steps
        ): "You asked every single seed to be below the limit. With more "
        "seeds that gets ever harder; asked is their mean.",
        lambda steps, barriers, limit=2.0: _from(
            barriers.min(1) < limit, steps
        ): "One seed below the limit was enough for you. Asked is the mean over the seeds.",
        lambda steps, barriers, limit=2.0: _from(
            np.median(barriers, 1) < limit, steps
        ): "That is the median. It does not see a few seeds that fall far apart; asked is the mean.",
        lambda steps, barriers, limit=2.0: _from(
            barriers.mean(1) < 2.0, steps
        ): "You always use 2 points. Use the `limit` you were given.",
        lambda steps, barriers, limit=2.0: _from(
            barriers.mean(1) <= limit, steps
        ): "Exactly at the limit is not below it: use <.",
        lambda steps, barriers, limit=2.0: next(
            (i for i in range(len(steps)) if (barriers.mean(1) < limit)[i:].all()), np.inf
        ): "That is the position in the list. Asked is the step itself, steps[i].",
        lambda steps, barriers, limit=2.0: next(
            (step for i, step in enumerate(steps) if (barriers.mean(1) < limit)[i:].all()), steps[-1]
        ): "The network is not stable at any of the steps, and you named the last one. Say np.inf: it is later than we looked, if ever.",
        lambda steps, barriers, limit=2.0: next(
            (step for step, row in zip(steps[::-1], barriers[::-1]) if row.mean() < limit), np.inf
        ): "You came from the end and stopped at once. Go on as long as it is stable.",
    },
    idea="Walk through the steps from the first. At each one ask not only whether it is stable, but whether everything behind it is.",
    steps="stable = barriers.mean(1) < limit gives a true or false for each step. The first i for which stable[i:].all() holds names "
    "the answer, steps[i]. If none does, return np.inf.",
)
def check_smallest_stable_step(answer):
    steps = np.array([0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000])
    barriers = [
        [14, 9, 2.5], [1, 1, 1], [4, 4, 2.5], [0, 3, 6], [2.5, 2.5, 2.5], [0, 3.5, 3.5], [1, 1, 4.6], [1, 1, 3.5],
        [1, 1, 1], [0, 0, 0.2],
    ]  # fmt: skip
    yield "a lucky step on the way, seeds that disagree, the limit met exactly"
    compare(answer, steps, np.array(barriers, float), 3.0)
    yield "the customary limit of 2 points"
    compare(answer, steps[:4], np.array([[14.0, 9.0], [3.0, 4.0], [1.5, 1.0], [0.2, 0.4]]))
    yield "stable from the very beginning"
    compare(answer, steps[:3], np.array([[0.5, 0.7], [0.4, 0.6], [0.1, 0.2]]))
    yield "not stable at any of them"
    compare(answer, steps[:3], np.array([[14.0, 9.0], [3.0, 4.0], [2.5, 2.5]]))


# --- Three ways to train again ----------------------------------------------------------------------------------------


def retraining(scheme, rates, k):
    """How a pruned network is trained again: from which weights, and with which learning rates.

    scheme : "weight rewinding", "learning-rate rewinding" or "fine-tuning"
    rates : array (T,), the learning rate of each step of the dense training
    k : rewind to the moment after this many steps; all three schemes train T - k steps
    Returns (step, rates): the weights are those after this step of the dense training (T are the final ones).
    """
    steps = len(rates) - k
    if scheme == "weight rewinding":
        return k, rates[k:]
    if scheme == "learning-rate rewinding":
        return len(rates), rates[k:]
    return len(rates), np.full(steps, rates[-1])


def _changed(step=lambda scheme, rates, k: retraining(scheme, rates, k)[0], again=lambda scheme, rates, k: retraining(scheme, rates, k)[1]):  # fmt: skip
    return lambda scheme, rates, k: (step(scheme, rates, k), again(scheme, rates, k))


PAIR = (
    "Return two things, `return step, rates`: one number, then an array with the learning rate of each step."
)


@exercise(
    reference=retraining,
    wrong={
        _changed(
            step=lambda scheme, rates, k: 0 if scheme == "weight rewinding" else len(rates)
        ): "Weight rewinding goes back to step k, not to the very beginning (that is k = 0).",
        _changed(
            step=lambda scheme, rates, k: len(rates) if scheme == "fine-tuning" else k
        ): "Learning-rate rewinding leaves the weights as they "
        "are at the end of training. It is only the learning rate that goes back.",
        _changed(
            step=lambda scheme, rates, k: k
        ): "All schemes start from step k with you. Only weight rewinding does; the other two go on from "
        "the final weights, T.",
        _changed(
            again=lambda scheme, rates, k: (
                rates[: len(rates) - k] if scheme != "fine-tuning" else retraining(scheme, rates, k)[1]
            )
        ): "The rates begin at step 0, but the clock goes back to step k: rates[k:].",
        _changed(
            again=lambda scheme, rates, k: (
                rates[k:] if scheme != "fine-tuning" else np.full(len(rates), rates[-1])
            )
        ): "Fine-tuning trains longer than the other two with you. Equal budget: T - k steps for all.",
        _changed(
            again=lambda scheme, rates, k: (
                rates[k:] if scheme != "fine-tuning" else np.full(len(rates) - k, rates[0])
            )
        ): "Fine-tuning uses the *last* learning rate of the dense training, which is small.",
        _changed(
            again=lambda scheme, rates, k: rates[k:]
        ): "Fine-tuning has the schedule of the other two with you. It keeps the last learning "
        "rate throughout, T - k times.",
        _changed(
            again=lambda scheme, rates, k: (
                rates[k:] if scheme == "weight rewinding" else np.full(len(rates) - k, rates[-1])
            )
        ): "Learning-rate rewinding has fine-tuning's small rate with you. The rates go back to step k: rates[k:].",
    },
    idea="Two clocks can be turned back, that of the weights and that of the learning rate. Weight rewinding turns both, learning-rate "
    "rewinding only the second, fine-tuning none.",
    steps="T = len(rates). Weight rewinding: k and rates[k:]. Learning-rate rewinding: T and rates[k:]. Fine-tuning: T and "
    "np.full(T - k, rates[-1]).",
)
def check_retraining(answer):
    rates = np.r_[np.full(6, 0.3), np.full(4, 0.03)]

    def told(scheme, own, k):  # what no known wrong answer gives is answered here, part by part
        given = answer(scheme, own, k)
        if given is None:
            return None
        expect(isinstance(given, tuple | list) and [np.ndim(part) for part in given] == [0, 1], PAIR)
        if not any(equal(given, one(scheme, rates, k)) for one in (retraining, *check_retraining.wrong)):
            step, again = retraining(scheme, rates, k)
            expect(equal(given[0], step), f"The weights are those after step {step}, not {given[0]!r}.")
            n = len(again)
            expect(
                len(given[1]) == n, f"T - k = {n} steps need {n} learning rates; you gave {len(given[1])}."
            )
            raise Wrong(f"The learning rates should be {again.tolist()}; yours are {list(given[1])}.")
        return given

    for scheme in ("weight rewinding", "fine-tuning", "learning-rate rewinding"):
        for k in (0, 2):
            yield f"{scheme}, k = {k}"
            compare(told, scheme, rates, k)


EXERCISES = (check_interpolate, check_barrier, check_smallest_stable_step, check_retraining)
hint = ladder(*EXERCISES)
