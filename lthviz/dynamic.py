"""Dynamic sparse training: the network is sparse from the first step on, and its weights change places.

Every so often each layer gives up its smallest weights and grows as many elsewhere: at random (SET, Mocanu et al.,
Nature Communications 2018), or where the dense gradient is largest (RigL, Evci et al., ICML 2020). The rules are
those of RigL's authors: an exchange takes the place of an optimiser step, a weight that was just dropped may come
straight back and then keeps its value, and a new weight starts at zero with an empty optimiser state.
"""

import numpy as np
import torch

from . import criteria
from .choices import number, unknown
from .masks import Mask, erk, prune, uniform
from .schedule import Schedule

_DISTRIBUTIONS = {"erk": erk, "uniform": uniform}


def exchange(weight, mask, scores, fraction: float):
    """The mask of one layer after an exchange, which has as many weights as before.

    Parameters
    ----------
    weight : tensor
    mask : bool tensor of the same shape
    scores : tensor of the same shape
        Where to grow: the absolute gradient for RigL, uniform random numbers for SET.
    fraction : float in [0, 1]
        ``int(fraction * kept)`` weights are dropped, smallest magnitude first; as many of all that are not kept
        then, just dropped ones too, are grown, highest score first. Among equals the lower index loses.

    Returns
    -------
    bool tensor
        A new one; nothing is changed in place.

    Raises
    ------
    ValueError
        For a fraction out of range.
    """
    fraction = number("fraction", fraction, 0, 1)
    kept = int(mask.sum())
    moving = int(fraction * kept)
    stays = _top(weight.abs(), mask, kept - moving)
    return stays | _top(scores, ~stays, moving)


def _top(scores, among, n):
    """The ``n`` highest of the scores at the places ``among``, of equal ones those with the higher index."""
    chosen = torch.zeros(among.numel(), dtype=torch.bool, device=among.device)
    if n:
        places = among.reshape(-1).nonzero().squeeze(1)
        values = scores.reshape(-1)[places]
        able = ~(values < values.topk(n).values[-1])  # sorting these few is much quicker than sorting all
        order = values[able].argsort(stable=True)
        chosen[places[able][order[len(order) - n :]]] = True
    return chosen.view(among.shape)


