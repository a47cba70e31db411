"""Running experiments: from the store when the result is there, else round by round, resumable at any point."""

import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from . import __version__, data
from .experiment import Experiment
from .methods import METHODS
from .result import Result
from .store import Store


@dataclass(frozen=True)
class Moment:
    """What a running experiment tells its watcher.

    ``done`` is the finished share of all steps, 0 to 1; ``result`` holds the finished rounds and the running
    one, NaN where nothing has been measured yet.
    """

    round: int
    step: int
    done: float
    result: Result


def run(
    experiment: Experiment,
    store: "Store | str | bool | None" = None,
    device: str = "cpu",
    progress: bool = True,
    watch: Callable[[Moment], None] | None = None,
    cancel: threading.Event | None = None,
) -> Result:
    """The result of an experiment: loaded when the store has it, otherwise trained.

    Each finished round is saved at once; a run that was interrupted goes on from there, and ends
    bit-identical to an uninterrupted one on the same device.

    Parameters
    ----------
    experiment : Experiment
    store : path or Store, optional
        Where results are kept. None: the user's own folder, over the atlas. False: keep nothing.
    device : str
        A torch device, such as ``cpu`` or ``cuda``.
    progress : bool
        Show a bar.
    watch : callable, optional
        Called with a ``Moment`` after each evaluation and each round, in the thread that trains.
    cancel : threading.Event, optional
        When it is set, training stops within one step.

    Raises
    ------
    ValueError
        For a store, a device or a default number type of torch that cannot be used.
    Cancelled
        When ``cancel`` was set; finished rounds are kept.
    StoreError
        When the store cannot be written, before training where possible.
    FileNotFoundError
        When a full data set is not on this computer.
    """
    store = _as_store(store)
    stored = store.load(experiment) if store else None
    if stored is not None:
        return stored
    dataset = experiment.dataset
    if isinstance(dataset, str):
        dataset = data.load(dataset, experiment.data_seed)
    import torch
    from tqdm.auto import tqdm

    from . import rounds
    from .train import usable

    device = usable(device)
    if torch.get_default_dtype() != torch.float32:  # draws and networks would be others
        raise ValueError(
            f"torch's default is {torch.get_default_dtype()}, but experiments run in float32: call "
            "torch.set_default_dtype(torch.float32) before."
        )
    finished, state = _resume(experiment, store, rounds, dataset)
    steps = rounds.evaluation_steps(experiment)
    meta = {
        "lthviz": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if torch.device(device).type == "cuda" else platform.machine(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    work = [
        sum(rounds.steps_of(experiment, arm, r) for arm in experiment.arms)
        for r in range(experiment.rounds + 1)
    ]
    total, done = sum(work), sum(work[: len(finished)])  # a bar that is not shown does not count
    with tqdm(total=total, disable=not progress, unit="step", leave=False) as bar:
        bar.update(done)
        for r in range(len(finished), experiment.rounds + 1):
            bar.set_description(f"round {r} of {experiment.rounds}")

            def report(steps_done, step, measured, r=r, state=state):
                nonlocal done
                done += steps_done
                bar.update(steps_done)
                if watch:
                    partial = _result(
                        experiment, steps, [*finished, measured], state, meta | {"finished": False}
                    )
                    watch(Moment(r, step, min(1.0, done / total), partial))

            begun = time.perf_counter()
            measured, new = rounds.train_round(experiment, dataset, r, state, device, report, cancel)
            new["seconds"] = state.get("seconds", 0.0) + np.float64(time.perf_counter() - begun)
            if store:
                changed = {
                    f"state/{name}": value for name, value in new.items() if state.get(name) is not value
                }
                store.save_part(experiment, f"round-{r:03d}", measured | changed)
            state = new
            finished.append(measured)
    seconds = round(float(state["seconds"]), 1)
    result = _result(experiment, steps, finished, state, meta | {"seconds": seconds})
    if store:
        store.save(result)
    if watch:
        watch(Moment(experiment.rounds, experiment.steps, 1.0, result))
    return result


def run_many(experiments, executor=None, store=None) -> list[Result]:
    """The results of many experiments, in their order.

    Parameters
    ----------
    experiments : iterable of Experiment
        Equal ones are run once.
    executor : concurrent.futures.Executor, optional
        Runs them side by side: ``ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))``, or
        ``client.get_executor()`` of Dask. Forked processes hang once torch has computed in the parent.
    store : as for ``run``
        With an executor on other machines, a folder that they share.
    """
    experiments = list(experiments)
    different = list(dict.fromkeys(experiments))
    if executor is None:
        results = {experiment: run(experiment, store) for experiment in different}
    else:
        futures = {
            experiment: executor.submit(run, experiment, store=store, progress=False)
            for experiment in different
        }
        results = {experiment: future.result() for experiment, future in futures.items()}
    return [results[experiment] for experiment in experiments]


def _as_store(store) -> Store | None:
    if store is None:
        return Store.default()
    if store is True:
        raise ValueError(
            "store=True: store must be a folder, a Store, None (your own store) or False (keep nothing)."
        )
    return store if isinstance(store, Store) else Store(store) if store is not False else None


def _resume(experiment, store, rounds, dataset):
    """The finished rounds that the store has, and the state after them."""
    state = store.load_part(experiment, "start") if store else None
    finished = []
    if state is None:
        state = rounds.start(experiment, dataset)
        if store:
            store.save_part(experiment, "start", state)
    else:
        while (part := store.load_part(experiment, f"round-{len(finished):03d}")) is not None:
            state |= {
                name.removeprefix("state/"): part.pop(name)
                for name in list(part)
                if name.startswith("state/")
            }
            finished.append(part)
    return finished, state


def _result(experiment, steps, measured_rounds, state, meta) -> Result:
    """Rounds put together: arrays with the rounds in front."""
    arrays = {"steps": steps}
    for name in measured_rounds[0]:
        rows = [measured[name] for measured in measured_rounds if name in measured]
        arrays[name] = rows[0] if name.endswith("/edges") else np.stack(rows)
    if METHODS[experiment.method].kind != "dynamic":
        arrays |= {name: value for name, value in state.items() if name.startswith("pruned_at/")}
    return Result(experiment, arrays, meta)
