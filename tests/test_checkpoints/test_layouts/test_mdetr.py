"""MDETR's files and those of UniPT on it: every key once, both ways, and what is wrong in them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.mdetr_reference import ReferenceMDETR, config
from uniadapter.apis.convert import convert_checkpoint
from uniadapter.checkpoints.files import read_state_dict
from uniadapter.checkpoints.layouts import read_checkpoint
from uniadapter.checkpoints.layouts.fused import split_fused
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.checkpoints.layouts.mdetr import MDETR, export_mdetr
from uniadapter.models.build import build_model

SIDE = "transformer.side_"


def key_list() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' ``checkpoint.pth`` at full width, but for the towers."""

    def affine(name: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}

    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    found: dict[str, tuple[int, ...]] = {}
    for run in ("encoder", "decoder"):
        downs = [f"{SIDE}downsample0_{run}", *(f"{SIDE}downsamples_{run}.{i}" for i in range(3))]
        for name in downs:
            found |= affine(f"{name}.0", 128, 256) | norm(f"{name}.1", 128)
        projection = f"{SIDE}projection_{run}"
        found |= affine(f"{projection}.0", 256, 128) | affine(f"{projection}.2", 128, 256)
        found |= norm(f"{projection}.3", 128) | affine(f"{SIDE}gate_layer_{run}", 1, 128)
    for i in range(3):
        name = f"{SIDE}projection_crosser.{i}"
        found |= affine(f"{name}.0", 128, 128) | norm(f"{name}.1", 128)
    found |= affine(f"{SIDE}final_upsample.1", 256, 128) | norm(f"{SIDE}final_upsample.2", 256)
    assert len(found) == 64
    found |= affine("class_embed", 256, 256)
    for i, out in enumerate((256, 256, 4)):
        found |= affine(f"bbox_embed.layers.{i}", out, 256)
    for part in ("image", "text"):
        found |= affine(f"contrastive_align_projection_{part}", 64, 256)
    return found


def test_every_trained_key_at_full_width() -> None:
    shapes = key_list()
    source = {name: torch.zeros(shape) for name, shape in shapes.items()}
    state, report = map_keys(source, MDETR, "checkpoint.pth")
    assert not report.left
    assert len(set(report.used.values())) == len(shapes)
    with torch.device("meta"):
        model = build_model(
            {
                "type": "GroundingModel",
                "visual": {"type": "FrozenResNet"},
                "text": {"type": "RobertaText"},
                "detr": {"type": "DetrTower"},
                "adapter": {"type": "CoupledUniPT"},
            }
        )
    own = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == own
    back, _ = export_mdetr(state)
    assert {name: tuple(tensor.shape) for name, tensor in back.items()} == shapes


def test_both_ways_keep_every_tensor() -> None:
    source = ReferenceMDETR(4).state_dict()
    state, report = map_keys(split_fused(source), MDETR, "checkpoint.pth")
    left = [name for name in report.left if "pooler" not in name]
    assert not left
    model = build_model(config())
    assert set(state) == set(model.state_dict())
    back, used = export_mdetr(state)
    assert set(used) == set(state)
    kept = {name: tensor for name, tensor in source.items() if "pooler" not in name}
    assert set(back) == set(kept)
    assert all(torch.equal(back[name], tensor) for name, tensor in kept.items())


def write(path: Path, averaged: bool = True, **extra: Any) -> ReferenceMDETR:
    """A file as the authors' training writes it; the averages are another model's."""
    reference = ReferenceMDETR(8)
    content: dict[str, Any] = {"model": ReferenceMDETR(9).state_dict()}
    if averaged:
        content["model_ema"] = reference.state_dict()
    content |= {"optimizer": {"state": {}}, "epoch": 9, "args": Namespace(lr=5e-4), **extra}
    torch.save(content, path)
    return reference


def test_the_averages_are_read(tmp_path: Path) -> None:
    reference = write(tmp_path / "checkpoint.pth")
    model = build_model(config())
    state, report = read_checkpoint(tmp_path / "checkpoint.pth", "mdetr", model)
    assert set(state) == set(model.state_dict())
    assert torch.equal(state["class_embed.weight"], reference.class_embed.weight)
    assert any("model_ema" in note for note in report.notes)
    # BEST_checkpoint.pth has none.
    write(tmp_path / "BEST_checkpoint.pth", averaged=False)
    state, _ = read_checkpoint(tmp_path / "BEST_checkpoint.pth", "mdetr", model)
    assert torch.equal(state["class_embed.weight"], ReferenceMDETR(9).class_embed.weight)


def test_a_pretrained_file_starts_the_side_networks_anew(tmp_path: Path) -> None:
    reference = ReferenceMDETR(2)
    plain = {n: t for n, t in reference.state_dict().items() if not n.startswith(SIDE)}
    plain["transformer.text_encoder.embeddings.position_ids"] = torch.arange(32)[None]
    torch.save({"model": plain, "model_ema": plain}, tmp_path / "pretrained.pth")
    model = build_model(config())
    state, report = read_checkpoint(tmp_path / "pretrained.pth", "mdetr", model)
    assert set(state) == {n for n in model.state_dict() if not n.startswith("adapter.")}
    assert set(report.used) | set(report.left) == set(split_fused(plain))
    assert any("no adapter" in note for note in report.notes)


def test_the_tool_writes_both_directions(tmp_path: Path) -> None:
    reference = write(tmp_path / "checkpoint.pth")
    cfg = Config({"model": config()})
    own, back = tmp_path / "own.safetensors", tmp_path / "back.pth"
    convert_checkpoint(tmp_path / "checkpoint.pth", own, cfg, source="mdetr")
    convert_checkpoint(own, back, cfg, target="mdetr")
    written = read_state_dict(back)
    for name, tensor in reference.state_dict().items():
        if "pooler" not in name:
            assert torch.equal(written[name], tensor), name


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    model = build_model(config())
    reference = write(path)
    for change, said in (
        ({"transformer.side_gate_layer_encoder.weight": None}, "gate.weight"),
        ({"class_embed.weight": torch.zeros(3, 3)}, "class_embed.weight"),
        ({"transformer.extra.weight": torch.zeros(1)}, "transformer.extra.weight"),
        (
            {"transformer.encoder.layers.0.self_attn.in_proj_weight": torch.zeros(4, 16)},
            "three parts",
        ),
    ):
        state = {**reference.state_dict(), **change}
        torch.save({"model_ema": {n: t for n, t in state.items() if t is not None}}, path)
        with pytest.raises(ValueError, match=said):
            read_checkpoint(path, "mdetr", model)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pth", "mdetr", model)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.pth"):
        read_checkpoint(path, "mdetr", model)
    torch.save({"model_ema": {"a": 1}}, path)
    with pytest.raises(ValueError, match="no tensors"):
        read_checkpoint(path, "mdetr", model)
