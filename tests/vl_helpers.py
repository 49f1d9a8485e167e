"""Small VL-BART and VL-T5, and the same written from the formulas with transformers' modules."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.roberta import write_lists
from tests.t5_helpers import tokenizer_file
from uniadapter.apis.model import build_model
from uniadapter.structures import MultimodalSample

KINDS = ("Bart", "T5")
TASKS = ["vqa", "nlvr", "caption"]
SIZES = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24}
WORDS, NEW = 40, 12
WIDTH = 5
START = {"Bart": 2, "T5": 0}
#: Answers to statements: the words' first tokens must differ, which they do not in the small T5's.
ANSWERS = {"Bart": ["false", "true"], "T5": ["0", "1"]}
Use = Callable[[Tensor], Tensor]


def vl_cfg(kind: str, tokens: Path | None = None, **options: Any) -> dict[str, Any]:
    """Config of a small model; ``text`` overrides options of the language model."""
    text = {"type": kind, "arch": SIZES, "vocab_size": WORDS, "new_words": NEW, "dropout": 0.0}
    if kind == "T5":
        text["arch"] = {**SIZES, "head_dim": 6}
    cfg = {"type": "VLSeq2Seq", "tasks": TASKS, "feature_width": WIDTH, "visual_tokens": 4}
    if tokens is not None:
        tokenizer, size = tokenizer_cfg(kind, tokens)
        text.update(vocab_size=size, new_words=NEW)
        cfg["data_preprocessor"] = {"type": "VLDataPreprocessor", "tokenizer": tokenizer}
    return {**cfg, **options, "text": {**text, **options.get("text", {})}}


def tokenizer_cfg(kind: str, folder: Path) -> tuple[dict[str, Any], int]:
    """Config of a tokenizer that is trained here, and its words without those of no text."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "T5":
        file = folder / "t5.json"
        if not file.exists():
            tokenizer_file(folder)
        return {"type": "T5Tokenizer", "file": str(file), "vis_tokens": NEW}, 160
    if not (folder / "vocab.json").exists():
        write_lists(folder)
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    own = {"type": "BartTokenizer", "file": str(folder), "extra_tokens": 3, "vis_tokens": NEW - 3}
    return own, size


