"""What a sparse network saves where it is used: bytes, units that may go, int8, time, ONNX (lesson 11).

Bytes are those of the weights alone. Counting them, and packing weights, needs no torch.
"""

import copy
import logging
import math
import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import pairwise

import numpy as np

from .choices import count, unknown
from .masks import Mask, as_array

#: How a weight matrix may be stored, and what that means.
FORMATS = {
    "dense": "every value, the zeros too",
    "bitmask": "one bit for each place, then the values that are kept",
    "CSR-16": "row by row the values that are kept, each with its column in 16 bits",
    "CSR-32": "row by row the values that are kept, each with its column in 32 bits",
    "2:4": "of every four places in a row two values, each with its place in 2 bits",
}
BITS = (8, 16, 32)  # of a value
POINTER = 4  # bytes: where a row of CSR begins


def size(shape, kept: int, form: str, bits: int = 32) -> int:
    """Bytes of one weight array in a format; the bytes of what :func:`pack` gives.

    A convolution (out, in, height, width) is stored as a matrix with ``out`` rows.

    Parameters
    ----------
    shape : tuple of int
    kept : int
        How many weights are kept. "dense" and "2:4" take the same room whatever it is.
    form : str
        From ``FORMATS``.
    bits : 8, 16 or 32
        Of one value.

    Raises
    ------
    ValueError
        For an unknown format or number of bits, more weights than there are, or columns that 16 bits cannot number.
    """
    rows, columns = _matrix(shape)
    _form(form, columns, bits)
    kept, value = count("kept", kept, 0, rows * columns), bits // 8
    if form == "dense":
        return rows * columns * value
    if form == "bitmask":
        return math.ceil(rows * columns / 8) + kept * value
    if form == "2:4":
        pairs = rows * math.ceil(columns / 4)
        return 2 * pairs * value + math.ceil(pairs / 2)
    return kept * (value + int(form[-2:]) // 8) + (rows + 1) * POINTER


def sizes(mask: Mask, bits: int = 32) -> dict[str, int]:
    """{format: bytes} of all the weights that a mask is for; a Mask says which of them are kept.

    "2:4" is left out where the mask keeps more than two of four anywhere.

    Raises
    ------
    ValueError
        For an unknown number of bits.
    """
    forms = [form for form in FORMATS if form != "2:4" or all(map(_two_of_four, mask.values()))]
    return {
        form: sum(size(kept.shape, int(kept.sum()), form, bits) for kept in mask.values()) for form in forms
    }


def break_even(shape, form: str, bits: int = 32) -> float:
    """The density below which a format takes less room than "dense"; 0 where it never does.

    Rounding up to whole bytes aside. Parameters and errors as for :func:`size`.
    """
    number = math.prod(shape)
    empty, full, dense = (size(shape, *what, bits) for what in ((0, form), (number, form), (0, "dense")))
    if full == empty:
        return float(full < dense)
    return min(max((dense - empty) / (full - empty), 0.0), 1.0)


def pack(weight, form: str) -> list[np.ndarray]:
    """The arrays that a format stores; together they have exactly :func:`size` bytes.

    Parameters
    ----------
    weight : array or tensor, 2 dimensions or more
        What is 0 is taken as pruned. Its type is that of the values.
    form : str
        From ``FORMATS``.

    Raises
    ------
    ValueError
        For an unknown format, values of other than 8, 16 or 32 bits or in bfloat16, which NumPy does not have, or
        "2:4" and a row with more than two values in four places.
    """
    if str(getattr(weight, "dtype", None)) == "torch.bfloat16":
        raise ValueError(
            "weight is of type torch.bfloat16, which NumPy does not have: give weight.half() or weight.float()."
        )
    weight = as_array(weight)
    matrix = weight.reshape(_matrix(weight.shape))
    if 8 * matrix.itemsize not in BITS:
        raise ValueError(f"weight is of type {matrix.dtype}: its values must have 8, 16 or 32 bits each.")
    _form(form, matrix.shape[1], 8 * matrix.itemsize)
    kept = matrix != 0
    if form == "dense":
        return [matrix.copy()]
    if form == "bitmask":
        return [np.packbits(kept), matrix[kept]]
    if form == "2:4":
        if not _two_of_four(kept):
            raise ValueError("form='2:4': a row of the weights has more than two values in four places.")
        groups = _fours(matrix)
        first = np.argsort(groups == 0, axis=-1, kind="stable")[
            ..., :2
        ]  # the kept ones, filled up with zeros
        places = np.sort(first, axis=-1)
        bits = np.stack([places >> 1, places & 1], -1)
        return [np.packbits(bits.astype(np.uint8)), np.take_along_axis(groups, places, -1).ravel()]
    pointer = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.uint32)
    return [pointer, np.nonzero(kept)[1].astype(f"uint{form[-2:]}"), matrix[kept]]


