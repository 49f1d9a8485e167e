"""Tiny towers that stand side by side, of every family that has them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from tokenizers import pre_tokenizers
from torch import nn

from tests.helpers import COLORS, ROOT, SHAPES, load_tool
from uniadapter.models import Beit3Text, Beit3Vision, ClipText, ClipVisual, UniAdapter
from uniadapter.models.build import build_model
from uniadapter.models.sites import Places

SIZES = {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}
SIDE = 32


def beit3_tokenizer(folder: Path) -> Path:
    """A tokenizer.json trained on the captions of the tiny world: 28 words."""
    import sentencepiece

    written = io.BytesIO()
    lines = [f"a {color} {shape} moves" for color in COLORS for shape in SHAPES]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 5), model_writer=written, vocab_size=26, minloglevel=2
    )
    (folder / "tiny.spm").write_bytes(written.getvalue())
    tool = load_tool("model_converters/convert_sentencepiece.py")
    tool.main([str(folder / "tiny.spm"), str(folder / "tiny.json")])
    return folder / "tiny.json"


def clip_tokenizer(folder: Path) -> Path:
    """A tokenizer of single bytes: 514 words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    model = {"type": "BPE", "end_of_word_suffix": "</w>", "merges": []}
    vocab = {word: index for index, word in enumerate(words)}
    path = folder / "clip_tokenizer.json"
    path.write_text(json.dumps({"model": {**model, "vocab": vocab}}))
    return path


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        visual, text: Classes of its towers.
        words: Rows of the word table.
        text_sizes: Sizes of the text tower, two layers.
        config: A config of configs/ without the folder.
        tokenizer: Writes the file of a tokenizer.
        spare: Whether the tower may have more rows than the tokenizer words.
        hosted: Whether the layers are another project's.
    """

    visual: type
    text: type
    words: int
    text_sizes: dict[str, int]
    config: str
    tokenizer: Callable[[Path], Path]
    spare: bool
    hosted: bool

    def towers(self, **options: Any) -> nn.ModuleDict:
        """Both towers in evaluation mode."""
        visual = self.visual(arch=SIZES, img_size=SIDE, patch_size=16, **options)
        text = self.text(vocab_size=self.words, max_positions=9, **self.text_sizes, **options)
        return nn.ModuleDict({"visual": visual, "text": text}).eval()

    def narrow(self, name: str | None = None) -> dict[str, Any]:
        """The model of a config at tiny sizes, without a tokenizer's file."""
        path = ROOT / f"configs/{name or self.config}.py"
        model = Config.fromfile(str(path)).model.to_dict()
        model["visual"].update(arch=SIZES, img_size=SIDE, patch_size=16)
        model["text"].update(self.text_sizes, vocab_size=self.words)
        model["contrast"]["embed_dim"] = 16
        if model["adapter"]:
            model["adapter"].update(bottleneck=3, scale=1.0)
        return {**model, "pretrained": None}

    def model(self, name: str | None = None) -> Any:
        """The model of :meth:`narrow`, the same at every call."""
        torch.manual_seed(0)
        return build_model(self.narrow(name))

    def texts(self, size: int = 4, length: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of texts of several lengths."""
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(0, self.words - 2, (size, length), generator=generator)
        mask = torch.ones_like(ids)
        ids[:, 0] = self.words - 2
        for row in range(size):
            end = length - 1 - row % 3
            ids[row, end:] = self.words - 1
            mask[row, end + 1 :] = 0
        return ids, mask

    def pairs(self, size: int = 4, frames: int = 2) -> dict[str, torch.Tensor]:
        """Videos and texts of several lengths."""
        ids, mask = self.texts(size)
        generator = torch.Generator().manual_seed(2)
        return {
            "pixels": torch.randn(size, frames, 3, SIDE, SIDE, generator=generator),
            "input_ids": ids,
            "attention_mask": mask,
            "media_ids": torch.arange(size),
        }


def places(model: nn.ModuleDict) -> Places:
    """The sites of both towers."""
    found = Places()
    for role in ("visual", "text"):
        found.add(role, model[role].sites())
    return found


def adapted(model: nn.ModuleDict, bottleneck: int = 3, seed: int = 0) -> UniAdapter:
    """A UniAdapter on both towers that acts."""
    adapter = UniAdapter(places(model), bottleneck=bottleneck, scale=1.0, towers=("visual", "text"))
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return adapter


def _sizes(width: int, heads: int, hidden: int) -> dict[str, int]:
    names = ("hidden_size", "num_layers", "num_heads", "intermediate_size")
    return dict(zip(names, (width, 2, heads, hidden), strict=True))


FAMILIES = {
    "beit3": Family(
        Beit3Vision,
        Beit3Text,
        60,
        _sizes(16, 2, 64),
        "uniadapter/flickr30k_beit3_base_r128",
        beit3_tokenizer,
        spare=True,
        hosted=False,
    ),
    "clip": Family(
        ClipVisual,
        ClipText,
        514,
        _sizes(12, 3, 24),
        "uniadapter/flickr30k_clip_r128",
        clip_tokenizer,
        spare=False,
        hosted=True,
    ),
}
