"""VL-Adapter's configs are its published rows: parameters, rates, prefixes, batches, schedule."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import yaml
from mmengine.config import Config

from tests.helpers import ROOT

# Trainable and total, as counted on the authors' classes; T5 with a reduction of 4.
COUNTS = {
    "bart_image_visual_only": (1_582_848, 141_156_864),
    "bart_image_visual_norms": (1_632_000, 141_156_864),
    "bart_image_single": (6_081_600, 145_606_464),
    "bart_image_multiple": (19_430_400, 158_955_264),
    "bart_image_half_shared": (12_725_760, 152_250_624),
    "bart_image_hyperformer": (8_579_088, 148_103_952),
    "bart_image_compacter_single": (3_870_240, 143_395_104),
    "bart_image_compacter_multiple": (10_584_960, 150_109_824),
    "bart_image_lora_single": (8_786_688, 148_234_752),
    "bart_image_lora_multiple": (30_020_352, 169_468_416),
    "bart_image_prompt_single": (2_843_936, 142_417_952),
    "bart_image_prompt_multiple": (6_627_200, 146_201_216),
    "bart_image_full": (141_156_864, 141_156_864),
    "bart_video_visual_only": (403_200, 139_977_216),
    "bart_video_visual_norms": (452_352, 139_977_216),
    "bart_video_single": (4_901_952, 144_426_816),
    "bart_video_multiple": (18_250_752, 157_775_616),
    "bart_video_half_shared": (11_546_112, 151_070_976),
    "bart_video_hyperformer": (7_399_440, 146_924_304),
    "bart_video_compacter_single": (2_690_592, 142_215_456),
    "bart_video_compacter_multiple": (9_405_312, 148_930_176),
    "bart_video_lora_single": (7_607_040, 147_055_104),
    "bart_video_prompt_single": (1_664_288, 141_238_304),
    "bart_video_full": (139_977_216, 139_977_216),
    "t5_image_visual_only": (1_581_312, 224_540_160),
    "t5_image_single": (19_333_632, 242_292_480),
    "t5_image_multiple": (72_590_592, 295_549_440),
    "t5_image_half_shared": (45_910_272, 268_869_120),
    "t5_image_hyperformer": (15_174_384, 238_133_232),
    "t5_image_compacter_single": (10_487_232, 233_446_080),
    "t5_image_compacter_multiple": (37_204_992, 260_163_840),
    "t5_image_prompt_single": (2_842_400, 225_801_248),
    "t5_image_prompt_multiple": (6_625_664, 229_584_512),
    # 7.54 % is what Ladder-Side-Tuning prints of it.
    "t5_image_lora_single": (18_170_112, 241_128_960),
    "t5_image_full": (224_540_160, 224_540_160),
    "t5_video_single": (18_153_984, 241_112_832),
}
SHARES = {
    "bart_image_single": 4.18,
    "bart_image_multiple": 12.22,
    "bart_image_half_shared": 8.36,
    "bart_image_hyperformer": 5.79,
    "bart_image_compacter_single": 2.70,
    "bart_image_compacter_multiple": 7.05,
    "bart_image_lora_single": 5.93,
    "bart_image_prompt_single": 2.00,
    "bart_image_prompt_multiple": 4.53,
    "bart_video_single": 3.39,
    "bart_video_lora_single": 5.17,
    "t5_image_single": 7.98,
    "t5_image_multiple": 24.56,
    "t5_image_hyperformer": 6.37,
    "t5_image_prompt_single": 1.26,
    "t5_image_lora_single": 7.54,
}
#: Rates that were published, and whether names of tasks stand in front of what is read.
RECIPE = {
    "full": (1e-4, False),
    "multiple": (3e-4, False),
    "half_shared": (3e-4, False),
    "single": (1e-3, True),
    "hyperformer": (1e-3, False),
    "compacter_single": (1e-3, True),
    "compacter_multiple": (1e-3, False),
    "lora_single": (1e-3, True),
    "lora_multiple": (1e-3, False),
    "prompt_single": (1e-3, True),
    "prompt_multiple": (1e-3, False),
}


@cache
def load(name: str) -> Any:
    return Config.fromfile(str(ROOT / f"configs/vl_adapter/{name}.py"))


def test_the_metafile_has_the_counts_of_the_authors_classes() -> None:
    """That it has those of the configs is tested with all metafiles."""
    text = (ROOT / "configs/vl_adapter/metafile.yml").read_text(encoding="utf-8")
    recorded = {
        entry["Config"].split("/")[-1].removesuffix(".py"): entry["Metadata"]["Parameters"]
        for entry in yaml.safe_load(text)["Models"]
    }
    assert {n: (own["trainable"], own["total"]) for n, own in recorded.items()} == COUNTS
    for name, share in SHARES.items():
        trained, total = COUNTS[name]
        assert round(100 * trained / total, 2) == share, name


@pytest.mark.parametrize("method", list(RECIPE))
def test_the_recipe_of_the_image_tasks(method: str) -> None:
    cfg = load(f"bart_image_{method}")
    rate, prefix = RECIPE[method]
    assert cfg.optim_wrapper.optimizer == {
        "type": "AdamW",
        "lr": rate,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.01,
    }
    assert cfg.optim_wrapper.clip_grad == {"max_norm": 5.0}
    assert cfg.optim_wrapper.paramwise_cfg == {"no_decay_kinds": ["bias", "generator_norm"]}
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.warmup) == ("WarmupLinearLR", 0.1)
    assert cfg.train_cfg.max_epochs == 20
    assert cfg.randomness.seed == 9595
    assert cfg.find_unused_parameters
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.sampler.seed) == (500, 0)
    sizes = {task: int(500 * a / b) for task, (a, b) in loader.batch_sampler.shares.items()}
    assert sizes == {"gqa": 833, "nlvr": 166, "caption": 416}
    assert list(loader.dataset.datasets) == list(cfg.model.tasks)
    for split in ("train", "val", "test"):
        datasets = cfg[f"{split}_dataloader"].dataset.datasets
        assert {dataset.prefix for dataset in datasets.values()} == {prefix}


@pytest.mark.parametrize(
    ("name", "rate", "batch"),
    [
        ("bart_video_full", 3e-5, 50),
        ("bart_video_single", 3e-4, 50),
        ("bart_video_lora_single", 3e-4, 50),
        ("bart_video_prompt_single", 3e-4, 50),
        ("t5_video_single", 3e-4, 30),
        ("t5_image_single", 3e-4, 300),
    ],
)
def test_the_recipe_of_the_others(name: str, rate: float, batch: int) -> None:
    cfg = load(name)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.train_dataloader.batch_size) == (rate, batch)
    assert cfg.train_cfg.max_epochs == (7 if "video" in name else 20)
    datasets = cfg.train_dataloader.dataset.datasets
    assert all(dataset.prefix for dataset in datasets.values())
    assert list(datasets) == list(cfg.model.tasks)


def test_t5_starts_as_torch_draws_and_keeps_its_norms() -> None:
    """The released code's test for norms misses T5's, and its modules are drawn otherwise."""
    assert load("t5_image_single").model.adapter.init == "torch"
    assert load("t5_image_prompt_single").model.adapter.init == "torch"
    assert "train_norms" not in load("t5_image_single").model
    assert load("bart_image_single").model.train_norms


def test_the_average_is_of_the_published_measures() -> None:
    wanted = {"vqa": "accuracy", "gqa": "accuracy", "nlvr": "accuracy", "caption": "CIDEr"}
    assert load("bart_image_single").test_evaluator.average == wanted
    assert load("bart_image_single").test_evaluator.metrics.vqa.protocol == "older"
