"""Several adapters on one backbone, by name: one acts, and the others leave no trace."""

import copy
import json
import logging
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from tests.helpers import ROOT, draws, tiny_retrieval_cfg
from tests.model_helpers import (
    adapter_cfg,
    outputs,
    randomize,
    same,
    sgd_steps,
    tiny_batch,
    tiny_model,
)
from tests.test_models.test_adapters import contract_models as models
from tests.test_models.test_adapters.contract import METHODS, MODELS
from uniadapter.checkpoints import load_adapter, save_adapter
from uniadapter.checkpoints.files import write
from uniadapter.checkpoints.state import TRAINING_STATE, trained_state_dict

LORA, BITFIT = {"type": "LoRA", "rank": 2}, {"type": "BitFit"}
NORMS = {"type": "BottleneckAdapter", "preset": "houlsby", "bottleneck": 4}
# Every method that the model serves, and heads alone.
CONFIGS: dict = {
    "bare": None,
    **{
        name: method.config_for(MODELS["blip_video"])
        for name, method in METHODS.items()
        if "blip_video" not in method.refuses
    },
}
# A file names a class that is registered, which those of tutorials are not.
SAVED = [n for n, cfg in sorted(CONFIGS.items()) if not isinstance((cfg or {}).get("type"), type)]


def act(model, name, seed):
    """Let an adapter act, with tensors that no other one has."""
    model.set_adapter(name)
    return randomize(model, seed, std=0.1).eval()


def filled(*configs, build=None, **options):
    """A model with adapters 'default', 'a', 'b' ... whose tensors all differ."""
    model = (build or tiny_model)(adapter=configs[0], **options)
    for name, cfg in zip("abcd", configs[1:], strict=False):
        model.add_adapter(name, cfg)
    for number, name in enumerate(model.list_adapters()):
        act(model, name, 10 + number)
    model.set_adapter("default")
    return model


def twin_of(model, cfg):
    """A model that has the active adapter alone."""
    twin = tiny_model(adapter=cfg).eval()
    state = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(("adapters.", *TRAINING_STATE))
    }
    assert state.keys() == {n for n in twin.state_dict() if not n.startswith(TRAINING_STATE)}
    twin.load_state_dict(state, strict=False)
    return twin


@settings(max_examples=draws(6, 60))
@given(
    st.lists(st.sampled_from(sorted(CONFIGS)), min_size=2, max_size=3),
    st.lists(st.integers(0, 2), min_size=2, max_size=4),
)
def test_each_computes_what_it_computes_alone(kinds, order):
    model = filled(*(CONFIGS[kind] for kind in kinds))
    names, batch, twins = model.list_adapters(), tiny_batch(), {}
    for name, kind in zip(names, kinds, strict=True):
        model.set_adapter(name)
        twins[name] = twin_of(model, CONFIGS[kind])
        assert trained_state_dict(model).keys() == trained_state_dict(twins[name]).keys()
    for number in order:
        name = names[number % len(names)]
        model.set_adapter(name)
        assert model.active_adapter == name
        assert same(outputs(model, batch), outputs(twins[name], batch))
    # A copy has its own.
    twin = copy.deepcopy(model)
    act(twin, names[0], 5)
    assert same(outputs(model, batch), outputs(twins[model.active_adapter], batch))


def test_names_in_the_state_dict_are_those_of_one_adapter_and_further_ones_stand_apart():
    model = tiny_model()
    alone = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.add_adapter("lora", LORA)
    state = model.state_dict()
    further = {name for name in state if name not in alone}
    assert all(torch.equal(state[name], tensor) for name, tensor in alone.items())
    assert {name.split(".")[0] for name in further} == {"adapters"}
    assert "adapters.lora.own.vision_proj/weight" in further
    model.set_adapter("lora")
    state = model.state_dict()
    assert {name for name in state if name.startswith("adapter.") and name.endswith(".A")}
    assert {name.replace("adapters.default.", "", 1) for name in state} >= {
        name for name in alone if name.startswith("adapter.")
    }
    assert any(name.startswith("adapters.default.ema.") for name in model.state_dict())
    model.set_adapter("default")
    model.delete_adapter("lora")
    assert list(model.state_dict()) == list(alone)
    assert model.list_adapters() == ["default"]


