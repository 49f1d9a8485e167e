"""Other OpenMMLab projects use the components by custom_imports and the scope prefix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, DefaultScope, Registry

from tests.helpers import tiny_retrieval_cfg


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


def test_import_is_light_and_offline():
    """Importing the package loads neither the towers nor a model hub."""
    heavy = ("transformers", "mmpretrain", "torchvision")
    code = f"import sys, uniadapter; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
