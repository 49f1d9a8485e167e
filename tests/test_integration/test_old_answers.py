"""Checkpoints of versions that gave VQA and captioning adapters which nothing ran.

Each folder has ``epoch_1.pth``, its ``epoch_1_adapter`` and, of the same run one epoch later, the
trained tensors that something ran (``later.safetensors``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from tests.helpers import COLORS, IMAGE_SIZE, VOCAB_SIZE, load_tool, write_run_cfg
from uniadapter.apis.model import init_model

DATA = Path(__file__).parents[1] / "data/checkpoints"
CASES: dict[str, dict[str, Any]] = {
    # Down-projections of texts, and a decoder's that runs none.
    "vqa_own": {"sharing": "none", "query_residual": "own", "decoder": "own"},
    # An encoder's adapters in a model without an encoder.
    "caption_own": {"decoder": "own"},
}


def tower(kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 16,
        "encoder_width": 16,
        "max_positions": 40,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }


def run_cfg(world: Path, folder: Path, case: str) -> dict[str, Any]:
    """A run on the small world's colours: asked for, or described."""
    lines = []
    for color in COLORS:
        media = f"clips/{color}_dot"
        if case == "vqa_own":
            lines.append({"media": media, "question": "a dot moves", "answers": [color]})
        else:
            lines.append({"media": media, "text": f"a {color} dot"})
    file = folder / "lines.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    arch = {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 16}
    tokenizer = {"vocab_file": str(world / "vocab.txt")}
    model: dict[str, Any] = {
        "type": "VQAModel" if case == "vqa_own" else "CaptionModel",
        "visual": {"type": "BlipViT", "arch": arch, "img_size": IMAGE_SIZE, "patch_size": 16},
        "decoder": tower("BertDecoder"),
        "adapter": {"type": "UniAdapter", "bottleneck": 2, **CASES[case]},
        "data_preprocessor": {"type": "MultimodalDataPreprocessor", "tokenizer": tokenizer},
    }
    if case == "vqa_own":
        model["text"] = tower("BertModel")
    dataset = {
        "type": "VQAJsonDataset" if case == "vqa_own" else "CaptionJsonDataset",
        "ann_file": str(file),
        "data_prefix": {"media": str(world)},
        "pipeline": [
            {"type": "LoadVideo", "num_frames": 1, "backend": {"type": "frames"}},
            {"type": "VideoResize", "size": IMAGE_SIZE},
            {"type": "CleanQuestion" if case == "vqa_own" else "CleanCaption"},
            {"type": "PackInputs"},
        ],
    }
    return {
        "model": model,
        "train_dataloader": {
            "batch_size": 2,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "dataset": dataset,
        },
        "train_cfg": {"max_epochs": 2},
        "val_cfg": None,
        "val_dataloader": None,
        "val_evaluator": None,
        "optim_wrapper": {
            "optimizer": {"lr": 1e-2},
            "paramwise_cfg": {"no_decay_norm_bias": True},
        },
    }


@pytest.mark.parametrize("case", CASES)
def test_resumes_as_the_version_that_wrote_it(case, tmp_path: Path, tiny_world: Path):
    path = write_run_cfg(tmp_path / "cfg.py", run_cfg(tiny_world, tmp_path, case))
    file = DATA / case / "epoch_1.pth"
    arguments = [str(path), "--work-dir", str(tmp_path), "--resume", str(file)]
    load_tool("train.py").main([*arguments, "--no-validate"])
    before = torch.load(file, weights_only=True)["state_dict"]
    after = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    expected = load_file(DATA / case / "later.safetensors")
    # Processors round differently, and AdamW turns small gradients into whole steps.
    for name, tensor in expected.items():
        moved, wanted = after["state_dict"][name] - before[name], tensor - before[name]
        assert (moved - wanted).abs().mean() <= 0.02 * wanted.abs().mean() + 1e-8, name
    assert {name for group in after["optimizer_names"] for name in group} == set(expected)


@pytest.mark.parametrize("case", CASES)
def test_loads_from_either_file(case, tmp_path: Path, tiny_world: Path):
    cfg = Config(run_cfg(tiny_world, tmp_path, case))
    state = torch.load(DATA / case / "epoch_1.pth", weights_only=True)["state_dict"]
    towers = {name: t for name, t in state.items() if not name.startswith("adapter.")}
    torch.save(towers, tmp_path / "towers.pth")
    whole = init_model(cfg, DATA / case / "epoch_1.pth")
    cfg.model["pretrained"] = str(tmp_path / "towers.pth")
    adapted = init_model(cfg, DATA / case / "epoch_1_adapter")
    for model in (whole, adapted):
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[name]), name


def test_what_was_trained_is_not_left_out(tmp_path: Path, tiny_world: Path):
    cfg = Config(run_cfg(tiny_world, tmp_path, "vqa_own"))
    model = init_model(cfg)
    obsolete = model.adapter.obsolete(
        {
            "decoder_layers.5.up.text.weight": torch.ones(2, 2),
            "layers.0.up.other.weight": torch.zeros(2, 2),
            "layers.0.down.text.weight": torch.ones(2, 2),
        }
    )
    assert obsolete == {"layers.0.down.text.weight"}


def test_a_textual_adapter_that_nothing_ran_is_left_out(tmp_path: Path, tiny_world: Path):
    """``towers`` of earlier versions could name it: without it the file fits."""
    cfg = Config(run_cfg(tiny_world, tmp_path, "vqa_own"))
    cfg.model.adapter.update(towers=["visual", "cross"], textual_branch=False)
    adapter = init_model(cfg).adapter
    old = {**adapter.options, "towers": ["visual", "text", "cross"]}
    assert adapter.translate(old, ["layers.0.up.text.weight", "layers.1.up.text.weight"]) == {
        **old,
        "towers": ["visual", "cross"],
    }
    ran = {**old, "textual_branch": True}
    assert adapter.translate(ran, []) == ran
