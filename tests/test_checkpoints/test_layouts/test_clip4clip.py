from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from tests.helpers import ROOT
from tests.test_checkpoints.test_layouts.states import pool_state
from tests.test_checkpoints.test_layouts.test_clip import (
    clip_config,
    original_keys,
    tiny_source,
    transformers_twin,
)
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import export_state, read_checkpoint
from uniadapter.checkpoints.layouts.clip import split_fused
from uniadapter.checkpoints.layouts.clip4clip import CLIP4CLIP
from uniadapter.checkpoints.layouts.keys import State, map_keys

transformers = pytest.importorskip("transformers")
UNIPT = {"type": "UniPT", "start": "published", "autocast": False}


def side_keys(name: str, width: int, out: int, depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a side network of the authors', 32 of them at full size."""
    layers = {f"downsample_layers.{i}.1": (out, width) for i in range(depth + 1)}
    layers.update({"downsample_layer.1": (out, out), "upsample_layer.1": (out, out)})
    layers["gate_layer"] = (1, out)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, shape in layers.items():
        shapes[f"{name}.{layer}.weight"] = shape
        shapes[f"{name}.{layer}.bias"] = shape[:1]
    return shapes


def test_every_key_at_full_size() -> None:
    shapes = {
        **side_keys("image_adapter", 768, 512, 12),
        **side_keys("text_adapter", 512, 512, 12),
    }
    assert len(shapes) == 64
    frozen = original_keys(49, 768, 512, 49408, 77, 12, 32, 512)
    words = "token_embedding.weight"
    whole = {**shapes, **{f"clip.{name}": shape for name, shape in frozen.items()}}
    source = pool_state({n: s for n, s in whole.items() if n != f"clip.{words}"})
    source[f"clip.{words}"] = torch.randn(49408, 1).expand(-1, 512)
    state, report = map_keys(split_fused(source), CLIP4CLIP, "pytorch_model.bin.3")
    cfg = Config.fromfile(str(ROOT / "configs/unipt/clip4clip_msrvtt.py")).model.to_dict()
    with torch.device("meta"):
        model = build_model(cfg)
    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert {name: tuple(t.shape) for name, t in state.items()} == own
    assert not report.left
    assert {name.partition("[")[0] for name in report.used} == set(source)
    assert len(set(report.used.values())) == len(report.used)

    back, written = export_state(state, "clip4clip")
    assert not written.left
    assert {name: tuple(t.shape) for name, t in back.items()} == whole
    assert all(torch.equal(tensor, source[name]) for name, tensor in back.items())


def authors_file(path: Path, half: bool = False, sides: bool = True, **changed: Any) -> State:
    """A tiny file of theirs: matrices of the frozen part perhaps of half precision."""
    frozen = tiny_source(torch.float16 if half else torch.float32)
    state = {f"clip.{name}": tensor for name, tensor in frozen.items()}
    if sides:
        generator = torch.Generator().manual_seed(1)
        shapes = {**side_keys("image_adapter", 16, 7, 2), **side_keys("text_adapter", 12, 7, 2)}
        state.update({n: torch.randn(s, generator=generator) for n, s in shapes.items()})
    state.update(changed)
    torch.save(state, path)
    return state


@pytest.mark.parametrize("half", [False, True])
def test_there_and_back_again(half: bool, tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin.4"
    source = authors_file(file, half)
    config = clip_config(adapter=UNIPT)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    report = convert_checkpoint(file, ours, config, source="clip4clip")
    assert any("was not compared" in note for note in report.notes)
    assert not report.left
    convert_checkpoint(ours, back, config, target="clip4clip")
    written = torch.load(back, weights_only=True)
    assert set(written) == set(source)
    assert all(torch.equal(written[n].to(t.dtype), t) for n, t in source.items())
    model = init_model(config, ours)
    down = model.adapter.sides["text"].down[2].linear.weight
    assert torch.equal(down.cpu(), source["text_adapter.downsample_layers.2.1.weight"])


def test_the_frozen_part_is_held_against_the_backbone(tmp_path: Path) -> None:
    file, weights = tmp_path / "pytorch_model.bin.0", tmp_path / "clip.safetensors"
    source = authors_file(file, half=True)
    bare = clip_config(adapter=None)
    torch.save(tiny_source(torch.float32), tmp_path / "clip.pt")
    convert_checkpoint(tmp_path / "clip.pt", weights, bare, source="clip")
    config = clip_config(adapter=UNIPT, pretrained=str(weights))
    model = build_model(config.model.to_dict())
    _, report = read_checkpoint(file, "clip4clip", model)
    assert any(f"is that of {weights}" in note for note in report.notes)
    other = load_file(weights)
    name = "visual.model.encoder.layers.1.self_attn.k_proj.weight"
    other[name] = other[name] + 0.1
    save_file(other, weights)
    with pytest.raises(ValueError, match=rf"attn\.in_proj_weight\[k\] differs.*{name}"):
        read_checkpoint(file, "clip4clip", model)
    # Fine-tuned weights are nobody's frozen part.
    authors_file(file, half=True, sides=False)
    full = clip_config(adapter=None, train_backbone=True, pretrained=str(weights))
    state, _ = read_checkpoint(file, "clip4clip", build_model(full.model.to_dict()))
    assert torch.equal(state["logit_scale"], source["clip.logit_scale"].float())


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin.1"
    model = build_model(clip_config(adapter=UNIPT).model.to_dict())
    with pytest.raises(FileNotFoundError, match="pytorch_model"):
        read_checkpoint(file, "clip4clip", model)
    authors_file(file, **{"image_adapter.other.weight": torch.ones(2)})
    with pytest.raises(ValueError, match=r"image_adapter\.other\.weight"):
        read_checkpoint(file, "clip4clip", model)
    state = authors_file(file)
    missing = {n: t for n, t in state.items() if n != "text_adapter.gate_layer.bias"}
    torch.save(missing, file)
    with pytest.raises(ValueError, match=r"adapter\.sides\.text\.gate\.bias"):
        read_checkpoint(file, "clip4clip", model)
    authors_file(file, **{"text_adapter.gate_layer.weight": torch.ones(1, 8)})
    with pytest.raises(ValueError, match=r"gate\.weight"):
        read_checkpoint(file, "clip4clip", model)
    authors_file(file)
    with pytest.raises(ValueError, match="UniPT's side networks"):
        read_checkpoint(file, "clip4clip", build_model(clip_config(adapter=None).model.to_dict()))
    (tmp_path / "cut").write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match="cut"):
        read_checkpoint(tmp_path / "cut", "clip4clip", model)
    with pytest.raises(ValueError, match="clip4clip"):
        read_checkpoint(file, "clip", model)


def test_the_converted_backbone_is_transformers_clip(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin.2"
    authors_file(file)
    config = clip_config(adapter=UNIPT)
    convert_checkpoint(file, tmp_path / "o.safetensors", config, source="clip4clip")
    folder = tmp_path / "hf.safetensors"
    convert_checkpoint(file, folder, config, source="clip4clip", target="clip-hf")
    whole = transformers_twin()
    whole.load_state_dict(load_file(folder))
    model = init_model(config, tmp_path / "o.safetensors").eval()
    pixels = torch.randn(2, 1, 3, 24, 24)
    with torch.no_grad(), model.adapter_disabled():
        found = model.encode_visual(pixels.to(model.vision_proj.weight.device))[1].cpu()
        wanted = whole.eval().get_image_features(pixel_values=pixels[:, 0])
    wanted = getattr(wanted, "pooler_output", wanted)
    torch.testing.assert_close(found, torch.nn.functional.normalize(wanted, dim=-1))
