"""Checkpoints of UniPT on VSE-infinity, both directions, and the towers they start from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from tests.helpers import ROOT, load_tool
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.apis.model import build_model
from uniadapter.checkpoints import load_weights
from uniadapter.checkpoints.layouts import export_state, read_checkpoint
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.checkpoints.layouts.vse import VSE

torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
SIZES = {**SIZES, "max_position_embeddings": 9, "num_hidden_layers": 12}


def tiny_config(**overrides: Any) -> Config:
    """The published model, narrow: twelve layers of width 8, a basic block a stage."""
    model = {
        "type": "VseModel",
        "visual": {"type": "ResNetVisual", "arch": {"block": "basic", "layers": [1, 1, 1, 1]}},
        "text": {
            "type": "BertText",
            "vocab_size": 30,
            "hidden_size": 8,
            "num_heads": 2,
            "intermediate_size": 16,
            "max_positions": 9,
        },
        "adapter": {"type": "UniPT"},
        "embed_dim": 6,
        **overrides,
    }
    return Config({"model": model})


def side(maps: bool, widths: list[int], h: int, out: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a side network of theirs: 60 tensors, or 30 and batch norms' buffers."""
    one = (1, 1) if maps else ()
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, rows: int, columns: int, kernel: bool = True) -> None:
        shapes[f"{name}.weight"] = (rows, columns, *(one if kernel else ()))
        shapes[f"{name}.bias"] = (rows,)

    def norm(name: str) -> None:
        buffers = ("running_mean", "running_var") if maps else ()
        shapes.update({f"{name}.{part}": (h,) for part in ("weight", "bias", *buffers)})
        if maps:
            shapes[f"{name}.num_batches_tracked"] = ()

    for k, width in enumerate(widths):
        layer(f"downsample_layers.{k}.0", h, width)
        norm(f"downsample_layers.{k}.1")
        if maps and k < len(widths) - 1:
            layer(f"identity_layers.{k}", width, widths[-1])
    layer("projection_layer.0", h, h)
    norm("projection_layer.1")
    layer("upsample_layer.1", out, h)
    layer("gate_layer", 1, h, kernel=False)
    return {f"module.side_tuning_module.{name}": shape for name, shape in shapes.items()}


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {
        n: torch.tensor(7) if n.endswith("tracked") else torch.randn(shape)
        for n, shape in shapes.items()
    }


def gpo(name: str) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    for way in ("", "_reverse"):
        shapes.update({f"gru.weight_{part}_l0{way}": (96, 32) for part in ("ih", "hh")})
        shapes.update({f"gru.bias_{part}_l0{way}": (96,) for part in ("ih", "hh")})
    return drawn({f"{name}.{n}": s for n, s in {**shapes, "linear.weight": (1, 32)}.items()})


def network() -> Any:
    """Torchvision's, as theirs has it: itself, and twice its parts."""
    resnet = torchvision.models.resnet
    return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])


def authors_pair() -> list[dict[str, torch.Tensor]]:
    """Two state dicts under their names, at tiny size."""
    torch.manual_seed(0)
    backbone = torch.nn.Module()
    backbone.resnet = net = network()
    backbone.base = torch.nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    backbone.top = torch.nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4)
    bert = transformers.BertModel(transformers.BertConfig(**SIZES))
    image = {f"module.backbone.{n}": t for n, t in backbone.state_dict().items()}
    text = {f"module.bert.{n}": t for n, t in bert.state_dict().items()}
    image.update(drawn(side(True, [64, 128, 256, 512], 3, 6)), **gpo("module.image_encoder"))
    text.update(drawn(side(False, [8] * 13, 3, 6)), **gpo("module.gpool"))
    return [image, text]


def save(path: Path, pair: Any, **more: Any) -> Path:
    # What stands beside the weights can be any object; nothing of it is run.
    opt = argparse.Namespace(batch_size=112)
    torch.save(
        {"epoch": 24, "model": pair, "best_rsum": 537.4, "opt": opt, "Eiters": 9, **more}, path
    )
    return path


