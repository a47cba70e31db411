"""Lesson 02: solutions against oracles."""

import numpy as np
import torch
from torch.nn.utils.prune import L1Unstructured, global_unstructured

from lthviz import prune
from lthviz.exercises import magnitude


def test_magnitude_mask_is_the_librarys_pruning():
    rng = np.random.default_rng(5)
    weights = rng.integers(-3, 4, size=(13, 17)).astype(float)  # many ties
    mask = np.ones((13, 17), bool)
    for _ in range(6):
        lesson = magnitude.magnitude_mask(weights, 0.2, mask)
        library = prune({"w": np.abs(weights)}, rate=0.2, mask=None if mask.all() else _as_mask(mask))
        assert np.array_equal(lesson, library["w"])
        mask = lesson


def _as_mask(array):
    from lthviz import Mask

    return Mask({"w": array})


def test_global_masks_are_those_of_torch():
    model = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 10))
    parameters = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    masks = magnitude.global_masks(parameters, 0.37)
    global_unstructured([(layer, "weight") for layer in model], L1Unstructured, amount=0.63)
    for i, layer in enumerate(model):
        assert np.array_equal(masks[f"{i}.weight"], layer.weight_mask.numpy().astype(bool))


def test_equally_large_weights_may_stay_in_any_order():
    def other_ties(weights, rate, previous):
        places = np.flatnonzero(previous)[::-1]
        remove = int(np.floor(rate * len(places) + 0.5))
        mask = np.zeros(weights.size, bool)
        mask[places[np.argsort(np.abs(weights).ravel()[places], kind="stable")[remove:]]] = True
        return mask.reshape(weights.shape)

    assert magnitude.check_magnitude_mask(other_ties).passed