def vl(kind: str, seed: int = 0, **options: Any) -> Any:
    """The model in evaluation, with weights that matter."""
    torch.manual_seed(seed)
    model = build_model(vl_cfg(kind, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def original(model: Any) -> Any:
    """transformers' own model on the weights of ours, its table lengthened by its own means."""
    import transformers

    kind, config = type(model.text).__name__, deepcopy(model.text.ends.config)
    found = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    found.resize_token_embeddings(model.text.num_words, mean_resizing=False)
    p = "model." if kind == "Bart" else ""
    own = model.text.state_dict()
    table = torch.cat((own.pop("shared.weight"), own.pop("new_words.weight")))
    own.pop("final_logits_bias", None)
    left = found.load_state_dict(
        {**{p + k: v for k, v in own.items()}, f"{p}shared.weight": table}, strict=False
    )
    assert not left.unexpected_keys
    tied = ("embed_tokens.weight", "lm_head.weight", "final_logits_bias")
    assert all(name.endswith(tied) for name in left.missing_keys)
    found.tie_weights()
    found.generation_config = transformers.GenerationConfig()
    return found.eval()


def parts(hf: Any) -> Any:
    """Where encoder, decoder and table are."""
    return getattr(hf, "model", hf)


def visual(model: Any, hf: Any, features: Tensor, boxes: Tensor | None = None) -> Tensor:
    """Tokens (B, I * N, D) of features (B, I, N, W), thing by thing."""
    own, table = model.visual_embedding, parts(hf).shared.weight
    rows, dim = table.shape
    batch, pictures, count, _ = features.shape
    if boxes is None:
        boxes = torch.zeros(batch, pictures, count, 4)

    def norm(x: Tensor, part: nn.Module) -> Tensor:
        if part.__class__.__name__ == "LayerNorm":
            centred = x - x.mean()
            return centred / (x.var(correction=0) + 1e-5).sqrt() * part.weight + part.bias
        return x / (x.square().mean() + 1e-6).sqrt() * part.weight

    found = []
    for b in range(batch):
        for i in range(pictures):
            for n in range(count):
                x1, x2, y1, y2 = boxes[b, i, n]
                place = torch.stack([x1, x2, y1, y2, (y2 - y1) * (x2 - x1)])
                (project, first), (lay, second) = own.feat_embedding, own.absolute_vis_pos_embedding
                v = norm(project.weight @ features[b, i, n] + project.bias, first)
                v = v + norm(lay.weight @ place + lay.bias, second)
                found.append(v + own.img_order_embedding.weight[i] + table[rows - 1 - n])
    return torch.stack(found).view(batch, pictures * count, dim)


def encode(hf: Any, ids: Tensor, mask: Tensor, seen: Tensor, prompt: Tensor | None = None) -> Any:
    """States and mask of a row [prompt, text, pictures]."""
    p = parts(hf)
    text = p.shared.weight[ids]
    front = torch.zeros(0, text.shape[-1]) if prompt is None else prompt
    front = front.expand(len(ids), -1, -1)
    whole = torch.cat((torch.ones(front.shape[:2]), mask, torch.ones(seen.shape[:2])), 1)
    added = torch.zeros(len(ids), 1, 1, whole.shape[1]).masked_fill(whole[:, None, None] == 0, -1e9)
    if hasattr(hf, "model"):
        text = text + p.encoder.embed_positions.weight[2 : 2 + ids.shape[1]]
        x = p.encoder.layernorm_embedding(torch.cat((front, text), 1))
        x = torch.cat((x, seen), 1)
        for layer in p.encoder.layers:
            out = layer(x, added)
            x = out[0] if isinstance(out, tuple) else out
        return x, whole
    x = torch.cat((front, text, seen), 1)
    known = front.shape[1] + ids.shape[1]
    bias = torch.zeros(1, p.encoder.config.num_heads, x.shape[1], x.shape[1])
    bias[..., :known, :known] = p.encoder.block[0].layer[0].SelfAttention.compute_bias(known, known)
    for block in p.encoder.block:
        x = block(x, position_bias=bias + added)[0]
    return p.encoder.final_layer_norm(x), whole


def prefilled(hf: Any, prompt: Tensor | None, batch: int) -> Any:
    """Keys and values of a prompt that ran through the decoder alone; None without one."""
    from transformers import DynamicCache, EncoderDecoderCache

    if prompt is None:
        return None
    kept = EncoderDecoderCache(DynamicCache(), DynamicCache())
    rows = prompt.expand(batch, -1, -1)
    parts(hf).decoder(inputs_embeds=rows, past_key_values=kept, use_cache=True)
    return kept


def logits_of(hf: Any, states: Any, mask: Any, words: Tensor, prompt: Tensor | None = None) -> Any:
    """Logits (B, L, V) of words that read states."""
    from transformers.modeling_outputs import BaseModelOutput

    return hf(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        decoder_input_ids=words,
        past_key_values=prefilled(hf, prompt, len(words)),
    ).logits


def written_by(hf: Any, states: Any, mask: Any, beams: int, length: int, **options: Any) -> Any:
    """What transformers writes with the backbone's own flags."""
    from transformers.modeling_outputs import BaseModelOutput

    bart = hasattr(hf, "model")
    flags = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    if not bart:
        flags = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    if bart:
        flags["no_repeat_ngram_size"] = 3
    if bart and beams > 1:
        flags.update(early_stopping=True, forced_eos_token_id=2)
    with torch.no_grad():
        return hf.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            max_length=length,
            num_beams=beams,
            do_sample=False,
            **{**flags, **options},
        )


#: Modules whose output a sub-layer adds to, by site; of an encoder's and a decoder's layer.
HOOKED = {
    "Bart": (
        ("layers", {"attn": "self_attn", "ffn": "fc2"}),
        ("layers", {"attn": "self_attn", "cross": "encoder_attn", "ffn": "fc2"}),
    ),
    "T5": (
        ("block", {"attn": "layer.0.SelfAttention", "ffn": "layer.1.DenseReluDense"}),
        (
            "block",
            {
                "attn": "layer.0.SelfAttention",
                "cross": "layer.1.EncDecAttention",
                "ffn": "layer.2.DenseReluDense",
            },
        ),
    ),
}


def terms(model: Any, hf: Any, seed: int = 0) -> None:
    """Put a term of its own into every site of ours, and behind the module of theirs."""
    drawn = torch.Generator().manual_seed(seed)
    kind = type(model.text).__name__
    slots = model.places().slots
    for role, tower, (layers, sites) in zip(
        ("text", "decoder"), (parts(hf).encoder, parts(hf).decoder), HOOKED[kind], strict=True
    ):
        for index, layer in enumerate(getattr(tower, layers)):
            for site, path in sites.items():
                matrix = torch.randn(16, 16, generator=drawn) * 0.2

                def use(x: Tensor, matrix: Tensor = matrix) -> Tensor:
                    return torch.tanh(x @ matrix)

                def hook(_: Any, __: Any, out: Any, use: Use = use) -> Any:
                    if isinstance(out, tuple):
                        return (out[0] + use(out[0]), *out[1:])
                    return out + use(out)

                slots[f"{role}.{site}"][index].fill(use)
                layer.get_submodule(path).register_forward_hook(hook)


def inputs(
    lengths: list[int],
    pictures: int = 1,
    things: int = 4,
    extra: int = 0,
    seed: int = 0,
    words: int = WORDS,
) -> dict[str, Tensor]:
    """Ids and mask of texts of these lengths, padded ``extra`` beyond the longest, and features."""
    drawn = torch.Generator().manual_seed(seed)
    width = max(lengths) + extra
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(3, words + NEW, mask.shape, generator=drawn)
    features = torch.randn(len(lengths), pictures, things, WIDTH, generator=drawn)
    return {"input_ids": ids * mask + (1 - mask), "attention_mask": mask, "features": features}


def samples(
    task: str, targets: Sequence[str], weights: Sequence[float] | None = None
) -> list[MultimodalSample]:
    """Samples of a task with targets."""
    return [
        MultimodalSample(metainfo={"target": target, "task": task, "target_weight": weight})
        for target, weight in zip(targets, weights or [1.0] * len(targets), strict=True)
    ]


def batch(
    task: str,
    texts: list[str],
    features: Tensor,
    targets: Sequence[str],
    weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """What a data loader gives."""
    return {
        "inputs": {"text": texts, "features": list(features)},
        "data_samples": samples(task, targets, weights),
    }
