"""The exercises of lesson 11, does sparsity pay: checks, known wrong answers, hints and reference solutions."""

import numpy as np

from .check import compare, equal, exercise, expect, ladder, note

# --- Bytes ------------------------------------------------------------------------------------------------------------


def csr_bytes(mask, value_bits, index_bits):
    """Bytes of a weight matrix in CSR.

    mask : boolean array (rows, columns), which weights are kept
    value_bits, index_bits : bits of one value, and of one column number
    Where each row begins, and where the last one ends, is stored in 32 bits each.
    """
    kept = int(mask.sum())
    return kept * (value_bits + index_bits) // 8 + (len(mask) + 1) * 4


@exercise(
    reference=csr_bytes,
    wrong={
        lambda mask, v, i: (
            int(mask.sum()) * (v + i) // 8
        ): "The rows are missing. Columns and values stand in one long line; somebody has to say where each row begins.",
        lambda mask, v, i: int(mask.sum()) * (v + i) // 8 + len(mask) * 4: "One number is missing: where the last row "
        "*ends*. Rows + 1 numbers are stored.",
        lambda mask, v, i: int(mask.sum()) * v // 8 + (len(mask) + 1) * 4: "The column numbers are missing. Without them "
        "nobody knows where in its row a value belongs.",
        lambda mask, v, i: mask.size * (v + i) // 8 + (len(mask) + 1) * 4: "You counted every place. CSR stores the kept "
        "weights only.",
        lambda mask, v, i: int(mask.sum()) * (v + i) + (len(mask) + 1) * 32: "These are bits. Eight of them are a byte.",
        lambda mask, v, i: (
            int(mask.sum()) * (v + 2 * i) // 8
        ): "That is the coordinate format: a row *and* a column number for each value. CSR writes down rows only once.",
        lambda mask, v, i: (int(mask.sum()) * (v + i) + (len(mask) + 1) * i) // 8: "You wrote the places where rows begin "
        "in as many bits as a column number. They count all the values before them, and take 32 bits each.",
        lambda mask, v, i: int(mask.sum()) * (v + i) // 8 + (len(mask) + 1) * 32: "32 bits are 4 bytes: the places where "
        "rows begin are still in bits.",
        lambda mask, v, i: int(mask.sum()) * (v + i) // 8 + (mask.shape[1] + 1) * 4: "You took one pointer for each column. "
        "CSR goes row by row.",
    },
    idea="Write the kept values of the matrix down, row after row, in one line. What must a reader know beside them to put "
    "each back into its place?",
    steps="Three arrays: the values, mask.sum() of them; as many column numbers; and rows + 1 pointers of 4 bytes. Divide "
    "bits by 8.",
)  # fmt: skip
def check_csr_bytes(answer):
    rng = np.random.default_rng(0)
    yield "a layer of 50 by 100, a tenth kept, float32 and 16-bit columns"
    compare(answer, rng.random((50, 100)) < 0.1, 32, 16)
    yield "int8 values, 32-bit columns"
    compare(answer, rng.random((10, 50)) < 0.5, 8, 32)
    yield "nothing kept: only where the rows begin is left"
    compare(answer, np.zeros((7, 30), bool), 32, 16)
    yield "everything kept"
    compare(answer, np.ones((6, 9), bool), 16, 16)


# --- Break-even -------------------------------------------------------------------------------------------------------


def break_even(value_bits, index_bits):
    """Below which density the bitmask, and CSR, take less room than the dense matrix.

    value_bits, index_bits : bits of one value, and of one column number
    Returns two densities, (bitmask, CSR). Take the matrix as so large that CSR's row pointers do not count.
    """
    return 1 - 1 / value_bits, value_bits / (value_bits + index_bits)


