"""A tiny language model: it reads *Pride and Prejudice* letter by letter, and was trained in minutes.

A decoder transformer of 0.8 million parameters whose layers are plain ``nn.Linear``, so that :mod:`lthviz.llm`
prunes it like a large one. ``python -m lthviz language`` trains it again.
"""

import copy
import json
import lzma
import math
import time
from functools import cache
from importlib.resources import files

import torch
import torch.nn.functional as F
from torch import nn

from .choices import count, number
from .train import generator as seeded

BLOCKS, WIDTH, HEADS, CONTEXT = 4, 128, 4, 128
STEPS, BATCH, PEAK_LR, WARM_UP = 1500, 32, 3e-3, 100
WEIGHTS = "language.safetensors"
PROMPT = "It is a truth universally acknowledged"


@cache
def text() -> str:
    """The novel: Jane Austen, *Pride and Prejudice* (1813), in the public domain; 684,768 characters."""
    packed = (files("lthviz") / "datasets" / "pride_and_prejudice.txt.xz").read_bytes()
    return lzma.decompress(packed).decode("ascii")


@cache
def letters() -> str:
    """The 75 characters of the novel in the order of their numbers: the whole vocabulary."""
    return "".join(sorted(set(text())))


def encode(words: str) -> torch.Tensor:
    """One whole number a character, ``(characters,)``.

    Raises
    ------
    ValueError
        For a character that is not in the novel.
    """
    known = {letter: number for number, letter in enumerate(letters())}
    strange = sorted(set(words) - set(known))
    if strange:
        raise ValueError(f"words={words[:40]!r}: {strange[0]!r} is not in the novel. Allowed: {letters()!r}.")
    return torch.tensor([known[letter] for letter in words], dtype=torch.long)


def decode(tokens) -> str:
    """The characters with these numbers."""
    return "".join(letters()[token] for token in torch.as_tensor(tokens).tolist())


@cache
def split() -> tuple[torch.Tensor, torch.Tensor]:
    """The novel as numbers: the first nine tenths to train on, the last tenth to validate. Do not change them."""
    tokens = encode(text())
    return tokens.tensor_split([len(tokens) * 9 // 10])


def windows(tokens, sequences: int, generator, length: int = CONTEXT) -> torch.Tensor:
    """``(sequences, length)`` stretches of ``tokens (characters,)``, each from a place that ``generator`` draws."""
    count("sequences", sequences, 1)
    count("length", length, 1, len(tokens))
    start = torch.randint(len(tokens) - length + 1, (sequences, 1), generator=generator)
    return tokens[start + torch.arange(length)]


def stretches() -> torch.Tensor:
    """``(67, 128)``: every eighth stretch of the validation text, for measurements in a second."""
    validation = split()[1]
    return validation[: len(validation) // CONTEXT * CONTEXT].view(-1, CONTEXT)[::8]


class Block(nn.Module):
    """Attention, then a hidden layer; each reads its normalised input and adds to what was there."""

    def __init__(self):
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH, bias=False)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.hidden_norm = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        """``(batch, length, width)`` to the same shape; no place sees a later one."""
        read = self.attention_norm(x)
        query, key, value = (
            layer(read).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.hidden_norm(x))))

    def readers(self):
        """Each norm with the layers that read what it gives."""
        return (self.attention_norm, (self.query, self.key, self.value)), (self.hidden_norm, (self.up,))


class LanguageModel(nn.Module):
    """Logits for the next character; trained by :func:`train`, shipped by :func:`load`."""

    def __init__(self):
        super().__init__()
        self.letter = nn.Embedding(len(letters()), WIDTH)
        self.place = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, len(letters()), bias=False)

    def forward(self, tokens):
        """``(batch, length)`` characters to logits ``(batch, length, characters)``; length at most 128."""
        length = tokens.shape[1]
        if length > CONTEXT:
            raise ValueError(f"tokens has length {length}: this model reads at most {CONTEXT} characters.")
        x = self.letter(tokens) + self.place.weight[:length]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    @torch.no_grad()
    def draw(self, generator):
        """Initial weights ~ N(0, 0.02²) from ``generator``, smaller where blocks add to what was there; gives itself."""
        for name, weight in self.named_parameters():
            if name.endswith("norm.weight"):
                weight.fill_(1.0)
            else:
                adds = name.endswith(("out.weight", "down.weight"))
                weight.normal_(0.0, 0.02 / math.sqrt(2 * BLOCKS if adds else 1), generator=generator)
        return self


