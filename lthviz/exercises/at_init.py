"""The exercises of lesson 08: the scores of SNIP, GraSP and SynFlow, the schedule, and controls of one's own."""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from .. import data
from ..experiment import Experiment
from ..models import build
from ..train import Population, batch_order, generator, initial
from .check import compare, equal, exercise, ladder, note

# Scores are computed in float32, so they agree to about six digits.


def _close(a, b):
    if set(a if isinstance(a, dict) else ()) != set(b):
        return False
    return all(
        np.shape(a[name]) == np.shape(b[name])
        and torch.allclose(torch.as_tensor(a[name]).float(), b[name], rtol=1e-4, atol=1e-7)
        for name in b
    )


def _network(seed, biases=True):
    """Six inputs, layers of five and four units, three outputs; the biases are not zero, unless there are none."""
    draw = generator(seed, "practice")
    model = build("mlp-5-4", (6,), 3, draw)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=draw) * biases
    return model


def _batch(seed, examples=12):
    draw = generator(seed, "practice batch")
    return torch.randn(examples, 6, generator=draw), torch.randint(3, (examples,), generator=draw)


def _traces(answer, model, *arguments) -> str:
    """What a call left behind in the model: "parameters", "gradients", or nothing."""
    model = copy.deepcopy(model)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    answer(model, *arguments)
    if not equal(dict(model.state_dict()), before):
        return "parameters"
    return "gradients" if any(p.grad is not None for p in model.parameters()) else ""


# --- SNIP -------------------------------------------------------------------------------------------------------------


def snip(model, x, y):
    """SNIP: what scaling each weight would do to the loss, |w * dL/dw|.

    model : torch.nn.Module; must stay as it is, and no gradient may be left in its .grad
    x, y : a batch; the loss L is torch.nn.functional.cross_entropy
    Returns {name: tensor of the weight's shape} for the parameters that end in ".weight".
    """
    weights = {name: p for name, p in model.named_parameters() if name.endswith(".weight")}
    loss = F.cross_entropy(model(x), y)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return {name: (w * g).detach().abs() for (name, w), g in zip(weights.items(), gradients)}


GRADIENT_ONLY = (
    "That is the size of the gradient, |dL/dw|: what a small *shift* of the weight does. SNIP asks what *scaling* it does, "
    "and a tiny weight has little to scale: multiply by the weight."
)
SIGNED = "You kept the sign of w * dL/dw. SNIP asks how strongly the loss reacts, whether up or down: take the absolute value."
PER_EXAMPLE = (
    "You took absolute values for each example and then averaged. SNIP takes the gradient of the mean loss first, where "
    "examples may cancel, and the absolute value last."
)
SUMMED = (
    "Your scores are those of the *summed* loss: larger by the number of examples. The ranking is the same, but "
    "cross_entropy averages, and so does the paper."
)
SNIP_BIASES = "You scored the biases, too. Only weights are prunable: names that end in “.weight”."
NORMALISED = (
    "You divided by the sum of all scores, as the paper does. That changes no ranking and is left out here, so that "
    "the scores are derivatives."
)
MAGNITUDE = "That is the magnitude |w|: it has not looked at the loss at all."
LEFT_GRADIENTS = (
    "The scores are right, but there are gradients left in the model's .grad, and the next optimiser may step along them. "
    "torch.autograd.grad(loss, weights) returns gradients and leaves none behind."
)
MOVED = "The scores are right, but your function changed the model's parameters: these are the weights to be trained later."


def _snip(score, reduction="mean", ends=".weight"):
    def wrong(model, x, y):
        weights = {name: p for name, p in model.named_parameters() if name.endswith(ends)}
        loss = F.cross_entropy(model(x), y, reduction=reduction)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        return {name: score(w, g).detach() for (name, w), g in zip(weights.items(), gradients)}

    return wrong


def _snip_per_example(model, x, y):
    single = [snip(model, x[i : i + 1], y[i : i + 1]) for i in range(len(y))]
    return {name: torch.stack([scores[name] for scores in single]).mean(0) for name in single[0]}


def _snip_normalised(model, x, y):
    scores = snip(model, x, y)
    total = sum(values.sum() for values in scores.values())
    return {name: values / total for name, values in scores.items()}


def _snip_backward(model, x, y):
    F.cross_entropy(model(x), y).backward()
    return {
        name: (p * p.grad).detach().abs() for name, p in model.named_parameters() if name.endswith(".weight")
    }


def _snip_with_a_step(model, x, y):
    scores = snip(model, x, y)
    with torch.no_grad():
        for name, values in scores.items():
            model.get_parameter(name).sub_(values)
    return scores


