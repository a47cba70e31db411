"""The store: what was saved comes back, whatever happens to files, folders and processes in between."""

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lthviz.experiment import Experiment
from lthviz.store import Store, StoreError, atlas

from .helpers import made_up

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"model": "mlp-5", "dataset": "mnist1d", "rounds": 2, "seeds": 2, "steps": 100}


@pytest.fixture
def result():
    return made_up(**SMALL)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def same(a, b):
    assert a.experiment == b.experiment and a.meta == b.meta
    assert list(a._arrays) == list(b._arrays)
    for name in a._arrays:
        np.testing.assert_array_equal(a._arrays[name], b._arrays[name])
        assert a._arrays[name].dtype == b._arrays[name].dtype


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        **options,
    )


def test_a_result_comes_back_as_it_was(store, result):
    assert store.load(result.experiment) is None and store.results() == []
    store.save(result)
    loaded = store.load(result.experiment)
    same(loaded, result)
    assert loaded.describe() == result.describe()
    assert loaded.mask(2, 1) == result.mask(2, 1)
    assert [found.experiment for found in store.results()] == [result.experiment]
    assert store.load(Experiment(**SMALL | {"rounds": 3})) is None


def test_a_loaded_result_can_be_saved_elsewhere(store, result, tmp_path):
    """Also before any of its arrays has been looked at."""
    store.save(result)
    other = Store(tmp_path / "other")
    other.save(store.load(result.experiment))
    same(other.load(result.experiment), result)


def test_loaded_arrays_cannot_be_changed(store, result):
    store.save(result)
    with pytest.raises(ValueError, match="read-only"):
        store.load(result.experiment).curve("rewind")[:] = 0


def test_saving_again_replaces(store, result):
    store.save(result)
    again = made_up(noise=0.1, **SMALL)
    store.save(again)
    same(store.load(result.experiment), again)
    assert len(list(store.folder.iterdir())) == 1


def test_parts_of_a_running_experiment(store, result):
    part = {"a": np.arange(3), "state/b": np.zeros((2, 2), np.float32)}
    assert store.load_part(result.experiment, "start") is None
    store.save_part(result.experiment, "start", part)
    loaded = store.load_part(result.experiment, "start")
    assert list(loaded) == list(part)
    np.testing.assert_array_equal(loaded["a"], part["a"])
    store.save(result)
    assert store.load_part(result.experiment, "start") is None


def test_rounds_that_a_killed_process_left_beside_its_result_are_dropped(store, result):
    store.save(result)
    store.save_part(result.experiment, "round-000", {"a": np.arange(3)})
    same(store.load(result.experiment), result)
    assert [path.name for path in store.folder.iterdir()] == [f"{result.experiment.key}.npz"]


def test_a_store_may_lie_over_another_one(tmp_path, result):
    below = Store(tmp_path / "below")
    below.save(result)
    store = Store(tmp_path / "own", below=below)
    same(store.load(result.experiment), result)
    assert not store.folder.exists()
    store.save(made_up(noise=0.1, **SMALL))
    same(below.load(result.experiment), result)


def test_looking_at_results_needs_neither_torch_nor_matplotlib(store, result):
    store.save(result)
    code = f"""
        import sys, lthviz
        found = lthviz.Store({str(store.folder)!r}).results()[0]
        found.describe(), found.table(), found.mask(1, 0), found.verdict(1), lthviz.atlas(), lthviz.ARMS
        print(sorted(name for name in sys.modules if name.partition('.')[0] in ('torch', 'matplotlib', 'pandas')))
        """
    assert python(code).stdout.strip() == "[]"


def test_what_ships_can_be_read():
    results = atlas()
    if not results:
        pytest.skip("the atlas is empty: python -m lthviz atlas")
    for result in results:
        assert result.finished and "nan" not in result.describe()
        for seed in result.seeds[:2]:
            for layer in result.layers:
                kept = result.mask(result.rounds, seed)[f"{layer}.weight"].sum()
                assert kept == result.kept[layer][-1, result.seeds.index(seed)]


def cut(path, data):
    path.write_bytes(data[: len(data) // 2])


def flip(path, data):
    path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])


