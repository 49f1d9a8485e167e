from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from uniadapter.visualization.plots import curves, label, load_matplotlib, scatter

pytest.importorskip("matplotlib")
NAMES = ["_hidden", "costs $5 and $6", r"$\frac$", "größer", "x" * 300, "中文 \udcff"]


def test_any_name_can_be_drawn():
    points = {name: np.random.default_rng(0).normal(size=(5, 2)) for name in NAMES}
    assert scatter(points, NAMES[1], ("$x", "y$")).size[0] > 300
    lines = {name: ([1, 2, 3], [1.0, np.nan, 2.0]) for name in NAMES}
    assert curves(lines, NAMES[2], "$").size[0] > 300
    assert curves({"one": ([5], [0.1])}, "a", "b", log=True).size[0] > 300


def test_labels_are_letters():
    assert label("_a") == " _a"
    assert label("a$b$") == r"a\$b\$"
    assert len(label("x" * 300)) <= 48


def test_without_matplotlib_is_a_clear_error(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        load_matplotlib()
