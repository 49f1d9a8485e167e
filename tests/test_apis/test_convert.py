from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from tests.helpers import run_script, tiny_retrieval_cfg
from tests.test_checkpoints.test_layouts.states import assert_same, tiny_state, write_pth
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import export_state
from uniadapter.models.adapters.state import save_adapter

ADAPTER = {"type": "UniAdapter", "bottleneck": 8, "variant": "released", "kv_rank": 4}


def vqa_cfg() -> dict[str, Any]:
    """Config of a tiny VQA model with the released adapter."""
    parts = tiny_retrieval_cfg(adapter=ADAPTER)
    cfg = {key: parts[key] for key in ("visual", "text", "adapter")}
    return {**cfg, "type": "VQAModel", "decoder": {**parts["text"], "type": "BertDecoder"}}


def random_model(
    adapter: dict | None = None, cfg: dict[str, Any] | None = None
) -> tuple[Config, torch.nn.Module]:
    """A tiny model whose every parameter is random."""
    config = Config({"model": cfg or tiny_retrieval_cfg(adapter=adapter)})
    model = build_model(config.model.to_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return config, model


def two_widths() -> dict[str, Any]:
    """A visual tower that is wider and deeper than the text tower, as BLIP-Large's."""
    cfg = tiny_retrieval_cfg(adapter=None)
    cfg["visual"]["arch"].update(embed_dims=48, num_layers=3)
    return {**cfg, "text": {**cfg["text"], "encoder_width": 48}}


@pytest.mark.parametrize("cfg", [None, two_widths()], ids=["one-width", "two-widths"])
def test_blip_to_ours_and_back(tmp_path: Path, cfg: dict[str, Any] | None) -> None:
    config, model = random_model(cfg=cfg)
    own = tiny_state(model)
    official, _ = export_state(own, "blip", queue_size=24)
    source = write_pth(tmp_path / "blip.pth", official)
    report = convert_checkpoint(source, tmp_path / "ours.safetensors", config, source="blip")
    assert set(report.used) | set(report.left) == set(official)
    assert_same(load_file(tmp_path / "ours.safetensors"), own)
    assert_same(tiny_state(init_model(config, tmp_path / "ours.safetensors")), own)
    convert_checkpoint(tmp_path / "ours.safetensors", tmp_path / "back.pth", config, target="blip")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert_same(back, official)


def test_released_to_ours_and_back(tmp_path: Path) -> None:
    config, model = random_model(ADAPTER)
    own = tiny_state(model)
    released, _ = export_state(own, "uniadapter", queue_size=24)
    source = write_pth(tmp_path / "released.pth", released)
    convert_checkpoint(source, tmp_path / "ours.safetensors", config, source="uniadapter")
    assert_same(tiny_state(init_model(config, tmp_path / "ours.safetensors")), own)
    convert_checkpoint(
        tmp_path / "ours.safetensors", tmp_path / "back.pth", config, target="uniadapter"
    )
    assert_same(torch.load(tmp_path / "back.pth", weights_only=True)["model"], released)


def test_released_vqa_to_ours_and_back(tmp_path: Path) -> None:
    config, model = random_model(cfg=vqa_cfg())
    own = tiny_state(model)
    released, _ = export_state(own, "uniadapter")
    source = write_pth(tmp_path / "released.pth", released)
    report = convert_checkpoint(source, tmp_path / "ours.safetensors", config, "uniadapter")
    assert report.left["adapters_dec.0.up_proj.bias"].startswith("second set of adapters")
    assert_same(tiny_state(init_model(config, tmp_path / "ours.safetensors")), own)
    back = tmp_path / "back.pth"
    convert_checkpoint(tmp_path / "ours.safetensors", back, config, target="uniadapter")
    assert_same(torch.load(back, weights_only=True)["model"], released)


def test_a_foreign_layout_into_another(tmp_path: Path) -> None:
    config, model = random_model(ADAPTER)
    released, _ = export_state(tiny_state(model), "uniadapter", queue_size=24)
    source = write_pth(tmp_path / "released.pth", released)
    report = convert_checkpoint(source, tmp_path / "blip.pth", config, "uniadapter", "blip")
    official = torch.load(tmp_path / "blip.pth", weights_only=True)["model"]
    assert not [key for key in official if "adapter" in key]
    assert set(report.used) | set(report.left) == set(released)
    assert "no name for it" in report.left["adapters.0.up_proj.weight"]


def test_weights_that_share_memory_are_written(tmp_path: Path) -> None:
    config, model = random_model()
    official, _ = export_state(tiny_state(model), "blip", queue_size=24)
    official["text_proj.weight"] = official["vision_proj.weight"]
    source = write_pth(tmp_path / "blip.pth", official)
    convert_checkpoint(source, tmp_path / "ours.safetensors", config, source="blip")
    written = load_file(tmp_path / "ours.safetensors")
    assert torch.equal(written["text_proj.weight"], written["vision_proj.weight"])


def test_an_adapter_folder_is_written_with_its_backbone(tmp_path: Path) -> None:
    config, model = random_model(ADAPTER)
    own = tiny_state(model)
    backbone = {n: t for n, t in own.items() if not n.startswith("adapter.")}
    torch.save(backbone, tmp_path / "backbone.pth")
    config.model.pretrained = str(tmp_path / "backbone.pth")
    save_adapter(model, tmp_path / "adapter")
    convert_checkpoint(tmp_path / "adapter", tmp_path / "out.pth", config, target="uniadapter")
    released, _ = export_state(own, "uniadapter", queue_size=24)
    assert_same(torch.load(tmp_path / "out.pth", weights_only=True)["model"], released)


def test_momentum_of_a_training_checkpoint_is_written(tmp_path: Path) -> None:
    config, model = random_model(ADAPTER)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "epoch_1.pth")
    report = convert_checkpoint(
        tmp_path / "epoch_1.pth", tmp_path / "out.pth", config, target="uniadapter"
    )
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    average = model.ema.averages()["adapter.layers.1.up.cross.bias"]
    assert torch.equal(written["adapters_m.1.multi_up_proj.bias"], average)
    assert torch.equal(written["image_queue"], model.queue.visual.t())
    assert report.left == {"step": "counter of steps"}


