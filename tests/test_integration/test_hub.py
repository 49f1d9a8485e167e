"""MMEngine's hub and mmpretrain's find our configs, from any folder."""

from __future__ import annotations

from pathlib import Path

import mmengine.hub
import pytest
import torch
from mmengine.config import Config

from tests.helpers import ROOT
from uniadapter.checkpoints import read_state_dict
from uniadapter.engine.runner import CheckedRunner, build_runner
from uniadapter.models.tasks import RetrievalModel
from uniadapter.utils.config import load_config
from uniadapter.utils.paths import resource, resources_root

CONFIG = "tiny/msrvtt_r32.py"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_config_of_the_hub():
    cfg = mmengine.hub.get_config(f"uniadapter::{CONFIG}")
    assert cfg.to_dict() == Config.fromfile(ROOT / "configs" / CONFIG).to_dict()


def test_model_of_the_hub_needs_no_file_of_the_current_folder():
    assert isinstance(mmengine.hub.get_model(f"uniadapter::{CONFIG}"), RetrievalModel)


def test_weights_of_the_hub():
    model = mmengine.hub.get_model("uniadapter::pretrain/vse_tiny.py", pretrained=True)
    own = model.state_dict()
    tensors = read_state_dict("configs/pretrain/vse_tiny.safetensors")
    assert tensors
    for name, tensor in tensors.items():
        assert torch.equal(own[name], tensor), name


def test_index_of_mmpretrains_hub():
    from mmpretrain.apis.model import ModelHub

    ModelHub.register_model_index(resource("model-index.yml"), config_prefix=resources_root())
    # `get` would read mmpretrain's own index first, which takes long: see test_install.py.
    assert ModelHub.has("uniadapter_msrvtt_r512")
    found = ModelHub._models_dict["uniadapter_msrvtt_r512"]
    assert Config.fromfile(found.config).model.type == "RetrievalModel"
    assert found.results[0].task == "Text-to-Video Retrieval"


def test_a_run_of_a_config_that_inherits_from_ours(elsewhere: Path):
    mine = elsewhere / "mine.py"
    mine.write_text(f"_base_ = 'uniadapter::{CONFIG}'\nval_cfg = dict(k_test=3)\n")
    cfg = load_config(mine)
    cfg.work_dir = str(elsewhere / "runs")
    runner = build_runner(cfg)
    assert isinstance(runner.model, RetrievalModel)
    # Vocabulary and backbone come from the project.
    runner.model.init_weights()
    assert runner.model.data_preprocessor.tokenizer.vocab_size > 100


def test_a_loader_of_a_config_that_inherits_from_ours(elsewhere: Path):
    mine = elsewhere / "mine.py"
    mine.write_text(f"_base_ = 'uniadapter::{CONFIG}'\n")
    loader = load_config(mine).train_dataloader.to_dict()
    assert loader["collate_fn"]["_scope_"] == loader["worker_init_fn"]["_scope_"] == "uniadapter"
    rows = [{"inputs": torch.full((1,), float(row))} for row in range(8)]
    # As where a config takes the loader of its base for another one.
    loader.update(dataset=rows, num_workers=1, batch_size=4, _scope_="uniadapter")
    batches = list(CheckedRunner.build_dataloader(loader, seed=0))
    assert sorted(float(row) for batch in batches for row in batch["inputs"]) == list(range(8))
