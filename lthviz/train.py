"""The population trainer: K networks of one shape, side by side.

Seeds times arms of an experiment are many small networks. One by one, most of the time goes into
starting operations; stacked, a layer of all K networks is one batched matrix product and one
optimiser step updates them all. A network's course does not depend on who else is in the population
(beyond float tolerance), and equals the plain loop: forward, backward, ``torch.optim``, mask.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call

from .models import build

CHUNK = 1000  # examples evaluated at once


def generator(seed: int, role: str, round: int = 0) -> torch.Generator:
    """A CPU generator of its own for each seed, role (``init``, ``order``, ``mask``, ...) and round."""
    state = np.random.SeedSequence([seed, round, *role.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def batch_order(seed: int, round: int, examples: int, batch_size: int, steps: int) -> torch.Tensor:
    """(steps, batch_size) indices: shuffled passes over the data, one after the other."""
    draw = generator(seed, "order", round)
    passes = math.ceil(steps * batch_size / examples)
    order = torch.cat([torch.randperm(examples, generator=draw) for _ in range(passes)])
    return order[: steps * batch_size].view(steps, batch_size)


def usable(device) -> torch.device:
    """The torch device of this name; ValueError where this computer has no such device."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        allowed = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(f"device={device!r} is not on this computer. Allowed: {allowed}.") from error
    return torch.device(device)


class Population:
    """K networks of one architecture in one flat buffer of parameters, with one optimiser.

    Parameters
    ----------
    architecture : str or (kind, widths)
        As ``lthviz.models.build`` takes it.
    input_shape, classes
        Shape of one example; number of classes.
    parameters : dict of str to tensor ``(K, *shape)``
        The weights and biases to start from; copied.
    masks : dict of str to bool tensor ``(K, *shape)``
        1 = kept, by parameter name. Where it is 0 a weight is zero after every step (NaN once its network has diverged).
    optimizer : "adam" or "sgd"
    lr, momentum, weight_decay : float
        As in ``torch.optim``.
    device : torch device
    """

    def __init__(self, architecture, input_shape, classes, parameters, masks, *, optimizer="adam", lr=0.002,
                 momentum=0.9, weight_decay=0.0, device="cpu"):  # fmt: skip
        self.device = torch.device(device)
        self.K = next(iter(parameters.values())).shape[0]
        names = sorted(parameters, key=lambda name: not name.endswith(".weight"))  # weights first, stable
        sizes = [parameters[name].numel() for name in names]
        self._flat = torch.cat([parameters[name].reshape(-1) for name in names]).to(device, torch.float32)
        self._gradient = torch.zeros_like(self._flat)
        self._minus_one = torch.full((1, 1, 1), -1.0, device=device)
        self._mask = torch.cat([masks[name].reshape(-1) for name in names if name in masks]).to(
            device, torch.float32
        )
        self._prunable = len(self._mask)
        self._flat[: self._prunable] *= self._mask

        def views(flat):
            return {
                name: part.view(parameters[name].shape)
                for name, part in zip(names, flat.split(sizes), strict=True)
            }

        self._masked = self._gradient[: self._prunable]
        #: name -> (K, *shape), views into one buffer that change with every step
        self.parameters, self._gradients = views(self._flat), views(self._gradient)
        self._flat.grad = self._gradient
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam([self._flat], lr=lr, weight_decay=weight_decay, fused=True)
        else:
            self.optimizer = torch.optim.SGD(
                [self._flat], lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
            )
        self._layers = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
        if any(layer.startswith("conv") for layer in self._layers):
            self._network = build(architecture, input_shape, classes, torch.Generator()).to(device)
            self._logits, self._backward = self._logits_one_by_one, self._backward_one_by_one
        else:
            self._logits, self._backward = self._logits_stacked, self._backward_stacked

    def step(self, x, y) -> None:
        """One optimiser step of every network, on batches x ``(K, B, *input_shape)`` and labels y ``(K, B)``."""
        self._backward(x, y)
        # zero gradient, zero momentum, zero weight: such a weight stays exactly zero under Adam, SGD and weight decay
        self._masked.mul_(self._mask)
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, x, y):
        """Mean cross-entropy and accuracy of every network on the same examples: two arrays ``(K,)``."""
        loss = torch.zeros(self.K, device=x.device)
        correct = torch.zeros(self.K, device=x.device)
        for part, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            logits = self._logits(part.expand(self.K, *part.shape))
            labels = labels.expand(self.K, -1)
            loss += F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1)
            correct += (logits.argmax(-1) == labels).sum(1)
        return (loss / len(y)).cpu().numpy(), (correct / len(y)).cpu().numpy()

    # Multilayer perceptrons: a layer of all networks is one batched product, the gradient written out.

    def _forward_stacked(self, x):
        activations = [x.flatten(2)]
        for layer in self._layers:
            weight, bias = self.parameters[f"{layer}.weight"], self.parameters[f"{layer}.bias"]
            z = torch.baddbmm(bias[:, None], activations[-1], weight.transpose(1, 2))
            activations.append(z.relu_() if layer != self._layers[-1] else z)
        return activations

    def _logits_stacked(self, x):
        return self._forward_stacked(x)[-1]

    @torch.no_grad()
    def _backward_stacked(self, x, y):
        *activations, logits = self._forward_stacked(x)
        delta = torch.softmax(logits, -1)  # gradient of the cross-entropy: softmax minus one-hot
        delta.scatter_add_(2, y[..., None], self._minus_one.expand(*y.shape, 1))
        delta /= y.shape[1]
        for layer, entering in zip(reversed(self._layers), reversed(activations), strict=True):
            torch.bmm(delta.transpose(1, 2), entering, out=self._gradients[f"{layer}.weight"])
            torch.sum(delta, 1, out=self._gradients[f"{layer}.bias"])
            if layer != self._layers[0]:
                delta = torch.bmm(delta, self.parameters[f"{layer}.weight"])
                delta = torch.ops.aten.threshold_backward(delta, entering, 0)  # through the ReLU

    # Convolutions: stacking them gains nothing on a CPU, so each network takes its turn. Filters with their
    # channels last in memory are half as fast again.

    def _one(self, k):
        return {
            name: stacked[k].contiguous(memory_format=torch.channels_last)
            if stacked.ndim == 5
            else stacked[k]
            for name, stacked in self.parameters.items()
        }

    def _logits_one_by_one(self, x):
        return torch.stack([functional_call(self._network, self._one(k), (x[k],)) for k in range(self.K)])

    def _backward_one_by_one(self, x, y):
        for k in range(self.K):
            leaves = {name: weight.detach().requires_grad_() for name, weight in self._one(k).items()}
            loss = F.cross_entropy(functional_call(self._network, leaves, (x[k],)), y[k])
            for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
                self._gradients[name][k] = gradient