def unpack(arrays, form: str, shape) -> np.ndarray:
    """The weights of this shape, back from what :func:`pack` gave."""
    rows, columns = _matrix(shape)
    _form(form, columns, 8 * arrays[-1].itemsize)
    values = arrays[-1]
    if form == "dense":
        return values.reshape(shape).copy()
    if form == "2:4":
        groups = np.zeros((rows, math.ceil(columns / 4), 4), values.dtype)
        bits = np.unpackbits(arrays[0], count=2 * len(values)).reshape(*groups.shape[:2], 2, 2)
        np.put_along_axis(
            groups, 2 * bits[..., 0].astype(int) + bits[..., 1], values.reshape(*groups.shape[:2], 2), -1
        )
        return groups.reshape(rows, -1)[:, :columns].reshape(shape)
    matrix = np.zeros((rows, columns), values.dtype)
    if form == "bitmask":
        matrix[np.unpackbits(arrays[0], count=matrix.size).reshape(matrix.shape).astype(bool)] = values
    else:
        matrix[np.repeat(np.arange(rows), np.diff(arrays[0].astype(int))), arrays[1]] = values
    return matrix.reshape(shape)


def _matrix(shape) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"shape={tuple(shape)}: shape must have at least two dimensions.")
    return int(shape[0]), math.prod(shape[1:])


def _form(form, columns, bits):
    if form not in FORMATS:
        raise unknown("form", form, FORMATS)
    if bits not in BITS:
        raise unknown("bits", bits, BITS)
    if form == "CSR-16" and columns > 2**16:
        raise ValueError(f"form='CSR-16': 16 bits number {2**16:,} columns, but there are {columns:,}.")


def _fours(matrix) -> np.ndarray:
    """(rows, groups, 4): every row in groups of four places, the last one filled up with zeros."""
    rows, columns = matrix.shape
    return np.pad(matrix, ((0, 0), (0, -columns % 4))).reshape(rows, -1, 4)


def _two_of_four(kept) -> bool:
    return bool(((_fours(kept.reshape(_matrix(kept.shape))) != 0).sum(-1) <= 2).all())


def quantize(weight) -> tuple[np.ndarray, np.ndarray]:
    """Weights as int8: ``(values, scales)``, with ``weight`` near ``values * scales`` row by row.

    Symmetric: a row's scale is its largest magnitude / 127, so that 0 stays 0 and no weight moves by more than half
    a scale. ``scales`` is float32 (out, 1, ...); that of a row of zeros is 1.
    """
    weight = as_array(weight.float() if hasattr(weight, "detach") else weight).astype(np.float32)
    top = np.abs(weight).max(tuple(range(1, weight.ndim)), keepdims=True)
    scales = np.where(top > 0, top / np.float32(127), np.float32(1))
    return np.rint(weight / scales).astype(np.int8), scales


# --- Units that may go ------------------------------------------------------------------------------------------------


def dead_units(mask: Mapping) -> dict[str, np.ndarray]:
    """{parameter name: (units,) bool} for every layer but the last: the units that no input reaches, or no output needs.

    A unit dies when all its incoming weights are pruned, or all its outgoing ones; and then another may die that had
    no other neighbour. The layers of the mask are a chain, first to last. What a Flatten makes of several positions
    goes on as a column for each: behind a convolution unit after unit, behind a Linear position after position.

    Raises
    ------
    ValueError
        For layers that do not fit together.
    """
    names, alive, linear = list(mask), [], False
    for name in names:
        kept = np.asarray(mask[name], bool)
        units = len(alive[-1]) if alive else kept.shape[1]
        if kept.shape[1] % units:
            raise ValueError(
                f"{name} has {kept.shape[1]} inputs, which do not fit the {units} units before it."
            )
        heard = kept.reshape(*kept.shape[:2], -1).any(-1)
        columns = (-1, units) if linear else (units, -1)
        alive.append(heard.reshape(len(kept), *columns).any(1 if linear else 2))
        linear = kept.ndim == 2
    reached = [np.ones(alive[0].shape[1], bool)]
    for layer in alive:
        reached.append((layer & reached[-1]).any(1))
    needed = [np.ones(len(alive[-1]), bool)]
    for layer in reversed(alive[1:]):
        needed.append((layer & needed[-1][:, None]).any(0))
    return {name: ~(a & b) for name, a, b in zip(names, reached[1:], reversed(needed[1:]))}


