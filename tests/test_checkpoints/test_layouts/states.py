"""Key lists of published layouts and cheap states of full width for the conversion tests."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.helpers import ROOT
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.state import weight_names
from uniadapter.models import VisionLanguageModel
from uniadapter.registry import SCOPE

KEY_LISTS = ROOT / "tests/data/checkpoint_keys"
LAYERS = {"{i}": range(12), "{v}": range(24), "{f}": range(6, 12), "{d}": range(6)}
Shapes = dict[str, tuple[int, ...]]


def key_list(name: str, rank: int = 512) -> tuple[Shapes, dict[str, str]]:
    """Shapes by key of a released checkpoint, and the key that each alias repeats.

    A line is ``name shape [= name it repeats]``; ``{i}`` stands for the layers 0 to 11, ``{v}`` for
    a ViT-L's 0 to 23. The lists were taken at r=512, the only 512 besides the length of a text.
    """
    shapes: Shapes = {}
    same: dict[str, str] = {}
    for line in (KEY_LISTS / f"{name}.txt").read_text().splitlines():
        left, _, repeated = line.partition(" = ")
        template, text = left.split()
        shape = () if text == "-" else tuple(int(size) for size in text.split(","))
        if "_proj." in template and "adapter" in template and "video" not in template:
            shape = tuple(rank if size == 512 else size for size in shape)
        field = next((field for field in LAYERS if field in template), "")
        for index in LAYERS.get(field, range(1)):
            key = template.replace(field, str(index)) if field else template
            shapes[key] = shape
            if repeated:
                same[key] = repeated.replace("{i}", str(index))
    return shapes, same


def official_list(decoder: bool = False) -> Shapes:
    """Shapes by key of an official BLIP checkpoint: the released one's without adapters."""
    shapes, _ = key_list("uniadapter_vqa" if decoder else "uniadapter_retrieval")
    return {key: shape for key, shape in shapes.items() if "adapter" not in key}


@cache
def _pool() -> torch.Tensor:
    return torch.randn(24_000_000, generator=torch.Generator().manual_seed(0))


def pool_state(shapes: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random tensors, all different and all views of one pool: full width costs no memory."""
    pool = _pool()
    return {
        key: pool[index : index + math.prod(shape)].view(tuple(shape))
        for index, (key, shape) in enumerate(shapes.items())
    }


def with_aliases(shapes: Shapes, same: dict[str, str]) -> dict[str, torch.Tensor]:
    """A pool state whose aliases are the tensor that they repeat."""
    state = pool_state(shapes)
    for alias, key in same.items():
        state[alias] = state[key]
    return state


@cache
def _model_cfg(rank: int | None) -> Config:
    name = "_base_/models/blip_base_retrieval"
    if rank is not None:
        name = f"uniadapter/released_retrieval_r{rank}"
    return Config.fromfile(str(ROOT / f"configs/{name}.py")).model


def meta_model(rank: int | None = None, **overrides: Any) -> VisionLanguageModel:
    """The model of a released config (without rank BLIP-base alone) on the meta device."""
    cfg = _model_cfg(rank).to_dict()
    cfg["visual"]["img_size"] = 224
    cfg["queue_size"] = 64
    if rank is None:
        cfg["adapter"] = None
    with torch.device("meta"):
        return build_model({**cfg, **overrides})


def weight_shapes(model: VisionLanguageModel) -> dict[str, torch.Size]:
    """Shapes of what a checkpoint of the model holds."""
    own = model.state_dict()
    return {name: own[name].shape for name in sorted(weight_names(model))}


class Towers(VisionLanguageModel):
    """Towers with slots and an adapter, without a task."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.finish()

    def forward(self, mode: str = "tensor") -> None:
        raise ValueError(f"These towers have no task for mode={mode!r}.")


def towers(**parts: Any) -> Towers:
    """Build towers from parts that share the package's registry."""
    with DefaultScope.overwrite_default_scope(SCOPE):
        return Towers(**parts)


def full_towers(**parts: Any) -> Towers:
    """Towers at full width on the meta device: ViT-B and ``parts``."""
    with torch.device("meta"):
        return towers(visual={"type": "BlipViT", "arch": "b"}, **parts)


def vqa_parts(adapter: dict | None = None) -> Towers:
    """The towers of BLIP's VQA model at full width on the meta device."""
    parts = {"text": {"type": "BertModel"}, "decoder": {"type": "BertDecoder"}}
    return full_towers(**parts, adapter=adapter)


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Both hold the same names and, bit for bit, the same tensors."""
    assert set(one) == set(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def tiny_state(model: VisionLanguageModel) -> dict[str, torch.Tensor]:
    """Copies of a model's weights."""
    own = model.state_dict()
    return {name: own[name].clone() for name in sorted(weight_names(model))}


def write_pth(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """Write a checkpoint as the official code does."""
    torch.save({"model": state}, path)
    return path