def _undrawn() -> LanguageModel:
    """A model without PyTorch's own initial draw, which would move the global generator."""
    with torch.device("meta"):
        model = LanguageModel()
    return model.to_empty(device="cpu")


def load() -> LanguageModel:
    """The trained model, in evaluation mode. Its weights are stored with 16 bits and computed with 32."""
    from safetensors.torch import load_file

    model = _undrawn()
    model.load_state_dict(load_file(files("lthviz") / "weights" / WEIGHTS))
    return model.eval()


def facts() -> dict:
    """What is stored with the weights: steps, perplexity on the validation text, torch's version, sizes."""
    from safetensors import safe_open

    with safe_open(files("lthviz") / "weights" / WEIGHTS, "pt") as stored:
        return json.loads(stored.metadata()["facts"])


@torch.no_grad()
def sample(model, prompt: str, generator, length: int = 200) -> str:
    """``prompt`` and ``length`` characters more, each drawn from the model's own distribution.

    ``generator`` is a ``torch.Generator`` on the CPU.

    Raises
    ------
    ValueError
        For an empty prompt, or a character that is not in the novel.
    """
    if not prompt:
        raise ValueError("prompt='': the model needs at least one character to go on from.")
    tokens = encode(prompt)
    device = next(model.parameters()).device
    for _ in range(count("length", length, 0)):
        logits = model(tokens[None, -CONTEXT:].to(device))[0, -1]
        following = torch.multinomial(logits.float().softmax(0).cpu(), 1, generator=generator)
        tokens = torch.cat([tokens, following])
    return decode(tokens)


@torch.no_grad()
def with_outliers(model: LanguageModel, strength: float, features: int, generator) -> LanguageModel:
    """A copy that computes the same function with outlier features in its activations.

    Each norm gives ``features`` of its values, drawn by ``generator``, ``strength`` times as large; the layers
    that read them have the matching columns divided by ``strength``. So the logits stay the same, up to rounding,
    while small weights become important ones. Large language models grow such features by themselves
    (Dettmers et al. 2022, arXiv:2208.07339).

    Raises
    ------
    ValueError
        For a strength that is not positive, or more features than there are.
    """
    strength = number("strength", strength, 0, math.inf, open_ends=True)
    features = count("features", features, 0, WIDTH)
    model = copy.deepcopy(model)
    for block in model.blocks:
        for norm, layers in block.readers():
            chosen = torch.randperm(WIDTH, generator=generator)[:features]
            norm.weight[chosen] *= strength
            for layer in layers:
                layer.weight[:, chosen] /= strength
    return model


def learning_rate(step: int) -> float:
    """Up in a straight line, then down along a cosine to nothing at the last step."""
    if step < WARM_UP:
        return PEAK_LR * (step + 1) / WARM_UP
    return PEAK_LR * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def train(seed: int = 0, steps: int = STEPS) -> LanguageModel:
    """A model trained from scratch with AdamW (betas 0.9 and 0.95, weight decay 0.1, gradients cut at norm 1)."""
    data, order = split()[0], seeded(seed, "order")
    model = _undrawn().draw(seeded(seed, "init"))
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_LR, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step)
        batch = windows(data, BATCH, order, CONTEXT + 1)
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1:,} of {steps:,}: perplexity {loss.exp():.2f} on its batch", flush=True)
    return model.eval()


def main() -> None:
    """Train the model of lesson 10 and store it."""
    from safetensors.torch import save

    from .llm import perplexity

    begun, folder = time.perf_counter(), files("lthviz") / "weights"
    trained = train()
    whole = perplexity(trained, split()[1], CONTEXT, batch_size=64)
    stored = {name: weight.half() for name, weight in trained.state_dict().items()}
    known = {
        "blocks": BLOCKS,
        "width": WIDTH,
        "heads": HEADS,
        "context": CONTEXT,
        "steps": STEPS,
        "batch": BATCH,
        "perplexity": whole,
        "torch": torch.__version__,
    }
    (folder / WEIGHTS).write_bytes(save(stored, {"facts": json.dumps(known)}))
    print(
        f"{folder / WEIGHTS}: {time.perf_counter() - begun:.0f} s; perplexity on the validation text {whole:.4f}, ",
        end="",
    )
    model = load()
    print(f"with 16 bits {perplexity(model, split()[1], CONTEXT, batch_size=64):.4f}", flush=True)