@pytest.mark.parametrize("cfg", [LORA, BITFIT, None], ids=["lora", "bitfit", "bare"])
def test_the_active_adapter_alone_is_trained_and_as_if_it_were_alone(cfg):
    model, batch = filled(adapter_cfg(), cfg, NORMS), tiny_batch()
    kept = {}
    for name in ("default", "b"):
        model.set_adapter(name)
        kept[name] = [t.clone() for t in trained_state_dict(model).values()]
    model.set_adapter("a")
    alone = twin_of(model, cfg)
    model.train()
    # The queue begins at random.
    alone.queue.load_state_dict(model.queue.state_dict())
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    assert sgd_steps(model, batch) == sgd_steps(alone.train(), batch)
    assert model.ema.averages().keys() == alone.ema.averages().keys()
    own = dict(model.named_parameters())
    assert all(torch.equal(own[name], value) for name, value in frozen.items())
    for name, before in kept.items():
        model.set_adapter(name)
        now = trained_state_dict(model).values()
        assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))


@settings(max_examples=draws(3, 40))
@given(st.lists(st.sampled_from(SAVED), min_size=2, max_size=2, unique=True))
def test_saved_and_loaded_side_by_side(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("adapters")
    model, batch, expected = filled(*(CONFIGS[kind] for kind in kinds)), tiny_batch(), {}
    for name in model.list_adapters():
        model.set_adapter(name)
        save_adapter(model, folder / name)
        expected[name] = outputs(model, batch)
    # Heads that a method leaves frozen are those that the model was built with.
    server = tiny_model(adapter=CONFIGS[kinds[0]]).eval()
    before = outputs(server, batch)
    assert server.load_adapter(folder / "a") == "a"
    assert server.load_adapter(folder / "default" / "adapter_model.safetensors", "first") == "first"
    assert server.list_adapters() == ["default", "a", "first"]
    assert same(outputs(server, batch), before)
    for ours, theirs in (("a", "a"), ("first", "default")):
        with server.adapter_active(ours):
            assert same(outputs(server, batch), expected[theirs])
    # What was saved is a folder as any other.
    model.set_adapter("a")
    alone = randomize(twin_of(model, CONFIGS[kinds[1]]), 7)
    load_adapter(alone, folder / "a")
    assert same(outputs(alone, batch), expected["a"])


def test_answers_come_with_the_adapter(tmp_path, tiny_vocab):
    def build(adapter, answers):
        return models.vqa(adapter, tiny_vocab.parent, answer_list=answers, inference="rank")

    save_adapter(build(LORA, ["red", "green"]), tmp_path / "colors")
    model = build(adapter_cfg(), ["bar", "dot"])
    model.load_adapter(tmp_path / "colors")
    assert model.answer_list == ["bar", "dot"]
    model.set_adapter("colors")
    assert model.answer_list == ["red", "green"]
    model.set_adapter("default")
    assert model.answer_list == ["bar", "dot"]


def test_names_that_cannot_be():
    model = tiny_model()
    for name in ("", "a.b", "a b", "a/b", 3):
        with pytest.raises(ValueError, match="can't be the name of an adapter"):
            model.add_adapter(name, LORA)
    with pytest.raises(ValueError, match="is an adapter 'default' already"):
        model.add_adapter("default", LORA)
    for call in (model.set_adapter, model.delete_adapter):
        with pytest.raises(ValueError, match=r"no adapter 'x': this model has \['default'\]"):
            call("x")
    with pytest.raises(ValueError, match="is the only adapter"):
        model.delete_adapter("default")
    # Attributes of a module are names as any other.
    for name in ("keys", "train", "adapter"):
        model.add_adapter(name, None)
    model.set_adapter("keys")
    assert model.list_adapters() == ["default", "keys", "train", "adapter"]


@pytest.mark.parametrize(
    ("cfg", "match"),
    [
        ({"type": "LoRA", "ranks": 3}, "adapter.ranks is no option of LoRA"),
        ({"type": "LoRA", "rank": 0}, "adapter.rank=0"),
        ({"type": "Stack", "methods": [BITFIT, NORMS]}, "differences of"),
    ],
)
def test_an_adapter_that_cannot_be_built_leaves_nothing(cfg, match):
    model, batch = filled({"type": "Stack", "methods": [LORA, BITFIT, adapter_cfg()]}), tiny_batch()
    before, names = outputs(model, batch), list(model.state_dict())
    with pytest.raises(ValueError, match=match):
        model.add_adapter("other", cfg)
    assert same(outputs(model, batch), before)
    assert list(model.state_dict()) == names
    assert model.list_adapters() == ["default"]
    with model.adapter_disabled():
        bare = outputs(model, batch)
    model.add_adapter("bare", None)
    model.set_adapter("bare")
    assert same(outputs(model, batch), bare)


def test_no_change_while_an_adapter_is_merged_or_disabled():
    model = filled(LORA, adapter_cfg())
    model.adapter.merge()
    for call in (lambda: model.set_adapter("a"), lambda: model.add_adapter("b", None)):
        with pytest.raises(ValueError, match=r"is merged into the backbone.*unmerge\(\) it first"):
            call()
    model.adapter.unmerge()
    with model.adapter_disabled(), pytest.raises(ValueError, match="inside of adapter_disabled"):
        model.set_adapter("a")
    model.set_adapter("a")


def test_the_first_of_the_others_acts_when_the_active_adapter_is_deleted(caplog):
    model, batch = filled(adapter_cfg(), LORA, NORMS), tiny_batch()
    with model.adapter_active("a"):
        expected = outputs(model, batch)
    with caplog.at_level(logging.WARNING):
        model.delete_adapter("default")
    assert model.active_adapter == "a"
    assert same(outputs(model, batch), expected)
    assert model.list_adapters() == ["a", "b"]


def test_a_state_dict_of_another_choice_is_refused():
    model = filled(adapter_cfg(), adapter_cfg())
    state = copy.deepcopy(model.state_dict())
    model.set_adapter("a")
    with pytest.raises(ValueError, match=r"keeps the adapters \['a'\].*set_adapter\(\)"):
        model.load_state_dict(state)
    model.set_adapter("default")
    act(model, "a", 3)
    model.set_adapter("default")
    model.load_state_dict(state)
    assert same(list(model.state_dict().values()), list(state.values()))


def test_a_new_adapter_is_where_the_model_is_and_of_its_numbers():
    model = tiny_model().double().eval()
    model.add_adapter("lora", LORA)
    model.set_adapter("lora")
    assert {p.dtype for p in model.adapter.parameters()} == {torch.float64}
    assert not model.adapter.training
    kept = model.adapters._modules["default"].adapter
    model.float().train()
    assert {p.dtype for p in kept.parameters()} == {torch.float32}
    assert kept.training


def test_files_name_registered_methods_and_run_no_code(tmp_path):
    model = tiny_model(adapter=LORA)
    save_adapter(model, tmp_path / "lora")
    path = tmp_path / "lora" / "adapter_config.json"
    meta = json.loads(path.read_text())
    for method, options in (
        ("os.system", {"command": "true"}),
        ("pathlib.Path", {}),
        ("RetrievalModel.from", {}),
        ("LoRA", {"_scope_": "mmpretrain"}),
        ("Stack", {"methods": [{"type": "os.system"}, LORA]}),
    ):
        path.write_text(json.dumps({**meta, "method": method, "options": options}))
        with pytest.raises(ValueError, match="adapter_config.json"):
            model.load_adapter(tmp_path / "lora", "x")
    path.write_text(json.dumps({**meta, "options": {"ranks": 2}}))
    with pytest.raises(ValueError, match=r"lora can't be put on this RetrievalModel.*ranks"):
        model.load_adapter(tmp_path / "lora", "x")
    # Whatever constructors raise.
    for method, options in (("LoRA", {"rank": True}), ("LoRA", {"rank": 10**15}), ("BlipViT", {})):
        path.write_text(json.dumps({**meta, "method": method, "options": options}))
        with pytest.raises(ValueError, match="lora can't be put on this RetrievalModel"):
            model.load_adapter(tmp_path / "lora", "x")
    with pytest.raises(FileNotFoundError, match="adapter_config.json is missing"):
        model.load_adapter(tmp_path / "none")
    assert model.list_adapters() == ["default"]


def test_another_backbone_is_refused_and_nothing_stays(tmp_path):
    save_adapter(tiny_model(seed=1, adapter=LORA), tmp_path / "lora")
    model = tiny_model()
    with pytest.raises(ValueError, match="was trained on a backbone with other weights"):
        model.load_adapter(tmp_path / "lora")
    assert model.list_adapters() == ["default"]
    assert model.load_adapter(tmp_path / "lora", check_backbone=False) == "lora"


def test_the_block_of_the_page_runs(tmp_path):
    page = (ROOT / "docs/adapters.md").read_text(encoding="utf-8")
    section = page.partition("## Several adapters on one backbone")[2]
    for name, cfg in (("first", adapter_cfg()), ("second", LORA)):
        save_adapter(tiny_model(adapter=cfg), tmp_path / name)
    weights = tmp_path / "backbone.safetensors"
    write(weights, {n: t for n, t in tiny_model(adapter=None).state_dict().items() if "." in n})
    config = Config({"model": tiny_retrieval_cfg(pretrained=str(weights))})
    known = {"config": config, "first_folder": tmp_path / "first"}
    known["second_folder"] = tmp_path / "second"
    for block in re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        exec(block, known)
    assert known["model"].list_adapters() == ["default", "videos"]
    assert known["model"].active_adapter == "videos"