def test_every_key_at_full_size() -> None:
    """Names and shapes of the published file against the config's model; each is used once."""
    image = side(True, [256, 512, 1024, 2048], 512, 1024)
    text = side(False, [768] * 13, 512, 1024)
    assert (len(text), len([n for n in image if "running" not in n and "tracked" not in n])) == (
        60,
        30,
    )
    # Nobody reads the values: one number stands for all of a tensor.
    shapes = {
        **{f"model[0].{n}": s for n, s in image.items()},
        **{f"model[1].{n}": s for n, s in text.items()},
    }
    source = {n: torch.zeros(()).expand(shape) for n, shape in shapes.items()}
    pools = {f"model[0].{n}": t for n, t in gpo("module.image_encoder").items()}
    pools.update({f"model[1].{n}": t for n, t in gpo("module.gpool").items()})
    state, report = map_keys({**source, **pools}, VSE, "model_best.pth")
    with torch.device("meta"):
        model = build_model(
            Config.fromfile(str(ROOT / "configs/unipt/vse_flickr30k.py")).model.to_dict()
        )
    own = {
        n: tuple(t.shape)
        for n, t in model.state_dict().items()
        if not n.startswith(("visual.", "text."))
    }
    assert {n: tuple(t.shape) for n, t in state.items()} == own
    assert not report.left
    assert len(set(report.used.values())) == len(report.used) == len(source) + len(pools)


