"""Pruning of language models after training, without training again: magnitude, Wanda, SparseGPT; perplexity.

All three go through the decoder blocks from first to last. The calibration sequences enter a block as the
blocks before it, already pruned, let them through; from them each linear layer learns ``H = X Xᵀ``, the second
moments of its inputs. Then its weight ``W (out, in)`` loses the entries with the lowest score:

=========== ======================== ============================ =====================================
method      score of ``W[i, j]``      competes with                the survivors
=========== ======================== ============================ =====================================
magnitude   ``|W[i, j]|``             the whole layer              stay
wanda       ``|W[i, j]| * ‖X[j]‖``    its row ``i``                stay
sparsegpt   ``W[i, j]² / U[j, j]²``   128 columns of all rows      make up for what was removed
=========== ======================== ============================ =====================================

``Uᵀ U = H⁻¹`` is the Cholesky factor with ``U`` upper triangular.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from .choices import count, number, unknown
from .criteria import evaluating

COLUMNS = 128  # that SparseGPT decides on at once


@dataclass(frozen=True, repr=False)
class Report:
    """What :func:`prune` did: ``method``, ``target`` in words, and one row a layer."""

    method: str
    target: str
    rows: list[dict] = field(repr=False)

    @property
    def density(self) -> float:
        """kept / prunable, all layers together."""
        return sum(row["kept"] for row in self.rows) / sum(row["size"] for row in self.rows)

    def table(self) -> list[dict]:
        """One row a layer: name, size, kept, density, and error, ``‖(W - Ŵ)X‖² / ‖W X‖²`` on the calibration inputs."""
        return self.rows

    def __repr__(self):
        kept, size = (sum(row[key] for row in self.rows) for key in ("kept", "size"))
        errors = [row["error"] for row in self.rows]
        worst = max(self.rows, key=lambda row: row["error"])
        return (
            f"{self.method}, {self.target}: {kept:,} of {size:,} weights kept ({self.density:.1%}) in {len(errors)} layers; "
            f"error of a layer's output {min(errors):.1%} to {max(errors):.1%}, median {median(errors):.1%}, "
            f"worst {worst['name']}"
        )


@torch.no_grad()
def prune(model, calibration, method="wanda", sparsity=None, pattern=None, *, blocks=None, damping=0.01,
          batch_size=8) -> Report:  # fmt: skip
    """Prune the linear layers of a decoder's blocks, in place; embeddings, norms and output head stay as they are.

    Parameters
    ----------
    model : nn.Module
        Takes tokens ``(sequences, length)``. Its decoder is a chain of blocks: each gives a tensor, or a tuple
        that begins with one, and that is the first argument of the next. The blocks are built from ``nn.Linear``,
        or from ``Conv1D`` as in the GPT-2 of transformers, whose weight is ``(in, out)``.
    calibration : integers (sequences, length)
        Tokens from which the layers' inputs are known; all methods report errors on them, only "magnitude"
        decides without them.
    method : "magnitude", "wanda" or "sparsegpt"
        Han et al. 2015 (arXiv:1506.02626), layer by layer; Sun et al. 2024 (arXiv:2306.11695), equation 1; Frantar
        and Alistarh 2023 (arXiv:2301.00774), algorithm 1.
    sparsity : float in [0, 1], optional
        0.5 without it. Of n weights that compete (see above) ``int(sparsity * n)`` are removed, as Wanda does;
        among equal scores the first. 0 changes nothing, 1 leaves only zeros.
    pattern : (n, m), optional
        Instead of ``sparsity``: of every m consecutive inputs of a row n are *kept*; (2, 4), (4, 8).
    blocks : str, optional
        The name of the list of blocks, such as "model.layers". Without it: of all ``nn.ModuleList`` whose members
        are of one class, the one with most parameters.
    damping : float in [0, 1]
        SparseGPT adds this share of the mean diagonal of H to its diagonal.
    batch_size : int
        How many sequences go through a block at once.

    Matrices of a block that are no linear layer's weight (the stacked experts of some mixtures, convolutions) stay as
    they are, and a warning names them. Beside the model and the calibration sequences, memory holds one block's H, ``(in, in)`` for each of its layers.

    Raises
    ------
    ValueError
        For arguments that are not allowed, before any work. While pruning, for a layer that no calibration token
        reaches, or whose H is not finite or for SparseGPT stays singular; the blocks before it are then pruned.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    sparsity, pattern, target = _target(sparsity, pattern)
    damping, batch_size = number("damping", damping, 0, 1), count("batch_size", batch_size, 1)
    tokens = _tokens("calibration", calibration, model)
    if tokens.ndim != 2:
        raise ValueError(f"calibration has shape {tuple(tokens.shape)}: needed is (sequences, length).")
    names, chain = _chain(model, blocks)
    layers = [_layers(block, name) for block, name in zip(chain, names, strict=True)]
    if not any(layers):
        raise ValueError(f"blocks={blocks!r}: there is no linear layer in {names[0]} and the others.")
    for name, layer in (pair for inside in layers for pair in inside.items()):
        width = _matrix(layer).shape[1]
        if pattern and width % pattern[1]:
            raise ValueError(
                f"pattern={pattern}: {pattern[1]} must divide the number of inputs, but {name} has {width}."
            )
    decide = partial(METHODS[method], sparsity=sparsity, pattern=pattern)
    _tell_of_others(names, chain, layers)
    rows = []
    with _still(model):
        batches, calls = _record(model, chain, tokens.split(batch_size))
        for block, inside, replay in zip(chain, layers, calls, strict=True):
            moments = {name: _Moments(layer) for name, layer in inside.items()}
            try:
                for x, call in zip(batches, replay, strict=True):
                    call(block, x)
            finally:
                for moment in moments.values():
                    moment.watch.remove()
            for name, layer in inside.items():
                rows.append(_prune_layer(name, layer, moments[name].mean(name), decide, damping))
            if block is not chain[-1]:
                batches = [call(block, x) for x, call in zip(batches, replay, strict=True)]
    return Report(method, target, rows)


