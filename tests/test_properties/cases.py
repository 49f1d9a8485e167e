"""Random models and batches, over the whole range of what is allowed, and what compares two runs.

hypothesis draws shapes, options and lengths, so that a failure shrinks to its smallest form;
numbers come from a drawn seed. Everything runs on a GPU where there is one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st

from uniadapter.models.fast import FastPaths
from uniadapter.registry import MODELS

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WORDS = [
    "red",
    "green",
    "blue",
    "a",
    "picture",
    "of",
    "ball",
    "box",
    "what",
    "is",
    "it",
    "two",
    "big",
    "small",
    "on",
    "under",
    "no",
    "yes",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, *WORDS]
VOCAB_SIZE = len(VOCABULARY) + 2
CLS = SPECIAL.index("[CLS]")
IMAGE_SIZE = 32
SWITCHES = [field.name for field in fields(FastPaths)]

seeds = st.integers(0, 2**16)
widths = st.sampled_from([16, 24, 32])


def fast_paths() -> st.SearchStrategy[Any]:
    """All fast paths, or any subset of them."""
    return st.one_of(
        st.just(True), st.fixed_dictionaries({name: st.booleans() for name in SWITCHES})
    )


def layer_choices(depth: int) -> st.SearchStrategy[Any]:
    """Layers of an adapter in every spelling: none named, a list, a range."""
    lists = st.lists(st.integers(1, depth), min_size=1, unique=True).map(sorted)
    ranges = st.tuples(st.integers(1, depth), st.integers(1, depth)).map(sorted)
    return st.one_of(st.none(), lists, ranges.map(lambda ends: f"{ends[0]}-{ends[1]}"))


@st.composite
def adapters(draw: st.DrawFn, depth: int, towers: tuple[str, ...] | None = None) -> dict | None:
    """Options of a UniAdapter that do not contradict one another; sometimes no adapter."""
    if draw(st.integers(0, 6)) == 0:
        return None
    names = st.lists(st.sampled_from(["visual", "text", "cross"]), min_size=1, unique=True)
    chosen = list(towers) if towers else draw(names)
    textual = "text" in chosen or "cross" not in chosen
    residuals = ["off", "own", "shared"] if textual else ["off", "own"]
    return {
        "type": "UniAdapter",
        "bottleneck": draw(st.integers(1, 6)),
        "scale": draw(st.sampled_from([0.1, 1.0])),
        "learnable_scale": draw(st.booleans()),
        "towers": chosen,
        "layers": draw(layer_choices(depth)),
        "sharing": draw(st.sampled_from(["none", "down", "up", "down+up"])),
        "shared_layers": draw(layer_choices(depth)),
        "query_residual": draw(st.sampled_from(residuals)),
        "textual_branch": draw(st.booleans()) if textual else False,
        "decoder": draw(st.sampled_from(["shared", "own"])),
        "variant": draw(st.sampled_from(["paper", "released"])),
        "kv_rank": draw(st.sampled_from([0, 0, 3])),
    }


def vit(width: int, layers: int) -> dict[str, Any]:
    """Config of a visual tower of four patches."""
    arch = {
        "embed_dims": width,
        "num_layers": layers,
        "num_heads": 2,
        "feedforward_channels": 2 * width,
    }
    return {"type": "BlipViT", "arch": arch, "img_size": IMAGE_SIZE, "patch_size": 16}


def bert(kind: str, width: int, layers: int, states: int) -> dict[str, Any]:
    """Config of a text tower that reads states of another width."""
    return {
        "type": kind,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": width,
        "num_layers": layers,
        "num_heads": 2,
        "intermediate_size": 2 * width,
        "encoder_width": states,
        "max_positions": 40,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }


@st.composite
def reading_texts(draw: st.DrawFn, width: int, layers: int, states: int) -> dict[str, Any]:
    """A text tower whose every layer reads media (BLIP), or those above some layer (ALBEF)."""
    types, fusion = draw(st.sampled_from([0, 2])), draw(st.integers(0, layers - 1))
    parts = {"type_vocab_size": types, "fusion_layer": fusion}
    return {**bert("BertModel", width, layers, states), **parts}


@st.composite
def retrieval_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A retrieval model with drawn widths, depths and options."""
    visual, text = draw(widths), draw(widths)
    depths = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    variants = [None, "released", "paper"] if visual == text else [None, "released"]
    variant = draw(st.sampled_from(variants))
    pfa = None if variant is None else {"type": "FrameAwareAttention", "variant": variant}
    adapter = draw(adapters(max(depths)))
    return {
        "type": "RetrievalModel",
        "visual": vit(visual, depths[0]),
        "text": draw(reading_texts(text, depths[1], visual)),
        "adapter": adapter,
        "pfa": pfa,
        "matching": {
            "type": "MatchingHead",
            "candidates": draw(st.sampled_from(["online", "momentum"])),
        },
        "embed_dim": draw(st.sampled_from([8, 16])),
        "queue_size": draw(st.integers(1, 12)),
        "momentum": draw(st.sampled_from([0.5, 0.995])),
        "negatives": draw(st.sampled_from(["all", "own"])),
        "train_backbone": adapter is None and draw(st.booleans()),
        "train_temperature": draw(st.booleans()),
        "grad_checkpointing": draw(st.booleans()),
    }


