"""Building models from configs and loading every kind of checkpoint."""

from __future__ import annotations

from pprint import pformat

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import outputs, randomize, same, tiny_batch, tiny_model
from uniadapter.apis import init_model
from uniadapter.apis.model import build_model, load_weights
from uniadapter.models.adapters.state import save_adapter


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\n")
    return path


def backbone_file(model, path):
    state = model.state_dict()
    prefixes = ("visual.", "text.", "vision_proj.", "text_proj.", "itm_head.", "temp")
    save_file({n: t.contiguous() for n, t in state.items() if n.startswith(prefixes)}, path)
    return path


def test_without_a_checkpoint_weights_are_random(config):
    model = init_model(config)
    assert not model.training
    assert model.cfg.model.type == "RetrievalModel"
    assert model.adapter.options["bottleneck"] == 8


def test_a_config_object_is_not_changed_by_options(config):
    loaded = Config.fromfile(str(config))
    model = init_model(loaded, cfg_options={"model.adapter.bottleneck": 4})
    assert model.adapter.options["bottleneck"] == 4
    assert loaded.model.adapter.bottleneck == 8


def test_the_backbone_is_loaded_and_the_averages_follow(config, tmp_path):
    source = tiny_model(seed=5)
    model = init_model(config, backbone_file(source, tmp_path / "backbone.safetensors"))
    with source.adapter_disabled(), model.adapter_disabled():
        assert same(outputs(model, tiny_batch()), outputs(source, tiny_batch()))
    average = model.ema.averages()["vision_proj.weight"]
    assert torch.equal(average, source.vision_proj.weight)


def test_an_adapter_folder_brings_back_the_adapted_model(config, tmp_path):
    backbone = backbone_file(tiny_model(seed=5), tmp_path / "backbone.safetensors")
    options = {"model.pretrained": str(backbone)}
    trained = randomize(init_model(config, backbone))
    folder = save_adapter(trained, tmp_path / "adapter")
    model = init_model(config, folder, cfg_options=options)
    assert same(outputs(model, tiny_batch()), outputs(trained, tiny_batch()))
    with pytest.raises(ValueError, match="other weights.*set model.pretrained"):
        init_model(config, folder)


@pytest.mark.parametrize("whole", [True, False])
def test_a_training_checkpoint_brings_back_the_adapted_model(whole, config, tmp_path):
    backbone = backbone_file(tiny_model(seed=5), tmp_path / "backbone.safetensors")
    trained = randomize(init_model(config, backbone))
    state = trained.state_dict()
    if not whole:
        state = {n: t for n, t in state.items() if not n.startswith(("visual.", "text."))}
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": state, "meta": {}}, path)
    options = {"model.pretrained": str(backbone)}
    model = init_model(config, path, cfg_options=options)
    assert same(outputs(model, tiny_batch()), outputs(trained, tiny_batch()))
    if not whole:
        with pytest.raises(ValueError, match="leaves out the frozen backbone.*model.pretrained"):
            init_model(config, path)


def test_a_training_checkpoint_of_another_rank_is_an_error(config, tmp_path):
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": tiny_model().state_dict()}, path)
    with pytest.raises(
        ValueError, match=r"fit the model .*\n  adapter.bottleneck: file r=8, model r=4"
    ):
        init_model(config, path, cfg_options={"model.adapter.bottleneck": 4})


def test_missing_files_are_named(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.py"):
        init_model(tmp_path / "nowhere.py")
    with pytest.raises(FileNotFoundError, match="nowhere.pth does not exist"):
        init_model(config, tmp_path / "nowhere.pth")
    missing = {"model.pretrained": str(tmp_path / "none.safetensors")}
    with pytest.raises(FileNotFoundError, match="none.safetensors does not exist.*pretrained"):
        init_model(config, cfg_options=missing).init_weights()


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_a_damaged_file_is_an_error(config, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x10not a checkpoint")
    with pytest.raises(ValueError, match=rf"{name} is (damaged|corrupt|truncated)"):
        init_model(config, path)


def test_a_wrong_file_is_an_error_and_nothing_is_loaded(config, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"encoder.weight": torch.ones(2)}, path)
    model = tiny_model()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"in the model: encoder\.weight\n.*convert_checkpoint"):
        load_weights(model, path)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_config_without_a_model_is_an_error(tmp_path):
    path = tmp_path / "data.py"
    path.write_text("batch = 3\n")
    with pytest.raises(ValueError, match="data.py has no key 'model'"):
        init_model(path)


def test_typos_are_errors_that_name_the_key():
    cfg = tiny_retrieval_cfg(adapter={"type": "UniAdapter", "bottlneck": 4})
    with pytest.raises(ValueError, match="model.adapter.bottlneck .*mean 'bottleneck'"):
        build_model(cfg)


def test_options_handed_on_to_a_part_without_a_type_are_checked_too(tiny_vocab):
    cfg = tiny_retrieval_cfg(tiny_vocab)
    cfg["data_preprocessor"]["tokenizer"]["lower"] = True
    with pytest.raises(ValueError, match="model: BertTokenizer.__init__.* argument 'lower'"):
        build_model(cfg)
