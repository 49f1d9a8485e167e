"""Adapter folders of versions that took options which nothing in the model used.

``tests/data/checkpoints/never_ran`` has one of each kind, as those versions wrote them: a model's
config of today leaves the option out, and the file loads into it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import VOCAB_SIZE
from uniadapter.apis.model import build_model, load_weights
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.registry import MODELS

DATA = Path(__file__).parents[1] / "data/checkpoints/never_ran"
FILE = "adapter_model.safetensors"
NO_CROSS = {"query_residual": "off", "textual_branch": False}
# Task, layers and width of the visual tower, adapter of today (beside a text tower of width 16).
CASES: dict[str, tuple[str, tuple[int, int], dict[str, Any] | None]] = {
    # 'text' named beside another width: the visual projection was called shared24.
    "vqa_two_widths": ("VQAModel", (2, 24), {"towers": ["visual"], "variant": "released"}),
    "caption_two_widths": ("CaptionModel", (3, 24), {"towers": ["visual"]}),
    # 'text' alone: nothing was adapted, or the keys and values.
    "vqa_text_alone": ("VQAModel", (2, 16), None),
    "caption_kv_alone": (
        "CaptionModel",
        (2, 24),
        {"towers": [], "variant": "released", "sharing": "down+up"},
    ),
    # A decoder's own adapters where there is no decoder.
    "retrieval_own_decoder": (
        "RetrievalModel",
        (3, 24),
        {"towers": ["visual", "cross"], "variant": "released", "sharing": "down+up", **NO_CROSS},
    ),
}


def bert(kind: str, width: int) -> dict[str, Any]:
    return {
        "type": kind,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 16,
        "encoder_width": width,
        "max_positions": 40,
    }


def config(vocab: Path, task: str, visual: tuple[int, int], adapter: Any) -> dict[str, Any]:
    layers, width = visual
    arch = {"embed_dims": width, "num_layers": layers, "num_heads": 2, "feedforward_channels": 16}
    cfg: dict[str, Any] = {
        "type": task,
        "visual": {"type": "BlipViT", "arch": arch, "img_size": 32, "patch_size": 16},
        "adapter": None if adapter is None else {"type": "UniAdapter", **adapter},
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {"vocab_file": str(vocab)},
        },
    }
    if task != "CaptionModel":
        cfg["text"] = bert("BertModel", width)
    if task != "RetrievalModel":
        cfg["decoder"] = bert("BertDecoder", 16 if task == "VQAModel" else width)
    else:
        cfg |= {"embed_dim": 8, "queue_size": 8}
    return cfg


def build(vocab: Path, case: str, **adapter: Any) -> Any:
    task, visual, options = CASES[case]
    if options is not None:
        kv_rank = 2 if options.get("variant") == "released" else 0
        options = {"bottleneck": 2, "kv_rank": kv_rank, **options, **adapter}
    return build_model(config(vocab, task, visual, options))


@pytest.mark.parametrize("case", CASES)
def test_the_folder_loads(case: str, tiny_vocab: Path):
    model, file = build(tiny_vocab, case), load_file(DATA / case / FILE)
    load_adapter(model, DATA / case, check_backbone=False)
    read = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            told, plain = name.replace(".shared.", ".shared24."), name.replace("shared24", "shared")
            former = next(n for n in (name, told, plain) if n in file)
            assert torch.equal(parameter, file[former]), name
            read.add(former)
    # What is left was never trained.
    for name in set(file) - read:
        assert not (".up." in name and file[name].any()), name


def test_the_config_that_wrote_it_is_refused_with_the_remedy(tiny_vocab: Path):
    for case, (task, visual, _) in CASES.items():
        options = json.loads((DATA / case / "adapter_config.json").read_text())["options"]
        with pytest.raises(
            ValueError, match=r"names 'text'|adapter.decoder='own' would do nothing"
        ):
            build_model(config(tiny_vocab, task, visual, options))


def test_a_textual_adapter_that_was_trained_is_not_left_out(tmp_path: Path, tiny_vocab: Path):
    for case in ("vqa_two_widths", "vqa_text_alone"):
        folder = tmp_path / case
        shutil.copytree(DATA / case, folder)
        tensors = load_file(folder / FILE)
        name = next(name for name in tensors if ".up.text" in name or ".up.shared." in name)
        tensors[name] = tensors[name] + 1
        save_file(tensors, folder / FILE)
        with pytest.raises(ValueError, match="does not fit the model"):
            load_adapter(build(tiny_vocab, case), folder, check_backbone=False)


@pytest.mark.parametrize("case", ["caption_kv_alone", "vqa_two_widths"])
def test_what_is_saved_again_has_the_names_of_today(case: str, tmp_path: Path, tiny_vocab: Path):
    model = build(tiny_vocab, case)
    load_adapter(model, DATA / case, check_backbone=False)
    save_adapter(model, tmp_path)
    assert not any("shared24" in name or "16" in name for name in load_file(tmp_path / FILE))
    load_weights(model, tmp_path)


UNREAD: list[tuple[str, dict[str, Any], str]] = [
    ("RetrievalModel", {"decoder": "own"}, "no decoder"),
    ("VQAModel", {"towers": ["visual"], "decoder": "own"}, "leaves out 'cross'"),
    ("RetrievalModel", {"towers": ["text"], "query_residual": "own"}, "leaves out 'cross'"),
    ("RetrievalModel", {"sharing": "none", "shared_layers": [1]}, "adapter.sharing='none'"),
]


@pytest.mark.parametrize(("task", "options", "reason"), UNREAD)
def test_an_option_that_nothing_reads_is_an_error_and_none_of_a_file(
    task: str, options: dict[str, Any], reason: str, tmp_path: Path, tiny_vocab: Path
):
    with pytest.raises(ValueError, match=f"adapter.*would do nothing, since .*{reason}"):
        build_model(config(tiny_vocab, task, (2, 16), options))
    # The last of the options.
    *_, unread = options
    read = {name: value for name, value in options.items() if name != unread}
    model = build_model(config(tiny_vocab, task, (2, 16), read))
    save_adapter(model, tmp_path)
    said = json.loads((tmp_path / "adapter_config.json").read_text())
    said["options"][unread] = options[unread]
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    load_adapter(model, tmp_path)


def test_a_key_value_pair_needs_a_cross_attention():
    cfg = {
        "type": "AdaptedBackbone",
        "backbone": {
            "type": "BlipViT",
            "arch": {"embed_dims": 16, "num_layers": 1, "num_heads": 2, "feedforward_channels": 16},
            "img_size": 32,
            "patch_size": 16,
        },
        "adapter": {"type": "UniAdapter", "towers": ["visual"], "kv_rank": 2},
    }
    with pytest.raises(ValueError, match="adapter.kv_rank=2 would do nothing.*no cross-attention"):
        MODELS.build(cfg)
