"""Random models, captions and media of real sizes."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.data import Dataset

from uniadapter.apis.model import build_model
from uniadapter.models.tasks import RetrievalModel
from uniadapter.structures import MultimodalSample
from uniadapter.utils.config import load_model_config

#: MSR-VTT's captions have about 12 tokens with [CLS] and [SEP] (9.3 words, some of several pieces).
MEAN_LENGTH, MIN_LENGTH, MAX_LENGTH = 12.0, 5, 35
_LOG_STD = 0.35
_SHARPNESS, _HEAD, _UP_STD = 3.0, 3.0, 0.02
_ARCHES = {
    "b": {"embed_dims": 768, "num_layers": 12, "num_heads": 12, "feedforward_channels": 3072},
    "l": {"embed_dims": 1024, "num_layers": 24, "num_heads": 16, "feedforward_channels": 4096},
}


def read_config(path: str, layers: int | None = None, pfa: str | None = None) -> Config:
    """Read a retrieval config and shrink what the measurement doesn't need.

    Args:
        path (str): Config file.
        layers (int, optional): Layers of both towers. None: the config's.
        pfa (str, optional): Variant of the frame weights. None: as in the config.

    Raises:
        ValueError: If it is no config of a retrieval model with a data preprocessor.
    """
    cfg = load_model_config(path, {})
    model = cfg.get("model", {})
    if model.get("type") != "RetrievalModel" or not model.get("data_preprocessor"):
        raise ValueError(
            f"{path}: key 'model' must be a RetrievalModel with a data_preprocessor, got type "
            f"{model.get('type')!r}: name a retrieval config such as "
            "configs/uniadapter/msrvtt_r512.py."
        )
    model.queue_size = 1
    if pfa is not None:
        if not model.get("pfa"):
            raise ValueError(f"{path}: key 'model.pfa' is not set: name a video retrieval config.")
        model.pfa = {"type": "FrameAwareAttention", "variant": pfa}
    if layers is not None:
        arch = model.visual.get("arch", "b")
        arch = _ARCHES[arch] if isinstance(arch, str) else arch.to_dict()
        model.visual.arch = {**arch, "num_layers": layers}
        model.text.num_layers = layers
    return cfg


def random_model(cfg: Config, seed: int) -> RetrievalModel:
    """A model with random weights that tells texts and media apart.

    At BLIP's initialisation attention is nearly uniform, adapters add nothing and all pairs score
    alike. So query and key weights of all attentions are multiplied by 3, up-projections are drawn
    from a normal distribution of standard deviation 0.02, and the matching head's weights are
    multiplied by 3, which brings the standard deviation of a medium's scores to about 1 at BLIP's
    size.
    """
    torch.manual_seed(seed)
    model: Any = build_model(cfg.model.to_dict()).eval()
    with torch.no_grad():
        for layer in model.text.encoder.layer:
            # ALBEF's lower layers have no cross-attention.
            for block in (layer.attention, getattr(layer, "crossattention", None)):
                if block is not None:
                    block.self.query.weight.mul_(_SHARPNESS)
                    block.self.key.weight.mul_(_SHARPNESS)
        for layer in model.visual.layers:
            layer.attn.qkv.weight[: 2 * layer.attn.embed_dims].mul_(_SHARPNESS)
        model.itm_head.weight.mul_(_HEAD)
        for layer in () if model.adapter is None else model.adapter.layers.values():
            for up in layer.up.values():
                nn.init.normal_(up.weight, std=_UP_STD)
                nn.init.normal_(up.bias, std=_UP_STD)
    return model


def caption_lengths(count: int, seed: int) -> list[int]:
    """Lengths in tokens, [CLS] and [SEP] included, that resemble MSR-VTT's.

    Log-normal with a mean of 12 and a logarithmic standard deviation of 0.35 (4.3 tokens), rounded
    and clipped to 5..35.
    """
    generator = torch.Generator().manual_seed(seed)
    log_mean = torch.log(torch.tensor(MEAN_LENGTH)) - _LOG_STD**2 / 2
    lengths = torch.exp(log_mean + _LOG_STD * torch.randn(count, generator=generator))
    return lengths.round().clamp(MIN_LENGTH, MAX_LENGTH).long().tolist()


def random_captions(tokenizer: Any, lengths: list[int], seed: int) -> list[str]:
    """Captions of random words that have exactly the given numbers of tokens.

    Raises:
        ValueError: If the vocabulary has no word that is one token.
    """
    generator = torch.Generator().manual_seed(seed)
    words = []
    for index in torch.randperm(tokenizer.vocab_size - 2, generator=generator).tolist():
        word = tokenizer.decode([index])
        if len(word) > 0 and tokenizer.encode(word)[1:-1] == [index]:
            words.append(word)
        if len(words) == 2000:
            break
    if not words:
        raise ValueError("The tokenizer's vocabulary has no word that is a single token.")
    picks = [torch.randint(len(words), (n - 2,), generator=generator).tolist() for n in lengths]
    return [" ".join(words[pick] for pick in row) for row in picks]


class RandomMedia(Dataset):
    """Media of random blocks in memory, as a test dataset gives them.

    Frames of a medium share half of their contrast, so that frames differ and media differ more.

    Args:
        captions (list[list[str]]): The captions of each of the V media.
        frames (int): Frames N of a medium.
        size (int): Side in pixels, a multiple of ``patch``.
        seed (int): Seed of the pixels.
        patch (int): Side of a block in pixels.
    """

    def __init__(
        self, captions: list[list[str]], frames: int, size: int, seed: int, patch: int = 16
    ) -> None:
        self.captions, self.frames, self.patch = captions, frames, patch
        self.side, self.seed = size // patch, seed
        self.metainfo: dict = {}

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + index)
        blocks = torch.randint(
            0, 128, (1 + self.frames, 3, self.side, self.side), generator=generator
        )
        blocks = (blocks[:1] + blocks[1:]).to(torch.uint8)
        pixels = blocks.repeat_interleave(self.patch, -1).repeat_interleave(self.patch, -2)
        sample = MultimodalSample(
            metainfo={
                "media_id": index,
                "video_id": f"random{index}",
                "media_path": f"random/{index}",
                "texts": self.captions[index],
                "replaced": [],
                "skipped": False,
            }
        )
        return {"inputs": pixels, "data_samples": sample}
