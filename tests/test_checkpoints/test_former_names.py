"""Files whose projections were called by an earlier version's names load and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import load_tool, tiny_retrieval_cfg, tiny_run_cfg, write_run_cfg
from uniadapter.apis.model import build_model, load_weights
from uniadapter.checkpoints.former_names import former_names, rename_checkpoint, rename_state
from uniadapter.models.adapters.state import load_adapter, save_adapter

train = load_tool("train.py")
RELEASED = {"type": "UniAdapter", "bottleneck": 4, "variant": "released", "sharing": "down+up"}


def uneven(cfg: dict[str, Any], **adapter: Any) -> dict[str, Any]:
    """A visual tower that is wider and one layer deeper, as ViT-L beside BERT-base."""
    cfg["visual"]["arch"] = {
        "embed_dims": 48,
        "num_layers": 3,
        "num_heads": 2,
        "feedforward_channels": 64,
    }
    cfg["text"]["encoder_width"] = 48
    cfg["adapter"].update(adapter)
    return cfg


def model_of(seed: int, **adapter: Any) -> Any:
    torch.manual_seed(seed)
    model = build_model(uneven(tiny_retrieval_cfg(), **adapter))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    model.ema.reset(model)
    return model


def former(value: Any) -> Any:
    """Names as an earlier version wrote them: the third layer's without a width."""
    if isinstance(value, dict):
        return type(value)((former(key), former(item)) for key, item in value.items())
    if isinstance(value, list):
        return [former(item) for item in value]
    third = isinstance(value, str) and ("layers.2." in value or "layers/2/" in value)
    return value.replace("shared48", "shared") if third else value


def test_one_projection_has_one_name_in_every_layer():
    layers = model_of(0).adapter.layers
    assert [set(layers[i].down) for i in "012"] == [
        {"shared32", "shared48"},
        {"shared32", "shared48"},
        {"shared48"},
    ]
    # A choice of layers changes no name of those that are left.
    assert set(model_of(0, layers="3").adapter.layers["2"].down) == {"shared48"}


def test_towers_of_one_width_keep_the_plain_name():
    assert former_names(build_model(tiny_retrieval_cfg())) == {}
    assert former_names(model_of(0, towers=["visual"])) == {}


@pytest.mark.parametrize("adapter", [{}, RELEASED])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_and_order(adapter: dict, prefix: str):
    model = model_of(0, **adapter)
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    old = former(state)
    assert set(old) != set(state)
    rename_state(model, old)
    assert list(old) == list(state)
    assert all(old[name] is tensor for name, tensor in state.items())


def test_a_file_with_both_names_keeps_both():
    model = model_of(0)
    state = {**model.state_dict(), **former(dict(model.state_dict()))}
    rename_state(model, state)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*layers\.2\.down\.shared\.weight"):
        model.load_state_dict(state)


@pytest.mark.parametrize("adapter", [{}, RELEASED])
def test_a_state_dict_loads_strictly(adapter: dict):
    source, target = model_of(1, **adapter), model_of(2, **adapter)
    target.load_state_dict(former(source.state_dict()))
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


@pytest.mark.parametrize("loader", [load_adapter, load_weights])
def test_an_adapter_folder_loads(tmp_path: Path, loader: Any):
    source, target = model_of(1), model_of(2)
    target.load_state_dict(
        {n: t for n, t in source.state_dict().items() if n.startswith(("visual", "text."))}, False
    )
    save_adapter(source, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file(former(load_file(file)), file)
    loader(target, tmp_path)
    for name, parameter in source.named_parameters():
        assert torch.equal(target.get_parameter(name), parameter), name


def test_a_checkpoint_loads(tmp_path: Path):
    source, target = model_of(1), model_of(2)
    torch.save({"state_dict": former(source.state_dict())}, tmp_path / "epoch_1.pth")
    load_weights(target, tmp_path / "epoch_1.pth")
    for name, parameter in source.named_parameters():
        assert torch.equal(target.get_parameter(name), parameter), name


def test_names_of_several_optimizers():
    model = model_of(0)
    names = {"one": [["adapter.layers.2.up.visual.bias", "adapter.layers.2.down.shared.weight"]]}
    checkpoint = {"state_dict": {}, "optimizer_names": names}
    rename_checkpoint(model, checkpoint)
    assert checkpoint["optimizer_names"]["one"][0][1] == "adapter.layers.2.down.shared48.weight"


def test_a_run_resumes(tmp_path: Path, tiny_world: Path):
    cfg = tiny_run_cfg(tiny_world, epochs=2, random=False)
    uneven(cfg["model"], bottleneck=4)
    cfg["custom_hooks"] = [*cfg.get("custom_hooks", []), {"type": "uniadapter.EMAHook"}]
    path = write_run_cfg(tmp_path / "cfg.py", cfg)
    train.main([str(path), "--work-dir", str(tmp_path / "whole")])
    checkpoint = torch.load(tmp_path / "whole/epoch_1.pth", weights_only=True)
    for key in ("state_dict", "ema_state_dict", "optimizer_names"):
        old = former(checkpoint[key])
        assert old != checkpoint[key]
        checkpoint[key] = old
    torch.save(checkpoint, tmp_path / "old.pth")
    train.main([str(path), "--work-dir", str(tmp_path), "--resume", str(tmp_path / "old.pth")])
    got, want = (
        torch.load(folder / "epoch_2.pth", weights_only=True)
        for folder in (tmp_path, tmp_path / "whole")
    )
    for key in ("state_dict", "ema_state_dict"):
        assert list(got[key]) == list(want[key])
        for name, tensor in want[key].items():
            torch.testing.assert_close(got[key][name], tensor, msg=name)
