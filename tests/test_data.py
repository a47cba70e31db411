"""Data sets: the right bytes, the promised split and normalisation, clear words when something is missing."""

import gzip
import hashlib
import io
import os
import random
import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from lthviz import data

SHIPPED = {
    "fashion_5k.npz": "92f2160d54ee2fd3e098809d5bf2ffa6637c8899e53ad7246b97a080f6331ec6",
    "mnist_5k.npz": "e8c1f74d90bf751ff78fa43f8d05e5167fc3f366ea927d02c69925cd6fdffd93",
}
EMBEDDED = ["mnist-5k", "mnist-5k-14", "fashion-5k", "fashion-5k-14"]


def full_folder(name):
    """Where the four files of a full data set lie: $LTHVIZ_TEST_DATA/NAME or ../shared/data/NAME beside the project."""
    root = os.environ.get("LTHVIZ_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(root) / name
    if not (folder / "t10k-labels-idx1-ubyte.gz").exists():
        pytest.skip(f"the full {name} is not here: set LTHVIZ_TEST_DATA to a folder that holds {name}/")
    return folder


@pytest.mark.parametrize("file", SHIPPED)
def test_shipped_files_are_the_stated_ones(file):
    content = (files("lthviz") / "datasets" / file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHIPPED[file]


@pytest.mark.parametrize("name", [*EMBEDDED, "mnist1d"])
def test_parts_have_the_stated_sizes_types_and_labels(name):
    loaded = data.load(name)
    assert (len(loaded.y_train), len(loaded.y_validation), len(loaded.y_test)) == (3500, 500, 1000)
    assert (loaded.input_shape, loaded.classes) == data.shape_of(name)
    assert len(loaded.y_train) == data.DATASETS[name].examples
    for part in ("train", "validation", "test"):
        x, y = getattr(loaded, f"x_{part}"), getattr(loaded, f"y_{part}")
        assert x.dtype == np.float32 and y.dtype == np.int64 and len(x) == len(y)
        assert set(y.tolist()) == set(range(10))
        assert np.isfinite(x).all()
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 0
    assert (
        name in str(loaded)
        and "3,500 to train" in str(loaded)
        and data.DATASETS[name].normalisation in str(loaded)
    )


@pytest.mark.parametrize("name", ["mnist-5k", "fashion-5k"])
def test_the_split_is_disjoint_and_complete(name):
    with np.load(files("lthviz") / "datasets" / f"{name.replace('-', '_')}.npz") as raw:
        original = np.concatenate([raw["x_train"].reshape(4000, -1), raw["y_train"][:, None]], axis=1)
        test = raw["x_test"]
    loaded = data.load(name)
    parts = [
        np.concatenate([np.rint(255 * x.reshape(len(x), -1)), y[:, None]], axis=1)
        for x, y in ((loaded.x_train, loaded.y_train), (loaded.x_validation, loaded.y_validation))
    ]
    assert sorted(map(tuple, np.concatenate(parts).astype(int))) == sorted(map(tuple, original.astype(int)))
    np.testing.assert_array_equal(np.rint(255 * loaded.x_test), test)


def test_another_seed_is_another_split_of_the_same_examples():
    one, other = data.load("mnist-5k-14", 0), data.load("mnist-5k-14", 1)
    assert not np.array_equal(one.y_validation, other.y_validation)
    np.testing.assert_array_equal(one.x_test, other.x_test)
    total = [np.sort(np.concatenate([d.y_train, d.y_validation])) for d in (one, other)]
    np.testing.assert_array_equal(*total)


@pytest.mark.parametrize("name", ["mnist-5k", "fashion-5k"])
def test_normalisation_is_as_stated(name):
    with np.load(files("lthviz") / "datasets" / f"{name.replace('-', '_')}.npz") as raw:
        pixels = raw["x_test"]
    assert pixels.dtype == np.uint8
    large, small = data.load(name).x_test, data.load(f"{name}-14").x_test
    np.testing.assert_allclose(large, pixels / 255, rtol=1e-6)
    for row, column in [(0, 0), (5, 7), (13, 13)]:
        block = pixels[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(-1, 4).mean(1) / 255
        np.testing.assert_allclose(small[:, row, column], block, rtol=1e-5)
    assert large.min() == 0 and large.max() == 1


def test_mnist1d_is_the_published_draw():
    """Seed 0 is the generator's own default seed; the global random states stay as they were."""
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    assert args.seed == 42
    python_state, numpy_state = random.getstate(), np.random.get_state()
    published = make_dataset(args)
    random.setstate(python_state)
    np.random.set_state(numpy_state)

    data._load.cache_clear()
    torch_state = torch.random.get_rng_state()
    loaded = data.load("mnist1d")
    assert random.getstate() == python_state
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    np.testing.assert_allclose(loaded.x_test, published["x_test"], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y_test, published["y_test"])
    both = np.concatenate([loaded.x_train, loaded.x_validation])
    np.testing.assert_allclose(np.sort(both[:, 0]), np.sort(published["x"][:, 0].astype(np.float32)))
    whole = np.concatenate([both, loaded.x_test])
    assert abs(whole.mean()) < 0.02 and abs(whole.std() - 1) < 0.02


def test_mnist1d_draws_afresh_with_another_seed_and_again_with_the_same():
    other = data.load("mnist1d", 1)
    assert not np.array_equal(other.x_test, data.load("mnist1d").x_test)
    data._load.cache_clear()
    assert data.load("mnist1d", 1) == other


def test_unknown_names_and_seeds():
    with pytest.raises(ValueError, match=r"dataset='mnist-5' is not known. Did you mean"):
        data.load("mnist-5")
    with pytest.raises(ValueError, match="data_seed=-1"):
        data.load("mnist1d", -1)
    with pytest.raises(ValueError, match="dataset='cifar' is not known"):
        data.download("cifar")


def arrays(n=40, shape=(6,), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, *shape)), rng.integers(0, classes, n)


def test_your_own_arrays():
    x, y = arrays(40)
    own = data.from_arrays(x, y, name="mine")
    assert (len(own.y_train), len(own.y_validation), len(own.y_test)) == (28, 4, 8)
    assert own.input_shape == (6,) and own.classes == 3
    together = np.concatenate([own.x_train, own.x_validation, own.x_test])
    np.testing.assert_allclose(np.sort(together[:, 0]), np.sort(x[:, 0]), rtol=1e-6)
    tensors = data.from_arrays(torch.tensor(x), torch.tensor(y), name="mine")
    half = torch.tensor(x).bfloat16()
    assert data.from_arrays(half, y, name="mine") == data.from_arrays(half.float(), y, name="mine")
    assert tensors == own and hash(tensors) == hash(own)
    assert data.from_arrays(x, y.astype(float), name="mine") == own
    assert data.from_arrays(x + 1, y, name="mine") != own


def test_your_own_test_part_stays_whole():
    x, y = arrays(40)
    x_test, y_test = arrays(10, seed=1)
    own = data.from_arrays(x, y, x_test, y_test)
    np.testing.assert_allclose(own.x_test, x_test, rtol=1e-6)
    assert len(own.y_train) + len(own.y_validation) == 40


X, Y = arrays()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((X, Y[:-1]), r"x has shape \(40, 6\) and y \(39,\)"),
        ((X[:, 0], Y), r"needed are \(examples, \.\.\.\)"),
        ((X[:0], Y[:0]), "needed are"),
        ((X, Y + 0.5), "y must hold whole numbers"),
        ((X, Y - 1), "y must hold whole numbers"),
        ((X, np.array(["cat", "dog", "eel"])[Y]), "y must hold whole numbers"),
        ((X, 0 * Y), "at least two classes"),
        ((np.where(X > 0.9, np.nan, X), Y), r"x contains \d+ values that are NaN"),
        ((X[:16], Y[:16]), "13 examples to train on"),
        ((X, Y, X, None), "both x_test and y_test"),
        ((X, Y, X[:, :3], Y), r"one example of x has shape \(6,\), but one of x_test \(3,\)"),
        ((X, Y, X, Y + 1), "y_test holds the label 3"),
    ],
)
def test_arrays_that_do_not_fit_give_one_clear_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.from_arrays(*given)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x"])
def test_names_that_could_be_paths_are_refused(name):
    with pytest.raises(ValueError, match="a data set's name has letters"):
        data.from_arrays(X, Y, name=name)