@torch.no_grad()
def perplexity(model, tokens, length=None, batch_size=8) -> float:
    """exp of the mean cross-entropy, in nats, of each token given those before it in its stretch; lower is better.

    Parameters
    ----------
    model : nn.Module
        Takes tokens ``(sequences, length)``, gives logits ``(sequences, length, vocabulary)`` or an object that
        has them as ``.logits``.
    tokens : integers (tokens,) or (sequences, length)
    length : int, optional
        Cut a single sequence ``(tokens,)`` into stretches of this length; what is left over at its end is left out.
        A stretch's first token is only read. Perplexities of different lengths cannot be compared.
    batch_size : int
        How many stretches are read at once.

    Raises
    ------
    ValueError
        For tokens that are no whole numbers, out of range, or fewer than two in a stretch.
    """
    tokens, batch_size = _tokens("tokens", tokens, model), count("batch_size", batch_size, 1)
    if length is not None:
        if tokens.ndim != 1:
            raise ValueError(f"length={length}: tokens of shape {tuple(tokens.shape)} are cut already.")
        length = count("length", length, 2, len(tokens))
        tokens = tokens[: len(tokens) // length * length].view(-1, length)
    tokens = torch.atleast_2d(tokens)
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(
            f"tokens has shape {tuple(tokens.shape)}: needed are (tokens,) or (sequences, length), at least two long."
        )
    total = 0.0
    with _still(model):
        for batch in tokens.split(batch_size):
            given = model(batch)
            logits = getattr(given, "logits", given)[:, :-1].float()
            total += F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").double()
    return (total / tokens[:, 1:].numel()).exp().item()


# The three methods: W (out, in) and H (in, in) to the new weight and a mask of what is kept. None changes W or H.


def _magnitude(W, H, damping, sparsity, pattern):
    keep = _keep(W.abs() if pattern else W.abs().flatten(), sparsity, pattern).view_as(W)
    return W * keep, keep


def _wanda(W, H, damping, sparsity, pattern):
    keep = _keep(W.abs() * H.diagonal().sqrt(), sparsity, pattern)
    return W * keep, keep


def _sparsegpt(W, H, damping, sparsity, pattern):
    U, dead = _inverse_factor(H, damping)
    W = W.T.clone(memory_format=torch.contiguous_format)  # (in, out): the weights of an input lie together
    keep = torch.ones_like(W, dtype=torch.bool)
    columns = max(pattern[1], COLUMNS // pattern[1] * pattern[1]) if pattern else COLUMNS
    together = pattern[1] if pattern else columns  # decided on at once
    for start in range(0, len(W), columns):
        here = slice(start, start + columns)
        block, stays, u, gone = W[here], keep[here], U[here, here], dead[here]  # views
        errors = torch.empty_like(block)
        for j, error in enumerate(errors):
            if j % together == 0:
                part = slice(j, j + together)
                scores = (block[part].T / u.diagonal()[part]).square().masked_fill(gone[part], 0)
                kept = _keep(scores if pattern else scores.flatten(), sparsity, pattern)
                stays[part] = kept.view_as(scores).T
            torch.div(block[j].masked_fill(stays[j], 0), u[j, j], out=error)
            block[j:].addr_(u[j, j:], error, alpha=-1)
        block *= stays
        W[start + columns :] -= U[here, start + columns :].T @ errors
    return W.T, keep.T


METHODS = {"magnitude": _magnitude, "wanda": _wanda, "sparsegpt": _sparsegpt}


def _inverse_factor(H, damping):
    """U with Uᵀ U = H⁻¹, after damping, and which inputs were zero for every token."""
    H, dead = H.clone(), H.diagonal() == 0
    H.diagonal()[dead] = 1
    H.diagonal().add_(damping * H.diagonal().mean())
    L, failed = torch.linalg.cholesky_ex(H)
    if not failed:
        U, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(L), upper=True)
    if failed:
        raise _Singular
    return U, dead


class _Singular(Exception):
    """H has no inverse."""


def _keep(scores, sparsity, pattern):
    """False for the lowest scores of each row (or of each group of m in a row); of equal ones the first goes first."""
    rows = scores.unflatten(-1, (-1, pattern[1])) if pattern else scores
    removed = pattern[1] - pattern[0] if pattern else int(sparsity * scores.shape[-1])
    lowest = rows.argsort(dim=-1, stable=True)[..., :removed]
    return torch.ones_like(rows, dtype=torch.bool).scatter_(-1, lowest, False).view_as(scores)


def _prune_layer(name, layer, H, decide, damping) -> dict:
    W = _matrix(layer)
    before = W.to(H.dtype, copy=True)
    try:
        after, keep = decide(before, H, damping)
    except _Singular:
        raise ValueError(
            f"the second moments H of the inputs of {name} have no inverse with damping={damping:g}: raise damping, "
            "or take more or longer calibration sequences."
        ) from None
    W.copy_(after)
    change, whole = before - W, (before @ H * before).sum()
    error = (change @ H * change).sum() / whole if whole > 0 else whole
    kept = int(keep.sum())
    return {
        "name": name,
        "size": keep.numel(),
        "kept": kept,
        "density": kept / keep.numel(),
        "error": float(error),
    }


class _Moments:
    """Watches a layer and sums x xᵀ over all tokens x that enter it."""

    def __init__(self, layer):
        weight = _matrix(layer)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.sum = torch.zeros(weight.shape[1], weight.shape[1], dtype=dtype, device=weight.device)
        self.tokens = 0
        self.watch = layer.register_forward_pre_hook(self)

    def __call__(self, layer, inputs):
        x = inputs[0].flatten(0, -2).to(self.sum.dtype)
        self.sum.addmm_(x.T, x)
        self.tokens += len(x)

    def mean(self, name):
        """H, the mean of x xᵀ."""
        if not self.tokens:
            raise ValueError(f"no calibration token reaches {name}: take more of them, or others.")
        if not self.sum.isfinite().all():
            raise ValueError(
                f"the inputs of {name} are NaN or infinite: does the model give sensible logits?"
            )
        return self.sum / self.tokens


def _matrix(layer):
    """The weight as ``(out, in)``, a view: ``Conv1D`` of transformers stores it the other way round."""
    weight = layer.weight.data
    return weight if isinstance(layer, nn.Linear) else weight.T


def _layers(block, name) -> dict:
    """{name: linear layer} of a block."""
    return {
        f"{name}.{inner}" if inner else name: layer
        for inner, layer in block.named_modules()
        if isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"
    }


def _tell_of_others(names, chain, layers):
    """Warn of matrices in the blocks that no method here prunes."""
    pruned = {id(layer.weight) for inside in layers for layer in inside.values()}
    matrices = {
        f"{name}.{inner}": weight.numel()
        for name, block in zip(names, chain, strict=True)
        for inner, weight in block.named_parameters()
        if weight.ndim > 1 and id(weight) not in pruned
    }
    if matrices:
        first, *others = matrices
        more = f" and {len(others)} more" if others else ""
        warnings.warn(
            f"{first}{more}, {sum(matrices.values()):,} weights in all, belong to no linear layer: they are not pruned.",
            stacklevel=3,
        )


def _chain(model, name):
    """The names of the decoder blocks, and the blocks."""
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len({type(member) for member in module}) == 1
    }
    if name is None:
        if not lists:
            raise ValueError(
                "model: it holds no nn.ModuleList of blocks of one class; name them with blocks=."
            )
        name = max(lists, key=lambda path: sum(weight.numel() for weight in lists[path].parameters()))
    try:
        found = model.get_submodule(name) if name else None
    except AttributeError:
        found = None
    members = dict(found.named_children()) if found is not None else {}
    if not members:
        raise unknown("blocks", name, lists)
    return [f"{name}.{inner}" for inner in members], list(members.values())


