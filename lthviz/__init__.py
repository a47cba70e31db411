"""lthviz: meet the Lottery Ticket Hypothesis.

``Experiment`` -> ``run`` -> ``Result`` -> figure, explorer, verdict. Importing lthviz, and everything
that only looks at stored results, needs no torch.
"""

import os
from importlib import import_module

# Torch's threads spin while they wait for each other. On a busy machine, a class-room's server say, that makes
# small networks many times slower; waiting passively costs next to nothing. It counts if torch is not loaded yet.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_HOME = {
    "ARMS": "arms",
    "Cancelled": "experiment",
    "Experiment": "experiment",
    "Mask": "masks",
    "Result": "result",
    "Store": "store",
    "apply_mask": "tickets",
    "atlas": "store",
    "explore": "explorer",
    "find_ticket": "tickets",
    "prune": "masks",
    "prune_at_init": "at_init",
    "run": "runs",
    "run_many": "runs",
}
_ROOMS = (
    "anatomy", "connectivity", "criteria", "data", "deploy", "doctor", "dynamic", "exercises", "explorer",
    "figures", "language", "llm", "masks", "models", "result", "strong", "studies", "train",
)  # fmt: skip

__version__ = "0.1.0"
__all__ = [*_HOME, *_ROOMS]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'lthviz' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
