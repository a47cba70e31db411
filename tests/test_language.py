"""The tiny language model: its text, its arithmetic against NumPy, what is shipped, sampling, outliers, training."""

import copy
import hashlib
import json
import math
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthviz import language, llm


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    return language.load()


# --- The text ----------------------------------------------------------------------------------------------------------


def test_the_novel_is_the_stated_one():
    packed = (files("lthviz") / "datasets" / "pride_and_prejudice.txt.xz").read_bytes()
    known = "b1bb98fb36a1bdf4086d4a5aab7822017a9be9b63a761264ea99ec746fd98ab2"
    assert hashlib.sha256(packed).hexdigest() == known
    assert len(language.text()) == 684_768 and len(language.letters()) == 75
    assert language.text().startswith("PRIDE AND PREJUDICE\n\nBy Jane Austen")


@given(st.text(alphabet=language.letters()))
def test_decode_undoes_encode(words):
    tokens = language.encode(words)
    assert tokens.shape == (len(words),) and tokens.dtype == torch.long
    assert language.decode(tokens) == words


def test_a_strange_letter_is_named():
    with pytest.raises(ValueError, match="'é' is not in the novel"):
        language.encode("café")


def test_the_last_tenth_validates():
    train, validation = language.split()
    assert language.decode(torch.cat([train, validation])) == language.text()
    assert len(train) == 9 * 684_768 // 10


def test_windows_are_stretches_that_the_generator_chooses():
    tokens = torch.arange(50)
    drawn = language.windows(tokens, 300, seeded(), 7)
    assert drawn.shape == (300, 7)
    assert (drawn == drawn[:, :1] + torch.arange(7)).all()
    assert drawn.min() == 0 and drawn.max() == 49
    assert torch.equal(drawn, language.windows(tokens, 300, seeded(), 7))
    assert not torch.equal(drawn, language.windows(tokens, 300, seeded(1), 7))
    with pytest.raises(ValueError, match="length=51: length must be .* at most 50"):
        language.windows(tokens, 1, seeded(), 51)


# --- The network -------------------------------------------------------------------------------------------------------


def by_hand(model, tokens):
    """The logits of one sequence, (length, characters), in NumPy: head by head, place by place."""
    weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}

    def norm(x, gain):
        centred = x - x.mean(-1, keepdims=True)
        return gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)

    x = np.array([weights["letter.weight"][t] + weights["place.weight"][i] for i, t in enumerate(tokens)])
    width = language.WIDTH // language.HEADS
    for b in range(language.BLOCKS):

        def layer(name, given, b=b):
            return given @ weights[f"blocks.{b}.{name}.weight"].T

        read = norm(x, weights[f"blocks.{b}.attention_norm.weight"])
        query, key, value = (layer(name, read) for name in ("query", "key", "value"))
        seen = np.zeros_like(x)
        for h in range(language.HEADS):
            mine = slice(h * width, (h + 1) * width)
            for i in range(len(x)):
                score = np.exp(key[: i + 1, mine] @ query[i, mine] / math.sqrt(width))
                seen[i, mine] = (score / score.sum()) @ value[: i + 1, mine]
        x = x + layer("out", seen)
        hidden = layer("up", norm(x, weights[f"blocks.{b}.hidden_norm.weight"]))
        hidden *= 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = x + layer("down", hidden)
    return norm(x, weights["norm.weight"]) @ weights["head.weight"].T


def test_the_network_computes_what_a_decoder_computes(model):
    tokens = language.encode("It is a truth universally")
    with torch.no_grad():
        given = model(tokens[None])[0]
    assert np.allclose(given, by_hand(model, tokens), rtol=1e-4, atol=1e-4)


def test_no_place_sees_a_later_one(model):
    tokens = language.encode("Mr. Bennet made no answer.")[None]
    other = tokens.clone()
    other[0, 10:] = language.encode("!" * 16)
    with torch.no_grad():
        here, there = model(tokens)[0], model(other)[0]
    assert torch.allclose(here[:10], there[:10], atol=1e-5)
    assert not torch.allclose(here[10:], there[10:], atol=1e-1)


def test_too_long_a_text_is_refused(model):
    with pytest.raises(ValueError, match="length 129: this model reads at most 128"):
        model(torch.zeros(1, 129, dtype=torch.long))


def test_the_shipped_weights_are_small_and_as_good_as_they_say(model):
    path = files("lthviz") / "weights" / "language.safetensors"
    assert sum(weight.numel() for weight in model.parameters()) < 1_500_000
    assert path.stat().st_size < 2_000_000
    assert not model.training and all(weight.dtype == torch.float32 for weight in model.parameters())
    known = language.facts()
    assert {"steps", "batch", "torch", "blocks", "width", "heads", "context"} <= set(known)
    found = llm.perplexity(model, language.split()[1], language.CONTEXT, batch_size=64)
    assert found == pytest.approx(known["perplexity"], rel=1e-3) and found < 4


def test_weights_are_stored_without_pickle_and_in_16_bits():
    from safetensors import safe_open

    with safe_open(files("lthviz") / "weights" / "language.safetensors", "pt") as stored:
        assert json.loads(stored.metadata()["facts"]) == language.facts()
        assert all(stored.get_tensor(name).dtype == torch.float16 for name in stored.keys())


# --- Sampling ----------------------------------------------------------------------------------------------------------