@exercise(
    reference=snip,
    wrong={
        _snip(lambda w, g: g.abs()): GRADIENT_ONLY,
        _snip(lambda w, g: w * g): SIGNED,
        _snip_per_example: PER_EXAMPLE,
        _snip(lambda w, g: (w * g).abs(), reduction="sum"): SUMMED,
        _snip(lambda w, g: (w * g).abs(), ends=""): SNIP_BIASES,
        _snip_normalised: NORMALISED,
        _snip(lambda w, g: w.abs()): MAGNITUDE,
        _snip_backward: LEFT_GRADIENTS,
        _snip_with_a_step: MOVED,
    },
    idea="Give every weight a factor c that is 1. Removing the weight means c = 0. The derivative of the loss by c, at 1, "
    "says how much the loss minds. By the chain rule it is w * dL/dw.",
    steps="Collect the weights: {name: p for name, p in model.named_parameters() if name.endswith('.weight')}. The loss is "
    "F.cross_entropy(model(x), y). torch.autograd.grad(loss, list(weights.values())) gives one gradient a weight tensor, "
    "in the same order. Multiply, take the absolute value, detach.",
)
def check_snip(answer):
    for seed in range(2):
        yield f"network {seed + 1}"
        compare(answer, _network(seed), *_batch(seed), same=_close)
    yield "the model is as it was"
    said = {"parameters": MOVED, "gradients": LEFT_GRADIENTS}
    left = _traces(answer, _network(0), *_batch(0))
    note(not left, said.get(left, ""))


# --- GraSP ------------------------------------------------------------------------------------------------------------


def grasp(loss, weights):
    """GraSP, high means keep: w * (H g), with the gradient g and the Hessian H of the loss.

    loss : function, loss(weights) -> scalar tensor
    weights : (P,) tensor; must stay as it is
    Returns a (P,) tensor. H has P x P entries and is never built.
    """
    w = weights.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(w), w, create_graph=True)
    (product,) = torch.autograd.grad((g * g.detach()).sum(), w)
    return weights * product


TWICE = (
    "Your scores are twice as large. You differentiated g·g, in which *both* factors depend on the weights: that gives "
    "2 H g. In a Hessian-vector product the vector stands still: detach it."
)
TURNED = (
    "Your signs are turned. The paper's score -w * (H g) is high where a weight should *go*; here high means keep, as for "
    "all criteria of lthviz."
)
UNSIGNED = (
    "You took the absolute value. In GraSP the sign is the point: one sign means that the flow of the gradient would grow "
    "without this weight, the other that it would shrink."
)
NO_WEIGHT = "That is H g alone: what a small *shift* of each weight does. Removing a weight shifts it by -w: multiply by w."
WRONG_VECTOR = "You multiplied H by the weights and took the gradient as factor: g * (H w). It is the other way round, w * (H g)."
FIRST_ORDER = (
    "That is w * g, the first-order term that SNIP takes the absolute value of. GraSP needs one more "
    "derivative: of g·v, with v = g held still."
)


def _grasp(score, still=True):
    def wrong(loss, weights):
        w = weights.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(w), w, create_graph=True)

        def times_hessian(v):
            return torch.autograd.grad((g * v).sum(), w, retain_graph=True)[0]

        return score(weights, g.detach(), times_hessian(g.detach() if still else g), times_hessian)

    return wrong


@exercise(
    reference=grasp,
    wrong={
        _grasp(lambda w, g, hg, times: w * hg, still=False): TWICE,
        _grasp(lambda w, g, hg, times: -w * hg): TURNED,
        _grasp(lambda w, g, hg, times: (w * hg).abs()): UNSIGNED,
        _grasp(lambda w, g, hg, times: hg): NO_WEIGHT,
        _grasp(lambda w, g, hg, times: g * times(w)): WRONG_VECTOR,
        _grasp(lambda w, g, hg, times: w * g): FIRST_ORDER,
    },
    idea="The i-th entry of H v is the derivative by w_i of the number g·v, as long as v does not move. So "
    "differentiate twice and never build H: 25,100 weights would mean 630 million entries.",
    steps="w = weights.detach().clone().requires_grad_(). First derivative: g = torch.autograd.grad(loss(w), w, "
    "create_graph=True)[0]; create_graph keeps what is needed to differentiate again. Second derivative: "
    "torch.autograd.grad((g * g.detach()).sum(), w)[0]. Multiply by the weights.",
)
def check_grasp(answer):
    draw = generator(0, "grasp practice")
    half = torch.randn(5, 5, generator=draw, dtype=torch.float64)
    matrix, shift = half @ half.T, torch.randn(5, generator=draw, dtype=torch.float64)
    weights = torch.randn(5, generator=draw, dtype=torch.float64)
    yield "a quadratic loss, whose Hessian is known"
    compare(answer, lambda w: w @ matrix @ w / 2 - shift @ w, weights)
    x = torch.randn(20, 5, generator=draw, dtype=torch.float64)
    y = torch.randint(2, (20,), generator=draw).double()
    yield "logistic regression, whose Hessian depends on the weights"
    compare(answer, lambda w: F.binary_cross_entropy_with_logits(x @ w, y), weights)
    yield "a weight of zero has nothing to remove"
    compare(
        answer, lambda w: (w**4).sum() + w.prod(), torch.tensor([1.0, 0.0, -0.5, 2.0], dtype=torch.float64)
    )