@exercise(
    reference=break_even,
    wrong={
        lambda v, i: (1 / v, i / (v + i)): "These are sparsities: so much must be *gone*. Asked is the density.",
        lambda v, i: (1 / v, v / (v + i)): "The first one is the share that the bits of the mask take. Below which density "
        "does mask plus values fit into less than all the values?",
        lambda v, i: (1 - 1 / v, i / (v + i)): "The second one is a sparsity: so much must be gone. Asked is the density.",
        lambda v, i: (1 - 1 / v, 1 - i / v): "A kept weight costs a value *and* an index, d * (v + i) bits a place; set that "
        "equal to v, which does not become smaller by i.",
        lambda v, i: (100 - 100 / v, 100 * v / (v + i)): "These are per cent. A density is a share, between 0 and 1.",
        lambda v, i: (v / (v + i), 1 - 1 / v): "The right two, in the wrong order: the bitmask comes first.",
        lambda v, i: (1 - 1 / v, 0.5): "One half is right for CSR only where an index is as long as a value.",
        lambda v, i: (1 - 1 / v, v / i): "A kept weight costs a value *and* an index, so d * (v + i) bits a place.",
        lambda v, i: (1 - 1 / 32, v / (v + i)): "The bit of the mask weighs more the fewer bits a value has: use value_bits.",
        lambda v, i: (1.0, 1.0): "The places cost something too, a bit each, or an index for each kept weight.",
    },
    idea="Count bits for one place of the matrix, on average, at density d. Dense takes v, whatever d is.",
    steps="Bitmask: 1 + d * v bits a place. CSR: d * (v + i) bits a place. Set each equal to v and solve for d.",
)  # fmt: skip
def check_break_even(answer):
    def same(given, expected):
        try:
            return equal([float(density) for density in given], expected)  # a fraction is a number, too
        except (TypeError, ValueError):
            return False

    yield "float32 with 8-bit indices"
    compare(answer, 32, 8, same=same)
    yield "int8 with 32-bit indices"
    compare(answer, 8, 32, same=same)
    yield "float16 with 16-bit indices"
    compare(answer, 16, 16, same=same)


# --- Units that may go ------------------------------------------------------------------------------------------------


def remove_units(W1, b1, W2, b2):
    """Remove the hidden units that do nothing, so that W2 @ relu(W1 @ x + b1) + b2 stays the same for every x.

    W1, b1 : arrays (units, in), (units,)
    W2, b2 : arrays (out, units), (out,)
    A unit does nothing when all its incoming weights are 0, or all its outgoing ones.
    Returns (W1, b1, W2, b2) of the smaller network, four new arrays.
    """
    silent = ~W1.any(axis=1)
    b2 = b2 + W2[:, silent] @ np.maximum(b1[silent], 0)
    stays = ~silent & W2.any(axis=0)
    return W1[stays], b1[stays], W2[:, stays], b2


def _removed(stays, constant=lambda W1, b1, W2: 0):
    """A removal like the reference's with other units, or another constant."""

    def remove(W1, b1, W2, b2):
        kept = stays(W1, b1, W2)
        return W1[kept], b1[kept], W2[:, kept], b2 + constant(W1, b1, W2)

    return remove


def _busy(W1, b1, W2):
    return W1.any(axis=1) & W2.any(axis=0)


def _constant(W1, b1, W2, says=lambda b: np.maximum(b, 0)):
    silent = ~W1.any(axis=1)
    return W2[:, silent] @ says(b1[silent])