@pytest.fixture
def closed_port():
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Downloads from an address and gives the ConnectionError, after which the folder holds no file."""

    def attempt(name, address, words):
        for proxy in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(proxy, "127.0.0.1")
        monkeypatch.setitem(data._ADDRESSES, name, address)
        folder = tmp_path / name
        with pytest.raises(
            ConnectionError, match=f"dataset='{name}' could not be downloaded{words}"
        ) as caught:
            data.download(name, folder)
        assert [path for path in folder.rglob("*") if path.is_file()] == []
        return caught.value

    return attempt


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_without_a_network_a_download_says_so_and_leaves_nothing(name, refused, closed_port, tmp_path):
    refused(name, closed_port, r".*Is there a network\?")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def wrong_files(tmp_path):
    """An address with files of the right names and another content; and what has been asked for there."""
    asked, folder = [], tmp_path / "served"
    folder.mkdir()
    for file in {file for digests in data._FILES.values() for file in digests}:
        (folder / file).write_bytes(idx(np.zeros((4, 4))))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, form, *arguments):
            asked.append(arguments)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(name, refused, wrong_files):
    address, asked = wrong_files
    error = refused(name, address, ": train-images")
    # it came, and was not believed
    assert asked == [("GET /train-images-idx3-ubyte.gz HTTP/1.1", "200", "-")]
    assert data._FILES[name]["train-images-idx3-ubyte.gz"] in str(error.__cause__)


def test_a_missing_full_data_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LTHVIZ_DATA", str(tmp_path))
    data._load.cache_clear()
    with pytest.raises(FileNotFoundError, match="python -m lthviz fetch mnist"):
        data.load("mnist")
    with pytest.raises(FileNotFoundError, match="train-images"):
        data.load("mnist", folder=str(tmp_path))


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())
    return buffer.getvalue()


def test_files_in_a_folder_are_read(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 28, 28)), rng.integers(0, 10, 40)
    for prefix, part in (("train", slice(0, 32)), ("t10k", slice(32, 40))):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images[part]))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels[part]))
    loaded = data.load("mnist", folder=str(tmp_path))
    assert (len(loaded.y_train), len(loaded.y_validation), len(loaded.y_test)) == (28, 4, 8)
    np.testing.assert_allclose(loaded.x_test, images[32:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(loaded.y_test, labels[32:])


@pytest.mark.parametrize(
    ("pictures", "labels"),
    [
        ((20,), (20,)),
        ((20, 28, 28), (15,)),
        ((20, 28, 28), (20, 1)),
        ((0, 28, 28), (0,)),
        ((20, 14, 14), (20,)),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, pictures, labels):
    """A file of labels in the place of the pictures, say."""
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(np.ones(pictures)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(np.ones(labels)))
    with pytest.raises(ValueError, match="dataset='mnist'.*one label from 0 to 9 each"):
        data.load("mnist", folder=str(tmp_path))


def test_labels_that_are_no_digits_are_refused(tmp_path):
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(np.ones((20, 28, 28))))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(np.full(20, 197)))
    with pytest.raises(ValueError, match="one label from 0 to 9 each"):
        data.load("mnist", folder=str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", idx(np.zeros((4, 4)))[:20], gzip.compress(b"\x00\x00")],
    ids=["empty", "no gzip", "cut off", "no header"],
)
def test_damaged_files_are_named(tmp_path, content):
    """A download that was cut off by hand, say."""
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(content)
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        data.load("mnist", folder=str(tmp_path))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_full_data_sets(name):
    folder = full_folder(name)
    for file, digest in data._FILES[name].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    loaded = data.load(name, folder=str(folder))
    assert (len(loaded.y_train), len(loaded.y_validation), len(loaded.y_test)) == (55_000, 5_000, 10_000)
    assert loaded.input_shape == (28, 28) and loaded.x_train.max() == 1
    assert np.bincount(loaded.y_test).sum() == 10_000
    data._load.cache_clear()  # 200 MB