# --- SynFlow ----------------------------------------------------------------------------------------------------------


def synflow(model, input_shape):
    """SynFlow: |w| * dR/d|w|, all parameters made absolute, R the summed output for ones.

    model : torch.nn.Module; must stay as it is, signs included
    input_shape : tuple, the shape of one example; a network takes a batch of one, (1, *input_shape)
    Returns {name: tensor of the weight's shape} for the parameters that end in ".weight".
    """
    positive = copy.deepcopy(model)
    for parameter in positive.parameters():
        parameter.data.abs_()
    weights = {name: p for name, p in positive.named_parameters() if name.endswith(".weight")}
    flow = positive(torch.ones(1, *input_shape)).sum()
    gradients = torch.autograd.grad(flow, list(weights.values()))
    return {name: (w * g).detach() for (name, w), g in zip(weights.items(), gradients)}


NO_ABS = (
    "You used the weights with their signs: paths of opposite sign cancel, and units can be off. SynFlow makes *all* "
    "parameters absolute first, so that nothing cancels."
)
ABS_AT_THE_END = (
    "You took absolute values at the end only, as in SNIP. They come first: make the parameters absolute, then run the "
    "network and differentiate."
)
BIASES_SIGNED = "You made the weights absolute, but not the biases. A negative bias can switch a unit off and stop its flow."
FLOW_ONLY = "That is dR/d|w| alone, the flow through a pipe of width 1. A path is worth the product of its weights: multiply by |w|."
FLOW_BIASES = "Biases are scored, too. Make them absolute, but score the weights alone."
MEAN_FLOW = (
    "You averaged the outputs: your scores are too small by their number. R is the *sum* of the outputs."
)
NOT_RESTORED = (
    "The scores are right, but the model's weights are positive now. That is a well-known bug: whoever trains this model next "
    "trains another network. Make a copy absolute, or put the signs back."
)
FLOW_GRADIENTS = (
    "The scores are right, but there are gradients left in the model's .grad. torch.autograd.grad(...) returns "
    "gradients and leaves none behind."
)


def _synflow(make=lambda name, p: p.abs(), score=lambda w, g: w * g, reduce=torch.sum, ends=".weight"):
    def wrong(model, input_shape):
        network = copy.deepcopy(model)
        for name, parameter in network.named_parameters():
            parameter.data = make(name, parameter.data)
        weights = {name: p for name, p in network.named_parameters() if name.endswith(ends)}
        flow = reduce(network(torch.ones(1, *input_shape)))
        gradients = torch.autograd.grad(flow, list(weights.values()))
        return {name: score(w, g).detach() for (name, w), g in zip(weights.items(), gradients)}

    return wrong


def _synflow_in_place(model, input_shape):
    scores = synflow(model, input_shape)
    for parameter in model.parameters():
        parameter.data.abs_()
    return scores


