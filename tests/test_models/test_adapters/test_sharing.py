"""What is shared over what: as many tensors as there are values of the other axes, each once."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.helpers import draws
from uniadapter.models.active_task import ActiveTask
from uniadapter.models.adapters.sharing import (
    AXES,
    Bank,
    ByTask,
    Position,
    check_axes,
    choose,
    parse_share,
    tasks_for,
)
from uniadapter.models.sites import LayerSites, Places

TASKS = ("one", "two", "three")
positions = st.lists(
    st.builds(
        Position,
        st.integers(0, 3),
        st.sampled_from(["text", "fusion", "decoder"]),
        st.sampled_from(["attn", "cross", "after_self"]),
        st.sampled_from([4, 6]),
    ),
    min_size=1,
    max_size=12,
    unique=True,
)


def seen(position: Position, shared: set[str], task: str | None, by_width: bool) -> tuple:
    """The values that keep a tensor apart, written out."""
    values = (position.layer, position.role, position.site, task)
    own = tuple(value for axis, value in zip(AXES, values, strict=True) if axis not in shared)
    return (*own, position.width) if by_width else own


@settings(max_examples=draws(40))
@given(positions, st.sets(st.sampled_from(AXES)), st.booleans())
def test_a_bank_has_a_module_for_each_value_of_the_axes_left(where, shared, by_width):
    tasks = None if "task" in shared else ActiveTask(TASKS)
    bank = Bank(where, shared, lambda p: nn.Linear(p.width, 1), tasks, "M", by_width)
    names = (None,) if tasks is None else TASKS
    several = by_width and len({position.width for position in where}) > 1
    keys = {seen(p, shared, task, several) for p, task in product(where, names)}
    assert len(bank) == len(keys)
    assert len({id(module) for module in bank.values()}) == len(keys)
    found: dict[tuple, nn.Module] = {}
    for position, task in product(where, names):
        if tasks is None:
            module = bank.of_position(position)
        else:
            with tasks.set(task):
                module = bank.of_position(position)
        assert found.setdefault(seen(position, shared, task, several), module) is module
        assert not several or module.in_features == position.width


def test_names_say_what_is_kept_apart():
    position = Position(3, "text", "attn", 8)
    assert position.name((), "vqa") == "3_text_attn_vqa"
    assert position.name(["task"]) == "3_text_attn"
    assert position.name(["modality", "site", "task"]) == "3"
    assert position.name(["modality", "site", "task"], by_width=True) == "3_w8"
    assert position.name(["layer", "modality", "site"], "vqa") == "vqa"
    assert position.name(AXES) == "shared"


def test_the_module_of_the_task_of_the_batch_acts():
    tasks = ActiveTask(TASKS)
    found = ByTask(tasks, lambda: nn.Linear(2, 2), "Method")
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="Method has parameters of its own for each of the tasks"):
        found(x)
    for name in TASKS:
        with tasks.set(name):
            assert torch.equal(found(x), found[name](x))
    other = copy.deepcopy(found)
    assert other["one"] is not found["one"]


def test_shares_are_put_in_order():
    assert parse_share(None) == {"down": ["task"], "up": ["task"]}
    assert parse_share({"up": ["task", "layer"]}) == {"down": [], "up": ["layer", "task"]}
    assert parse_share({}) == {"down": [], "up": []}


@pytest.mark.parametrize(
    ("share", "match"),
    [
        ("task", "must be a dict of axes"),
        ({"down": [], "across": []}, "must be a dict of axes"),
        ({"down": "task"}, "adapter.share.down='task' must be a list of axes"),
        ({"up": ["width"]}, "adapter.share.up='width' is unknown"),
        ({"up": ["task", "task"]}, "names an axis twice"),
    ],
)
def test_shares_that_say_nothing_are_refused(share, match):
    with pytest.raises(ValueError, match=match):
        parse_share(share)


def test_parameters_apart_by_task_need_tasks():
    assert tasks_for(Places(), ["task"], "LoRA") is None
    tasks = ActiveTask(TASKS)
    assert tasks_for(Places(tasks=tasks), [], "LoRA") is tasks
    assert tasks_for(Places(tasks=tasks), ["task"], "LoRA") is None
    with pytest.raises(ValueError, match="LoRA keeps parameters apart by task, but this model has"):
        tasks_for(Places(), ["layer"], "LoRA")
    with pytest.raises(ValueError, match="adapter.share='layer' is unknown"):
        check_axes(["layer"], "adapter.share", ("task",))


def toy() -> Places:
    places = Places()
    places.add("visual", [(i, LayerSites.of(4, "attn", "ffn", "after_self")) for i in range(3)])
    places.add("fusion", [(i, LayerSites.of(6, "attn", "cross", "ffn")) for i in (1, 2)])
    return places


def test_positions_are_those_that_a_config_names():
    places = toy()

    def chosen(*sites: str, **options: object) -> set[str]:
        found, depth = choose(places, sites, options.get("roles"), options.get("layers"), "This")
        assert depth == 3
        for position, slot in found.items():
            assert slot is places.slots[f"{position.role}.{position.site}"][position.layer]
            assert position.width == slot.dim
        return {f"{p.role}.{p.site}{p.layer}" for p in found}

    assert chosen("cross") == {"fusion.cross1", "fusion.cross2"}
    assert chosen("attn", layers="2-3") == {
        *("visual.attn1", "visual.attn2", "fusion.attn1", "fusion.attn2")
    }
    assert chosen("ffn", "attn", roles=["visual"], layers=[1]) == {"visual.ffn0", "visual.attn0"}
    assert chosen("visual.after_self", "fusion.cross", layers=[3]) == {
        *("visual.after_self2", "fusion.cross2")
    }


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sites": []}, r"adapter.sites=\[\]: name at least one"),
        ({"sites": ["attn", "attn"]}, "each once"),
        ({"sites": ["kv"]}, "adapter.sites='kv' is unknown"),
        ({"sites": ["visual.kv"]}, "adapter.sites='kv' is unknown"),
        ({"sites": ["visual.cross"]}, "fills the site 'visual.cross', which this model"),
        ({"sites": ["out"]}, "fills the sites .'out'., of which this model has none"),
        ({"sites": ["cross"], "roles": ["visual"]}, "of the role 'visual', of which this model"),
        ({"sites": ["fusion.cross"], "roles": ["visual"]}, "'fusion.cross', of no role in"),
        ({"roles": ["text"]}, "adapter.roles='text' is unknown"),
        ({"sites": ["cross"], "layers": [1]}, r"adapter.layers=\[1\] leaves none of the sites"),
        ({"layers": [4]}, r"layers \[4\] do not exist"),
    ],
)
def test_positions_that_are_not_there_are_refused(options, match):
    chosen = {"sites": ["attn"], "roles": None, "layers": None, **options}
    with pytest.raises(ValueError, match=match):
        choose(toy(), **chosen, method="This")
