"""The experiments that ship with lthviz, and the command that runs them: ``python -m lthviz atlas``."""

from importlib.resources import files

from .experiment import Experiment
from .methods import METHODS
from .runs import run
from .store import Store

_ALL = METHODS["imp"].arms

#: The class-room network at the rates of the explorer's slider, each down to about 1 % density.
CLASS_ROOM = tuple(
    Experiment(rate=rate, rounds=rounds, arms=_ALL, seeds=10)
    for rate, rounds in ((0.2, 21), (0.5, 7), (0.8, 3), (0.3, 13), (0.1, 44))
)
FASHION = Experiment(dataset="fashion-5k-14", rounds=21, arms=_ALL, seeds=10)
MNIST1D = Experiment(dataset="mnist1d", model="mlp-100-100", rounds=20, arms=_ALL, seeds=10, steps=1500)
LENET = Experiment(dataset="mnist-5k", model="lenet-300-100", rounds=20, arms=_ALL, seeds=10)
CONV = Experiment(
    dataset="mnist-5k",
    model="conv-2",
    rounds=14,
    arms=("rewind", "reinit", "small-dense"),
    seeds=10,
    steps=400,
)
#: The class-room network at other learning rates and lengths of training (lesson 04).
LEARNING_RATES = tuple(
    Experiment(rate=0.5, rounds=3, seeds=10, optimizer=optimizer, lr=lr, steps=steps, evaluate_every=250)
    for optimizer, lr, steps in (
        ("adam", 0.0005, 250), ("adam", 0.0005, 1000), ("adam", 0.0005, 4000),
        ("adam", 0.002, 1000), ("adam", 0.008, 1000), ("adam", 0.02, 1000),
        ("sgd", 0.01, 1000), ("sgd", 0.1, 1000), ("sgd", 0.3, 1000),
    )
)  # fmt: skip
#: Every method on the class-room network, down to about 2 % density, with its sanity checks (lessons 08 and 09).
METHODS_COMPARED = (
    Experiment(rounds=18, arms=("rewind",), seeds=10, rewind_step=100),
    *(
        Experiment(rounds=18, arms=set(method.arms) - {"small-dense"}, seeds=10, method=method.name)
        for method in METHODS.values()
        if method.name != "imp"
    ),
)
#: Sparse from the start to the end, and trained five times as long (lesson 09).
LONGER = tuple(
    Experiment(rate=0.5, rounds=5, arms=("rewind",), seeds=10, steps=5000, evaluate_every=250, method=method)
    for method in ("random", "set", "rigl")
)
EXPERIMENTS = (*CLASS_ROOM, FASHION, MNIST1D, LENET, CONV, *LEARNING_RATES, *METHODS_COMPARED, *LONGER)


def main(folder: str | None = None) -> None:
    """Run what the atlas lacks, and drop what does not belong to it any more; another folder only gains results."""
    atlas = Store(folder or str(files("lthviz") / "atlas"))
    for experiment in EXPERIMENTS:
        print(experiment.describe(), flush=True)
        result = run(experiment, store=atlas)
        print(f"  {result.meta['seconds']:.0f} s. {result.verdict(result.rounds)}", flush=True)
    wanted = {experiment.key for experiment in EXPERIMENTS}
    if folder is None:
        for path in atlas.folder.glob("*.npz"):
            if path.stem not in wanted:
                path.unlink()
    size = sum(path.stat().st_size for path in atlas.folder.glob("*.npz"))
    print(f"{len(EXPERIMENTS)} experiments, {size / 1e6:.1f} MB in {atlas.folder}")
