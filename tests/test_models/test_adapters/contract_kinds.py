"""What the contract matrix is made of: models, what a method promises, the tutorial's methods."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.helpers import ROOT
from tests.test_models.test_adapters import contract_models as models


@dataclass(frozen=True)
class Model:
    """A small model that a method is tried on.

    Attributes:
        build (Callable): Makes it; see :mod:`contract_models`.
        outputs (Callable): All that the model computes, by role, without a graph.
        loss (Callable): The loss of a training step.
        uses (tuple[str]): What UniAdapter calls the modalities that it runs.
        heads (str): Pattern of the names that a step trains beside the method's own.
        task (bool): Whether it is a task of the package: with fast paths, gradient checkpointing by
            config and adapter folders.
        apart (bool): Whether what it saves leaves the frozen weights out.
    """

    build: Callable[..., Any]
    outputs: Callable[[Any], models.Outputs]
    loss: Callable[[Any], torch.Tensor]
    uses: tuple[str, ...]
    heads: str = "(?!)"
    task: bool = True
    apart: bool = True


_BLIP_HEADS = r"(vision_proj|text_proj|itm_head)\.|temp$"
_DUAL_HEADS = r"(vision_proj|text_proj)\.|logit_scale$"
_ALL, _TWO = ("visual", "text", "cross"), ("visual", "text")
_BLIP = (models.retrieval_outputs, models.pairs_loss, _ALL, _BLIP_HEADS)
_DUAL = (models.dual_outputs, models.dual_loss, _TWO, _DUAL_HEADS)
_WRAPPED = (models.backbone_outputs, models.backbone_loss, ("visual",), "(?!)", False)
MODELS: dict[str, Model] = {
    "blip_video": Model(models.blip_video, *_BLIP),
    "blip_image": Model(models.blip_image, *_BLIP),
    "blip_two_widths": Model(models.blip_two_widths, *_BLIP),
    "albef": Model(models.albef, *_BLIP),
    "pretrain": Model(
        models.pretrain, models.pretrain_outputs, models.pairs_loss, _ALL, _BLIP_HEADS
    ),
    "vqa": Model(models.vqa, models.vqa_outputs, models.words_loss, _ALL),
    "albef_vqa": Model(models.albef_vqa, models.vqa_outputs, models.words_loss, _ALL),
    "caption": Model(models.caption, models.caption_outputs, models.words_loss, _ALL),
    "clip": Model(models.clip, *_DUAL),
    "beit3": Model(models.beit3, *_DUAL),
    "t5": Model(models.t5, models.seq2seq_outputs, models.seq2seq_loss, ("text", "cross")),
    "mmpretrain_vit": Model(models.mmpretrain_vit, *_WRAPPED),
    "hosted_vit": Model(models.hosted_vit, *_WRAPPED, apart=False),
}

# One of each kind of tower and of task.
ONE, KINDS = ("blip_video",), ("blip_video", "vqa", "clip", "mmpretrain_vit")


@dataclass(frozen=True)
class Method:
    """A method and what it promises.

    Attributes:
        config (dict | Callable): Its config, or what makes it for a model.
        starts_frozen (bool): Whether step 0 is the frozen model, bit for bit.
        merges (bool): Whether it can be merged into the weights.
        same_paths (bool): Whether the model takes the fast paths that it takes without the method.
            Else bits are compared on the plain way.
        own (str): Pattern of the names of what it trains.
        idle (str): Pattern of those among them that no output depends on.
        refuses (Mapping): By name of a model that it doesn't serve, a pattern of the error.
        core (Collection): Models that the core suite tries it on; the deep suite tries all.
        steps (int): Until the gradient has come everywhere from where it starts at zero.
    """

    config: Mapping[str, Any] | Callable[[Model], dict[str, Any]]
    starts_frozen: bool = True
    merges: bool = False
    same_paths: bool = True
    own: str = r"adapter\."
    idle: str = "(?!)"
    refuses: Mapping[str, str] = field(default_factory=dict)
    core: Collection[str] = KINDS
    steps: int = 3

    def config_for(self, model: Model) -> dict[str, Any]:
        """The config of the adapter of a model."""
        return self.config(model) if callable(self.config) else dict(self.config)


def tutorial_classes() -> dict[str, Any]:
    """The classes that docs/tutorials.md defines, by name, outside the registry."""
    page = (ROOT / "docs/tutorials.md").read_text(encoding="utf-8")
    kept: list[ast.stmt] = []
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ClassDef):
                node.decorator_list = []
            if isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom):
                kept.append(node)
    found: dict[str, Any] = {"__name__": "tutorials"}
    exec(compile(ast.Module(kept, []), "docs/tutorials.md", "exec"), found)
    return found
