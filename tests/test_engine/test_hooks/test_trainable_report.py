from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from uniadapter.engine.hooks.trainable_report import TrainableReportHook, trainable_report


class Model(nn.Module):
    """A frozen tower of 6, and one of 4 trained numbers that stands under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Linear(2, 2).requires_grad_(False)
        self.tower.slot = nn.Linear(2, 2, bias=False)
        self.adapter = nn.ModuleList([self.tower.slot])
        self.temp = nn.Parameter(self.tower.bias.new_tensor(0.07))


class ModelWithComponents(Model):
    def components(self) -> dict[str, list[nn.Parameter]]:
        return {"adapter": [*self.adapter.parameters()], "backbone": [*self.tower.parameters()]}


def _rows(report: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in report.splitlines()}


def test_tied_parameters_are_counted_once() -> None:
    rows = _rows(trainable_report(Model()))
    assert rows["component"] == ["trainable", "all", "share"]
    assert rows["tower"] == ["4", "10", "36.364%"]
    assert rows["temp"] == ["1", "1", "9.091%"]
    assert rows["sum"] == ["5", "11", "45.455%"]
    assert "adapter" not in rows


def test_components_of_the_model_and_the_rest() -> None:
    rows = _rows(trainable_report(ModelWithComponents()))
    assert rows["adapter"][:2] == ["4", "4"]
    assert rows["backbone"][:2] == ["0", "6"]
    assert rows["other"][:2] == ["1", "1"]
    assert rows["sum"][:2] == ["5", "11"]


def test_hook_logs_the_table() -> None:
    logged: list[str] = []
    runner = SimpleNamespace(model=Model(), logger=SimpleNamespace(info=logged.append))
    TrainableReportHook().before_train(runner)
    assert trainable_report(runner.model) in logged[0]


def test_nothing_to_train_is_an_error() -> None:
    runner = SimpleNamespace(model=nn.Linear(1, 1).requires_grad_(False))
    with pytest.raises(ValueError, match="nothing in the model is trainable"):
        TrainableReportHook().before_train(runner)
