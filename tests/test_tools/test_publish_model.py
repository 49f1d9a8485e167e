from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.helpers import ROOT, tiny_retrieval_cfg
from uniadapter.apis import load_weights
from uniadapter.registry import MODELS

TOOL = ROOT / "tools" / "model_converters" / "publish_model.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish_model", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pretrained() -> torch.nn.Module:
    cfg = tiny_retrieval_cfg(adapter=None, pfa=None)
    text = {key: value for key, value in cfg["text"].items() if key != "type"}
    return MODELS.build(
        {**cfg, "type": "BlipPretrainModel", "decoder": {"type": "BertDecoder", **text}}
    )


def test_a_published_backbone_serves_retrieval(tool: ModuleType, tmp_path: Path) -> None:
    model = pretrained()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "epoch_1.pth")
    target = tmp_path / "out" / "backbone.safetensors"
    digest, size = tool.publish(tmp_path / "epoch_1.pth", target)
    assert size == target.stat().st_size
    assert len(digest) == 64
    assert tool.publish(tmp_path / "epoch_1.pth", target)[0] == digest
    retrieval = MODELS.build(tiny_retrieval_cfg())
    load_weights(retrieval, target)
    for name, value in retrieval.state_dict().items():
        if name.startswith(("visual.", "text.", "vision_proj.", "itm_head.")):
            torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)


def test_training_state_is_left_out(tool: ModuleType) -> None:
    names = set(tool.backbone_state(pretrained().state_dict()))
    assert any(name.startswith("decoder.") for name in names)
    assert not [name for name in names if name.startswith(("queue.", "ema.", "step"))]


def test_the_digest_goes_to_its_entry_of_the_metafile(tool: ModuleType, tmp_path: Path) -> None:
    metafile = tmp_path / "metafile.yml"
    metafile.write_text(
        "- Name: a\n  Weights: a.safetensors\n  SHA256: null\n"
        "- Name: b\n  Weights: b.safetensors\n  SHA256: null\n"
    )
    tool.update_metafile(metafile, "b.safetensors", "f00d")
    assert metafile.read_text().count("null") == 1
    assert metafile.read_text().endswith("SHA256: f00d\n")
    with pytest.raises(ValueError, match="no entry has `Weights: c.safetensors`"):
        tool.update_metafile(metafile, "c.safetensors", "f00d")


def test_bad_input_is_named(tool: ModuleType, tmp_path: Path) -> None:
    torch.save({"adapter.x": torch.zeros(1)}, tmp_path / "adapter.pth")
    with pytest.raises(ValueError, match="has no visual tower"):
        tool.publish(tmp_path / "adapter.pth", tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="name a .safetensors file"):
        tool.publish(tmp_path / "adapter.pth", tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match="missing.pth"):
        tool.publish(tmp_path / "missing.pth", tmp_path / "a.safetensors")
    with pytest.raises(SystemExit, match="error: .*missing.pth"):
        tool.main([str(tmp_path / "missing.pth"), str(tmp_path / "a.safetensors")])