def test_a_frozen_temperature_is_loaded(tmp_path: Path) -> None:
    config, model = random_model(ADAPTER)
    released, _ = export_state(tiny_state(model), "uniadapter", queue_size=24)
    source = write_pth(tmp_path / "released.pth", released)
    config.model.train_temperature = False
    convert_checkpoint(source, tmp_path / "ours.safetensors", config, source="uniadapter")
    loaded = init_model(config, tmp_path / "ours.safetensors")
    assert torch.equal(loaded.temp, model.temp)


def test_wrong_arguments(tmp_path: Path) -> None:
    config, _ = random_model()
    with pytest.raises(ValueError, match="Name a layout: --from"):
        convert_checkpoint("a", "b.safetensors", config)
    with pytest.raises(ValueError, match=r"DST b\.pth must end in \.safetensors"):
        convert_checkpoint("a", "b.pth", config, source="blip")
    with pytest.raises(ValueError, match=r"DST b\.safetensors must end in \.pth"):
        convert_checkpoint("a", "b.safetensors", config, target="blip")
    with pytest.raises(ValueError, match=r"a\.pth is SRC and would be overwritten"):
        convert_checkpoint("a.pth", "./a.pth", config, "uniadapter", "blip")
    with pytest.raises(ValueError, match="--from 'bert' is unknown: choose from"):
        convert_checkpoint("a", "b.safetensors", config, source="bert")
    with pytest.raises(FileNotFoundError, match=r"missing\.pth does not exist"):
        convert_checkpoint(tmp_path / "missing.pth", "b.safetensors", config, source="blip")
    with pytest.raises(ValueError, match="has no key 'model'"):
        convert_checkpoint("a", "b.safetensors", Config({}), source="blip")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", ["blip", "uniadapter"])
def test_options_and_numpy_numbers_beside_the_weights(
    layout: str, zipped: bool, tmp_path: Path
) -> None:
    config, model = random_model(ADAPTER if layout == "uniadapter" else None)
    own = tiny_state(model)
    official, _ = export_state(own, layout, queue_size=24)
    content = {
        "model": {f"module.{key}": tensor for key, tensor in official.items()},
        "config": Namespace(lr=1e-4, output=Path("work_dirs")),
        "best": np.float64(0.5),
        "epoch": 5,
    }
    source = tmp_path / "checkpoint_best.pth"
    torch.save(content, source, _use_new_zipfile_serialization=zipped)
    report = convert_checkpoint(source, tmp_path / "ours.safetensors", config, layout)
    assert_same(load_file(tmp_path / "ours.safetensors"), own)
    said = [note for note in report.notes if note.startswith("beside the weights, not used")]
    assert len(said) == 3
    assert any("config (not read, it needs code of argparse.Namespace" in note for note in said)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    config, _ = random_model()
    torch.save({"model": {"temp": print}}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth holds no state dict.*'temp' \(not read"):
        convert_checkpoint(tmp_path / "evil.pth", tmp_path / "b.safetensors", config, "blip")
    assert not (tmp_path / "b.safetensors").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, model = random_model(ADAPTER)
    config.dump(tmp_path / "tiny.py")
    released, _ = export_state(tiny_state(model), "uniadapter", queue_size=24)
    source = write_pth(tmp_path / "released.pth", released)
    script = "model_converters/convert_checkpoint.py"
    command = [source, tmp_path / "ours.safetensors", "--from", "uniadapter"]
    command += ["--config", tmp_path / "tiny.py", "--report", tmp_path / "report.json"]
    assert run_script(script, *command) == 0
    printed = capsys.readouterr().out
    assert "left: momentum copies" in printed
    assert "more patterns" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["used"]) | set(report["left"]) == set(released)
    assert_same(load_file(tmp_path / "ours.safetensors"), tiny_state(model))
    assert (tmp_path / "ours.safetensors").stat().st_mode == source.stat().st_mode
    assert run_script(script, *command, "--cfg-options", "model.adapter.bottleneck=4") == 1
    printed = capsys.readouterr().err
    assert "error: " in printed
    assert "adapter.bottleneck: file r=8, model r=4" in printed
