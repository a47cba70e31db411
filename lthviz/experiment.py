"""An experiment is its configuration: frozen, checked before training, and hashed."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral

from . import data, models
from .arms import ARMS
from .choices import count, number, unknown
from .masks import ladder
from .methods import METHODS
from .schedule import Schedule

#: Raise it when the same configuration would give other numbers: old results are then not found any more.
FORMAT = 1


class Cancelled(Exception):
    """Training was cancelled; the rounds that had finished are in the store."""


@dataclass(frozen=True)
class Experiment:
    """One experiment: a method that finds sparse networks, and the arms it is compared with.

    Parameters
    ----------
    dataset : str or Dataset
        A name from ``lthviz.data.DATASETS`` or a data set of your own (``lthviz.data.from_arrays``).
    model : str
        ``mlp-W[-W...]``, ``lenet-300-100`` or ``conv-2``.
    rate : float in (0, 1)
        Fraction of the surviving weights that each round removes; the output layer loses half of
        that (scope "layer").
    rounds : int
        Rounds of pruning after the dense network, 0 or more. One round is one-shot pruning. Methods that do not
        prune in rounds train one network at each of the same densities.
    arms : str or sequence of str
        From ``lthviz.arms.ARMS``; ``rewind``, the method's own network, is always there. Which others a method may
        be compared with, ``lthviz.methods.METHODS`` says.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which.
    steps : int
        Optimiser steps a round.
    batch_size : int
    optimizer : "adam" or "sgd"
    lr : float, optional
        Learning rate. Without it the customary one: 0.0012 for lenet-300-100, 0.005 for mnist1d,
        otherwise 0.002; 0.1 for sgd.
    momentum : float in [0, 0.999]
        For sgd.
    weight_decay : float
        The L2 penalty of ``torch.optim``.
    scope : "layer" or "global"
        Prune each layer by the same rate, or rank all weights together.
    rewind_step : int
        Rewind to the weights after this many steps of dense training (0: to the initial ones).
    evaluate_every : int
        Steps between two evaluations on validation and test data.
    data_seed : int
        Which examples validate, and which fresh draw of a generated data set.
    method : str
        From ``lthviz.methods.METHODS``: ``imp`` (iterative magnitude pruning), ``snip``, ``grasp``, ``synflow``,
        ``magnitude`` or ``random`` (all before training), ``set`` or ``rigl`` (during training).

    Raises
    ------
    ValueError
        One sentence that names the argument, its value and what is allowed.
    """

    dataset: str | data.Dataset = "mnist-5k-14"
    model: str = "mlp-100-50"
    rate: float = 0.2
    rounds: int = 12
    arms: tuple[str, ...] = ("rewind", "reinit")
    seeds: tuple[int, ...] = 5
    steps: int = 1000
    batch_size: int = 60
    optimizer: str = "adam"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    scope: str = "layer"
    rewind_step: int = 0
    evaluate_every: int = 50
    data_seed: int = 0
    method: str = "imp"

    def __post_init__(self):
        def settle(name, value):
            object.__setattr__(self, name, value)

        if not isinstance(self.dataset, data.Dataset) and not str(self.dataset).startswith("own:"):
            data.shape_of(self.dataset)
        models.parse(self.model)
        if self.optimizer not in ("adam", "sgd"):
            raise unknown("optimizer", self.optimizer, ("adam", "sgd"))
        if self.scope not in ("layer", "global"):
            raise unknown("scope", self.scope, ("layer", "global"))
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        settle("rate", number("rate", self.rate, 0, 1, open_ends=True))
        settle("rounds", count("rounds", self.rounds, 0, 1000))
        settle("steps", count("steps", self.steps, 1))
        settle("batch_size", count("batch_size", self.batch_size, 1))
        settle("evaluate_every", count("evaluate_every", self.evaluate_every, 1))
        settle("rewind_step", count("rewind_step", self.rewind_step, 0, self.steps - 1))
        settle("data_seed", count("data_seed", self.data_seed, 0))
        settle("momentum", number("momentum", self.momentum, 0, 0.999) if self.optimizer == "sgd" else 0.9)
        settle("weight_decay", number("weight_decay", self.weight_decay, 0, 1))
        lr = self._customary_lr() if self.lr is None else self.lr
        settle("lr", number("lr", lr, 0, 100, open_ends=True))
        settle("arms", self._checked_arms())
        settle("seeds", self._checked_seeds())
        self._check_method()
        self._check_ladder()

    def _customary_lr(self) -> float:
        if self.optimizer == "sgd":
            return 0.1
        return 0.005 if self.dataset == "mnist1d" else 0.0012 if self.model == "lenet-300-100" else 0.002

    def _checked_arms(self):
        if not isinstance(self.arms, Iterable):
            raise unknown("arms", self.arms, ARMS)
        arms = [self.arms] if isinstance(self.arms, str) else list(self.arms)
        for arm in arms:
            if not isinstance(arm, str) or arm not in ARMS:
                raise unknown("arm", arm, ARMS)
            if arm not in METHODS[self.method].arms:
                allowed = ", ".join(METHODS[self.method].arms)
                raise ValueError(f"arm={arm!r}: method={self.method!r} has no such arm. Allowed: {allowed}.")
        return tuple(arm for arm in ARMS if arm == "rewind" or arm in arms)

    def _checked_seeds(self):
        if isinstance(self.seeds, Integral):
            return tuple(range(count("seeds", self.seeds, 1)))
        seeds = (
            tuple(count("seed", seed, 0) for seed in self.seeds) if isinstance(self.seeds, Iterable) else ()
        )
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seeds={self.seeds!r}: seeds must be a number of seeds or different whole numbers."
            )
        return seeds

    def _check_method(self):
        for name, only in (("scope", "layer"), ("rewind_step", 0)):
            value = getattr(self, name)
            if self.method != "imp" and value != only:
                raise ValueError(
                    f"{name}={value!r} belongs to method='imp'; with {self.method!r} it must be {only!r}."
                )
        schedule = Schedule(self.steps)
        if METHODS[self.method].kind == "dynamic" and not schedule.exchanges:
            raise ValueError(
                f"steps={self.steps}: method={self.method!r} exchanges weights every {schedule.every} steps of the first "
                f"three quarters; steps must be at least {int(schedule.every / schedule.until) + 1}."
            )

    def _check_ladder(self):
        if self.dataset_key.startswith("own:") and isinstance(self.dataset, str):
            return  # read back from a store: the data themselves are not there
        if self.batch_size > self._training_examples():
            raise ValueError(
                f"batch_size={self.batch_size}: the data set has {self._training_examples()} examples to train on."
            )
        self.ladder()

    def _training_examples(self) -> int:
        if isinstance(self.dataset, data.Dataset):
            return len(self.dataset.y_train)
        return data.DATASETS[self.dataset].examples

    def ladder(self) -> list[dict[str, int]]:
        """How many weights each layer keeps after 0, 1, ... rounds.

        With scope "global" only their sum, ``all layers``, is known before training.
        """
        sizes = {layer: math.prod(shape) for layer, shape in self.layer_shapes.items()}
        return ladder(sizes, self.rate, self.rounds, self.scope)

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """The weight shape of each layer of the dense network."""
        if isinstance(self.dataset, data.Dataset):
            return models.layer_shapes(self.model, self.dataset.input_shape, self.dataset.classes)
        return models.layer_shapes(self.model, *data.shape_of(self.dataset))

    @property
    def dataset_key(self) -> str:
        """The data set's name; for one of your own a name that changes with its content."""
        return self.dataset.key if isinstance(self.dataset, data.Dataset) else self.dataset

    @property
    def config(self) -> dict:
        """Every setting, as plain values for JSON; the method only where it is not IMP, the first there was."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.method == "imp":
            del values["method"]
        return values | {"dataset": self.dataset_key, "arms": list(self.arms), "seeds": list(self.seeds)}

    @cached_property
    def key(self) -> str:
        """The content address: a hash of every setting, 16 hexadecimal digits."""
        text = json.dumps({"format": FORMAT} | self.config, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_config(cls, config: dict) -> "Experiment":
        """The experiment whose ``config`` this is."""
        known = {field.name for field in fields(cls)}
        if set(config) - known:
            raise unknown("setting", sorted(set(config) - known)[0], known)
        return cls(**config)

    def describe(self) -> str:
        """One sentence: what is trained on what, and how."""
        late = f", rewinding to step {self.rewind_step}" if self.rewind_step else ""
        decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        if self.method == "imp":
            how = (
                f"{self.steps:,} steps a round; {self.rounds} rounds of magnitude pruning, each removing {self.rate:.0%} of "
                f"the surviving weights ({self.scope} scope){late}"
            )
        else:
            how = (
                f"{self.steps:,} steps; {METHODS[self.method].label} at the densities of {self.rounds} rounds that each "
                f"remove {self.rate:.0%}"
            )
        return (
            f"{self.model} on {self.dataset_key}, {self.optimizer} with learning rate {self.lr:g}{decay}, batches of "
            f"{self.batch_size}, {how}; {len(self.seeds)} seeds."
        )
