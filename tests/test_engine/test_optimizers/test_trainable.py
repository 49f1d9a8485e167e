from __future__ import annotations

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

import uniadapter.engine  # noqa: F401  (registers the constructor)
from tests.toy import ToyModel
from uniadapter.engine.optimizers import TrainableOptimWrapperConstructor

ADAMW = {"type": "AdamW", "lr": 0.1, "weight_decay": 0.05}


def build(model: nn.Module, paramwise_cfg: dict | None = None, **wrapper) -> OptimWrapper:
    cfg = {"optimizer": ADAMW, **wrapper}
    return TrainableOptimWrapperConstructor(cfg, paramwise_cfg)(model)


def ids(wrapper: OptimWrapper) -> list[int]:
    return [id(p) for group in wrapper.optimizer.param_groups for p in group["params"]]


def test_only_trainable_parameters_each_once():
    model = ToyModel()
    wrapper = build(model)
    expected = [id(p) for p in (model.temp, model.head.weight, model.head.bias)]
    assert sorted(ids(wrapper)) == sorted(expected)
    assert {group["weight_decay"] for group in wrapper.optimizer.param_groups} == {0.05}


def test_optimizer_is_what_the_config_says():
    wrapper = build(ToyModel())
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)
    assert wrapper.optimizer.param_groups[0]["lr"] == 0.1


def test_wrapped_models_are_unwrapped():
    model = ToyModel()
    assert sorted(ids(build(nn.DataParallel(model)))) == sorted(ids(build(model)))


def test_decay_can_spare_norms_and_biases():
    model = ToyModel()
    groups = build(model, {"no_decay_norm_bias": True}).optimizer.param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay == {
        id(model.head.weight): 0.05,
        id(model.head.bias): 0.0,
        id(model.temp): 0.0,
    }


def test_a_group_without_parameters_is_left_out():
    model = ToyModel()
    model.requires_grad_(False)
    model.temp.requires_grad_(True)
    groups = build(model, {"no_decay_norm_bias": True}).optimizer.param_groups
    assert [len(group["params"]) for group in groups] == [1]


def test_accumulated_gradients_step_once():
    model = ToyModel()
    wrapper = build(model, accumulative_counts=2, clip_grad={"max_norm": 1.0})
    wrapper.initialize_count_status(model, 0, 4)
    before = model.temp.detach().clone()
    wrapper.update_params((model.temp - 3) ** 2)
    assert model.temp.detach().equal(before)
    wrapper.update_params((model.temp - 3) ** 2)
    assert not model.temp.detach().equal(before)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_wrappers_take_the_same_parameters(monkeypatch, dtype: str):
    # The wrapper asks for a GPU only to refuse; nothing here computes.
    monkeypatch.setattr("mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available", bool)
    monkeypatch.setattr(
        "mmengine.optim.optimizer.amp_optimizer_wrapper.is_npu_available", lambda: True
    )
    model = ToyModel()
    wrapper = build(model, type="AmpOptimWrapper", dtype=dtype)
    assert type(wrapper).__name__ == "AmpOptimWrapper"
    assert sorted(ids(wrapper)) == sorted(ids(build(model)))


def test_it_is_found_by_name():
    model = ToyModel()
    cfg = {"constructor": "uniadapter.TrainableOptimWrapperConstructor", "optimizer": ADAMW}
    assert len(ids(build_optim_wrapper(model, cfg))) == 3


def test_nothing_trainable_is_an_error():
    with pytest.raises(ValueError, match=r"no trainable parameter: set `model\.adapter`"):
        build(ToyModel(train=False))


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match=r"unknown key\(s\) \['norm_decay_mult'\]"):
        build(ToyModel(), {"norm_decay_mult": 0.0})
    with pytest.raises(ValueError, match=r"optim_wrapper\.optimizer is missing"):
        TrainableOptimWrapperConstructor({"type": "OptimWrapper"})


class Parts(nn.Module):
    """A model with components and towers, as the package's have."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.text, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.side = nn.Linear(2, 2)
        self.text.weight.requires_grad_(False)

    def towers(self) -> dict[str, nn.Module]:
        return {"visual": self.visual, "text": self.text}

    def components(self) -> dict[str, list[nn.Parameter]]:
        towers = [*self.visual.parameters(), *self.text.parameters()]
        heads, side = list(self.head.parameters()), list(self.side.parameters())
        return {"backbone": towers, "heads": heads, "adapter": side}


@pytest.mark.parametrize("spare", [False, True])
def test_components_and_towers_may_have_rates_of_their_own(spare):
    model = Parts()
    rates = {"heads": 0.01, "text": 0.001}
    wrapper = build(model, {"lr_of": rates, "no_decay_norm_bias": spare})
    groups = wrapper.optimizer.param_groups
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    own = {model.head.weight: 0.01, model.head.bias: 0.01, model.text.bias: 0.001}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(found) == len(ids(wrapper)) == len(trained)
    for parameter in trained:
        decay = 0.0 if spare and parameter.ndim < 2 else 0.05
        assert found[id(parameter)] == (own.get(parameter, 0.1), decay)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"head": 0.1}, "choose from"),
        ({"heads": -1}, "learning rates"),
        ({"heads": "fast"}, "learning rates"),
        ([0.1], "learning rates"),
        ({"backbone": 0.1, "visual": 0.2}, "two rates"),
    ],
)
def test_rates_of_nothing_are_errors(rates, said):
    with pytest.raises(ValueError, match=said):
        build(Parts(), {"lr_of": rates})


def test_decay_can_spare_kinds():
    model = ToyModel()
    groups = build(model, {"no_decay_kinds": ["bias", "generator_norm"]}).optimizer.param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    expected = {model.head.weight: 0.05, model.head.bias: 0.0, model.temp: 0.05}
    assert decay == {id(p): value for p, value in expected.items()}


@pytest.mark.parametrize(
    ("paramwise", "words"),
    [
        ({"no_decay_kinds": ["biases"]}, r"no_decay_kinds=\['biases'\] must be"),
        ({"no_decay_kinds": "bias"}, "must be a list of kinds"),
        ({"no_decay_kinds": ["bias"], "no_decay_bias": True}, "leave no_decay_norm_bias and"),
    ],
)
def test_kinds_that_are_refused(paramwise: dict, words: str):
    with pytest.raises(ValueError, match=words):
        build(ToyModel(), paramwise)
