"""The small models of the contract matrix, their batches and what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS as ROOT
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionConfig, CLIPVisionModel

from tests.helpers import VOCAB_SIZE, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import one_seed, outputs, seeded_model, tiny_batch, tiny_pretrain_cfg
from uniadapter.apis.model import build_model
from uniadapter.models import AdaptedBackbone
from uniadapter.models.execution import Words
from uniadapter.models.heads import decoder_loss
from uniadapter.structures import MultimodalSample
from uniadapter.utils.compat import mmpretrain_models

mmpretrain_models()
Outputs = dict[str, list[torch.Tensor]]
SIZES = {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32}
TEXT = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 32}
BACKBONE = {
    "type": "mmpretrain.VisionTransformer",
    "arch": SIZES,
    "img_size": 32,
    "patch_size": 16,
    "out_type": "raw",
}
CAPTIONS = ["a red square moves", "a dot", "a blue bar moves"]


def write_files(folder: Path) -> Path:
    """Write what the models read: a vocabulary and the weights of a backbone."""
    write_vocab(folder / "vocab.txt")
    with one_seed(5):
        torch.save(spread(ROOT.build(BACKBONE)).state_dict(), folder / "vit.pth")
    return folder


def spread(model: nn.Module) -> nn.Module:
    """Weights whose attention is far from uniform, and biases and norms that matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


# Models. Each takes the adapter's config, the folder of `write_files`, a seed and options of the
# model: `fast` and `grad_checkpointing`.


def _blip(adapter: dict | None, seed: int = 0, **options: Any) -> Any:
    return seeded_model(tiny_retrieval_cfg(adapter=adapter, **options), seed)


