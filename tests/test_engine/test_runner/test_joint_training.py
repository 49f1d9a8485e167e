"""Several tasks in one run: the order, resuming it, inactive tasks, several processes, testing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from torch import nn

from tests.helpers import draws
from tests.joint_helpers import OPTIM, Count, Seen, TaskModel, joint_loader, joint_runner
from tests.spawn import spawn
from uniadapter.datasets import JointBatchSampler
from uniadapter.engine.optimizers import TrainableOptimWrapperConstructor
from uniadapter.engine.runner import CheckedRunner
from uniadapter.evaluation import JointEvaluator

SIZES = {"vqa": 7, "gqa": 12, "nlvr": 2}


def draws_of(*steps: int) -> tuple[int, ...]:
    """Further steps to go on from, in the deep suite."""
    return steps if draws(1) > 1 else ()


def train(folder: Path, resume: Path | None = None, **options: Any) -> tuple[Seen, dict]:
    """Steps of a run, and the weights that it ends with."""
    seen = Seen()
    loader_options = options.pop("loader", {})
    loader = joint_loader(SIZES, 3, noisy=True, **loader_options)
    more = {} if resume is None else {"load_from": str(resume), "resume": True}
    runner = joint_runner(folder, loader, hooks=[seen], **options, **more)
    runner.train()
    return seen, {name: value.clone() for name, value in runner.model.state_dict().items()}


EARLY = {"sampling": "balanced", "early_end": True}
CASES = [
    pytest.param({}, 0, id="proportional"),
    pytest.param(EARLY, 0, id="early_end"),
    pytest.param({"sampling": "balanced"}, 2, id="balanced, two workers"),
    pytest.param({}, 2, id="proportional, two workers", marks=pytest.mark.deep),
    pytest.param(EARLY, 2, id="early_end, two workers", marks=pytest.mark.deep),
]


@pytest.mark.parametrize(("options", "workers"), CASES)
def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path: Path, options: dict, workers: int):
    common: dict[str, Any] = {
        "loader": {"workers": workers, **options},
        "checkpoint": {"by_epoch": False, "interval": 1},
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
    }
    whole, weights = train(tmp_path / "whole", **common)
    assert {task for task, *_ in whole.steps} == set(SIZES)
    values = [value for *_, noise in whole.steps for value in noise]
    assert len(set(values)) == len(values)
    steps = len(whole.steps)
    for step in [steps // 2 - 2, *draws_of(1, steps - 1)]:
        file = tmp_path / f"whole/iter_{step}.pth"
        resumed, found = train(tmp_path / f"resumed{step}", file, **common)
        assert resumed.steps == whole.steps[step:]
        assert resumed.losses == whole.losses[step:]
        assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_iterations_go_on_as_well(tmp_path: Path):
    common: dict[str, Any] = {
        "loader": EARLY,
        "checkpoint": {"by_epoch": False, "interval": 1},
        "train_cfg": {"by_epoch": False, "max_iters": 15},
        "param_scheduler": [],
    }
    whole, weights = train(tmp_path / "whole", **common)
    epochs, _ = train(
        tmp_path / "epochs", loader=common["loader"], train_cfg={"by_epoch": True, "max_epochs": 6}
    )
    assert [s[:2] for s in whole.steps] == [s[:2] for s in epochs.steps[:15]]
    file = tmp_path / "whole/iter_8.pth"
    resumed, found = train(tmp_path / "resumed", file, **common)
    assert resumed.steps == whole.steps[8:]
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_epochs_that_differ_in_length_go_on_between_two_of_them(tmp_path: Path):
    common: dict[str, Any] = {
        "loader": EARLY,
        "train_cfg": {"by_epoch": True, "max_epochs": 4},
        "checkpoint": {"interval": 1},
    }
    whole, _ = train(tmp_path / "whole", **common)
    file = tmp_path / "whole/epoch_2.pth"
    done = torch.load(file, weights_only=True)["meta"]["iter"]
    resumed, _ = train(tmp_path / "resumed", file, **common)
    assert resumed.steps == whole.steps[done:]
    again = torch.load(tmp_path / "resumed/epoch_4.pth", weights_only=True)["meta"]["iter"]
    assert again == len(whole.steps)


def test_the_last_step_is_saved_wherever_the_epochs_end(tmp_path: Path):
    options = {"loader": EARLY, "checkpoint": {"by_epoch": False, "interval": 1000}}
    seen, _ = train(tmp_path, **options)
    assert [path.name for path in tmp_path.glob("*.pth")] == [f"iter_{len(seen.steps)}.pth"]


def test_a_sampler_with_a_seed_of_its_own_keeps_it(tmp_path: Path):
    """Even where it is that of the run that goes on, which gives way to the checkpoint's."""
    common: dict[str, Any] = {"loader": {"seed": 0}, "checkpoint": {"interval": 1}}
    whole, _ = train(tmp_path / "whole", **common)
    options = {**common, "randomness": {"seed": 0}}
    resumed, _ = train(tmp_path / "resumed", tmp_path / "whole/epoch_1.pth", **options)
    assert resumed.steps == whole.steps[len(whole.steps) // 2 :]


@pytest.mark.parametrize(
    ("loader", "key"), [({"shares": {"gqa": (2, 3)}}, "batch_sampler"), ({"seed": 1}, "sampler")]
)
def test_another_order_inside_an_epoch_is_refused(tmp_path: Path, loader: dict, key: str):
    common: dict[str, Any] = {"checkpoint": {"by_epoch": False, "interval": 1}}
    train(tmp_path / "whole", **common)
    with pytest.raises(ValueError, match=rf"inside an epoch.*train_dataloader.{key} was"):
        train(tmp_path / "resumed", tmp_path / "whole/iter_2.pth", loader=loader, **common)


def test_tasks_that_are_not_active_are_left_alone() -> None:
    """Neither updated nor decayed, and their optimizer states count no step."""
    with DefaultScope.overwrite_default_scope("uniadapter"):
        loader = CheckedRunner.build_dataloader(joint_loader(SIZES, 3), seed=0)
    model: Any = TaskModel(list(SIZES))
    wrapper = TrainableOptimWrapperConstructor(OPTIM)(model)
    counts = dict.fromkeys(SIZES, 0)
    for batch in loader:
        (task,) = {sample.task for sample in batch["data_samples"]}
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.train_step(batch, wrapper)
        counts[task] += 1
        for name, value in model.state_dict().items():
            moved = name.startswith(("shared.", f"own.{task}."))
            assert torch.equal(value, before[name]) != moved, name
    assert counts == {"vqa": 3, "gqa": 4, "nlvr": 1}
    states = wrapper.optimizer.state
    for task, layer in model.own.items():
        assert {int(states[p]["step"]) for p in layer.parameters()} == {counts[task]}
    assert int(states[model.shared.weight]["step"]) == sum(counts.values())


# --- Several processes ------------------------------------------------------------------------


def gradients(model: nn.Module) -> dict[str, torch.Tensor | None]:
    plain = getattr(model, "module", model)
    return {
        name: None if p.grad is None else p.grad.clone() for name, p in plain.named_parameters()
    }


def passes(case: dict[str, Any], rank: int, world: int) -> list[tuple[float, dict]]:
    """Loss and gradients of each step of an epoch; weights stay as they are."""
    loader = joint_loader(case["sizes"], case["batch"] // world)
    model: Any = TaskModel(list(case["sizes"]))
    plain = model
    if torch_dist.is_initialized():
        model = MMDistributedDataParallel(model, find_unused_parameters=True)
    data = loader["dataset"]
    sampler = JointBatchSampler(_dealt(data, rank, world), case["batch"] // world, case["shares"])
    found = []
    for indices in sampler:
        samples = [data[index]["data_samples"] for index in indices]
        plain.zero_grad(set_to_none=True)
        loss = model(samples)["loss"]
        loss.backward()
        found.append((float(loss.detach()), gradients(model)))
    return found


def _dealt(data: Any, rank: int, world: int) -> Any:
    inner = DefaultSampler(data, shuffle=True, seed=5)
    inner.rank, inner.world_size = rank, world
    return inner


def _compare(rank: int, world: int, cases: list[dict], expected: list) -> None:
    for case, wanted in zip(cases, expected, strict=True):
        found = passes(case, rank, world)
        assert len(found) == len(wanted)
        for (loss, own), (whole, all_of) in zip(found, wanted, strict=True):
            mean = torch.tensor(loss)
            torch_dist.all_reduce(mean)
            assert float(mean) / world == pytest.approx(whole, rel=1e-5, abs=1e-6)
            for name, value in all_of.items():
                # Of a task that is not active there is no gradient on any rank.
                assert (own[name] is None) == (value is None), name
                if value is not None:
                    torch.testing.assert_close(own[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.deep)])
def test_several_processes_are_one(world: int):
    """Batches that the ranks share unequally, and the last ones of fewer items than ranks."""
    cases: list[dict] = []

    @settings(max_examples=draws(8), database=None)
    @given(
        sizes=st.lists(st.integers(1, 9), min_size=2, max_size=3),
        batch=st.integers(1, 3),
        share=st.sampled_from([(1, 1), (100, 60), (1, 2), (3, 2)]),
    )
    def collect(sizes: list[int], batch: int, share: tuple[int, int]) -> None:
        named = dict(zip(SIZES, sizes, strict=False))
        cases.append({"sizes": named, "batch": batch * world, "shares": {"gqa": share}})

    collect()
    # One item for all ranks, whatever is drawn.
    cases.append({"sizes": {"vqa": 1, "gqa": 3}, "batch": world, "shares": {}})
    spawn(_compare, world, cases, [passes(case, 0, 1) for case in cases])


# --- Testing ----------------------------------------------------------------------------------


def evaluate(folder: Path, batch: int) -> dict[str, float]:
    test = joint_loader(SIZES, batch, train=False)
    evaluator = JointEvaluator(
        {task: Count() for task in SIZES}, average=dict.fromkeys(SIZES, "mean")
    )
    runner = joint_runner(
        folder,
        joint_loader(SIZES, 3),
        test_dataloader=test,
        test_cfg={},
        test_evaluator=evaluator,
    )
    return runner.test()


def test_all_tasks_are_tested_in_one_loop(tmp_path: Path):
    found = evaluate(tmp_path / "a", 3)
    assert {task: found[f"{task}/samples"] for task in SIZES} == SIZES
    means = [found[f"{task}/mean"] for task in SIZES]
    assert found["average"] == pytest.approx(sum(means) / 3)
    assert evaluate(tmp_path / "b", 2) == pytest.approx(found)