@exercise(
    reference=remove_units,
    wrong={
        _removed(_busy): "A unit without inputs still says something: relu of its bias, the same for every example. Put it "
        "into b2 before the unit goes.",
        _removed(_busy, lambda W1, b1, W2: _constant(W1, b1, W2, lambda b: b)): "You added the bias itself. It goes through "
        "the ReLU first: a negative one says 0.",
        _removed(lambda W1, b1, W2: W1.any(axis=1), _constant): "Units whose *outgoing* weights are all zero are still there. "
        "Nobody hears them.",
        _removed(lambda W1, b1, W2: W2.any(axis=0)): "Units whose *incoming* weights are all zero are still there. They say "
        "the same for every example: a constant, which fits into b2.",
        _removed(lambda W1, b1, W2: (W1.sum(axis=1) != 0) & (W2.sum(axis=0) != 0), _constant): "You removed a unit whose "
        "weights add up to zero, as 0.5 and -0.5 do. All of them must *be* zero.",
        _removed(lambda W1, b1, W2: _busy(W1, b1, W2) & (b1 > 0), _constant): "You removed units with a negative bias that "
        "have inputs. These can lift them above zero.",
        _removed(lambda W1, b1, W2: W1.all(axis=1) & W2.all(axis=0), _constant): "You removed units that have *one* zero "
        "weight. All their incoming, or all their outgoing, weights must be zero.",
    },
    idea="What does a unit without inputs say? And what does a unit say whom nobody hears?",
    steps="silent = ~W1.any(axis=1). Add W2[:, silent] @ relu(b1[silent]) to b2, not in place. Keep the units that are not "
    "silent and have an outgoing weight: rows of W1, entries of b1, columns of W2.",
)  # fmt: skip
def check_remove_units(answer):
    rng = np.random.default_rng(0)

    def same(given, expected):
        expect(isinstance(given, tuple | list) and len(given) == 4, "Return four arrays: W1, b1, W2, b2.")
        shapes = [np.shape(array) for array in given]
        return shapes == [np.shape(a) for a in expected] and all(map(np.allclose, given, expected))

    def network(silent=(), unheard=(), bias=1.0):
        W1, W2 = rng.normal(size=(6, 4)), rng.normal(size=(3, 6))
        W1[0, 1], W2[0, 0] = 0, 0  # zeros that mean nothing
        W1[list(silent)], W2[:, list(unheard)] = 0, 0
        b1 = np.abs(rng.normal(size=6)) + 0.1
        b1[2:4] *= bias
        return W1, b1, W2, rng.normal(size=3)

    def case(W1, b1, W2, b2):
        compare(answer, W1, b1, W2, b2, same=same, show=False)

    yield "nobody hears unit 5"
    case(*network(unheard=[5]))
    yield "unit 1 has no inputs, and a positive bias"
    case(*network(silent=[1]))
    yield "unit 2 has no inputs, and a negative bias; unit 3 has inputs"
    case(*network(silent=[2], bias=-1.0))
    yield "weights that add up to zero"
    W1, b1, W2, b2 = network()
    W1[4] = [0.5, -0.5, 0.25, -0.25]
    case(W1, b1, W2, b2)
    yield "nothing to remove"
    case(*network())
    yield "unit 1 has neither inputs nor outputs"
    case(*network(silent=[1], unheard=[1]))


# --- The brief --------------------------------------------------------------------------------------------------------


def deployment(options, device):
    """The most accurate option that a device can run.

    options : list of dictionaries with "accuracy", "bytes" (stored), "memory" (bytes while it runs), "microseconds"
    device : dictionary with the most it can bear of "bytes", "memory" and "microseconds"
    Returns the option's number in the list; of equally accurate ones that with the fewest bytes; -1 if none fits.
    """
    limits = ("bytes", "memory", "microseconds")
    fit = [i for i, option in enumerate(options) if all(option[name] <= device[name] for name in limits)]
    return max(fit, key=lambda i: (options[i]["accuracy"], -options[i]["bytes"]), default=-1)


def _deployment(limits=("bytes", "memory", "microseconds"), best=lambda o: (o["accuracy"], -o["bytes"]), fits=lambda a, b: a <= b,
                nothing=-1, need=all):  # fmt: skip
    def choose(options, device):
        fit = [i for i, o in enumerate(options) if need(fits(o[name], device[name]) for name in limits)]
        return max(fit, key=lambda i: best(options[i]), default=nothing)

    return choose


def _last_of_equals(options, device):
    return (
        len(options)
        - 1
        - _deployment(best=lambda o: o["accuracy"], nothing=len(options))(options[::-1], device)
    )


def _from_one(options, device):
    number = deployment(options, device)
    return number + 1 if number >= 0 else -1


