from __future__ import annotations

import pytest
from mmengine.registry import DefaultScope

from tests.helpers import tiny_retrieval_cfg
from uniadapter.models.build import check_model_cfg


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("uniadapter"):
        yield


def test_a_right_config_passes():
    check_model_cfg(tiny_retrieval_cfg())
    check_model_cfg(tiny_retrieval_cfg(adapter=None, grad_checkpointing=True))


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"type": "RetrievalModl"}, "model.type='RetrievalModl' is not registered. Did you mean"),
        ({"type": None}, "model has no key 'type': name a class"),
        ({"quue_size": 3}, "model.quue_size is no option of RetrievalModel. Did you mean"),
        (
            {"adapter": {"type": "UniAdaptr"}},
            "model.adapter.type='UniAdaptr' is not registered. Did you mean 'UniAdapter'",
        ),
        (
            {"adapter": {"type": "UniAdapter", "rank": 4}},
            "model.adapter.rank is no option of UniAdapter.*It takes: bottleneck",
        ),
        (
            {"adapter": {"type": "UniAdapter", "places": {}}},
            "model.adapter.places is no option of UniAdapter",
        ),
        (
            {"pfa": {"type": "FrameAwareAttention", "varint": "paper"}},
            "model.pfa.varint is no option of FrameAwareAttention. Did you mean 'variant'",
        ),
        (
            {"visual": {"type": "BlipViT", "arch": "b", "image_size": 32}},
            "model.visual.image_size is no option of BlipViT. Did you mean 'img_size'",
        ),
    ],
)
def test_a_typo_names_key_and_remedy(overrides, match):
    with pytest.raises(ValueError, match=match):
        check_model_cfg(tiny_retrieval_cfg(**overrides))


def test_a_class_that_takes_anything_is_left_to_its_constructor():
    check_model_cfg({"type": "BertDecoder", "vocab_size": 9, "whatever": 1})
