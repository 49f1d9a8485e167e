from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.test_checkpoints.test_layouts.states import pool_state
from tests.test_models import beit3_reference as reference
from uniadapter.checkpoints.layouts import export_state
from uniadapter.checkpoints.layouts.beit3 import BEIT3
from uniadapter.checkpoints.layouts.keys import State, map_keys
from uniadapter.models import Beit3Text, Beit3Vision

UNREAD = ("embed_positions", "mask_token")


def names(arch: str, side: int) -> dict[str, tuple[int, ...]]:
    """Shapes by our name of towers, heads and scale at full width."""
    width = 1024 if arch == "l" else 768
    large = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096}
    with torch.device("meta"):
        model = nn.ModuleDict(
            {
                "visual": Beit3Vision(arch=arch, img_size=16 * side),
                "text": Beit3Text(**(large if arch == "l" else {})),
                "vision_proj": nn.Linear(width, width, bias=False),
                "text_proj": nn.Linear(width, width, bias=False),
            }
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return {**shapes, "logit_scale": ()}


@pytest.mark.parametrize(("arch", "side", "keys"), [("b", 24, 494), ("l", 24, 974), ("l", 14, 974)])
def test_every_key_at_full_width(arch: str, side: int, keys: int) -> None:
    width, layers = (1024, 24) if arch == "l" else (768, 12)
    shapes = reference.key_list(width, layers, side * side)
    assert len(shapes) == keys
    # Views of less than the pool's size: the words' table is larger.
    words = "beit3.text_embed.weight"
    source = pool_state({name: shape for name, shape in shapes.items() if name != words})
    source[words] = torch.randn(64010, 1).expand(-1, width)
    state, report = map_keys(source, BEIT3, "f.pth")
    assert {name: tuple(t.shape) for name, t in state.items()} == names(arch, side)
    assert list(report.left) == ["beit3.vision_embed.mask_token"]
    assert set(report.used) | set(report.left) == set(source)
    assert len(report.notes) == 1
    assert "position tables" in report.notes[0]

    back, written = export_state(state, "beit3")
    assert {name: tuple(t.shape) for name, t in back.items()} == shapes
    assert not written.left
    for name, tensor in back.items():
        if not any(part in name for part in UNREAD):
            assert torch.equal(tensor, source[name])
    for half in "AB":
        table = f"beit3.encoder.embed_positions.{half}.weight"
        assert torch.equal(back[table][2:], source[table][2:])
        assert not back[table][:2].any()


def test_other_families_are_refused() -> None:
    blip: State = {"visual_encoder.cls_token": torch.zeros(1, 1, 4)}
    with pytest.raises(ValueError, match="no part of the layout 'beit3'"):
        map_keys(blip, BEIT3, "blip.pth")
    ours: State = {"visual.layers.0.attn.qkv.weight": torch.zeros(12, 4)}
    with pytest.raises(ValueError, match="--to 'beit3' has no names for 1 tensors of the towers"):
        export_state(ours, "beit3")
    beit3: State = {"visual.layers.0.attn.query.weight": torch.zeros(4, 4)}
    with pytest.raises(ValueError, match="--to 'blip' has no names for 1 tensors of the towers"):
        export_state(beit3, "blip")
