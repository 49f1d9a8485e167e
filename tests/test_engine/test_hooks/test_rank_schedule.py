"""AdaLoRA's schedule: the package's training against peft's own loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from torch import nn
from torch.testing import assert_close

from tests.helpers import draws, tiny_run_cfg, write_run_cfg
from tests.model_helpers import tiny_batch, tiny_model
from tests.test_models.test_adapters import contract_models
from uniadapter.engine.hooks import RankScheduleHook
from uniadapter.engine.optimizers.weighted import OptimWrapper
from uniadapter.engine.runner import build_runner
from uniadapter.models.adapters import rank_schedule
from uniadapter.utils.safe_io import load_torch_file

peft = pytest.importorskip("peft")
LR = 0.05
# Two towers and one loss in which nothing is drawn.
PLAIN: dict[str, Any] = {
    "contrast": {"type": "BatchContrastHead", "embed_dim": 16},
    "matching": None,
    "pfa": None,
    "embed_dim": None,
    "queue_size": None,
    "fast": False,
}


def adalora(**fields: Any) -> dict[str, Any]:
    config = {"peft_type": "ADALORA", "init_r": 4, **fields}
    return {"type": "PeftAdapter", "config": config, "roles": ["text"], "targets": ["q", "v"]}


def model_of(**fields: Any) -> Any:
    return tiny_model(adapter=adalora(**fields), **PLAIN).train()


def batches(count: int) -> list[dict[str, torch.Tensor]]:
    return [tiny_batch(seed=seed) for seed in range(count)]


class Training:
    """The package's training: MMEngine's step, the package's hook."""

    def __init__(self, model: Any, iterations: int, every: int = 1) -> None:
        self.model, self.hook = model, RankScheduleHook()
        parameters = model.adapter.components()["adapter"]
        optimizer = torch.optim.AdamW(parameters, lr=LR)
        self.runner: Any = SimpleNamespace(model=model, max_iters=iterations, _resume=True)
        self.runner.optim_wrapper = OptimWrapper(optimizer, accumulative_counts=every)
        self.runner.optim_wrapper.initialize_count_status(model, 0, iterations)

    def run(self, data: list[dict[str, torch.Tensor]]) -> None:
        self.hook.before_train(self.runner)
        for batch in data:
            self.model.train_step(batch, self.runner.optim_wrapper)
        self.hook.after_train(self.runner)


class Task(nn.Module):
    """A bare model as peft wants one: its output has a loss."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor]) -> Any:
        """The summed loss."""
        return SimpleNamespace(loss=sum(self.model(**batch, mode="loss").values()))


def peft_loop(ours: Any, data: list, total: int, every: int, fields: dict) -> dict[str, Any]:
    """Peft's documented loop on the bare model, from the same start; its tensors by layer."""
    bare = tiny_model(adapter=None, **PLAIN)
    bare.load_state_dict(ours.state_dict(), strict=False)
    config = peft.AdaLoraConfig(
        target_modules=r".*text\.encoder\.layer\.\d\.attention\.self\.(query|value)",
        **{"init_r": 4, "total_step": total, **fields},
    )
    wrapped = peft.AdaLoraModel(Task(bare.train()), config, "default")
    names = {"query": "q", "value": "v"}
    found = {}
    for path, part in wrapped.model.named_modules():
        if isinstance(part, peft.tuners.adalora.SVDLinear):
            number = path.split("layer.")[1].split(".")[0]
            found[f"{number}_text_{names[path.rpartition('.')[2]]}"] = part
    assert len(found) == 4
    for name, part in found.items():
        own = ours.adapter.layers.get_submodule(name)
        for kind in ("lora_A", "lora_B", "lora_E"):
            getattr(part, kind).default.data.copy_(getattr(own, kind).default.data)
    trained = [p for part in found.values() for n, p in part.named_parameters() if "lora_" in n]
    optimizer = torch.optim.AdamW(trained, lr=LR)
    for step in range(total):
        part_of = data[step * every : (step + 1) * every]
        for batch in part_of:
            (wrapped(batch).loss / len(part_of)).backward()
        optimizer.step()
        wrapped.update_and_allocate(step)
        optimizer.zero_grad()
    return found


