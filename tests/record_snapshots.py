"""Write tests/data/snapshots: what today's models are called, and what they compute.

    python -m tests.record_snapshots

Files that exist are kept: a snapshot is of the version that wrote it, and later versions have to
load it. Delete one to write it anew, and say in the changelog why its numbers moved.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save_file

from tests.helpers import ROOT
from tests.test_properties.cases import VOCABULARY, bert, pixels, vit
from uniadapter.apis.model import build_model
from uniadapter.models.adapters.state import count_parameters, save_adapter
from uniadapter.registry import MODELS
from uniadapter.structures import MultimodalSample

DATA = ROOT / "tests/data/snapshots"
FOLDERS = (
    "uniadapter",
    "ablation",
    "adapter",
    "linear_probe",
    "full_finetune",
    "houlsby",
    "pfeiffer",
    "parallel_adapter",
    "lora",
    "peft",
    "ladder",
    "bitfit",
    "st_adapter",
    "unipt",
    "vl_adapter",
    "vl_adapter_blip",
)
LEAVES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in ROOT.glob(f"configs/{folder}/*.py")
)
TASKS = ("retrieval", "retrieval_paper_pfa", "pretrain", "vqa", "caption")
TEXTS = ["red ball", "two big green box under a small ball", "is it blue", ""]


def names_of(leaf: str) -> dict[str, Any]:
    """Parameters of a config by component and a digest of its state's names and shapes."""
    with torch.device("meta"):
        model = build_model(Config.fromfile(str(ROOT / leaf)).model.to_dict())
    rows = [f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items()]
    digest = hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()
    return {"tensors": len(rows), "sha256": digest, "parameters": count_parameters(model)}


def config_of(task: str, vocab: Path) -> dict[str, Any]:
    """A tiny model of a task, with every kind of term that an adapter adds."""
    released = {"variant": "released", "kv_rank": 3, "sharing": "down+up"}
    adapters = {"vqa": {"decoder": "own", "query_residual": "own"}, "pretrain": released}
    config: dict[str, Any] = {
        "visual": vit(16, 2),
        "adapter": {"type": "UniAdapter", "bottleneck": 3, **adapters.get(task, {})},
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {"vocab_file": str(vocab)},
        },
    }
    if task in ("vqa", "caption"):
        config["type"] = "VQAModel" if task == "vqa" else "CaptionModel"
        config["decoder"] = bert("BertDecoder", 24, 2, 24 if task == "vqa" else 16)
        if task == "vqa":
            config["text"] = bert("BertModel", 24, 2, 16)
        return config
    width = 16 if task == "retrieval_paper_pfa" else 24
    config["type"] = "BlipPretrainModel" if task == "pretrain" else "RetrievalModel"
    config["text"] = bert("BertModel", width, 2, 16)
    variant = "paper" if task == "retrieval_paper_pfa" else "released"
    config["pfa"] = {"type": "FrameAwareAttention", "variant": variant}
    config.update(embed_dim=8, queue_size=6)
    if task == "pretrain":
        config["decoder"] = {**config["text"], "type": "BertDecoder"}
    return config


def run(model: Any) -> dict[str, torch.Tensor]:
    """What a model computes of fixed inputs: states or features, losses and their gradients."""
    seen = pixels(5, len(TEXTS), 3).cpu()
    ids, mask = model.data_preprocessor.tokenizer(TEXTS)
    samples = [
        MultimodalSample(
            metainfo={
                "text": text,
                "answers": [text or "no", "yes"],
                "answer_weights": [0.7, 0.3],
            }
        )
        for text in TEXTS
    ]
    found = {}
    with torch.no_grad():
        out = model.eval()(seen, ids, mask, mode="tensor")
        found.update(out if isinstance(out, dict) else {"states": out})
        if hasattr(model, "match"):
            found["match"] = model.match(ids, mask, out["visual_tokens"])
            scores = [model.score_texts(tokens, ids, mask) for tokens in out["visual_tokens"]]
            found["scores"] = torch.stack(scores)
        if hasattr(model, "rank_answers"):
            answers = [text for text in TEXTS if text]
            found["ranking"] = model.rank_answers(out, mask, answers)
    media = torch.tensor([0, 1, 0, 2])
    losses = model.train()(seen, ids, mask, media, samples, mode="loss")
    sum(losses.values()).backward()
    found.update({name: loss.detach() for name, loss in losses.items()})
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"gradient.{name}"] = parameter.grad
    return {name: tensor.detach().contiguous().clone() for name, tensor in found.items()}


def build(task: str, vocab: Path) -> Any:
    """A model with attention that is far from uniform."""
    torch.manual_seed(7)
    model = MODELS.build(config_of(task, vocab))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim():
                parameter.add_(torch.randn_like(parameter) * 0.15)
    if hasattr(model, "ema"):
        model.ema.reset(model)
    return model


def main() -> None:
    """Write what is missing."""
    DATA.mkdir(parents=True, exist_ok=True)
    names = DATA / "names.json"
    known = json.loads(names.read_text()) if names.is_file() else {}
    for leaf in LEAVES:
        known.setdefault(leaf, None)
        known[leaf] = known[leaf] or names_of(leaf)
    names.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    vocab = DATA / "vocab.txt"
    vocab.write_text("\n".join(VOCABULARY) + "\n")
    for task in TASKS:
        folder = DATA / task
        if (folder / "outputs.safetensors").is_file():
            continue
        model = build(task, vocab)
        save_adapter(model, folder)
        save_file(model.state_dict(), folder / "state.safetensors")
        save_file(run(model), folder / "outputs.safetensors")


if __name__ == "__main__":
    main()
