"""The active task: set, nested, restored, and remembered by what is recomputed."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.helpers import draws
from uniadapter.models.active_task import ActiveTask, remembering
from uniadapter.models.sites import Places

TASKS = ("vqa", "gqa", "nlvr", "caption")


@settings(max_examples=draws(15))
@given(st.recursive(st.just([]), lambda inner: st.lists(st.tuples(st.sampled_from(TASKS), inner))))
def test_contexts_nest(program):
    """A program is a list of contexts, each with a program inside."""
    tasks = ActiveTask(TASKS)

    def run(steps, outside):
        for name, inside in steps:
            with tasks.set(name):
                assert tasks.current == name == tasks.need("This")
                run(inside, name)
                assert tasks.current == name
            assert tasks.current == outside

    run(program, None)
    assert tasks.names == TASKS


def test_what_ran_before_runs_again_behind_an_error():
    tasks = ActiveTask(TASKS)

    def fails() -> None:
        with tasks.set("gqa"):
            raise RuntimeError("inside")

    with tasks.set("vqa"):
        with pytest.raises(RuntimeError, match="inside"):
            fails()
        assert tasks.current == "vqa"
    assert tasks.current is None


def test_wrong_names_are_refused_with_those_that_there_are():
    tasks = ActiveTask(TASKS)
    message = r"no task 'vcr': choose from \['vqa', 'gqa', 'nlvr', 'caption'\]"
    with pytest.raises(ValueError, match=message), tasks.set("vcr"):
        pass
    with pytest.raises(ValueError, match=r"LoRA has parameters .*\['vqa'.* none of them is set"):
        tasks.need("LoRA")
    assert tasks.current is None


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ([], "list of names, one at least"),
        ("vqa", "list of names, one at least"),
        (["vqa", "gqa", "vqa"], "names one twice"),
        (["a.b"], "'a.b' can't be the name"),
        ([""], "'' can't be the name"),
        ([1], "1 can't be the name"),
        (["values"], "'values' can't be the name"),
    ],
)
def test_lists_that_name_no_tasks_are_refused(names, match):
    with pytest.raises(ValueError, match=match):
        ActiveTask(names)


def test_places_have_no_tasks_unless_a_model_says_so():
    assert Places().tasks is None
    tasks = ActiveTask(TASKS)
    assert Places(tasks=tasks).tasks is tasks


def test_copies_are_set_apart():
    tasks = ActiveTask(TASKS)
    other = copy.deepcopy(tasks)
    with tasks.set("vqa"):
        assert other.current is None
        with other.set("gqa"):
            assert tasks.current == "vqa"


class _Scaled(nn.Module):
    """A weight for each task."""

    def __init__(self, tasks: ActiveTask) -> None:
        super().__init__()
        self.tasks = tasks
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.ones(1)) for name in tasks.names})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weights[self.tasks.need("This")]).sin()


@pytest.mark.parametrize("other", [None, "gqa"])
def test_a_layer_is_recomputed_in_its_own_task_whatever_is_set_then(other):
    """Twice, as a graph that is retained is."""
    tasks = ActiveTask(TASKS)
    module, x = _Scaled(tasks), torch.randn(3)
    with tasks.set("vqa"):
        loss = checkpoint(module, x, use_reentrant=False, context_fn=remembering).sum()
    for _ in range(2):
        if other is None:
            loss.backward(retain_graph=True)
        else:
            with tasks.set(other):
                loss.backward(retain_graph=True)
                assert tasks.current == other
    grad = module.weights["vqa"].grad
    assert torch.allclose(grad, 2 * (x * x.cos()).sum())
    assert all(module.weights[name].grad is None for name in TASKS if name != "vqa")
    assert tasks.current is None