@settings(max_examples=draws(4))
@given(
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(1, 2),
    st.integers(3, 6),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.5]),
)
def test_training_is_that_of_pefts_own_loop(
    target: int, first: int, last: int, delta: int, active: int, every: int, weight: float
):
    total = first + last + active
    fields = {"target_r": target, "tinit": first, "tfinal": last, "deltaT": delta}
    fields["orth_reg_weight"] = weight
    model, data = model_of(**fields), batches(total * every)
    want = peft_loop(model, data, total, every, fields)
    Training(model, total * every, every).run(data)
    for name, theirs in want.items():
        own = model.adapter.layers.get_submodule(name)
        for kind in ("lora_A", "lora_B", "lora_E"):
            got, wanted = getattr(own, kind).default, getattr(theirs, kind).default
            assert_close(got, wanted, atol=1e-4, rtol=1e-3)
        # A rank that was taken away is zero, not nearly so.
        assert torch.equal(own.lora_E.default == 0, theirs.lora_E.default == 0)
    if last:
        left = sum(int((part.lora_E.default != 0).sum()) for part in want.values())
        assert left == target * len(want)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_schedule_goes_on_as_if_it_had_not_stopped(stop: int, tmp_path):
    fields = {"target_r": 2, "tinit": 1, "tfinal": 2}
    data = batches(8)
    whole, part, again = (model_of(**fields) for _ in range(3))
    Training(whole, 8).run(data)
    before = Training(part, 8)
    before.run(data[:stop])
    checkpoint: dict[str, Any] = {"state_dict": part.state_dict()}
    checkpoint["optimizer"] = before.runner.optim_wrapper.state_dict()
    before.hook.before_save_checkpoint(before.runner, checkpoint)
    torch.save(checkpoint, tmp_path / "a.pth")
    read = load_torch_file(tmp_path / "a.pth")
    after = Training(again, 8)
    again.load_state_dict(read["state_dict"])
    after.runner.optim_wrapper.load_state_dict(read["optimizer"])
    after.hook.after_load_checkpoint(after.runner, read)
    after.run(data[stop:])
    state = whole.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert again.adapter.schedule.steps == 8


def test_without_a_field_of_the_schedule_the_rank_is_constant():
    model = model_of()
    assert model.adapter.schedule is None
    assert model.adapter.penalty() is None
    with pytest.raises(ValueError, match="has no schedule; take the hook out"):
        Training(model, 3).run([])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_r": 4}, "target_r=4 must be below init_r=4"),
        ({"target_r": 2, "tinit": 2, "tfinal": 2}, "leave none of 4 optimizer steps"),
        ({"target_r": 2, "tinit": 9, "tfinal": 2, "total_step": 4}, "schedule"),
        ({"target_r": 2, "r": 3}, r"does not read \['r'\]"),
        ({"target_r": 2, "orth_reg_weight": -1.0}, "greater than or equal to 0"),
    ],
)
def test_schedules_that_cannot_be_are_refused(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Training(model_of(**fields), 4).run([])


@pytest.mark.parametrize(
    ("fields", "short"),
    [
        ({}, False),
        ({"total_step": 4}, False),
        ({"total_step": 5}, False),
        ({"total_step": 6}, True),
    ],
)
def test_a_schedule_that_outlasts_the_training_is_said(fields: dict, short: bool, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(rank_schedule, "print_log", lambda text, *_: said.append(text))
    Training(model_of(target_r=2, tinit=1, tfinal=1, **fields), 4).run([])
    assert len(said) == short
    assert all("until step 5, but the training has 4" in text for text in said)


def test_a_backbone_in_another_model_has_no_schedule(tmp_path):
    adapter = {**adalora(target_r=2), "roles": None}
    with pytest.raises(ValueError, match="which the model around a backbone does not run"):
        contract_models.mmpretrain_vit(adapter, contract_models.write_files(tmp_path))


def test_a_checkpoint_without_the_state_is_not_resumed():
    training = Training(model_of(target_r=2), 4)
    with pytest.raises(ValueError, match="no state of AdaLoRA's schedule"):
        training.hook.after_load_checkpoint(training.runner, {"state_dict": {}})
    training.runner._resume = False
    training.hook.after_load_checkpoint(training.runner, {"state_dict": {}})


@pytest.mark.parametrize(("fields", "wanted"), [({"target_r": 1}, 1), ({}, 0)])
def test_the_runner_brings_the_hook(fields: dict, wanted: int, tiny_world, tmp_path):
    cfg = tiny_run_cfg(tiny_world, adapter={**adalora(**fields), "roles": None})
    path = write_run_cfg(tmp_path / "run.py", cfg)
    config = Config.fromfile(str(path))
    config.work_dir, config.launcher = str(tmp_path), "none"
    hooks = build_runner(config).hooks
    assert sum(isinstance(hook, RankScheduleHook) for hook in hooks) == wanted