def blip_video(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """Two frames, frame-aware attention."""
    return _blip(adapter, seed, **options)


def blip_image(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """Images, all frames alike."""
    return _blip(adapter, seed, pfa=None, **options)


def blip_two_widths(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """A visual tower that is wider and deeper than the text tower, as in BLIP-Large."""
    cfg = tiny_retrieval_cfg()
    arch = {"embed_dims": 48, "num_layers": 3, "num_heads": 2, "feedforward_channels": 64}
    visual, text = {**cfg["visual"], "arch": arch}, {**cfg["text"], "encoder_width": 48}
    return _blip(adapter, seed, visual=visual, text=text, **options)


def albef(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """Upper text layers that continue from the lower ones' states."""
    text = {**tiny_retrieval_cfg()["text"], "type_vocab_size": 2, "fusion_layer": 1}
    matching = {"type": "MatchingHead", "negatives": "own", "candidates": "momentum"}
    return _blip(adapter, seed, text=text, matching=matching, pfa=None, **options)


def pretrain(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """All towers, all heads."""
    cfg = tiny_pretrain_cfg(adapter=adapter, train_backbone=False, **options)
    return seeded_model(cfg, seed)


def _writer(kind: str, adapter: dict | None, folder: Path, seed: int, **options: Any) -> Any:
    cfg = tiny_retrieval_cfg(folder / "vocab.txt")
    for name in ("pfa", "embed_dim", "queue_size"):
        del cfg[name]
    decoder = {**cfg["text"], "type": "BertDecoder"}
    if kind == "CaptionModel":
        del cfg["text"]
    cfg.update(type=kind, decoder=decoder, adapter=adapter)
    return seeded_model({**cfg, **options}, seed)


def vqa(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """Questions that read a medium, a decoder that reads them."""
    return _writer("VQAModel", adapter, folder, seed, **options)


def albef_vqa(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """A decoder of the layers that fuse, with their adapters."""
    text = {**tiny_retrieval_cfg()["text"], "type_vocab_size": 2}
    decoder = {**text, "type": "BertDecoder", "num_layers": 1, "layer_offset": 1}
    parts = {"text": {**text, "fusion_layer": 1}, "decoder": decoder, "end_marks": 2}
    return _writer("VQAModel", adapter, folder, seed, **parts, **options)


def caption(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """A decoder that reads a medium."""
    return _writer("CaptionModel", adapter, folder, seed, **options)


T5 = {
    "type": "T5",
    "arch": {**TEXT, "head_dim": 8},
    "vocab_size": VOCAB_SIZE,
    "dropout": 0.0,
}


def t5(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """An encoder and a decoder of transformers, in one module."""
    torch.manual_seed(seed)
    return build_model({"type": "Seq2SeqModel", "text": T5, "adapter": adapter, **options})


def _dual(adapter: dict | None, visual: dict, text: dict, seed: int, **options: Any) -> Any:
    cfg = {
        "type": "RetrievalModel",
        "visual": {"arch": SIZES, "img_size": 32, "patch_size": 16, **visual},
        "text": {**TEXT, "vocab_size": VOCAB_SIZE, **text},
        "adapter": adapter,
        "contrast": {"type": "BatchContrastHead", "embed_dim": 8},
        "matching": None,
    }
    return seeded_model({**cfg, **options}, seed)


def clip(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """Two towers of transformers."""
    return _dual(adapter, {"type": "ClipVisual"}, {"type": "ClipText"}, seed, **options)


def beit3(adapter: dict | None, folder: Path, seed: int = 0, **options: Any) -> Any:
    """Two towers of the package's own."""
    return _dual(adapter, {"type": "Beit3Vision"}, {"type": "Beit3Text"}, seed, **options)


def mmpretrain_vit(
    adapter: dict | None, folder: Path, seed: int = 0, grad_checkpointing: bool = False
) -> Any:
    """mmpretrain's ViT whose weights stand in a file of their own, by its chart."""
    init = {"type": "Pretrained", "checkpoint": str(folder / "vit.pth")}
    torch.manual_seed(seed)
    model = AdaptedBackbone({**BACKBONE, "init_cfg": init}, adapter)
    model.init_weights()
    model.recompute = grad_checkpointing
    return model


def hosted_vit(
    adapter: dict | None, folder: Path, seed: int = 0, grad_checkpointing: bool = False
) -> Any:
    """transformers' CLIP vision tower as it is, by its chart."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = CLIPVisionConfig(**sizes, num_hidden_layers=2, image_size=32, patch_size=16)
    tower = CLIPVisionModel(config)
    model = AdaptedBackbone(
        spread(getattr(tower, "vision_model", tower)), adapter, "CLIPVisionModel"
    )
    model.recompute = grad_checkpointing
    return model


# What they compute, by role, and the loss of a step.


def _frames(model: Any) -> int:
    # The image model has cross-attention and no weights of frames.
    return 1 if model.matches and model.pfa is None else 2


def retrieval_outputs(model: Any) -> Outputs:
    """Tokens, features and matching logits."""
    found = outputs(model, tiny_batch(frames=_frames(model)))
    return {"visual": found[:3], "text": found[3:5], "fusion": found[5:]}


def _written(model: Any, batch: dict[str, Any], tokens: torch.Tensor) -> torch.Tensor:
    """Logits of texts that read visual tokens (B, N, M, D)."""
    decoder, words = model.role("decoder"), Words(batch["input_ids"], batch["attention_mask"])
    return decoder.logits(words, decoder.memory(tokens.flatten(1, 2)))[0]


def pretrain_outputs(model: Any) -> Outputs:
    """As for retrieval, and the decoder's logits."""
    batch, found = tiny_batch(), retrieval_outputs(model)
    with torch.no_grad():
        logits = _written(model, batch, found["visual"][0])
    return {**found, "decoder": [logits]}


def _ended(batch: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """A batch whose texts end with the last word, where CLIP reads what stands for a text."""
    last = batch["attention_mask"].sum(1) - 1
    batch["input_ids"][torch.arange(len(last)), last] = model.text.vocab_size - 1
    return batch


def dual_outputs(model: Any) -> Outputs:
    """Tokens and features."""
    batch = _ended(tiny_batch(), model)
    with torch.no_grad():
        visual = model.encode_visual(batch["pixels"])
        text = model.encode_text(batch["input_ids"], batch["attention_mask"])
    return {"visual": list(visual), "text": list(text)}


def vqa_outputs(model: Any) -> Outputs:
    """Visual tokens, the question's states, and the scores of answers."""
    batch = tiny_batch()
    mask = batch["attention_mask"]
    with torch.no_grad():
        tokens = model.encode_frames(batch["pixels"])
        states = model.encode_question(batch["pixels"], batch["input_ids"], mask)
        scores = model.rank_answers(states, mask, ["red", "a dot", "blue square"])
    states = states * mask[..., None]
    return {"visual": [tokens], "fusion": [states], "decoder": [scores]}


def caption_outputs(model: Any) -> Outputs:
    """Visual tokens and the decoder's logits."""
    batch = tiny_batch()
    with torch.no_grad():
        tokens = model.encode_frames(batch["pixels"])
        logits = _written(model, batch, tokens)
    return {"visual": [tokens], "decoder": [logits]}


def seq2seq_outputs(model: Any) -> Outputs:
    """States of sources and the decoder's logits."""
    batch = tiny_batch()
    words = Words(batch["input_ids"], batch["attention_mask"])
    with torch.no_grad():
        states, mask = model.encode(*words)
        decoder = model.role("decoder")
        logits = decoder.logits(words, decoder.memory(states, mask))[0]
    return {"text": [states * mask[..., None]], "decoder": [logits * mask[..., None]]}


def seq2seq_loss(model: Any) -> torch.Tensor:
    """Of targets that are the sources."""
    batch = tiny_batch()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    decoder = model.role("decoder")
    words = (ids, mask, ids.masked_fill(mask == 0, -100))
    return decoder_loss(decoder, words, decoder.memory(*model.encode(ids, mask)))


def pairs_loss(model: Any) -> torch.Tensor:
    """Of a batch of pairs; negatives are drawn alike every time."""
    with one_seed(3):
        return sum(model(**tiny_batch(frames=_frames(model)), mode="loss").values())


def dual_loss(model: Any) -> torch.Tensor:
    """Of a batch of pairs of two towers side by side."""
    return sum(model(**_ended(tiny_batch(), model), mode="loss").values())


def words_loss(model: Any) -> torch.Tensor:
    """Of answers or captions."""
    samples = [
        MultimodalSample(metainfo={"text": text, "answers": [text], "answer_weights": [1.0]})
        for text in CAPTIONS
    ]
    return model(**tiny_batch(), data_samples=samples, mode="loss")["loss_lm"]


def _run(model: Any, whole: bool = False) -> torch.Tensor:
    pixels = tiny_batch()["pixels"][:, 0]
    if model.recompute and torch.is_grad_enabled():
        out = checkpoint(model, pixels, use_reentrant=False)
    else:
        out = model(pixels)
    if isinstance(out, tuple):
        return out[-1]
    states, pooled = out.last_hidden_state, getattr(out, "pooler_output", None) if whole else None
    return states if pooled is None else torch.cat((states, pooled[:, None]), 1)


def backbone_outputs(model: Any) -> Outputs:
    """What the backbone returns."""
    with torch.no_grad():
        return {"visual": [_run(model)]}


def backbone_loss(model: Any) -> torch.Tensor:
    """Something that depends on all of it."""
    # Of all that it returns, as some norms are of the pooled state alone.
    out = _run(model, whole=True)
    return (out * torch.linspace(-3, 3, out.numel()).view_as(out)).pow(2).mean()
