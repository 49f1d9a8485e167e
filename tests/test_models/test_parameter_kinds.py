"""Kinds of parameters: what a module says, and what stands for the rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uniadapter.models.parameter_kinds import parameter_kinds


class Phm(nn.Module):
    parameter_kinds = {"bias": "weight"}

    def __init__(self) -> None:
        super().__init__()
        self.rule = nn.Parameter(torch.zeros(2, 2, 2))
        self.bias = nn.Parameter(torch.zeros(3))


class Generator(nn.Module):
    parameter_kinds = {"norm.weight": "generator_norm", "phm.bias": "bias"}

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.phm = Phm()


class T5LayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear, self.phm = T5LayerNorm(), nn.Linear(2, 2), Phm()
        self.generator = Generator()
        self.relative_bias = nn.Embedding(4, 2)
        self.tied = self.linear


def named(model: nn.Module) -> dict[str, str]:
    kinds = parameter_kinds(model)
    assert len(kinds) == len(list(model.parameters()))
    return {name: kinds[id(p)] for name, p in model.named_parameters()}


def test_kinds() -> None:
    assert named(Whole()) == {
        "norm.weight": "norm",
        "linear.weight": "weight",
        "linear.bias": "bias",
        "phm.rule": "weight",
        # It says that it decays.
        "phm.bias": "weight",
        "generator.norm.weight": "generator_norm",
        "generator.norm.bias": "bias",
        "generator.phm.rule": "weight",
        # What the outer module says counts.
        "generator.phm.bias": "bias",
        "relative_bias.weight": "bias",
    }


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"bias": "biass"}, r"Linear.parameter_kinds\['bias'\]='biass'"),
        ({"rule": "bias"}, "Linear.parameter_kinds names 'rule'"),
    ],
)
def test_what_is_refused(says: dict[str, str], words: str) -> None:
    model = nn.Linear(2, 2)
    model.parameter_kinds = says  # type: ignore[assignment]
    with pytest.raises(ValueError, match=words):
        parameter_kinds(model)
