"""Every row of the paper's tables has a config, with as many parameters as are printed."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import pytest
import yaml
from mmengine.config import Config

from tests.helpers import ROOT
from tests.model_helpers import Uninitialised
from tools.analysis_tools.count_params import count_config

TABLES: dict[str, Any] = yaml.safe_load(
    (ROOT / "tests/data/paper_tunable.yml").read_text(encoding="utf-8")
)
DIFFERS, NOT_PRINTED = TABLES.pop("differs"), TABLES.pop("not printed")
ROWS = [
    pytest.param(millions, leaf, id=f"{table}, {row}: {leaf}")
    for table, rows in TABLES.items()
    for row, figures in rows.items()
    for millions, leaves in figures.items()
    for leaf in leaves
]
# Adapter parameters at r by what is shared in all twelve layers; a layer that shares nothing has
# three pairs.
WHOLE = {"down": 18_908_160, "up": 18_902_016, "down_up": 9_452_544}
SHARED = {"1_4_9_12": 8, "5_12": 8, "9_12": 4}


@cache
def tunable(leaf: str) -> int:
    """Trained parameters as the paper counts them: without heads where there is an adapter."""
    with Uninitialised():
        counts = count_config(str(ROOT / f"configs/{leaf}.py"))
    heads = counts["heads"] + counts["temperature"] if "adapter=None" not in text(leaf) else 0
    return counts["trainable"] - heads


def text(leaf: str) -> str:
    return (ROOT / f"configs/{leaf}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(("millions", "leaf"), ROWS)
def test_a_row_counts_what_is_printed(millions, leaf):
    counted = tunable(leaf)
    if leaf in DIFFERS:
        assert counted == DIFFERS[leaf]["counted"]
        return
    # The last digit: the paper rounds 18.908 to 19.0, and cuts 223.45 off.
    assert abs(counted / 1e6 - millions) < (1 if millions > 100 else 0.1)


def test_the_print_of_full_fine_tuning_for_videoqa_has_one_table_of_words():
    counts = count_config(
        str(ROOT / "configs/full_finetune/msrvttqa.py"), {"model.visual.img_size": 224}
    )
    assert round((counts["total"] - 30_524 * 768) / 1e6) == 337


@pytest.mark.parametrize(("sharing", "layers"), product(WHOLE, SHARED))
def test_table_12_shares_in_some_layers(sharing, layers):
    leaf = NOT_PRINTED["table 12"][0].format(sharing=sharing, layers=layers)
    shared = SHARED[layers]
    assert tunable(leaf) == WHOLE[sharing] // 12 * shared + 3 * 787_712 * (12 - shared)


@pytest.mark.parametrize(
    ("leaf", "bottleneck"),
    zip(NOT_PRINTED["figure 3 (a)"], (64, 128, 256, 512, 768), strict=True),
)
def test_figure_3a_sweeps_the_bottleneck(leaf, bottleneck):
    assert Config.fromfile(str(ROOT / f"configs/{leaf}.py")).model.adapter.bottleneck == bottleneck
    # A down-projection and three up-projections a layer, all with biases.
    assert tunable(leaf) == 12 * (4 * 768 * bottleneck + bottleneck + 3 * 768)


def test_every_ablation_is_a_row_or_says_that_it_is_none():
    leaves = {leaf for param in ROWS for leaf in [param.values[1]]}
    leaves |= {*NOT_PRINTED["figure 3 (a)"], *NOT_PRINTED["table 2"]}
    pattern = NOT_PRINTED["table 12"][0]
    leaves |= {pattern.format(sharing=s, layers=la) for s, la in product(WHOLE, SHARED)}
    for path in (ROOT / "configs/ablation").glob("*.py"):
        leaf = f"ablation/{path.stem}"
        if leaf not in leaves:
            assert not path.read_text(encoding="utf-8").splitlines()[1].startswith("# Paper, table")
