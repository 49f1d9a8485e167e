"""mmpretrain's BLIP layout; its vision tower and heads are the real ones.

Its text tower can't be imported beside current transformers, but its names are BLIP's.
"""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import DefaultScope

from tests.test_checkpoints.test_layouts.states import (
    Towers,
    full_towers,
    meta_model,
    official_list,
    pool_state,
    vqa_parts,
)
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import Report, State, map_keys
from uniadapter.checkpoints.layouts.mmpretrain import MMPRETRAIN
from uniadapter.models import VisionLanguageModel
from uniadapter.utils.compat import mmpretrain_models

Shapes = dict[str, tuple[int, ...]]


def shapes_of(module: torch.nn.Module, prefix: str) -> Shapes:
    return {f"{prefix}.{name}": tuple(t.shape) for name, t in module.state_dict().items()}


def vision(prefix: str) -> Shapes:
    with torch.device("meta"):
        tower = mmpretrain_models().VisionTransformer(
            arch="b", img_size=224, patch_size=16, out_type="raw"
        )
    return shapes_of(tower, prefix)


def renamed(prefix: str, new: str) -> Shapes:
    """BLIP's keys that begin with ``prefix``, beginning with ``new``."""
    keys = official_list(decoder=prefix.startswith("text_decoder"))
    return {new + k.removeprefix(prefix): s for k, s in keys.items() if k.startswith(prefix)}


def retrieval_shapes() -> Shapes:
    """Keys of BlipRetrieval: four averaged parts, both heads, the temperature twice."""
    averaged = {
        **vision("vision_backbone"),
        **renamed("text_encoder.", "text_backbone."),
        **renamed("vision_proj.", "vision_neck."),
        **renamed("text_proj.", "text_neck."),
    }
    models = mmpretrain_models()
    # Their heads look for their losses in the default scope, which an earlier run may have set.
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmpretrain"):
        contrast = models.build_head({"type": "ITCHead", "embed_dim": 256, "queue_size": 64})
        matching = models.build_head({"type": "ITMHead", "hidden_size": 768, "with_pooler": False})
    shapes = {"temp": (), **averaged}
    shapes |= shapes_of(contrast, "head") | shapes_of(matching, "multimodal_head")
    for key, shape in averaged.items():
        part, rest = key.split(".", 1)
        shapes[f"{part}_m.{rest}"] = shape
    return shapes


def read(source: State, model: VisionLanguageModel) -> tuple[State, Report]:
    state, report = map_keys(source, MMPRETRAIN, "f.pth")
    return fit_to_model(state, report, model, "f.pth"), report


def test_retrieval() -> None:
    source = pool_state(retrieval_shapes())
    source["head.temp"] = source["temp"]
    state, report = read(source, meta_model())
    assert set(report.used) | set(report.left) == set(source)
    left = {key.rsplit(".", 1)[0] for key in report.left if "_m." not in key}
    assert left == {"head", "text_backbone.embeddings"}
    for theirs, ours in {
        "vision_backbone.layers.5.ffn.layers.0.0.weight": "visual.layers.5.ffn.layers.0.0.weight",
        "vision_backbone.ln1.bias": "visual.ln1.bias",
        "text_backbone.encoder.layer.2.crossattention.self.key.weight": (
            "text.encoder.layer.2.crossattention.self.key.weight"
        ),
        "vision_neck.weight": "vision_proj.weight",
        "multimodal_head.fc.bias": "itm_head.bias",
        "temp": "temp",
    }.items():
        assert torch.equal(state[ours], source[theirs])


def test_temperatures_that_disagree_are_named() -> None:
    source = pool_state(retrieval_shapes())
    with pytest.raises(ValueError, match=r"temp and head\.temp|head\.temp and temp"):
        read(source, meta_model())


def caption_shapes() -> Shapes:
    return {**vision("visual_encoder"), **renamed("text_decoder.", "seq_gen_head.decoder.")}


def vqa_shapes() -> Shapes:
    return {
        **vision("vision_backbone"),
        **renamed("text_encoder.", "multimodal_backbone."),
        **renamed("text_decoder.", "vqa_head.decoder."),
    }


@pytest.mark.parametrize("task", ["caption", "vqa"])
def test_generative_models(task: str) -> None:
    if task == "caption":
        shapes, prefix = caption_shapes(), "seq_gen_head.decoder"
        model: Towers = full_towers(decoder={"type": "BertDecoder"})
    else:
        shapes, prefix = vqa_shapes(), "vqa_head.decoder"
        model = vqa_parts()
    source = pool_state({k: s for k, s in shapes.items() if "adapter" not in k})
    head = f"{prefix}.cls.predictions"
    source[f"{head}.decoder.weight"] = source[f"{prefix}.bert.embeddings.word_embeddings.weight"]
    source[f"{head}.decoder.bias"] = source[f"{head}.bias"]
    state, report = read(source, model)
    assert set(report.used) | set(report.left) == set(source)
    assert torch.equal(
        state["decoder.cls.predictions.transform.dense.weight"],
        source[f"{head}.transform.dense.weight"],
    )
    assert all(key.endswith("position_ids") for key in report.left)


def test_official_file_is_no_mmpretrain_file() -> None:
    with pytest.raises(ValueError, match=r"no part of the layout 'mmpretrain'.*--from"):
        read(pool_state(official_list()), meta_model())