def _place_among_the_fitting(options, device):
    return deployment([o for o in options if all(o[name] <= most for name, most in device.items())], device)


@exercise(
    reference=deployment,
    wrong={
        _deployment(limits=()): "The most accurate of all does not fit. First look at what the device can bear, then choose.",
        _deployment(limits=("bytes", "microseconds")): "You did not look at the memory. What is stored small may have to be "
        "unpacked before it can run.",
        _deployment(limits=("bytes", "memory")): "You did not look at the time.",
        _deployment(limits=("memory", "microseconds")): "You did not look at the bytes that are stored.",
        _deployment(need=any): "An option must keep *all* the limits. One is not enough.",
        _deployment(best=lambda o: -o["bytes"]): "That is the smallest that fits. Asked is the most accurate.",
        _deployment(best=lambda o: -o["microseconds"]): "That is the fastest that fits. Asked is the most accurate.",
        _deployment(best=lambda o: o["accuracy"]): "Some are equally accurate: take the one with the fewest bytes.",
        _last_of_equals: "Some are equally accurate, and you took the last of them: take the one with the fewest bytes.",
        _from_one: "You count from 1. A list counts from 0.",
        _place_among_the_fitting: "That is its number among those that fit. Asked is its number in the whole list.",
        _deployment(fits=lambda a, b: a < b): "An option that needs exactly what the device has does fit.",
        _deployment(nothing=0): "Nothing fits: return -1.",
    },
    idea="First who may take part, then who wins. The budgets are walls; accuracy is what you want.",
    steps="Collect the numbers of the options that keep all three limits (<=). From these the highest accuracy; "
    "max(..., key=lambda i: (accuracy, -bytes), default=-1).",
)  # fmt: skip
def check_deployment(answer):
    def option(accuracy, size, memory, microseconds):
        return {"accuracy": accuracy, "bytes": size, "memory": memory, "microseconds": microseconds}

    few = [
        option(0.90, 12_000, 15_000, 5),
        option(0.88, 4_000, 30_000, 9),
        option(0.94, 100_000, 100_000, 30),
    ]
    yield "three options, plenty of everything"
    compare(answer, few, {"bytes": 200_000, "memory": 200_000, "microseconds": 100})
    many = [
        option(0.89, 15_000, 20_000, 10),
        option(0.70, 500_000, 500_000, 99),  # nobody's choice, nor is the one after the right one
        option(0.95, 400_000, 400_000, 90),  # fits in no way
        option(0.90, 20_000, 32_000, 40),  # exactly what there is
        option(0.85, 15_000, 25_000, 20),
        option(0.94, 100_000, 100_000, 20),  # too many bytes, too much memory
        option(0.93, 30_000, 30_000, 20),  # too many bytes
        option(0.92, 18_000, 90_000, 20),  # too much memory
        option(0.91, 18_000, 30_000, 60),  # too slow
        option(0.80, 5_000, 20_000, 20),
        option(0.81, 9_000, 20_000, 4),
    ]
    yield "eleven options, a device with limits"
    compare(answer, many, {"bytes": 20_000, "memory": 32_000, "microseconds": 40})
    yield "three that are equally accurate"
    equals = [
        option(0.9, 12_000, 15_000, 8),
        option(0.9, 11_000, 16_000, 9),
        option(0.7, 11_500, 9_000, 9),
        option(0.9, 13_000, 14_000, 8),
        option(0.8, 9_000, 9_000, 5),
    ]
    compare(answer, equals, {"bytes": 20_000, "memory": 20_000, "microseconds": 10})
    yield "nothing fits"
    tiny = {"bytes": 1_000, "memory": 1_000, "microseconds": 1}
    note(answer(few, tiny) is not None, "Nothing fits: return -1, not None.")
    compare(answer, few, tiny)


EXERCISES = (check_csr_bytes, check_break_even, check_remove_units, check_deployment)
hint = ladder(*EXERCISES)