@st.composite
def generative_configs(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A VQA or captioning model with drawn widths, depths and options."""
    visual, text = draw(widths), draw(widths)
    depth = draw(st.integers(1, 3))
    config: dict[str, Any] = {
        "type": kind,
        "visual": vit(visual, draw(st.integers(1, 3))),
        "adapter": draw(adapters(depth)),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])),
        "grad_checkpointing": draw(st.booleans()),
        "train_lm_head": draw(st.booleans()),
    }
    if kind == "VQAModel":
        config["text"] = draw(reading_texts(text, depth, visual))
        config["k_test"] = draw(st.integers(1, 6))
    else:
        config["prompt"] = draw(st.sampled_from(["", "a picture of "]))
    states = text if kind == "VQAModel" else visual
    config["decoder"] = bert("BertDecoder", text, depth, states)
    if config["adapter"] is None:
        config["train_lm_head"] = True
    return config


def build(config: dict[str, Any], fast: Any, vocab_file: Any = None, seed: int = 0) -> Any:
    """Make a model whose attention is far from uniform and whose trained tensors all act.

    Options that contradict one another are refused with a ValueError; such a draw counts for
    nothing.
    """
    config = {**copy.deepcopy(config), "fast": copy.deepcopy(fast)}
    if vocab_file is not None:
        tokenizer = {"vocab_file": str(vocab_file)}
        config["data_preprocessor"] = {"type": "MultimodalDataPreprocessor", "tokenizer": tokenizer}
    torch.manual_seed(seed)
    try:
        model = MODELS.build(config)
    except ValueError:
        reject()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tower in model.towers().values():
            for module in tower.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.mul_(8)
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.1 * noise)
    return model.to(DEVICE)


@dataclass(frozen=True)
class Texts:
    """T texts of words (lengths (T,)) in ids and mask (T, L); L may exceed the longest."""

    ids: torch.Tensor
    mask: torch.Tensor
    lengths: list[int]

    def alone(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One text without padding: ids and mask (1, length)."""
        ids = self.ids[index : index + 1, : self.lengths[index]]
        return ids, torch.ones_like(ids)

    def trimmed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All texts, padded to the longest of them."""
        longest = max(self.lengths)
        return self.ids[:, :longest], self.mask[:, :longest]


@st.composite
def texts(draw: st.DrawFn, count: int, longest: int = 8, widest: int = 5) -> Texts:
    """Texts of one token and more, some equal, padded to the longest or wider, with any filling."""
    lengths = draw(st.lists(st.integers(1, longest), min_size=count, max_size=count))
    width = max(lengths) + draw(st.sampled_from([0, 0, 1, widest]))
    generator = torch.Generator().manual_seed(draw(seeds))
    ids = torch.randint(len(SPECIAL), len(VOCABULARY), (count, width), generator=generator)
    ids[:, 0] = CLS
    for row in draw(st.sets(st.integers(0, count - 1))):
        ids[row], lengths[row] = ids[0], lengths[0]
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    if draw(st.booleans()):
        ids = ids * mask
    return Texts(ids.to(DEVICE), mask.to(DEVICE), lengths)


def pixels(seed: int, count: int, frames: int) -> torch.Tensor:
    """Random pixels (count, frames, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator).to(DEVICE)


def media_ids(count: int) -> st.SearchStrategy[torch.Tensor]:
    """Ids of a batch's media: all different, repeated or all equal."""
    return st.lists(st.integers(0, count - 1), min_size=count, max_size=count).map(
        lambda ids: torch.tensor(ids, device=DEVICE)
    )


def words(most: int = 4) -> st.SearchStrategy[str]:
    """A text of known words, sometimes empty."""
    return st.lists(st.sampled_from(WORDS), max_size=most).map(" ".join)


def gradients(model: Any) -> dict[str, torch.Tensor | None]:
    """The gradients of all trained tensors by name."""
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def assert_near(got: torch.Tensor, want: torch.Tensor, name: str = "") -> None:
    """Equal within rounding: 2e-4 of the largest entry (or of 0.01, where all are small)."""
    assert got.shape == want.shape, (name, got.shape, want.shape)
    if want.numel() == 0:
        return
    scale = float(want.detach().abs().max().clamp(min=1e-2))
    gap = float((got.detach().double() - want.detach().double()).abs().max())
    assert gap <= 2e-4 * scale, f"{name}: {gap} apart, at entries of up to {scale}"


def assert_same_gradients(
    got: dict[str, torch.Tensor | None], want: dict[str, torch.Tensor | None]
) -> None:
    """The same tensors have a gradient, and the same one within rounding."""
    assert list(got) == list(want)
    for name, gradient in want.items():
        other = got[name]
        if gradient is None or other is None:
            # A term that nothing reads has no gradient on one way and zeros on another.
            for present in (gradient, other):
                assert present is None or not present.any(), name
            continue
        assert_near(other, gradient, name)