class _Dynamic:
    def __init__(self, model, optimizer, *, density, steps, generator, distribution="erk", alpha=0.3, every=100,
                 until=0.75):  # fmt: skip
        density = number("density", density, 0, 1)
        self.schedule = Schedule(steps, alpha, every, until)
        if distribution not in _DISTRIBUTIONS:
            raise unknown("distribution", distribution, _DISTRIBUTIONS)
        self._weights = criteria.prunable(model)
        trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        for name, weight in self._weights.items():
            if id(weight) not in trained:
                raise ValueError(f"the optimizer does not train {name!r} of this model.")
        densities = _DISTRIBUTIONS[distribution](
            {name: weight.shape for name, weight in self._weights.items()}, density
        )
        mask = prune(criteria.random(model, generator=generator), density=densities)
        if mask.collapsed:
            raise ValueError(f"density={density:g} leaves no weight in {', '.join(mask.collapsed)}.")
        self.optimizer, self.generator = optimizer, generator
        self.steps_done = 0
        self.history = []
        self._start(mask)

    def _start(self, mask):
        """Begin with this mask; held as zeros and ones of the weights' type, which multiply fastest."""
        self._first = mask
        self._kept = {
            name: torch.tensor(mask[name]).to(weight.device, weight.dtype)
            for name, weight in self._weights.items()
        }
        self._hold()

    @torch.no_grad()
    def _hold(self):
        for name, weight in self._weights.items():
            weight.mul_(self._kept[name])

    def step(self) -> None:
        """In the place of ``optimizer.step()``, after ``backward()``: an optimiser step or an exchange."""
        fraction = self.schedule.fraction(self.steps_done + 1)
        if fraction:
            self._exchange(fraction)
        else:
            self.optimizer.step()
        self._hold()
        self.steps_done += 1

    @torch.no_grad()
    def _exchange(self, fraction):
        scores = {name: self._scores(weight) for name, weight in self._weights.items()}
        if all(values is None for values in scores.values()):
            name = type(self).__name__
            raise ValueError(f"{name} needs the gradients of the weights: call backward() before step().")
        changes = {}
        for name, weight in self._weights.items():
            mask = self._kept[name].bool()
            new = mask if scores[name] is None else exchange(weight, mask, scores[name], fraction)
            for value in self.optimizer.state[weight].values():
                if torch.is_tensor(value) and value.shape == weight.shape:
                    value.masked_fill_(new & ~mask, 0)
            self._kept[name].copy_(new)
            changes[name] = (new ^ mask).reshape(-1).nonzero().squeeze(1).cpu()
        self.history.append((self.steps_done + 1, changes))

    @property
    def mask(self) -> Mask:
        """Which weights are there now."""
        return Mask(self._kept)

    def masks(self) -> dict[str, np.ndarray]:
        """{name: bool array (exchanges + 1, *shape)}: the first mask and that after each exchange."""
        course = {}
        for name, first in self._first.items():
            frames = np.empty((len(self.history) + 1, first.size), bool)
            frames[0] = first.reshape(-1)
            for i, (_, changes) in enumerate(self.history, start=1):
                frames[i] = frames[i - 1]
                frames[i, changes[name].numpy()] ^= True
            course[name] = frames.reshape(-1, *first.shape)
        return course

    def state_dict(self) -> dict:
        """What ``load_state_dict`` needs to go on, besides model and optimiser: numbers and tensors."""
        return {
            "steps_done": self.steps_done,
            "first": {name: torch.tensor(mask) for name, mask in self._first.items()},
            "history": list(self.history),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state) -> None:
        """Go on where ``state_dict`` was taken; the generator is put back too. ValueError for another network."""
        first = Mask(state["first"])
        first._must_match(self._weights)
        self._first = first
        self.steps_done, self.history = state["steps_done"], list(state["history"])
        self.generator.set_state(state["generator"])
        for name, frames in self.masks().items():
            self._kept[name].copy_(torch.from_numpy(frames[-1]))
        self._hold()

    def __repr__(self):
        return (
            f"{type(self).__name__} after {self.steps_done:,} of {self.schedule.steps:,} steps: {self.mask!r}"
        )


class RigL(_Dynamic):
    """Train a model of your own sparsely; weights grow where the dense gradient is largest (Evci et al. 2020).

    ::

        sparse = RigL(model, optimizer, density=0.1, steps=10_000, generator=torch.Generator().manual_seed(0))
        for x, y in batches:
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            sparse.step()

    After every step the weights outside the mask are exactly zero. An exchange uses the gradient of that step's
    batch and leaves weights that stay untouched. A layer that has no gradient, since it is frozen or took no part in
    the loss, keeps its mask. Gradients are never masked: clipping by their norm counts pruned weights too.

    Parameters
    ----------
    model : torch.nn.Module
        On the device where it learns. Weights of linear and convolution layers may be pruned, the others are left alone.
    optimizer : torch.optim.Optimizer
        Of this model. What it remembers of each weight, such as momentum, is emptied for new weights.
    density : float in (0, 1]
        kept / prunable, from the first step to the last.
    steps, alpha, every, until
        As in :class:`Schedule`.
    generator : torch.Generator
        On the CPU; draws the first mask.
    distribution : "erk" or "uniform"
        How the density is spread over the layers: :func:`lthviz.masks.erk`, :func:`lthviz.masks.uniform`.

    Attributes
    ----------
    mask : Mask
    history : list of (step, {name: flat indices of the weights that came or went})
    steps_done : int

    Raises
    ------
    ValueError
        For settings that are not allowed, a density that leaves a layer empty, or an optimiser of another model.
    """

    def _scores(self, weight):
        return None if weight.grad is None else weight.grad.abs()


class SET(_Dynamic):
    """Train a model of your own sparsely; weights grow at random free places (Mocanu et al. 2018).

    Use and parameters as for :class:`RigL`; the generator draws the first mask and the new places. The schedule is
    RigL's, so that a comparison of the two differs in nothing but where weights grow. Mocanu et al. instead exchange
    the same fraction after every epoch, take the smallest positive and the largest negative weights, and draw
    starting values for new ones; RigL's authors let their SET take the optimiser step before each exchange as well.
    """

    def _scores(self, weight):
        drawn = torch.rand(weight.shape, generator=self.generator).to(weight.device)
        return None if weight.grad is None else drawn