def empty(path, data):
    path.write_bytes(b"")


def not_ours(path, data):
    np.savez(path, a=np.arange(3))


def a_plain_array(path, data):
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def with_objects(path, data):
    np.savez(path, header=np.array([{"format": 1}], dtype=object))


def older(path, data):
    with np.load(path) as parts:
        arrays = {name: parts[name] for name in parts.files}
    header = arrays.pop("header").tobytes().replace(b'"format": 1', b'"format": 0')
    np.savez(path, header=np.frombuffer(header, np.uint8), **arrays)


def of_another(path, data):
    other = Store(path.parent / "other")
    other.save(made_up(**SMALL | {"rounds": 3}))
    os.replace(next(other.folder.glob("*.npz")), path)


@pytest.mark.parametrize(
    "damage", [cut, flip, empty, not_ours, a_plain_array, with_objects, older, of_another]
)
def test_damaged_files_are_set_aside_with_a_warning(store, result, damage):
    store.save(result)
    path = store.folder / f"{result.experiment.key}.npz"
    damage(path, path.read_bytes())
    with pytest.warns(
        UserWarning, match=rf"{path.name} cannot be used .* It was set aside as {path.name}.damaged"
    ):
        assert store.load(result.experiment) is None
    assert not path.exists() and path.with_name(path.name + ".damaged").exists()
    store.save(result)
    same(store.load(result.experiment), result)


@pytest.mark.parametrize("damage", [cut, flip, empty, not_ours])
def test_damaged_parts_are_set_aside(store, result, damage):
    store.save_part(result.experiment, "start", {"a": np.random.default_rng(0).random(1000)})
    path = next(store.folder.rglob("start.npz"))
    damage(path, path.read_bytes())
    with pytest.warns(UserWarning, match="set aside"):
        assert store.load_part(result.experiment, "start") is None
    assert not path.exists()


def test_the_list_of_results_leaves_out_damaged_ones(store, result):
    store.save(result)
    bad = store.folder / "0123456789abcdef.npz"
    bad.write_bytes(b"not a result")
    with pytest.warns(UserWarning, match="0123456789abcdef.npz cannot be used"):
        assert len(store.results()) == 1


def test_below_a_damaged_file_lies_the_good_one(tmp_path, result):
    below, own = Store(tmp_path / "below"), tmp_path / "own"
    below.save(result)
    own.mkdir()
    (own / f"{result.experiment.key}.npz").write_bytes(b"PK")
    with pytest.warns(UserWarning, match="set aside"):
        same(Store(own, below=below).load(result.experiment), result)