def _tokens(argument, values, model):
    """Whole numbers within the model's vocabulary, on its device."""
    try:
        tokens = torch.as_tensor(values)
    except (TypeError, ValueError):
        raise ValueError(f"{argument} must hold whole numbers, got {type(values).__name__}.") from None
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(f"{argument} has dtype {tokens.dtype}: tokens are whole numbers.")
    if not tokens.numel():
        raise ValueError(f"{argument} has shape {tuple(tokens.shape)}: at least one token is needed.")
    embedding = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or (embedding is not None and high >= embedding.num_embeddings):
        allowed = f" to {embedding.num_embeddings - 1}" if embedding is not None else ""
        raise ValueError(f"{argument} holds tokens from {low} to {high}: this model knows 0{allowed}.")
    return tokens.to(next(model.parameters()).device, torch.long)


def _target(sparsity, pattern):
    """Sparsity or pattern, checked, and in words."""
    if pattern is None:
        sparsity = number("sparsity", 0.5 if sparsity is None else sparsity, 0, 1)
        return sparsity, None, f"sparsity {sparsity:.1%}"
    if sparsity is not None:
        raise ValueError(f"sparsity={sparsity!r} and pattern={pattern!r}: give one of them, not both.")
    if not isinstance(pattern, tuple | list) or len(pattern) != 2:
        raise ValueError(f"pattern={pattern!r}: pattern must be (n, m), n kept of every m inputs, as (2, 4).")
    m = count("pattern's m", pattern[1], 2)
    return None, (count("pattern's n", pattern[0], 1, m - 1), m), f"{pattern[0]}:{m}"


