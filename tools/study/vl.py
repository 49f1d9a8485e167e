"""VL-Adapter's rows of the study: methods in a small VL-BART and VL-T5 that learn several tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

#: Tasks of the study: a language model with a set of VL-Adapter's tasks.
VL_TASKS = ("vl_bart_image", "vl_bart_video", "vl_t5_image")
#: Names of rows and the families that share a rate; the first of a family chooses it.
_METHODS = (
    ("full", "full"),
    ("single", "adapter"),
    ("multiple", "adapter"),
    ("half_shared", "adapter"),
    ("hyperformer", "adapter"),
    ("compacter_single", "adapter"),
    ("compacter_multiple", "adapter"),
    ("lora_single", "lora"),
    ("lora_multiple", "lora"),
    ("prompt_single", "prompt"),
    ("prompt_multiple", "prompt"),
    ("visual_only", "visual"),
    ("visual_norms", "visual"),
)
_FEW = ("full", "single", "half_shared", "compacter_single", "lora_single", "prompt_single")
#: Rows as (name, config of the paper's size, family), by task.
LISTED = {
    task: tuple(
        (name, f"vl_adapter/{task.removeprefix('vl_')}_{name}", family)
        for name, family in _METHODS
        if task == "vl_bart_image" or name in _FEW
    )
    for task in VL_TASKS
}
LABELS = {
    "full": "full fine-tuning",
    "single": "single adapter",
    "multiple": "multiple adapters",
    "half_shared": "half-shared adapters",
    "hyperformer": "Hyperformer",
    "compacter_single": "single Compacter",
    "compacter_multiple": "multiple Compacters",
    "lora_single": "single LoRA",
    "lora_multiple": "multiple LoRA",
    "prompt_single": "single prompt",
    "prompt_multiple": "multiple prompts",
    "visual_only": "visual embedding alone",
    "visual_norms": "visual embedding and norms",
}
NAMES = {
    "vl_bart_image": "VL-BART, image tasks",
    "vl_bart_video": "VL-BART, video tasks",
    "vl_t5_image": "VL-T5, image tasks",
}
_IMAGE = {
    "Average": "average",
    "VQA": "vqa/accuracy",
    "GQA": "gqa/accuracy",
    "NLVR2": "nlvr/accuracy",
    "CIDEr": "caption/CIDEr",
}
_VIDEO = {"Average": "average", "TVQA": "tvqa/accuracy", "TVC": "tvc/CIDEr"}
#: Measures of the tables by task, the one that chooses rates first.
MEASURES = {"vl_bart_image": _IMAGE, "vl_bart_video": _VIDEO, "vl_t5_image": _IMAGE}
#: The share of val's videos that choose rates; the others are tested.
HELD_OUT = 1 / 3
#: Options of adapters that are widths or lengths, beside those that all have.
WIDTHS = ("length", "hidden", "embedding")


def small(model: Any, width: Any) -> None:
    """Bring what is VL-Adapter's own in a small row to size, in place.

    LoRA's factor stays, and what is trained beside an adapter is the row's.

    Args:
        model: The small row's model.
        width: Makes a small width of one of the paper's.
    """
    adapter = model.get("adapter") or {}
    for key in WIDTHS:
        if key in adapter:
            adapter[key] = width(adapter[key])
    if adapter.get("type") == "LoRA":
        # The rank is a sixteenth already.
        adapter["alpha"] = adapter["alpha"] / 16


def prepare(cfg: Config, task: str, world: Path, shown: str, steps: int, warmup: float) -> None:
    """Let a config read the embedded data, with the schedule of VL-Adapter.

    Args:
        cfg: The small row's config, changed in place.
        task: One of :data:`VL_TASKS`.
        world: Folder of the embedded data.
        shown: How configs name it.
        steps: Training steps.
        warmup: Share of them that is warm-up.
    """
    cfg.param_scheduler = [
        dict(type="WarmupLinearLR", warmup=warmup, by_epoch=False, begin=0, end=steps)
    ]
    cfg.optim_wrapper.clip_grad = dict(max_norm=5.0)
    root = f"{shown}/vl/video/" if task.endswith("video") else f"{shown}/vl/"
    cfg.data_root = root
    # What the files only name for themselves; it tells where the data lie.
    for key in [key for key in cfg if key.startswith("_")]:
        cfg.pop(key)
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"] = Config(dict(it=cfg[f"{split}_dataloader"].to_dict())).it
        for dataset in cfg[f"{split}_dataloader"].dataset.datasets.values():
            dataset.data_root = root
    if task.endswith("video"):
        _split_videos(cfg, world / "vl/video")


def _split_videos(cfg: Config, folder: Path) -> None:
    """Choose on the first videos of val, test on the others: the test files have no truths."""
    for name in ("tvqa", "tvc"):
        val = cfg.val_dataloader.dataset.datasets[name]
        test = cfg.test_dataloader.dataset.datasets[name]
        rows = (folder / val.ann_file).read_text(encoding="utf-8").splitlines()
        # Every description is an item.
        count = len(rows) if name == "tvqa" else sum(row.count('"desc_id"') for row in rows)
        kept = round(HELD_OUT * count)
        val.indices, test.indices = kept, list(range(kept, count))
