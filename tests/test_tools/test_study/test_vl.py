"""VL-Adapter's rows of the study: small configs of the published ones, about the embedded data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.study import vl
from tools.study.rows import ROWS, chooser_of, find
from tools.study.trials import Setting, Trial, config_of

ROWS_OF_VL = [row for row in ROWS if row.task in vl.VL_TASKS]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A world of which only what the configs look into is there."""
    ann = tmp_path / "world/vl/video/ann"
    for name in ("tvqa", "tvc"):
        (ann / name).mkdir(parents=True)
    questions = [json.dumps({"qid": number}) for number in range(9)]
    (ann / "tvqa/tvqa_val.jsonl").write_text("\n".join(questions) + "\n", encoding="utf-8")
    clips = [{"descs": [{"desc": "a", "desc_id": 2 * n}, {"desc_id": 2 * n + 1}]} for n in range(3)]
    lines = "\n".join(json.dumps(clip) for clip in clips)
    (ann / "tvc/tvc_val_release.jsonl").write_text(lines + "\n", encoding="utf-8")
    return Setting(tmp_path / "world", steps=40)


def test_rows_are_those_of_the_paper_and_share_rates_by_family() -> None:
    assert len(ROWS_OF_VL) == 13 + 6 + 6
    assert {row.leaf for row in ROWS_OF_VL if row.task == "vl_bart_image"} == {
        f"vl_adapter/bart_image_{name}" for name, _ in vl._METHODS
    }
    choosers = {row.key: chooser_of(row).name for row in ROWS_OF_VL}
    assert choosers["vl_bart_image/hyperformer"] == "single"
    assert choosers["vl_bart_image/lora_multiple"] == "lora_single"
    assert choosers["vl_bart_image/visual_norms"] == "visual_only"
    assert choosers["vl_t5_image/prompt_single"] == "prompt_single"


@pytest.mark.parametrize("row", ROWS_OF_VL, ids=lambda row: row.key)
def test_a_row_is_the_published_one_in_small(setting: Setting, row) -> None:
    cfg = config_of(Trial(row, 1, 3e-3, 40), setting)
    assert "toy_world" not in json.dumps(cfg.to_dict(), default=repr)
    assert cfg.optim_wrapper.optimizer.lr == 3e-3
    assert cfg.optim_wrapper.clip_grad == {"max_norm": 5.0}
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.end) == ("WarmupLinearLR", 40)
    assert cfg.train_cfg == {"by_epoch": False, "max_iters": 40, "val_interval": 40}
    model, adapter = cfg.model, cfg.model.adapter or {}
    bart, bottleneck = "bart" in row.task, row.family == "adapter"
    assert bool(model.get("train_norms")) == (bart and (bottleneck or row.name == "visual_norms"))
    assert bool(model.get("train_biases")) == (bart and row.family == "lora")
    assert bool(model.get("train_backbone")) == (row.name == "full")
    assert bool(adapter) == (row.family in ("adapter", "lora", "prompt"))
    if row.family == "lora" and bart:
        assert adapter.alpha / adapter.rank == 32 / 128


def test_videos_that_choose_rates_are_not_tested(setting: Setting) -> None:
    cfg = config_of(Trial(find("vl_bart_video/single"), 0, 3e-3, 40), setting)
    for name, count in (("tvqa", 9), ("tvc", 6)):
        val = cfg.val_dataloader.dataset.datasets[name]
        test = cfg.test_dataloader.dataset.datasets[name]
        assert [*range(val.indices), *test.indices] == list(range(count))
        assert val.ann_file == test.ann_file
