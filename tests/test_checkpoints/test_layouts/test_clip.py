from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from torch import nn

from tests.test_checkpoints.test_layouts.states import pool_state
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import export_state
from uniadapter.checkpoints.layouts.clip import CLIP, CLIP_FOLDER, split_fused
from uniadapter.checkpoints.layouts.keys import State, map_keys
from uniadapter.models import ClipText, ClipVisual

transformers = pytest.importorskip("transformers")
SIZES = ("input_resolution", "context_length", "vocab_size")


def original_keys(
    patches: int, width: int, text: int, words: int, places: int, depth: int, patch: int, out: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the original's state dict."""
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (places, text),
        "text_projection": (text, out),
        "logit_scale": (),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (patches + 1, width),
        "visual.proj": (width, out),
        "visual.conv1.weight": (width, 3, patch, patch),
        "token_embedding.weight": (words, text),
    }
    for name, d in (("visual.ln_pre", width), ("visual.ln_post", width), ("ln_final", text)):
        shapes.update({f"{name}.weight": (d,), f"{name}.bias": (d,)})
    for prefix, d in (("visual.", width), ("", text)):
        for i in range(depth):
            block = f"{prefix}transformer.resblocks.{i}"
            shapes[f"{block}.attn.in_proj_weight"] = (3 * d, d)
            shapes[f"{block}.attn.in_proj_bias"] = (3 * d,)
            for part, rows, columns in (
                ("attn.out_proj", d, d),
                ("mlp.c_fc", 4 * d, d),
                ("mlp.c_proj", d, 4 * d),
            ):
                shapes[f"{block}.{part}.weight"] = (rows, columns)
                shapes[f"{block}.{part}.bias"] = (rows,)
            for norm in ("ln_1", "ln_2"):
                shapes.update({f"{block}.{norm}.weight": (d,), f"{block}.{norm}.bias": (d,)})
    return shapes


@pytest.mark.parametrize(("patch", "patches"), [(32, 49), (16, 196)])
def test_every_key_at_full_width(patch: int, patches: int) -> None:
    shapes = original_keys(patches, 768, 512, 49408, 77, 12, patch, 512)
    assert len(shapes) == 302
    words = "token_embedding.weight"
    source = pool_state({name: shape for name, shape in shapes.items() if name != words})
    source[words] = torch.randn(49408, 1).expand(-1, 512)
    source.update({name: torch.tensor(7) for name in SIZES})
    state, report = map_keys(split_fused(source), CLIP, "f.pt")
    with torch.device("meta"):
        model = nn.ModuleDict(
            {
                "visual": ClipVisual(patch_size=patch),
                "text": ClipText(),
                "vision_proj": nn.Linear(768, 512, bias=False),
                "text_proj": nn.Linear(512, 512, bias=False),
            }
        )
        whole = transformers.CLIPModel(
            transformers.CLIPConfig(vision_config={"patch_size": patch}, projection_dim=512)
        )
    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert {name: tuple(t.shape) for name, t in state.items()} == {**own, "logit_scale": ()}
    assert set(report.left) == set(SIZES)
    assert {name.partition("[")[0] for name in (*report.used, *report.left)} == set(source)

    back, written = export_state(state, "clip")
    assert {name: tuple(t.shape) for name, t in back.items()} == shapes
    assert not written.left
    assert all(torch.equal(tensor, source[name]) for name, tensor in back.items())

    theirs, written = export_state(state, "clip-hf")
    assert not written.left
    expected = {name: tuple(t.shape) for name, t in whole.state_dict().items()}
    assert {name: tuple(t.shape) for name, t in theirs.items()} == expected
    again, _ = map_keys(theirs, CLIP_FOLDER, "folder")
    assert set(again) == set(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.items())


def clip_config(**overrides: Any) -> Config:
    """A retrieval model on two tiny towers."""
    model = {
        "type": "RetrievalModel",
        "visual": {
            "type": "ClipVisual",
            "arch": {
                "embed_dims": 16,
                "num_layers": 2,
                "num_heads": 2,
                "feedforward_channels": 64,
            },
            "img_size": 24,
            "patch_size": 8,
        },
        "text": {
            "type": "ClipText",
            "vocab_size": 30,
            "hidden_size": 12,
            "num_layers": 2,
            "num_heads": 3,
            "intermediate_size": 48,
            "max_positions": 9,
        },
        "adapter": {"type": "UniAdapter", "bottleneck": 3, "towers": ["visual", "text"]},
        "contrast": {"type": "BatchContrastHead", "embed_dim": 7},
        "matching": None,
        **overrides,
    }
    return Config({"model": model})


def tiny_source(dtype: torch.dtype = torch.float32) -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = original_keys(9, 16, 12, 30, 9, 2, 8, 7)
    state = {n: torch.randn(s, generator=generator) * 0.5 for n, s in shapes.items()}
    return {n: t.to(dtype) if "ln_" not in n else t for n, t in state.items()}


