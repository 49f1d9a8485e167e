"""Methods on a tower of convolution blocks: which apply, and which are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from uniadapter.models import RetrievalModel, build_model

VISUAL = {
    "type": "EfficientNetLite",
    "arch": {"stem": 4, "groups": [(1, 3, 1, 1, 4), (2, 3, 2, 2, 6)], "head": 8},
    "img_size": 12,
}
TEXT = {
    "type": "SentenceBert",
    "vocab_size": 20,
    "hidden_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 12,
    "max_positions": 9,
    "layer_offset": 2,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
APPLY: dict[str, dict[str, Any]] = {
    "uniadapter": {"type": "UniAdapter", "bottleneck": 2, "towers": ["visual", "text"]},
    "upper": {"type": "UniAdapter", "bottleneck": 2, "towers": ["visual", "text"], "layers": "4"},
    "houlsby": {"type": "BottleneckAdapter", "preset": "houlsby", "bottleneck": 2},
    "pfeiffer": {"type": "BottleneckAdapter", "preset": "pfeiffer", "bottleneck": 2},
    "lora": {"type": "LoRA", "rank": 1, "targets": ["q", "v", "fc1", "fc2"]},
    "bitfit": {"type": "BitFit"},
    "unipt": {"type": "UniPT"},
    "ladder": {"type": "Ladder", "roles": ["text"], "reduction": 2, "num_heads": 2},
}
# Methods whose step 0 is the frozen model.
BEGIN_FROZEN = ("uniadapter", "upper", "lora", "bitfit", "unipt")


def model(adapter: dict[str, Any] | None) -> RetrievalModel:
    """The same towers at every call."""
    torch.manual_seed(0)
    contrast = {"type": "BatchContrastHead", "embed_dim": 6}
    parts = {"visual": VISUAL, "text": TEXT, "contrast": contrast, "matching": None}
    return build_model({"type": "RetrievalModel", "adapter": adapter, **parts})  # type: ignore[return-value]


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixels": torch.randn(3, 1, 3, 12, 12, generator=generator),
        "input_ids": torch.randint(1, 20, (3, 5), generator=generator),
        "attention_mask": (torch.arange(5) < torch.tensor([[5], [3], [4]])).long(),
    }


def features(found: RetrievalModel) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return found.eval().features(**batch())


@pytest.mark.parametrize("name", APPLY)
def test_a_method_trains_what_is_its_own_and_can_be_switched_off(name: str) -> None:
    bare, adapted = model(None), model(APPLY[name])
    bare.load_state_dict(adapted.state_dict(), strict=False)
    want = features(bare)
    with adapted.adapter_disabled():
        assert all(map(torch.equal, features(adapted), want))
    if name in BEGIN_FROZEN:
        assert all(map(torch.equal, features(adapted), want))
    adapted.train()
    own = {id(p) for p in adapted.adapter.parameters()}  # type: ignore[union-attr]
    for _ in range(2):
        # After a step no up-projection is zero any more.
        adapted.zero_grad()
        sum(adapted(**batch(), media_ids=torch.arange(3), mode="loss").values()).backward()  # type: ignore[union-attr]
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad and parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad + 1e-3
    without = [n for n, p in adapted.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    for tower in (adapted.visual, adapted.text):
        assert not any(p.requires_grad for p in tower.parameters())
    assert own <= {id(p) for p in adapted.parameters() if p.requires_grad}
    changed = [not torch.equal(a, b) for a, b in zip(features(adapted), want, strict=True)]
    assert all(changed)


def test_layers_of_both_towers_are_numbered_to_one_end() -> None:
    adapter: Any = model(APPLY["upper"]).adapter
    assert sorted(adapter.layers) == ["3"]
    # The last layers of both are 8 wide, and share.
    assert list(adapter.layers["3"].down) == ["shared8"]


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"type": "BottleneckAdapter", "preset": "parallel"}, "shows its output alone"),
        ({"type": "MAM"}, r"MAM fills the site 'visual.keys'"),
        ({"type": "STAdapter"}, r"STAdapter fills the site 'visual"),
        ({"type": "Prompt"}, r"Prompt fills the site 'visual.tokens'"),
        ({"type": "Ladder"}, "Ladder reads tokens, and the visual tower's layers leave maps"),
        ({"type": "LoRA", "roles": ["visual"]}, "of which this model tells none"),
    ],
)
def test_what_has_no_place_is_refused_by_name(adapter: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model(adapter)


def test_a_vector_asks_maps_of_any_size() -> None:
    found = model({"type": "UniPT", "taps": {"visual": "2-4", "text": "0,2"}})
    adapter: Any = found.adapter
    assert adapter.sides["visual"].in_dims == [6, 6, 8]
    assert adapter.sides["visual"].residual == "none"
    assert adapter.sides["text"].residual == "index"
    assert features(found)[0].shape == (3, 6)
