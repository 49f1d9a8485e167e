"""Operations of real-size towers against a count by hand."""

from __future__ import annotations

import pytest

from tests.helpers import ROOT
from tools.analysis_tools.get_flops import as_table, count_flops, main

CONFIG = str(ROOT / "configs/uniadapter/msrvtt_r512.py")
WIDTH, INNER, LAYERS, RANK = 768, 3072, 12, 512


def layer(tokens: int, seen: int | None = None) -> int:
    """A layer of ViT-B or BERT-base: four projections, scores and their sum, two linears.

    ``seen`` tokens are read by cross-attention besides, keys and values projected.
    """
    own = 4 * tokens * WIDTH**2 + 2 * tokens**2 * WIDTH + 2 * tokens * WIDTH * INNER
    if seen is not None:
        own += 2 * tokens * WIDTH**2 + 2 * seen * WIDTH**2 + 2 * tokens * seen * WIDTH
    return 2 * own


@pytest.mark.parametrize(
    ("frames", "size", "length"),
    [
        (2, 224, 20),
        pytest.param(1, 384, 7, marks=pytest.mark.deep),
        pytest.param(8, 384, 30, marks=pytest.mark.deep),
    ],
)
def test_blip_base_by_hand(frames: int, size: int, length: int):
    options = {"model.visual.img_size": size}
    parts = count_flops(CONFIG, frames, length, options)
    patches = (size // 16) ** 2
    tokens = patches + 1
    embedding = 2 * patches * (16 * 16 * 3) * WIDTH
    assert parts["visual"]["backbone"] == frames * (embedding + LAYERS * layer(tokens))
    assert parts["text"]["backbone"] == LAYERS * layer(length)
    assert parts["fusion"]["backbone"] == LAYERS * layer(length, frames * tokens)
    # Down and up of every token in every layer. In the fusion role the query residual is the
    # textual adapter, and one more reads what cross-attention gave.
    adapter = LAYERS * 2 * 2 * WIDTH * RANK
    assert parts["visual"]["adapter"] == frames * tokens * adapter
    assert parts["text"]["adapter"] == length * adapter
    assert parts["fusion"]["adapter"] == 2 * length * adapter
    # One dot product of 256 numbers a frame, and nothing else.
    if frames == 1:
        assert "frame_attention" not in parts
    else:
        assert parts["frame_attention"] == {"backbone": 2 * frames * 256, "adapter": 0}
    if frames == 8:
        without = count_flops(CONFIG, frames, length, {**options, "model.pfa": None})
        assert without == {key: parts[key] for key in ("visual", "text", "fusion")}
    assert f"{parts['visual']['backbone'] / 1e9:.6f}" in as_table(parts)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("t5_rte_unipt", "Seq2SeqModel"),
        ("mdetr_unipt", "GroundingModel"),
        ("flickr30k_vse_unipt", "VseModel"),
    ],
)
def test_a_model_that_is_not_counted_is_named(name: str, kind: str):
    with pytest.raises(SystemExit, match=f"{kind} are not counted, only those of Ret"):
        main([str(ROOT / f"configs/tiny/{name}.py")])
