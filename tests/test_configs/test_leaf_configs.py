"""Every leaf config is short, says how it is run and what it reproduces, and builds."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

import pytest
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.helpers import ROOT
from tests.model_helpers import Uninitialised
from tools.analysis_tools.count_params import count_config
from uniadapter.apis.model import build_model
from uniadapter.engine.runner.check_options import check_options
from uniadapter.engine.runner.check_values import check_values
from uniadapter.registry import (
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    register_all_modules,
)
from uniadapter.utils.config import load_config

LEAVES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("configs/*/*.py")
    if path.parent.name != "_base_"
)
# The folders whose models are of published sizes.
FULL_SIZE = (
    "uniadapter",
    "ablation",
    "adapter",
    "linear_probe",
    "full_finetune",
    "houlsby",
    "pfeiffer",
    "parallel_adapter",
    "lora",
    "peft",
    "ladder",
    "bitfit",
    "st_adapter",
    "vl_adapter_blip",
)
METAFILES = sorted(ROOT.glob("configs/*/metafile.yml"))
# Of VL-Adapter's many rows some are counted in the core suite.
SOME = ("bart_image_half_shared", "bart_image_lora_multiple", "t5_image_hyperformer")
ENTRIES = [
    pytest.param(
        entry,
        id=entry["Name"],
        marks=pytest.mark.deep
        if entry["In Collection"] == "VL-Adapter" and not entry["Name"].endswith(SOME)
        else (),
    )
    for path in METAFILES
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["Models"]
]
VISUAL = {"embed_dims": 32, "num_layers": 12, "num_heads": 2, "feedforward_channels": 64}
TEXT = {
    "vocab_size": 30524,
    "hidden_size": 32,
    "num_layers": 12,
    "num_heads": 2,
    "intermediate_size": 64,
    "encoder_width": 32,
    "max_positions": 77,
}


# What has been built or counted, by the model of a config: many differ in their data alone.
BUILT: dict[str, bool] = {}
COUNTS: dict[str, dict[str, int]] = {}


@cache
def read(leaf: str) -> Config:
    """A config of the repository, which nobody changes: reading one takes long."""
    return load_config(ROOT / leaf)


def counts_of(leaf: str) -> dict[str, int]:
    """The parameters of a config, counted once for all that have this model."""
    model = read(leaf).model.to_dict()
    # Neither has parameters of its own.
    key = repr({k: v for k, v in model.items() if k not in ("pretrained", "data_preprocessor")})
    if key not in COUNTS:
        with Uninitialised():
            COUNTS[key] = count_config(str(ROOT / leaf))
    return COUNTS[key]


def narrow(model: dict[str, Any]) -> dict[str, Any]:
    """Tiny widths, the depth as it is, so that choices of layers still exist."""
    model["visual"]["arch"] = VISUAL
    for tower in ("text", "decoder"):
        if model.get(tower):
            kept = {key: model[tower].get(key, TEXT[key]) for key in ("vocab_size", "num_layers")}
            model[tower].update({**TEXT, **kept})
    if model.get("matching", True) is None:
        # Nothing reads media.
        del model["text"]["encoder_width"]
    if model.get("adapter") and "bottleneck" in model["adapter"]:
        model["adapter"]["bottleneck"] = 4
    if model.get("adapter") and "reduction" in model["adapter"]:
        model["adapter"]["num_heads"] = 2
    if "queue_size" in model:
        model["queue_size"] = 8
    return model


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_is_short_and_says_how_it_is_run(leaf):
    lines = (ROOT / leaf).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    command = lines[0].removeprefix("# ").split()
    assert lines[0].startswith("# ")
    assert leaf in command
    tool = command[1] if command[0] == "python" else command[0]
    assert (ROOT / tool).is_file()
    assert re.match(r"# .*(paper|Paper)", lines[1]), "the second line names the paper's row"


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_is_data(leaf):
    tree = ast.parse((ROOT / leaf).read_text(encoding="utf-8"))
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For)
    assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.split("/")[1] in FULL_SIZE])
def test_a_leaf_builds_at_tiny_width(leaf):
    model = narrow(read(leaf).model.to_dict())
    key = repr(model)
    if key not in BUILT:
        BUILT[key] = any(p.requires_grad for p in build_model(model).parameters())
    assert BUILT[key]


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.split("/")[1] in FULL_SIZE])
def test_what_a_leaf_names_is_registered(leaf):
    cfg = read(leaf)
    with DefaultScope.overwrite_default_scope("uniadapter"):
        # VQAv2 trains on both public splits, which leaves none to validate on.
        splits = [split for split in ("val", "test") if cfg[f"{split}_cfg"] is not None]
        for split in ("train", *splits):
            assert DATASETS.get(cfg[f"{split}_dataloader"].dataset.type) is not None
        for split in splits:
            assert METRICS.get(cfg[f"{split}_evaluator"].type) is not None
            assert LOOPS.get(cfg[f"{split}_cfg"].type) is not None
        for hook in (*cfg.get("custom_hooks", ()), *cfg.default_hooks.values()):
            assert HOOKS.get(hook.type) is not None
        assert OPTIM_WRAPPER_CONSTRUCTORS.get(cfg.optim_wrapper.constructor) is not None


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_run_takes_the_types_and_the_values_of_a_leaf(leaf):
    register_all_modules()
    cfg = read(leaf)
    before = cfg.to_dict()
    check_options(cfg)
    check_values(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    ("folder", "dataset", "epochs", "batch"),
    [("msrvtt", "MSRVTT", 5, 64), ("didemo", "DiDeMo", 10, 64)],
)
@pytest.mark.parametrize("rank", [128, 512])
def test_the_recipe_is_table_16(folder, dataset, epochs, batch, rank):
    cfg = read(f"configs/uniadapter/{folder}_r{rank}.py")
    assert cfg.model.adapter.bottleneck == rank
    assert cfg.optim_wrapper.optimizer == {"type": "AdamW", "lr": 1e-5, "weight_decay": 0.05}
    assert cfg.train_cfg.max_epochs == epochs
    # The first line starts 8 processes.
    assert 8 * cfg.train_dataloader.batch_size == batch == cfg.auto_scale_lr.base_batch_size
    assert cfg.train_dataloader.dataset.type == f"{dataset}Retrieval"
    assert cfg.train_dataloader.dataset.pipeline[0].num_frames == 8
    assert cfg.test_dataloader.dataset.pipeline[0].num_frames == 16
    assert cfg.test_cfg.k_test == 128


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.startswith("configs/ablation/")])
def test_ablations_test_on_8_frames(leaf):
    cfg = read(leaf)
    for split in ("train", "val", "test"):
        assert cfg[f"{split}_dataloader"].dataset.pipeline[0].num_frames == 8


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_counts_what_its_config_has(entry):
    counts = counts_of(entry["Config"])
    recorded = entry["Metadata"]["Parameters"]
    assert recorded == {name: counts[name] for name in recorded}


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_figure_without_a_source(entry):
    for result in entry["Results"] or []:
        assert result["Source"].startswith(("paper, ", "bash ", "python ", "tools/"))
        assert result["Metrics"]


@pytest.mark.parametrize("path", METAFILES, ids=[path.parent.name for path in METAFILES])
def test_the_index_names_every_metafile(path):
    index = yaml.safe_load((ROOT / "model-index.yml").read_text(encoding="utf-8"))
    assert path.relative_to(ROOT).as_posix() in index["Import"]