def shrink(model, mask: Mask):
    """A smaller network with the same outputs: units whose incoming or outgoing weights are all zero are gone.

    What no input reaches says the same for every example: what its bias makes of it. This constant goes into the
    biases of the next layer; then no output needs the unit any more. A layer keeps at least one unit. A channel whose
    constant is not 0 stays in front of a convolution that pads: at the border no bias can take its place.

    The model is all that is looked at: convolutions take ``(batch, channels, height, width)``, a Linear takes
    ``(batch, ..., features)``, and with a BatchNorm1d behind it ``(batch, features)``.

    Parameters
    ----------
    model : torch.nn.Sequential
        Linear and Conv2d layers, and between them ReLU, Dropout, Identity, Flatten, BatchNorm1d and 2d, MaxPool2d,
        AvgPool2d and AdaptiveAvgPool2d. It is not changed.
    mask : Mask
        By parameter name; what it prunes counts as 0, beside what is 0 already.

    Returns
    -------
    torch.nn.Sequential
        In evaluation mode, on the same device. Its outputs are those of ``model`` under the mask in evaluation mode,
        up to rounding.

    Raises
    ------
    ValueError
        For a model that is no Sequential or has a forward of its own, layers for which it would not be exact, such as
        others than these, some of their settings, shared parameters or forward hooks, or a mask that does not fit.
    """
    import torch
    from torch import nn

    from .tickets import apply_mask

    if not isinstance(model, nn.Sequential):
        raise ValueError(f"model={type(model).__name__}: model must be a torch.nn.Sequential.")
    if type(model).forward is not nn.Sequential.forward:
        raise ValueError(
            f"model={type(model).__name__}: model must be a torch.nn.Sequential, and this one has a forward of its own."
        )
    _must_be_known(list(model))
    small = copy.deepcopy(model).eval()
    apply_mask(small, mask)
    parts = list(small)
    weighted = _weighted(parts)
    spans = [(parts[a], parts[a + 1 : b], parts[b]) for a, b in pairwise(weighted)]
    with torch.no_grad():
        for span in spans:
            _fold(*span)
        for span in reversed(spans):
            _remove(*span)
    return small


def _weighted(parts) -> list[int]:
    from torch import nn

    return [i for i, part in enumerate(parts) if isinstance(part, nn.Linear | nn.Conv2d)]


