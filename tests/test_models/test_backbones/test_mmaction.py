"""Our adapters on mmaction2's backbones, where it is installed.

Its releases want other versions than the locked ones: beside them ``pip install --no-deps
mmaction2==1.1.0 mmcv-lite==2.0.1`` imports (the wheel of 1.2.0 lacks a folder and imports nowhere).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

import uniadapter  # noqa: F401


def _missing() -> str | None:
    """Why mmaction2 can't be used; it asserts versions while it is imported."""
    try:
        import mmaction.models  # noqa: F401
    except (ImportError, AssertionError) as error:
        return f"mmaction2: {error}"
    return None


_REASON = _missing()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))

SIZES = {"img_size": 32, "patch_size": 16, "embed_dims": 16, "num_heads": 2}
VIT = {"type": "VisionTransformer", "depth": 2, "num_frames": 4, **SIZES}
CLIP = (3, 4, 32, 32)
# Backbones with the shapes of what they take.
BACKBONES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "vit": (VIT, CLIP),
    "vit_scaled": ({**VIT, "init_values": 0.1}, CLIP),
    "timesformer": (
        {"type": "TimeSformer", "num_frames": 4, "num_transformer_layers": 2, **SIZES},
        CLIP,
    ),
    "resnet": ({"type": "ResNet", "depth": 18}, (3, 32, 32)),
    "resnet3d": (
        {"type": "ResNet3d", "depth": 18, "pretrained2d": False, "pretrained": None},
        CLIP,
    ),
}
ADAPTER = {"type": "uniadapter.UniAdapter", "towers": ["visual"], "bottleneck": 4}


def build(config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmaction"):
        return MODELS.build(config)


def wrapped(backbone: dict[str, Any]) -> dict[str, Any]:
    return {"type": "uniadapter.AdaptedBackbone", "backbone": backbone, "adapter": ADAPTER}


@pytest.mark.parametrize("name", BACKBONES)
def test_it_returns_what_the_backbone_returns_and_trains_the_adapter(name: str):
    backbone, shape = BACKBONES[name]
    # In evaluation: paths are dropped at random in training.
    model, clip = build(wrapped(backbone)).eval(), torch.randn(2, *shape)
    with torch.no_grad():
        bare = model.backbone(clip)
        with model.adapter_disabled():
            assert torch.equal(model(clip), bare)
    assert torch.equal(model(clip), bare), "up-projections start at zero"
    with torch.no_grad():
        for parameter in model.adapter.parameters():
            parameter.add_(torch.randn_like(parameter))
    got = model(clip)
    assert not torch.allclose(got, bare)
    got.sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter_name.startswith("adapter."), parameter_name


def test_a_recognizer_learns():
    from mmaction.structures import ActionDataSample

    model = build(
        {
            "type": "Recognizer3D",
            "backbone": wrapped(VIT),
            "cls_head": {"type": "TimeSformerHead", "num_classes": 2, "in_channels": 16},
            "data_preprocessor": {"type": "ActionDataPreprocessor", "format_shape": "NCTHW"},
        }
    )
    labels = torch.tensor([0, 1, 0, 1])
    clips = torch.randn(4, 1, *CLIP) * 0.1 + labels.view(4, 1, 1, 1, 1, 1) * 2 - 1
    samples = [ActionDataSample().set_gt_labels(int(label)) for label in labels]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.05)
    for _ in range(20):
        loss = model(clips, samples, mode="loss")["loss_cls"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert all(name.startswith("backbone.backbone.") for name in frozen)
