"""Several data sets behind each other: whose item is which, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tools.misc.verify_dataset import leaf_datasets
from uniadapter.datasets import JointDataset
from uniadapter.structures import MultimodalSample


class Numbers:
    """Items that know whose they are."""

    def __init__(self, name: str, size: int, says: str | None = None) -> None:
        self.name, self.size, self.says = name, size, says

    def __len__(self) -> int:
        return self.size

    def get_data_info(self, index: int) -> dict:
        return {"number": index}

    def __getitem__(self, index: int) -> dict:
        sample = MultimodalSample(metainfo={"number": index, "name": self.name})
        if self.says is not None:
            sample.set_field(self.says, "task")
        return {"inputs": None, "data_samples": sample}


@settings(max_examples=draws(30))
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_items_are_those_of_the_tasks_in_order(sizes: list[int]) -> None:
    named = {f"task{i}": size for i, size in enumerate(sizes)}
    joint = JointDataset({name: Numbers(name, size) for name, size in named.items()})
    assert joint.tasks == tuple(named)
    assert joint.sizes() == named == joint.metainfo["tasks"]
    wanted = [(name, number) for name, size in named.items() for number in range(size)]
    assert [joint.place(i) for i in range(len(joint))] == wanted
    samples = [joint[i]["data_samples"] for i in range(len(joint))]
    assert [(s.task, s.number) for s in samples] == wanted
    assert [s.name for s in samples] == [s.task for s in samples]
    assert joint.get_data_info(len(joint) - 1) == {"number": sizes[-1] - 1, "task": wanted[-1][0]}
    for index in (-1, len(joint)):
        with pytest.raises(IndexError, match="item"):
            joint[index]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="must be data sets by task"):
        JointDataset({})
    with pytest.raises(ValueError, match="'vqa' has no item"):
        JointDataset({"vqa": Numbers("vqa", 0)})
    joint = JointDataset({"vqa": Numbers("vqa", 1, "gqa")})
    with pytest.raises(ValueError, match="item 0 of task 'vqa' says that it is of task 'gqa'"):
        joint[0]


def test_a_sample_that_names_its_task_keeps_it() -> None:
    assert JointDataset({"vqa": Numbers("vqa", 1, "vqa")})[0]["data_samples"].task == "vqa"


def test_tools_find_the_data_sets_inside() -> None:
    inside = [Numbers("vqa", 1), Numbers("gqa", 2)]
    joint = JointDataset({one.name: one for one in inside})
    assert leaf_datasets(joint) == inside