def same_features(model: Any, whole: Any) -> None:
    """Images, texts and logits of a model are those of transformers'."""
    pixels = torch.randn(3, 1, 3, 24, 24)
    ids = torch.tensor([[28, 3, 4, 29, 0], [28, 5, 29, 29, 29], [28, 1, 2, 6, 29]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    with torch.no_grad():
        wanted = whole.eval()(input_ids=ids, attention_mask=mask, pixel_values=pixels[:, 0])
        visual, text = model.eval().features(pixels, ids, mask)
        torch.testing.assert_close(visual, wanted.image_embeds)
        torch.testing.assert_close(text, wanted.text_embeds)
        logits = visual @ text.t() / model.contrast.temperature
        torch.testing.assert_close(logits, wanted.logits_per_image)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:FutureWarning")
@pytest.mark.parametrize("kind", ["state", "program", "half"])
def test_the_original_becomes_ours_transformers_and_itself_again(kind: str, tmp_path: Path) -> None:
    half = kind == "half"
    source = tiny_source(torch.float16 if half else torch.float32)
    config, file = clip_config(), tmp_path / "ViT-tiny.pt"
    if kind == "program":
        torch.jit.save(torch.jit.script(nested(source)), file)
    else:
        torch.save(source, file)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    report = convert_checkpoint(file, ours, config, source="clip")
    assert any("half precision" in note for note in report.notes) == half
    convert_checkpoint(ours, back, config, target="clip")
    written = torch.load(back, weights_only=True)["model"]
    assert set(written) == set(source)
    for name, tensor in source.items():
        assert torch.equal(written[name].to(tensor.dtype), tensor)

    folder = tmp_path / "folder"
    theirs = convert_checkpoint(ours, folder / "model.safetensors", config, target="clip-hf")
    assert not [name for name in theirs.left if not name.startswith("adapter.")]
    whole = transformers_twin()
    whole.load_state_dict(load_file(folder / "model.safetensors"))
    model = init_model(config, ours)
    same_features(model, whole)

    whole.save_pretrained(folder)
    again = tmp_path / "again.safetensors"
    convert_checkpoint(folder, again, config, source="clip-hf")
    first, second = load_file(ours), load_file(again)
    assert set(first) == set(second)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def nested(state: State) -> nn.Module:
    """A module with these parameters, which TorchScript can save."""

    class Part(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    root = Part()
    for name, tensor in state.items():
        *path, last = name.split(".")
        module: nn.Module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, Part())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(tensor))
    return root


def transformers_twin() -> Any:
    model = build_model(clip_config().model.to_dict())
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config=model.visual.model.config.to_dict(),
            text_config=model.text.model.config.to_dict(),
            projection_dim=7,
        )
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:FutureWarning")
def test_what_is_refused(tmp_path: Path) -> None:
    config, out = clip_config(), tmp_path / "o.safetensors"
    source, file = tiny_source(), tmp_path / "f.pt"

    def refused(source_kind: str, path: Path, with_config: Config = config) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            convert_checkpoint(path, out, with_config, source=source_kind)
        assert not out.exists()
        return str(error.value)

    assert "does not exist" in refused("clip", file)
    torch.save({"visual_encoder.cls_token": torch.zeros(1, 1, 4)}, file)
    assert "no part of the layout 'clip'" in refused("clip", file)
    torch.save({k: t for k, t in source.items() if "resblocks.1" not in k}, file)
    assert "missing in the file" in refused("clip", file)
    block = "transformer.resblocks.0.attn.in_proj_bias"
    torch.save({**source, block: torch.zeros(35)}, file)
    assert "no three parts" in refused("clip", file)
    torch.jit.save(torch.jit.script(nested(source)), file)
    file.write_bytes(file.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x03", 3))
    assert f"{file} is a damaged archive" in refused("clip", file)
    folder = tmp_path / "folder"
    transformers_twin().save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    for key, value, message in (
        ("num_attention_heads", 4, "vision_config.num_attention_heads=4"),
        ("hidden_act", "gelu", "vision_config.hidden_act='gelu', the config's model has"),
    ):
        changed = {**said, "vision_config": {**said["vision_config"], key: value}}
        (folder / "config.json").write_text(json.dumps(changed))
        assert message in refused("clip-hf", folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "blip"}))
    assert "model_type='blip'" in refused("clip-hf", folder)
    (folder / "config.json").write_text("{")
    assert "not valid JSON" in refused("clip-hf", folder)
    (folder / "config.json").unlink()
    assert "config.json does not exist" in refused("clip-hf", folder)
    save_file({"a": torch.zeros(1)}, out)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        convert_checkpoint(file, tmp_path / "o.pth", config, target="clip-hf")
    lonely = {"text.model.encoder.layers.0.self_attn.q_proj.bias": torch.zeros(4)}
    with pytest.raises(ValueError, match="needs queries, keys and values"):
        export_state(lonely, "clip")