def _must_be_known(parts) -> None:
    """Refuse a layer between the first and the last with weights for which :func:`shrink` would not be exact."""
    from torch import nn

    norms, pools = (nn.BatchNorm1d, nn.BatchNorm2d), (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    known = (nn.Linear, nn.Conv2d, nn.ReLU, nn.Dropout, nn.Identity, nn.Flatten, *norms, *pools)
    weighted = _weighted(parts)
    tensors = [id(tensor) for part in parts for tensor in (*part.parameters(), *part.buffers())]
    if len(set(tensors)) < len(tensors):
        raise ValueError(
            "model: shrink knows no layer that is used twice, and no parameter that two layers share."
        )
    if not weighted:
        return
    first, units = weighted[0], 0
    pictures, flat, normed = isinstance(parts[first], nn.Conv2d), False, None
    for i in range(first, weighted[-1] + 1):
        part, kind = parts[i], type(parts[i]).__name__
        where = f"model[{i}] is a {kind}"
        if type(part) not in known:
            raise ValueError(f"{where}; shrink knows {', '.join(one.__name__ for one in known)}.")
        if part._forward_hooks or part._forward_pre_hooks:
            raise ValueError(f"{where} with a forward hook; shrink knows those without, so remove it before.")
        if isinstance(part, nn.Conv2d) and (part.groups > 1 or part.padding_mode != "zeros"):
            raise ValueError(f"{where}; shrink knows those with groups=1 and padding_mode='zeros'.")
        if isinstance(part, nn.AvgPool2d) and (np.any(part.padding) or part.divisor_override):
            raise ValueError(f"{where}; shrink knows those without padding and divisor_override.")
        if isinstance(part, nn.MaxPool2d) and np.any(part.padding) and np.max(part.dilation) > 1:
            raise ValueError(f"{where}; shrink knows those with padding or dilation, not with both.")
        if isinstance(part, norms) and part.running_mean is None:
            raise ValueError(f"{where}; shrink knows those with running statistics.")
        if isinstance(part, nn.Flatten) and (part.start_dim, part.end_dim) != (1, -1):
            raise ValueError(f"{where}; shrink knows that from dimension 1 to the last.")
        if isinstance(part, nn.Linear | nn.BatchNorm1d) and pictures:
            raise ValueError(f"{where} behind a convolution; shrink needs a Flatten between them.")
        if isinstance(part, (nn.Conv2d, nn.BatchNorm2d, *pools)) and not pictures:
            raise ValueError(f"{where} behind a Linear or a Flatten; shrink knows it behind a convolution.")

        if isinstance(part, nn.Flatten):
            columns = parts[min(j for j in weighted if j > i)].weight.shape[1]
            if normed is not None and not flat and columns > units:
                raise ValueError(
                    f"model[{normed}] is a BatchNorm1d of more than two dimensions, as the Flatten behind it says; "
                    "shrink knows that of (batch, features)."
                )
            if columns % units == 0:
                units = columns
            pictures, flat = False, True
        elif isinstance(part, (nn.Linear, nn.Conv2d, *norms)):
            inputs = part.num_features if isinstance(part, norms) else part.weight.shape[1]
            if i > first and inputs != units:
                raise ValueError(
                    f"{where} with {inputs} inputs, which do not fit the {units} units before it."
                )
            if isinstance(part, nn.BatchNorm1d):
                normed = i
            elif not isinstance(part, norms):
                units = len(part.weight)


def _fold(layer, between, following) -> None:
    """The constants of the units that no input reaches, into the next biases; their outgoing weights become 0."""
    from torch import nn

    pools = nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d
    silent = ~(layer.weight.flatten(1) != 0).any(1)
    says = layer.weight.new_zeros(len(silent)) if layer.bias is None else layer.bias.clone()
    says = says[None, :, None, None] if isinstance(layer, nn.Conv2d) else says[None]
    for part in between:
        if isinstance(part, nn.Flatten):
            silent, says = (_flattened(values, layer, following) for values in (silent, says.flatten()))
            says = says[None]
        elif not isinstance(part, pools):  # those leave a constant as it is
            says = part(says)
    says = says.flatten()
    if isinstance(following, nn.Conv2d) and following.padding not in ("valid", (0, 0)):
        silent &= says == 0
    weight = following.weight
    taps = weight.flatten(2).sum(2) if weight.ndim > 2 else weight
    constant = taps[:, silent] @ says[silent]
    if following.bias is not None:
        following.bias += constant
    elif constant.any():
        following.bias = nn.Parameter(constant)
    weight[:, silent] = 0


def _remove(layer, between, following) -> None:
    """The units that the next layer has no weights for, out of all three."""
    from torch import nn

    units = len(layer.weight)
    needed = (following.weight != 0).transpose(0, 1).flatten(1).any(1)
    needed = needed.view(-1, units).any(0) if isinstance(layer, nn.Linear) else needed.view(units, -1).any(1)
    needed[0] |= not needed.any()
    _take(layer, needed, 0)
    for part in between:
        if isinstance(part, nn.Flatten):
            needed = _flattened(needed, layer, following)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.num_features = int(needed.sum())
            part.running_mean, part.running_var = part.running_mean[needed], part.running_var[needed]
            for name, value in list(part.named_parameters()):
                setattr(part, name, nn.Parameter(value[needed]))
    _take(following, needed, 1)


def _flattened(values, layer, following):
    """One entry for each column that a unit has behind a Flatten.

    Channels come before the positions of a picture, features behind those that a Linear is applied to.
    """
    from torch import nn

    times = following.weight.shape[1] // len(values)
    return values.repeat(times) if isinstance(layer, nn.Linear) else values.repeat_interleave(times)


def _take(layer, chosen, dim) -> None:
    """Only the chosen outputs (0) or inputs (1) of a layer."""
    from torch import nn

    layer.weight = nn.Parameter(layer.weight[chosen] if dim == 0 else layer.weight[:, chosen])
    if dim == 0 and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[chosen])
    side = ("out", "in")[dim]
    setattr(
        layer, f"{side}_channels" if isinstance(layer, nn.Conv2d) else f"{side}_features", int(chosen.sum())
    )


# --- Time -------------------------------------------------------------------------------------------------------------