class Alphabet(nn.Module):
    """Knows for sure that a is followed by b, b by c, ...; looks at the last letter alone, and remembers lengths."""

    def __init__(self, certain=1e4):
        super().__init__()
        self.certain = nn.Parameter(torch.tensor(certain))
        self.lengths = []

    def forward(self, tokens):
        self.lengths.append(tokens.shape[1])
        following = (tokens + 1) % len(language.letters())
        return nn.functional.one_hot(following, len(language.letters())) * self.certain


def test_sample_goes_on_from_the_prompt_within_the_context():
    reader = Alphabet()
    assert language.sample(reader, "so a", seeded(), 5) == "so abcdef"
    assert language.sample(reader, "a", seeded(), 0) == "a"
    reader.lengths.clear()
    assert len(language.sample(reader, "a" * 126, seeded(), 6)) == 132
    assert reader.lengths == [126, 127, 128, 128, 128, 128]


def test_letters_are_drawn_with_the_models_chances():
    letter = language.sample(Alphabet(math.log(74)), "a", seeded(), 2000)  # right with a chance of one half
    right = sum(language.encode(b) == (language.encode(a) + 1) % 75 for a, b in pairwise(letter))
    assert abs(int(right) / 2000 - 0.5) < 4 * 0.5 / math.sqrt(2000)


def test_a_sample_belongs_to_its_generator(model):
    first, again, other = (language.sample(model, "She ", seeded(seed), 30) for seed in (0, 0, 1))
    assert first == again != other and first.startswith("She ") and len(first) == 34


@pytest.mark.parametrize(
    "prompt, length, words", [("", 5, "prompt=''"), ("é", 5, "not in the novel"), ("a", -1, "length=-1")]
)
def test_impossible_samples_are_refused(prompt, length, words):
    with pytest.raises(ValueError, match=words):
        language.sample(Alphabet(), prompt, seeded(), length)


# --- Outliers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.3, 8, 30])
def test_outliers_leave_the_function_as_it_is(model, strength):
    tokens = language.windows(language.split()[1], 8, seeded())
    strange = language.with_outliers(model, strength, 6, seeded(1))
    with torch.no_grad():
        assert torch.allclose(strange(tokens), model(tokens), rtol=1e-4, atol=2e-3)


def entering(model, tokens):
    """Root mean square of each input feature of each query and up layer."""
    found = []
    watches = [
        layer.register_forward_pre_hook(lambda layer, x: found.append(x[0].square().mean((0, 1)).sqrt()))
        for block in model.blocks
        for layer in (block.query, block.up)
    ]
    with torch.no_grad():
        model(tokens)
    for watch in watches:
        watch.remove()
    return torch.stack(found)


def test_outliers_are_in_the_activations(model):
    tokens = language.windows(language.split()[1], 8, seeded())
    before = copy.deepcopy(model.state_dict())
    strange = language.with_outliers(model, 16, 5, seeded(1))
    ratio = entering(strange, tokens) / entering(model, tokens)
    assert ((ratio - 16).abs() < 0.05).sum(1).tolist() == [5] * 8
    assert ((ratio - 1).abs() < 0.05).sum(1).tolist() == [123] * 8
    assert len({tuple(row.tolist()) for row in ratio > 2}) == 8  # every norm has its own
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    again = language.with_outliers(model, 16, 5, seeded(1)).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in strange.state_dict().items())


def test_wanda_does_not_see_outliers_and_magnitude_does(model):
    tokens = language.windows(language.split()[0], 8, seeded())
    masks = {}
    for method in ("wanda", "magnitude"):
        for strength in (1, 16):
            pruned = language.with_outliers(model, strength, 6, seeded(1))
            llm.prune(pruned, tokens, method)
            masks[method, strength] = pruned.blocks[0].query.weight != 0
    assert (masks["wanda", 1] == masks["wanda", 16]).float().mean() > 0.999
    assert (masks["magnitude", 1] == masks["magnitude", 16]).float().mean() < 0.99


@pytest.mark.parametrize("strength, features", [(0, 2), (-1, 2), (float("inf"), 2), (2, 129), (2, -1)])
def test_impossible_outliers_are_refused(model, strength, features):
    with pytest.raises(ValueError, match=r"(strength|features)="):
        language.with_outliers(model, strength, features, seeded())


# --- Training ----------------------------------------------------------------------------------------------------------


def test_training_learns_repeats_itself_and_leaves_the_random_states_alone(monkeypatch):
    monkeypatch.setattr(language, "BATCH", 4)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    trained, again, other = (language.train(seed, steps=12).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    for name, weight in trained.items():
        assert torch.allclose(weight, again[name], atol=1e-6)
        assert not torch.allclose(weight, other[name], atol=1e-6) or name.endswith("norm.weight")
    learnt = language.load()
    learnt.load_state_dict(trained)
    tokens = language.windows(language.split()[1], 16, seeded())
    assert llm.perplexity(learnt, tokens) < 60 < 75


def test_the_learning_rate_rises_and_falls():
    rates = [language.learning_rate(step) for step in range(language.STEPS)]
    assert np.argmax(rates) in (language.WARM_UP - 1, language.WARM_UP)
    assert max(rates) == language.PEAK_LR and 0 < rates[-1] < 1e-3 * max(rates)
    assert np.allclose(np.diff(rates[: language.WARM_UP]), language.PEAK_LR / language.WARM_UP)


def test_loading_and_sampling_leave_the_random_states_alone():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    loaded = language.load()
    language.sample(loaded, "a", seeded(), 3)
    language.with_outliers(loaded, 2, 3, seeded())
    language.windows(language.split()[0], 2, seeded())
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
