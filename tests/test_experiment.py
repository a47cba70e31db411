"""Experiments: checked, hashed, written down and read back."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lthviz.data import from_arrays
from lthviz.experiment import Experiment
from lthviz.store import atlas

EVERY = {"dataset": "mnist1d", "model": "mlp-30-20", "rate": 0.3, "rounds": 4, "arms": ("random", "reinit"),
         "seeds": (3, 5), "steps": 200, "batch_size": 50, "optimizer": "sgd", "lr": 0.05, "momentum": 0.5,
         "weight_decay": 1e-4, "scope": "global", "rewind_step": 10, "evaluate_every": 25, "data_seed": 2}  # fmt: skip


def key_of(experiment):
    return experiment.key


def own(seed=0):
    rng = np.random.default_rng(seed)
    return from_arrays(rng.random((40, 6)), rng.integers(0, 3, 40), name="tiny", seed=0)


def test_the_key_is_the_same_in_another_process():
    code = f"from lthviz.experiment import Experiment; print(Experiment(**{EVERY!r}).key)"
    keys = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert keys == {Experiment(**EVERY).key}
    assert len(Experiment().key) == 16 and int(Experiment().key, 16) >= 0


def test_shipped_results_lie_under_their_key():
    results = atlas()
    if not results:
        pytest.skip("the atlas is empty: python -m lthviz atlas")
    from lthviz.store import atlas_store

    stored = {path.stem for path in atlas_store().folder.glob("*.npz")}
    assert stored == {result.experiment.key for result in results}


def test_order_and_form_of_arms_and_seeds_do_not_change_the_key():
    one = Experiment(arms=("random", "reinit"), seeds=3)
    assert one.arms == ("rewind", "reinit", "random")
    for other in (
        Experiment(arms=["rewind", "random", "reinit"], seeds=(0, 1, 2)),
        Experiment(arms=iter(["reinit", "random", "random"]), seeds=range(3)),
        Experiment(arms=("reinit", "random"), seeds=np.int64(3)),
    ):
        assert other.key == one.key and other == one and hash(other) == hash(one)
    assert Experiment(arms="reinit") == Experiment(arms=("reinit",))


def test_equal_numbers_of_other_types_have_the_same_key():
    assert Experiment(rate=np.float64(0.25), steps=np.int32(500)).key == Experiment(rate=0.25, steps=500).key
    assert Experiment(weight_decay=0).key == Experiment(weight_decay=0.0).key
    json.dumps(Experiment(rate=np.float32(0.5), seeds=np.arange(2)).config)


@pytest.mark.parametrize("name", list(EVERY))
def test_every_setting_changes_the_key(name):
    base = {key: value for key, value in EVERY.items() if key != name}
    assert Experiment(**base).key != Experiment(**EVERY).key


def test_momentum_matters_for_sgd_only():
    assert Experiment(momentum=0.1).key == Experiment().key
    assert Experiment(optimizer="sgd", momentum=0.1).key != Experiment(optimizer="sgd").key


@pytest.mark.parametrize("settings", [{}, EVERY, {"scope": "global", "arms": "small-dense"}])
def test_a_config_reads_back(settings):
    experiment = Experiment(**settings)
    again = Experiment.from_config(json.loads(json.dumps(experiment.config)))
    assert again == experiment and again.key == experiment.key
    with pytest.raises(ValueError, match="setting='speed' is not known"):
        Experiment.from_config(experiment.config | {"speed": 3})


def test_own_data_are_known_by_their_content():
    experiment = Experiment(dataset=own(), model="mlp-5", batch_size=10, rounds=2)
    assert experiment.dataset_key.startswith("own:tiny:")
    assert experiment.key == Experiment(dataset=own(), model="mlp-5", batch_size=10, rounds=2).key
    assert experiment.key != Experiment(dataset=own(1), model="mlp-5", batch_size=10, rounds=2).key
    stored = Experiment.from_config(json.loads(json.dumps(experiment.config)))
    assert stored.key == experiment.key and stored.describe() == experiment.describe()


def test_experiments_travel_to_other_processes():
    experiments = [Experiment(**EVERY), Experiment(dataset=own(), model="mlp-5", batch_size=10, rounds=2)]
    for experiment in experiments:
        again = pickle.loads(pickle.dumps(experiment))
        assert again == experiment and again.key == experiment.key
    with ProcessPoolExecutor(1) as executor:
        assert list(executor.map(key_of, experiments)) == [experiment.key for experiment in experiments]


def test_the_customary_learning_rates():
    assert Experiment().lr == 0.002
    assert Experiment(dataset="mnist-5k", model="lenet-300-100").lr == 0.0012
    assert Experiment(dataset="mnist1d").lr == 0.005
    assert Experiment(optimizer="sgd").lr == 0.1
    assert Experiment(lr=0.01).lr == 0.01


BAD = [
    ("dataset", "mnits-5k", "Did you mean", "mnist-5k"),
    ("dataset", None, "None", "mnist-5k"),
    ("dataset", 3, "3", "mnist-5k"),
    ("model", "mpl-100", "'mpl-100'", "mlp-100-50"),
    ("model", "mlp-", "'mlp-'", "lenet-300-100"),
    ("model", "mlp-0", "'mlp-0'", "conv-2"),
    ("model", None, "None", "conv-2"),
    ("rate", 0, "rate=0", "(0, 1)"),
    ("rate", 1, "rate=1", "(0, 1)"),
    ("rate", -0.2, "rate=-0.2", "(0, 1)"),
    ("rate", "fast", "rate='fast'", "(0, 1)"),
    ("rate", float("nan"), "rate=nan", "(0, 1)"),
    ("rate", None, "rate=None", "(0, 1)"),
    ("rate", [0.1, 0.2], "rate=[0.1, 0.2]", "(0, 1)"),
    ("rounds", -1, "rounds=-1", "at least 0"),
    ("rounds", 1.5, "rounds=1.5", "whole number"),
    ("rounds", True, "rounds=True", "whole number"),
    ("rounds", 10**9, "rounds=1000000000", "at most 1000"),
    ("arms", "rewnd", "arm='rewnd'", "rewind"),
    ("arms", ("rewind", 3), "arm=3", "small-dense"),
    ("arms", None, "arms=None", "small-dense"),
    ("arms", 5, "arms=5", "small-dense"),
    ("arms", ([],), "arm=[]", "small-dense"),
    ("seeds", 0, "seeds=0", "at least 1"),
    ("seeds", -3, "seeds=-3", "at least 1"),
    ("seeds", 2.5, "seeds=2.5", "whole numbers"),
    ("seeds", None, "seeds=None", "whole numbers"),
    ("seeds", (), "seeds=()", "whole numbers"),
    ("seeds", (1, 1), "seeds=(1, 1)", "different"),
    ("seeds", (1, "a"), "seed='a'", "whole number"),
    ("seeds", True, "seeds=True", "whole number"),
    ("steps", 0, "steps=0", "at least 1"),
    ("batch_size", 0, "batch_size=0", "at least 1"),
    ("batch_size", 4000, "batch_size=4000", "3500"),
    ("optimizer", "adamw", "Did you mean 'adam'", "sgd"),
    ("optimizer", ["adam"], "optimizer=['adam']", "sgd"),
    ("lr", 0, "lr=0", "(0, 100)"),
    ("lr", "small", "lr='small'", "(0, 100)"),
    ("lr", True, "lr=True", "(0, 100)"),
    ("weight_decay", -1, "weight_decay=-1", "[0, 1]"),
    ("scope", "locally", "scope='locally'", "global"),
    ("rewind_step", -1, "rewind_step=-1", "at least 0"),
    ("rewind_step", 1000, "rewind_step=1000", "at most 999"),
    ("evaluate_every", 0, "evaluate_every=0", "at least 1"),
    ("data_seed", -1, "data_seed=-1", "at least 0"),
]


@pytest.mark.parametrize(
    ("name", "value", "named", "allowed"), BAD, ids=[f"{bad[0]}-{bad[1]}" for bad in BAD]
)
def test_bad_values_give_one_clear_sentence(name, value, named, allowed):
    with pytest.raises(ValueError) as caught:
        Experiment(**{name: value})
    sentence = str(caught.value)
    assert named in sentence and allowed in sentence
    assert sentence.endswith(".") and "\n" not in sentence


def test_bad_momentum_and_models_that_do_not_fit():
    with pytest.raises(ValueError, match=r"momentum=1: momentum must be a number in"):
        Experiment(optimizer="sgd", momentum=1)
    with pytest.raises(ValueError, match="conv-2"):
        Experiment(dataset="mnist1d", model="conv-2")


def test_a_ladder_that_empties_a_layer_says_how_far_it_may_go():
    with pytest.raises(ValueError, match="allowed are at most") as caught:
        Experiment(rate=0.8, rounds=20)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    Experiment(rate=0.8, rounds=most)
    with pytest.raises(ValueError, match="leaves no weight"):
        Experiment(rate=0.8, rounds=most + 1)


def test_experiments_are_frozen_and_describe_themselves():
    experiment = Experiment(**EVERY)
    with pytest.raises(AttributeError):
        experiment.rate = 0.5
    sentence = experiment.describe()
    for word in (
        "mlp-30-20",
        "mnist1d",
        "sgd",
        "0.05",
        "0.0001",
        "50",
        "200",
        "4 rounds",
        "30%",
        "global",
        "step 10",
    ):
        assert word in sentence
    assert sentence.endswith("2 seeds.")
    assert replace(experiment, rate=0.5).rate == 0.5