def test_no_flipped_byte_gives_wrong_numbers_or_an_error(store):
    """Whichever byte is damaged: the result is either exactly right or not there."""
    result = made_up(
        **SMALL | {"model": "mlp-1", "rounds": 0, "arms": "rewind", "seeds": 1, "evaluate_every": 100}
    )
    store.save(result)
    path = store.folder / f"{result.experiment.key}.npz"
    good = path.read_bytes()
    for place in range(0, len(good), max(1, len(good) // 400)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = store.load(result.experiment)
        if loaded is not None:
            same(loaded, result)


def test_a_place_that_cannot_be_written_is_named(tmp_path, result):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"The store .*file.* cannot be written .* store=False"):
        Store(tmp_path / "file" / "store").save(result)
    proc = Path("/proc/lthviz")
    if proc.parent.exists():
        with pytest.raises(StoreError, match="cannot be written"):
            Store(proc).save(result)
    assert Store(tmp_path / "file" / "store").load(result.experiment) is None
    assert Store(tmp_path / "file" / "store").results() == []


def test_a_folder_in_the_place_of_the_file(store, result):
    path = store.folder / f"{result.experiment.key}.npz"
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be written"):
        store.save(result)
    assert [each.name for each in store.folder.iterdir()] == [path.name]


SAVE_FOR_EVER = """
    import sys
    from lthviz.store import Store
    from tests.helpers import made_up
    store = Store(sys.argv[1])
    results = [made_up(noise=noise, model="mlp-5", dataset="mnist1d", rounds=2, seeds=2, steps=100) for noise in (0, 0.1)]
    store.save(results[0])
    print("saving", flush=True)
    while True:
        for result in results:
            store.save(result)
    """


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_process_killed_while_saving_leaves_a_good_file(store, result):
    """Whenever it is killed, and while others read."""
    first, second = made_up(noise=0, **SMALL), made_up(noise=0.1, **SMALL)
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SAVE_FOR_EVER), str(store.folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout.readline() == "saving\n"
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                for _ in range(3 + 5 * attempt):
                    assert store.load(result.experiment) is not None
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = store.load(result.experiment)
        expected = first if np.array_equal(loaded.accuracy("rewind"), first.accuracy("rewind")) else second
        same(loaded, expected)


def save_many(folder, noise):
    store, result = Store(folder), made_up(noise=noise, **SMALL)
    for _ in range(10):
        store.save(result)
        if store.load(result.experiment) is None:
            return False
    return True


def test_many_may_save_the_same_at_once(store):
    levels = [0.0, 0.1, 0.2]
    with ProcessPoolExecutor(3) as executor:
        assert all(executor.map(save_many, [store.folder] * 3, levels))
    results = [made_up(noise=noise, **SMALL) for noise in levels]
    loaded = store.load(results[0].experiment)
    assert any(np.array_equal(loaded.accuracy("rewind"), one.accuracy("rewind")) for one in results)
    assert [path.name for path in store.folder.iterdir()] == [f"{loaded.experiment.key}.npz"]


def run_many(folder, noise):
    store, result = Store(folder), made_up(noise=noise, **SMALL)
    for round in range(30):
        store.save_part(result.experiment, f"round-{round % 3:03d}", {"a": np.arange(9)})
        if round % 3 == 2:
            store.save(result)
    return True


def test_many_may_run_the_same_at_once(store):
    """Who finishes first takes the folder of its rounds away from the others."""
    with ProcessPoolExecutor(3) as executor:
        assert all(executor.map(run_many, [store.folder] * 3, [0.0, 0.1, 0.2]))
    experiment = made_up(**SMALL).experiment
    assert store.load(experiment) is not None
    assert [path.name for path in store.folder.iterdir()] == [f"{experiment.key}.npz"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may be somebody else")
def test_a_folder_in_which_one_may_not_look_is_named(store, result):
    store.save(result)
    store.folder.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="cannot be read .*store=False"):
            store.load(result.experiment)
        with pytest.raises(StoreError, match="cannot be read"):
            store.load_part(result.experiment, "start")
    finally:
        os.seteuid(0)


def test_making_the_atlas_elsewhere_leaves_what_lies_there(tmp_path, monkeypatch, result):
    from lthviz import atlas_build

    monkeypatch.setattr(atlas_build, "EXPERIMENTS", (result.experiment,))
    (tmp_path / "mine.npz").write_bytes(b"a year of work")
    atlas_build.main(str(tmp_path))
    assert (tmp_path / "mine.npz").read_bytes() == b"a year of work"
    assert Store(tmp_path).load(result.experiment) is not None


def test_the_default_store_is_the_users_own(tmp_path, monkeypatch, result):
    monkeypatch.setenv("LTHVIZ_STORE", str(tmp_path / "mine"))
    store = Store.default()
    assert store.folder == tmp_path / "mine" and store.below.folder.name == "atlas"
    store.save(result)
    same(Store(tmp_path / "mine").load(result.experiment), result)


def test_a_damaged_file_below_is_left_where_it_is(tmp_path):
    """The shipped atlas is read, never changed."""
    result = made_up()
    Store(tmp_path / "atlas").save(result)
    path = tmp_path / "atlas" / f"{result.experiment.key}.npz"
    path.write_bytes(path.read_bytes()[:-50])
    store = Store(tmp_path / "own", below=Store(tmp_path / "atlas", read_only=True))
    with pytest.warns(UserWarning, match="left where it is"):
        assert store.load(result.experiment) is None
    assert [p.name for p in (tmp_path / "atlas").iterdir()] == [path.name]