def _synflow_backward(model, input_shape):
    before = {name: p.data.clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.data.abs_()
    model(torch.ones(1, *input_shape)).sum().backward()
    scores = {name: (p * p.grad).detach() for name, p in model.named_parameters() if name.endswith(".weight")}
    for name, parameter in model.named_parameters():
        parameter.data = before[name]
    return scores


@exercise(
    reference=synflow,
    wrong={
        _synflow(make=lambda name, p: p): NO_ABS,
        _synflow(make=lambda name, p: p, score=lambda w, g: (w * g).abs()): ABS_AT_THE_END,
        _synflow(make=lambda name, p: p.abs() if name.endswith(".weight") else p): BIASES_SIGNED,
        _synflow(score=lambda w, g: g): FLOW_ONLY,
        _synflow(ends=""): FLOW_BIASES,
        _synflow(reduce=torch.mean): MEAN_FLOW,
        _synflow_in_place: NOT_RESTORED,
        _synflow_backward: FLOW_GRADIENTS,
    },
    idea="Think of water: every weight is a pipe as wide as its absolute value, every input gets one litre. A weight's score "
    "is the flow that passes through it: what would be missing at the output if it were closed.",
    steps="copy.deepcopy(model), then parameter.data.abs_() for every parameter of the copy, biases too. "
    "R = network(torch.ones(1, *input_shape)).sum(). torch.autograd.grad(R, list of the weights), then multiply each "
    "gradient by its weight.",
)
def check_synflow(answer):
    yield "without biases: the sum over all paths"
    compare(answer, _network(0, biases=False), (6,), same=_close)
    yield "with biases, some of them negative"
    compare(answer, _network(1), (6,), same=_close)
    yield "the model is as it was, signs included"
    said = {"parameters": NOT_RESTORED, "gradients": FLOW_GRADIENTS}
    left = _traces(answer, _network(1), (6,))
    note(not left, said.get(left, ""))


# --- The schedule -----------------------------------------------------------------------------------------------------


def exponential_schedule(density, iterations):
    """The density to prune to in each iteration; each keeps the same fraction of what is left.

    density : the last one, in (0, 1]
    iterations : n, how many times the network is scored and pruned
    Returns (n,) densities: the dense network's 1 is not among them, the last is `density`.
    """
    return density ** (np.arange(1, iterations + 1) / iterations)


LINEAR = (
    "Your densities fall by the same *amount* each time. Then the last iteration has to remove most of what is "
    "left at one go. By the same *factor* each time: density ** (i / n)."
)
STARTS_AT_ONE = (
    "Your first density is 1 and your last is not the target: i runs from 1 to n, not from 0 to n - 1."
)
BOTH_ENDS = "One density too many: the dense network's 1 is where it starts, not something to prune to."
WASTED = (
    "Your densities go from 1 to the target in n values, so the first iteration removes nothing and there are only n - 1 "
    "steps. The factor is density ** (1 / n)."
)
FACTORS = "You returned the fraction that each iteration keeps. Asked are the densities themselves, its powers 1, 2, ..., n."
SPARSITY = (
    "You took powers of the *sparsity*, so your densities *rise* towards the target. It is the density that falls by equal "
    "factors."
)


@exercise(
    reference=exponential_schedule,
    wrong={
        lambda density, n: 1 - (1 - density) * np.arange(1, n + 1) / n: LINEAR,
        lambda density, n: density ** (np.arange(n) / n): STARTS_AT_ONE,
        lambda density, n: density ** (np.arange(n + 1) / n): BOTH_ENDS,
        lambda density, n: np.geomspace(1, density, n): WASTED,
        lambda density, n: np.full(n, density ** (1 / n)): FACTORS,
        lambda density, n: 1 - (1 - density) ** (np.arange(1, n + 1) / n): SPARSITY,
    },
    idea="If each of n iterations keeps the fraction f of what is left, f^n is left at the end. So f is the n-th root of the "
    "target, and after iteration i the density is f^i.",
    steps="np.arange(1, iterations + 1) / iterations are the exponents 1/n, 2/n, ..., 1. Raise density to them.",
)
def check_exponential_schedule(answer):
    for density, iterations in ((0.01, 4), (0.1, 3), (0.3, 1), (1.0, 2)):
        yield f"density {density:g} in {iterations} iteration{'s' if iterations > 1 else ''}"
        compare(answer, density, iterations)


# --- Controls of one's own --------------------------------------------------------------------------------------------


def train_masks(masks, seeds, round):
    """Test accuracy (S,) of the class-room network under one mask a seed, trained as in a stored result.

    Initial weights, order of the pictures, steps and optimiser are those of `seeds` in `round`: with the masks of a
    result these are its numbers, so any other mask can be compared with them seed by seed.

    masks : list of S masks {parameter name: boolean array}
    """
    setting, digits = Experiment(), data.load(Experiment().dataset)
    start = initial(setting.model, digits.input_shape, digits.classes, seeds)
    kept = {name: torch.tensor(np.stack([mask[name] for mask in masks])) for name in masks[0]}
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    size, steps = setting.batch_size, setting.steps
    population = Population(setting.model, digits.classes, start, kept, x, y, size, lr=setting.lr)
    order = torch.stack([batch_order(seed, round, len(y), size, steps) for seed in seeds])
    for step in range(steps):
        population.step(order[:, step])
    return np.array(population.evaluate(torch.tensor(digits.x_test), torch.tensor(digits.y_test))[1])


EXERCISES = (check_snip, check_grasp, check_synflow, check_exponential_schedule)
hint = ladder(*EXERCISES)