def products(weight, x) -> dict:
    """{name: function without arguments} for the ways this machine multiplies a weight matrix by a batch.

    "dense" multiplies the zeros too; "CSR", with columns in 32 bits, does not; on a CPU torch has it for float32 and
    float64 alone. On a GPU that can, and for float16 weights with at most two of four values, there is "2:4", torch's
    semi-structured tensors (Mishra et al. 2021).

    Parameters
    ----------
    weight : tensor (out, in)
        With zeros where it is pruned.
    x : tensor (in, batch)
        On the same device, of the same type.
    """
    import torch

    ways = {"dense": lambda: weight @ x}
    if weight.device.type == "cpu" and weight.dtype not in (torch.float32, torch.float64):
        return ways
    with warnings.catch_warnings():  # torch calls sparse layouts a beta, and unchecked
        warnings.simplefilter("ignore", UserWarning)
        csr = weight.to_sparse_csr()  # which numbers columns and rows in 64 bits
        places = csr.crow_indices().int(), csr.col_indices().int()
        csr = torch.sparse_csr_tensor(*places, csr.values(), csr.shape)
    ways["CSR"] = lambda: csr @ x
    able = weight.is_cuda and torch.cuda.get_device_capability(weight.device) >= (8, 0)
    if able and weight.dtype == torch.float16 and _two_of_four(as_array(weight)):
        packed = torch.sparse.to_sparse_semi_structured(weight)
        ways["2:4"] = lambda: packed @ x
    return ways


def measure(calls: Mapping, repeats: int = 25) -> dict[str, np.ndarray]:
    """How long calls take on one core of this machine: {name: (repeats,) seconds of one call}.

    The calls take turns, so that whatever else the machine does meets them all. One value is the mean of as many
    calls as fill about 0.3 milliseconds, less than what a busy machine gives a program at once: the median is hardly
    disturbed. Torch computes with one thread meanwhile.

    Parameters
    ----------
    calls : mapping of str to function without arguments
    repeats : int
        At least 1.
    """
    import torch

    repeats, threads = count("repeats", repeats, 1), torch.get_num_threads()
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None

    def seconds(call, times):
        wait()
        begun = time.perf_counter()
        for _ in range(times):
            call()
        wait()
        return (time.perf_counter() - begun) / times

    torch.set_num_threads(1)
    try:
        for call in calls.values():
            call()  # the first one is slow
        times = {name: max(1, round(0.0003 / seconds(call, 3))) for name, call in calls.items()}
        rows = [{name: seconds(call, times[name]) for name, call in calls.items()} for _ in range(repeats)]
    finally:
        torch.set_num_threads(threads)
    return {name: np.array([row[name] for row in rows]) for name in calls}


# --- ONNX -------------------------------------------------------------------------------------------------------------

MISSING = '{} is not installed, which ONNX needs here: pip install "lthviz[deploy]" brings onnx, onnxscript, onnxruntime.'


def export(model, example, path) -> None:
    """Write a model as one ONNX file, for batches of any size.

    Parameters
    ----------
    model : torch.nn.Module
        As it is in evaluation mode; the training flags of all its modules are put back.
    example : tensor (2 or more, *input_shape)
        Of the model's floating-point type: float32, float64 or float16. The file takes that type.
    path : str or Path

    Raises
    ------
    ImportError
        One sentence that says what to install.
    ValueError
        For a model in bfloat16, with which onnxruntime does not compute on a CPU, or an example of another type.
    """
    import torch

    from .criteria import evaluating

    _must_have("onnx", "onnxscript")
    kinds = {value.dtype for value in model.state_dict().values() if value.is_floating_point()}
    if torch.bfloat16 in kinds:
        raise ValueError(
            "model holds torch.bfloat16, with which onnxruntime does not compute on a CPU: export model.float()."
        )
    if kinds and example.is_floating_point() and example.dtype not in kinds:
        raise ValueError(f"example is of type {example.dtype}: it must be of the model's, {kinds.pop()}.")
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells of operators that are not installed and not needed
    try:
        with warnings.catch_warnings(), evaluating(model):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model, (example,), str(path), dynamo=True, external_data=False, verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
    finally:
        log.setLevel(level)


def onnx_function(path):
    """A function from arrays (batch, *input_shape) to outputs: an ONNX file in onnxruntime, on one core.

    The arrays are of the type that the file takes, that of its example: float32 for most.

    Raises
    ------
    ImportError
        One sentence that says what to install.
    """
    _must_have("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _must_have(*packages):
    for package in packages:
        if find_spec(package) is None:
            raise ImportError(MISSING.format(package))
