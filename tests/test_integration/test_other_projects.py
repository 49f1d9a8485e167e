"""Other OpenMMLab projects use the components by custom_imports and the scope prefix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, DefaultScope, Registry

from tests.helpers import tiny_retrieval_cfg
from uniadapter.utils.compat import mmpretrain_models

# First, so that its structures come from a whole package.
THEIR_VIT = mmpretrain_models().VisionTransformer
LAYER_NORM = {"type": "LN", "eps": 1e-6}


@pytest.fixture
def foreign_scope():
    """The scope of another project, with a registry of its own."""
    if "otherproject" not in MODELS._children:
        Registry("model", parent=MODELS, scope="otherproject")
    with DefaultScope.overwrite_default_scope("otherproject"):
        yield


def test_components_build_in_another_scope(foreign_scope, tiny_vocab):
    cfg = Config({"custom_imports": {"imports": ["uniadapter"]}, "default_scope": "otherproject"})
    assert cfg.custom_imports["imports"] == ["uniadapter"]
    model_cfg = tiny_retrieval_cfg(tiny_vocab)
    model_cfg["type"] = "uniadapter.RetrievalModel"
    model = MODELS.build(model_cfg).eval()
    tokens, feature, frames = model.encode_visual(torch.randn(2, 3, 3, 32, 32))
    assert tokens.shape[:2] == (2, 3)
    assert feature.shape[0] == 2
    assert frames.shape[:2] == (2, 3)


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (MODELS, "uniadapter.BlipViT"),
        (MODELS, "uniadapter.BertModel"),
        (MODELS, "uniadapter.UniAdapter"),
        (DATASETS, "uniadapter.MSRVTTRetrieval"),
        (METRICS, "uniadapter.RetrievalMetric"),
        (HOOKS, "uniadapter.AlphaRampHook"),
    ],
)
def test_names_resolve_with_the_prefix(foreign_scope, registry, name):
    assert registry.get(name) is not None


VIT = {
    "type": "uniadapter.BlipViT",
    "arch": {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32},
    "img_size": 32,
    "patch_size": 16,
}
SHAPES = {
    "cls_token": (6, 16),
    "raw": (6, 5, 16),
    "featmap": (6, 16, 2, 2),
    "avg_featmap": (6, 16),
}


@pytest.mark.parametrize("out_type", SHAPES)
def test_our_tower_returns_what_mmpretrains_returns(out_type):
    torch.manual_seed(0)
    tower = MODELS.build({**VIT, "out_type": out_type}).eval()
    theirs = THEIR_VIT(
        arch=VIT["arch"], img_size=32, patch_size=16, out_type=out_type, norm_cfg=LAYER_NORM
    )
    theirs.eval()
    theirs.load_state_dict(tower.state_dict())
    images = torch.randn(6, 3, 32, 32)
    got, want = tower(images), theirs(images)
    assert isinstance(got, tuple)
    assert len(got) == len(want) == 1
    assert got[0].shape == SHAPES[out_type]
    torch.testing.assert_close(got[0], want[0], atol=1e-5, rtol=1e-5)


def test_the_kinds_of_output_are_mmpretrains():
    with pytest.raises(ValueError, match=r"visual.out_type='tokens' is unknown: use one of \['avg"):
        MODELS.build({**VIT, "out_type": "tokens"})


@pytest.mark.parametrize("adapted", [False, True])
def test_mmpretrains_classifier_trains_on_our_tower(adapted):
    """Each image has logits of its own: the loss falls to nothing on pictures of three classes."""
    torch.manual_seed(0)
    adapter = {"type": "uniadapter.UniAdapter", "towers": ["visual"], "bottleneck": 4}
    wrapped = {"type": "uniadapter.AdaptedBackbone", "backbone": VIT, "adapter": adapter}
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        classifier = MODELS.build(
            {
                "type": "ImageClassifier",
                "backbone": wrapped if adapted else VIT,
                "head": {
                    "type": "VisionTransformerClsHead",
                    "num_classes": 3,
                    "in_channels": 16,
                    "loss": {"type": "CrossEntropyLoss"},
                },
            }
        )
    from mmpretrain.structures import DataSample

    samples, labels = [], torch.tensor([0, 1, 2, 0, 1, 2])
    for label in labels:
        sample = DataSample()
        sample.set_gt_label(label)
        samples.append(sample)
    images = F.one_hot(labels, 3)[:, :, None, None].float().expand(6, 3, 32, 32)
    trained = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.02)
    for _ in range(30):
        loss = classifier(images, samples, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier.eval()
    predicted = classifier(images, samples, mode="predict")
    assert [int(sample.pred_label) for sample in predicted] == labels.tolist()
    assert loss.item() < 0.3


def test_import_is_light_and_offline():
    """Importing the package loads neither the towers nor a model hub."""
    heavy = ("transformers", "mmpretrain", "torchvision")
    code = f"import sys, uniadapter; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