@contextmanager
def _still(model):
    """Evaluation mode, and no cache of keys and values; afterwards all is as before."""
    config = getattr(model, "config", None)
    cache = getattr(config, "use_cache", None)
    if cache is not None:
        config.use_cache = False
    try:
        with evaluating(model):
            yield
    finally:
        if cache is not None:
            config.use_cache = cache


class _Call:
    """How a block was called, but for the hidden states: attention masks, positions and the like."""

    def __init__(self, arguments, settings):
        self.arguments, self.settings = arguments, settings

    def __call__(self, block, x):
        given = block(x, *self.arguments, **self.settings)
        return given[0] if isinstance(given, tuple) else given


class _Enough(Exception):
    """The last block was called: what comes after it is not needed."""


def _record(model, chain, batches):
    """The hidden states that enter the first block, one tensor a batch, and for each block its calls."""
    entering, calls = [], [[] for _ in chain]

    def record(i, block, arguments, settings):
        settings = dict(settings)
        x, *rest = arguments or (settings.pop("hidden_states"),)
        if i == 0:
            entering.append(x)
        calls[i].append(_Call(rest, settings))
        if i == len(chain) - 1:
            raise _Enough

    watches = [
        block.register_forward_pre_hook(partial(record, i), with_kwargs=True) for i, block in enumerate(chain)
    ]
    try:
        for batch in batches:
            try:
                model(batch)
            except _Enough:
                pass
    finally:
        for watch in watches:
            watch.remove()
    if any(len(recorded) != len(batches) for recorded in calls):
        raise ValueError("blocks: the model does not call them one after the other; name its decoder's list.")
    return entering, calls
