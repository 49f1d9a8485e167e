from __future__ import annotations

import pytest
import torch

from uniadapter.checkpoints.layouts.keys import Layout, Pair, map_keys

TOY = Layout(
    "toy",
    (
        Pair("tower.{i}.fc.{p}", "visual.layers.{i}.fc.{p}"),
        Pair("again.{i}.fc.{p}", "visual.layers.{i}.fc.{p}"),
        Pair("embed", "text.embed"),
        Pair("head", "text.embed", wins=True),
    ),
    ((r".+_m", "momentum"),),
)


def test_a_pair_reads_in_both_directions() -> None:
    pair = TOY.pairs[0]
    assert pair.to_ours("tower.11.fc.bias") == "visual.layers.11.fc.bias"
    assert pair.to_theirs("visual.layers.11.fc.bias") == "tower.11.fc.bias"
    assert pair.to_ours("tower.x.fc.bias") is None
    assert pair.to_ours("tower.0.fc.scale") is None


def test_a_tensor_is_written_under_all_its_names() -> None:
    assert TOY.to_theirs("visual.layers.3.fc.weight") == ["tower.3.fc.weight", "again.3.fc.weight"]


def test_every_key_is_used_or_left() -> None:
    one = torch.ones(2)
    source = {"tower.0.fc.bias": one, "again.0.fc.bias": one.clone(), "x_m": one, "y_m": one}
    state, report = map_keys(source, TOY, "f.pth")
    assert list(state) == ["visual.layers.0.fc.bias"]
    assert set(report.used) | set(report.left) == set(source)
    assert report.left == {"x_m": "momentum", "y_m": "momentum"}
    assert "2 source keys used, 2 left." in report.lines()[0]


def test_numbers_are_collapsed_in_the_summary() -> None:
    layout = Layout("toy", (), ((r"queue\.\d+\.x", "training state"),))
    source = {f"queue.{i}.x": torch.ones(1) for i in range(3)}
    _, report = map_keys(source, layout, "f.pth")
    assert report.lines()[1:] == ["left: training state (3)", "  queue.*.x"]


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"f\.pth has 1 keys .*'toy'.*tower\.\*\.gate.*--from"):
        map_keys({"tower.0.gate": torch.ones(1)}, TOY, "f.pth")


def test_aliases_that_disagree_are_both_named() -> None:
    source = {"tower.0.fc.bias": torch.ones(2), "again.0.fc.bias": torch.zeros(2)}
    with pytest.raises(
        ValueError, match=r"tower\.0\.fc\.bias and again\.0\.fc\.bias are two names"
    ):
        map_keys(source, TOY, "f.pth")


@pytest.mark.parametrize("order", [("embed", "head"), ("head", "embed")])
def test_the_name_that_is_loaded_last_wins_over_a_tied_one(order: tuple[str, str]) -> None:
    values = {"embed": torch.zeros(2), "head": torch.ones(2)}
    state, report = map_keys({key: values[key] for key in order}, TOY, "f.pth")
    assert torch.equal(state["text.embed"], torch.ones(2))
    assert report.used == {"head": "text.embed"}
    assert "differs from head" in report.left["embed"]


def test_a_tied_name_that_agrees_is_used() -> None:
    _, report = map_keys({"embed": torch.ones(2), "head": torch.ones(2)}, TOY, "f.pth")
    assert report.used == {"embed": "text.embed", "head": "text.embed"}
    assert report.left == {}
