"""Position embeddings of another image size: kept by conversions, interpolated once by loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from tests.helpers import tiny_retrieval_cfg
from tests.test_checkpoints.test_layouts.states import assert_same, tiny_state, write_pth
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import SOURCES, export_state
from uniadapter.models.adapters.state import save_adapter
from uniadapter.registry import MODELS

RELEASED = {"type": "UniAdapter", "bottleneck": 4, "variant": "released", "kv_rank": 4}
GRID = "visual.pos_embed"
BLIP_LAYOUTS = ["albef", "blip", "hf", "mmpretrain", "uniadapter"]
# Pixels of source and config, with patches of 16.
SIZES = [(32, 64), (64, 32), (80, 48), (48, 80)]


def config_of(pixels: int, **overrides: Any) -> Config:
    cfg = tiny_retrieval_cfg(**{"adapter": RELEASED, **overrides})
    cfg["visual"] = {**cfg["visual"], "img_size": pixels}
    return Config({"model": cfg})


def random_model(config: Config) -> Any:
    model = build_model(config.model.to_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return model


def once(grid: torch.Tensor, pixels: int) -> torch.Tensor:
    """The embeddings for an image of so many pixels, interpolated as BLIP does."""
    side, target = int((grid.shape[1] - 1) ** 0.5), pixels // 16
    if side == target:
        return grid
    patches = grid[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
    resized = F.interpolate(patches, (target, target), mode="bicubic", align_corners=False)
    return torch.cat((grid[:, :1].float(), resized.flatten(2).transpose(1, 2)), dim=1)


def write_source(layout: str, folder: Path, own: dict[str, torch.Tensor]) -> Path:
    if layout in ("blip", "uniadapter", "albef"):
        return write_pth(folder / "source.pth", export_state(own, layout, queue_size=24)[0])
    named = {n: t for n, t in own.items() if not n.startswith("adapter.")}
    if layout == "mmpretrain":
        return write_pth(
            folder / "source.pth", {SOURCES[layout].to_theirs(n)[0]: t for n, t in named.items()}
        )
    folder = folder / "hf"
    folder.mkdir()
    heads = {"num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps({"vision_config": heads, "text_config": heads}))
    named.pop("temp")
    state = {SOURCES[layout].to_theirs(name)[0]: tensor for name, tensor in named.items()}
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("source_pixels", "pixels"), SIZES)
@pytest.mark.parametrize("layout", BLIP_LAYOUTS)
def test_a_conversion_keeps_the_grid_and_loading_interpolates_once(
    layout: str, source_pixels: int, pixels: int, tmp_path: Path
) -> None:
    parts = {"adapter": RELEASED if layout == "uniadapter" else None}
    if layout == "albef":
        text = tiny_retrieval_cfg()["text"]
        parts["text"] = {**text, "type_vocab_size": 2, "fusion_layer": 1}
    own = tiny_state(random_model(config_of(source_pixels, **parts)))
    source = write_source(layout, tmp_path, own)
    ours = tmp_path / "ours.safetensors"
    config = config_of(pixels, **parts)
    report = convert_checkpoint(source, ours, config, layout)
    assert any(f"keeps the source's {source_pixels // 16} x" in note for note in report.notes)
    written = load_file(ours)
    assert_same(written, {name: own[name] for name in written})
    # Whatever size it was converted for, any size may use it.
    for used in (pixels, source_pixels, 96):
        loaded = init_model(config_of(used, **parts), ours)
        assert torch.equal(loaded.visual.pos_embed, once(own[GRID], used))
    if layout in ("blip", "uniadapter", "albef"):
        back = tmp_path / "back.pth"
        convert_checkpoint(ours, back, config, target=layout)
        official = torch.load(source, weights_only=True)["model"]
        assert_same(torch.load(back, weights_only=True)["model"], official)


def test_the_whole_backbone_may_be_trained(tmp_path: Path) -> None:
    own = tiny_state(random_model(config_of(32, adapter=None)))
    source = write_source("blip", tmp_path, own)
    config = config_of(64, adapter=None, train_backbone=True)
    convert_checkpoint(source, tmp_path / "ours.safetensors", config, "blip")
    model = init_model(config, tmp_path / "ours.safetensors")
    assert torch.equal(model.visual.pos_embed, once(own[GRID], 64))


def test_an_adapter_folder_is_written_with_its_backbones_grid(tmp_path: Path) -> None:
    config = config_of(64)
    own = tiny_state(random_model(config_of(32)))
    backbone = {n: t.contiguous() for n, t in own.items() if not n.startswith("adapter.")}
    save_file(backbone, tmp_path / "backbone.safetensors")
    config.model.pretrained = str(tmp_path / "backbone.safetensors")
    model = init_model(config, config.model.pretrained)
    save_adapter(model, tmp_path / "adapter")
    convert_checkpoint(tmp_path / "adapter", tmp_path / "out.pth", config, target="uniadapter")
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    assert torch.equal(written["visual_encoder.pos_embed"], own[GRID])
    assert torch.equal(written["visual_encoder_m.pos_embed"], own[GRID])


def test_a_grid_in_half_precision_is_interpolated_in_full() -> None:
    grid = torch.rand(1, 10, 32).half()
    tower = MODELS.build(config_of(64).model.visual.to_dict())
    tower.load_state_dict({"pos_embed": grid}, strict=False)
    assert torch.equal(tower.pos_embed, once(grid, 64))


@pytest.mark.parametrize("shape", [(1, 8, 32), (1, 10, 16), (10, 32)])
def test_a_tower_refuses_what_is_no_grid_of_its_width(shape: tuple[int, ...]) -> None:
    tower = MODELS.build(config_of(64).model.visual.to_dict())
    with pytest.raises(ValueError, match="pos_embed of shape .* no square of patches .* width 32"):
        tower.load_state_dict({"pos_embed": torch.zeros(shape)}, strict=False)