def test_there_and_back_again(tmp_path: Path) -> None:
    pair = authors_pair()
    file, config = save(tmp_path / "model_best.pth", pair), tiny_config()
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    report = convert_checkpoint(file, ours, config, source="vse")
    names = {f"model[{k}].{n}" for k, part in enumerate(pair) for n in part}
    assert set(report.used) | set(report.left) == names
    assert not set(report.used) & set(report.left)
    assert {n.rpartition(".module.")[2] for n in report.left} == {
        *("backbone.resnet.fc.weight", "backbone.resnet.fc.bias"),
        *("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
    }
    assert any("was not compared" in note for note in report.notes)
    model = init_model(config, ours)
    sides, image = model.adapter.sides, "module.side_tuning_module."
    assert torch.equal(
        sides["text"].down_guide.norm.bias, pair[1][f"{image}downsample_layers.12.1.bias"]
    )
    assert torch.equal(
        sides["visual"].reduce.queries[2].weight,
        pair[0][f"{image}identity_layers.2.weight"][..., 0, 0],
    )
    assert int(sides["visual"].down[1].norm.num_batches_tracked) == 7
    assert torch.equal(
        model.text_pool.gru.bias_hh_l0_reverse, pair[1]["module.gpool.gru.bias_hh_l0_reverse"]
    )
    convert_checkpoint(ours, back, config, target="vse")
    written = torch.load(back, weights_only=True)["model"]
    for found, source in zip(written, pair, strict=True):
        gone = {n for n in source if ".fc." in n or "pooler" in n}
        assert set(found) == set(source) - gone
        assert all(torch.equal(found[n], source[n]) for n in found)


def test_weights_of_the_two_names_must_agree(tmp_path: Path) -> None:
    pair = authors_pair()
    name = "module.backbone.top.2.0.bn2.running_var"
    pair[0][name] = pair[0][name] + 1
    file = save(tmp_path / "model_best.pth", pair)
    with pytest.raises(ValueError, match=r"are two names of one tensor but hold different values"):
        read_checkpoint(file, "vse", build_model(tiny_config().model.to_dict()))


def test_the_frozen_part_is_held_against_the_backbone(tmp_path: Path) -> None:
    file, weights = (
        save(tmp_path / "model_best.pth", authors_pair()),
        tmp_path / "towers.safetensors",
    )
    convert_checkpoint(file, weights, tiny_config(), source="vse")
    config = tiny_config(pretrained=str(weights)).model.to_dict()
    _, report = read_checkpoint(file, "vse", build_model(config))
    assert any(f"is that of {weights}" in note for note in report.notes)
    other = load_file(weights)
    other["text.encoder.layer.3.output.dense.bias"] += 0.1
    save_file(other, weights)
    with pytest.raises(ValueError, match=r"layer\.3\.output\.dense\.bias differs by up to 0\.1"):
        read_checkpoint(file, "vse", build_model(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair: pair[:1], "a list of two state dicts there"),
        (lambda pair: pair[0], "whose 'model' is a dict"),
        (lambda pair: [pair[0], {}], r"model\[1\], of the texts, is no state dict"),
        (lambda pair: [{**pair[0], "epoch": 3}, pair[1]], r"model\[0\]\.epoch is a int, no tensor"),
        (
            lambda pair: [{**pair[0], "module.x.weight": torch.ones(1)}, pair[1]],
            "1 keys that are no part",
        ),
        (lambda pair: pair[::-1], "keys that are no part of the layout 'vse'"),
        (
            lambda pair: [{n: t for n, t in pair[0].items() if "gate" not in n}, pair[1]],
            r"missing in the file: adapter\.sides\.visual\.gate",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, change: Any, message: str) -> None:
    file = save(tmp_path / "model_best.pth", change(authors_pair()))
    with pytest.raises(ValueError, match=message):
        read_checkpoint(file, "vse", build_model(tiny_config().model.to_dict()))


def test_a_model_of_another_kind_has_no_such_names() -> None:
    with pytest.raises(ValueError, match="has no names for 1 tensors of the towers"):
        export_state({"visual.cls_token": torch.ones(1)}, "vse")


@pytest.mark.parametrize("old", [False, True])
def test_towers_from_files_of_their_own(tmp_path: Path, old: bool) -> None:
    """As torchvision and transformers save them, and as files of 2018 do."""
    torch.manual_seed(1)
    visual, bert = network().state_dict(), transformers.BertModel(transformers.BertConfig(**SIZES))
    text = bert.state_dict()
    if old:
        visual = {n: t for n, t in visual.items() if not n.endswith("tracked")}
        text = {f"bert.{n}": t for n, t in text.items()}
        text = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): t
            for n, t in text.items()
        }
        text["cls.predictions.bias"] = torch.zeros(30)
    torch.save(visual, tmp_path / "net.pth")
    torch.save(text, tmp_path / "bert.bin")
    config = tmp_path / "config.py"
    tiny_config().dump(str(config))
    out = tmp_path / "towers.safetensors"
    tool = load_tool("model_converters/join_vse_towers.py")
    files = ["--visual", str(tmp_path / "net.pth"), "--text", str(tmp_path / "bert.bin")]
    tool.main([*files, "--config", str(config), "--out", str(out)])
    for overrides in ({}, {"adapter": None}):
        model = build_model(tiny_config(**overrides).model.to_dict())
        load_weights(model, out)
        assert torch.equal(
            model.visual.layer3[0].bn2.running_mean, visual["layer3.0.bn2.running_mean"]
        )
        states = bert.eval()(torch.arange(1, 8)[None]).last_hidden_state
        torch.testing.assert_close(model.text.eval()(torch.arange(1, 8)[None]), states)
    torch.save({**visual, "layer9.weight": torch.ones(1)}, tmp_path / "net.pth")
    with pytest.raises(SystemExit, match="1 keys that are no part of the layout 'torchvision'"):
        tool.main([*files, "--config", str(config), "--out", str(out)])
    torch.save({n: t for n, t in visual.items() if "layer2" not in n}, tmp_path / "net.pth")
    with pytest.raises(
        SystemExit, match=r"(?s)missing in the file.*Choose the weights of model\.visual"
    ):
        tool.main([*files, "--config", str(config), "--out", str(out)])
    with pytest.raises(SystemExit, match="must end in .safetensors"):
        tool.main([*files, "--out", "towers.pth"])
