"""A trial: a row, a seed and a learning rate; its config and what its result depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from tools.study import vl
from tools.study.rows import Row
from tools.study.scale import apply, small_width
from uniadapter.datasets.easy_vqa import find_easy_vqa
from uniadapter.datasets.readers import read_json
from uniadapter.utils.config import load_config

ROOT = Path(__file__).resolve().parents[2]
#: Every family of methods tries these and no others.
RATES = (3e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Budget:
    """What all rows of a task get.

    Attributes:
        base: Config of the small UniAdapter on the task; None where the rows' own configs are
            small.
        lengths: Numbers of training steps that are tried.
        batch: Samples a step.
        frames: Frames of a clip, in training and in tests; None where the data are features.
        measure: The measure on the held-out split that chooses learning rates.
        data: Files that say what the data are, in the world's folder.
    """

    base: str | None
    lengths: tuple[int, ...]
    batch: int
    frames: int | None
    measure: str
    data: tuple[str, ...]


BUDGETS = {
    "retrieval": Budget(
        base="configs/tiny/msrvtt_r32.py",
        lengths=(200,),
        batch=16,
        frames=4,
        measure="t2v/RMean",
        data=("world.json",),
    ),
    "videoqa": Budget(
        base="configs/tiny/msrvttqa_r32.py",
        # Six passes, as configs/tiny/msrvttqa_r32.py: what the question alone says is learnt first,
        # and hundreds of steps go by before the video counts (docs/study.md).
        lengths=(1584,),
        batch=16,
        frames=4,
        measure="accuracy",
        data=("world.json", "msrvtt_qa/part.json"),
    ),
    # 3 and 8 passes over nine tenths of 38,575 questions.
    "easy_vqa": Budget(
        base=None,
        lengths=(3249, 8664),
        batch=32,
        frames=1,
        measure="accuracy",
        data=(),
    ),
    # Four passes over the tasks of the pictures, 13 over those of the videos.
    **{
        task: Budget(
            base=f"configs/tiny/{task}_single.py",
            lengths=(steps,),
            batch=batch,
            frames=None,
            measure="average",
            data=("vl/part.json", "vl/features.json"),
        )
        for task, batch, steps in zip(vl.VL_TASKS, (60, 50, 60), (2000, 1000, 2000), strict=True)
    },
}
#: The share of the steps in which the rate rises linearly; a cosine to 0 follows.
WARMUP = 0.1
#: Tests on the held-out split during training, of rows with a curve.
POINTS = 4
#: Of the training videos, the share that is held out to choose learning rates; MSRVTT-QA's twin
#: comes with such a split, of the same videos.
HELD_OUT = 0.1
#: Candidates that are re-ranked, of the test and of the smaller held-out split.
_SHORTLIST, _SHORTLIST_HELD_OUT = 32, 16


@dataclass(frozen=True)
class Trial:
    """A row with a seed, a learning rate and a number of steps."""

    row: Row
    seed: int
    rate: float
    steps: int

    def file(self, results: Path) -> Path:
        """Where its result is written; its name has the steps where several numbers are tried."""
        several = len(BUDGETS[self.row.task].lengths) > 1
        steps = f"_steps{self.steps}" if several else ""
        name = f"seed{self.seed}_lr{self.rate:g}{steps}.json"
        return results / self.row.task / self.row.name / name


@dataclass(frozen=True)
class Setting:
    """What a user may change for all trials.

    Attributes:
        world: Folder of the embedded data.
        steps: Training steps instead of the budget's.
    """

    world: Path = ROOT / "data/toy_world"
    steps: int | None = None

    def lengths(self, task: str) -> tuple[int, ...]:
        """Numbers of steps that are tried on a task, the first for all learning rates."""
        return BUDGETS[task].lengths if self.steps is None else (self.steps,)


def config_of(trial: Trial, setting: Setting) -> Config:
    """The config of a trial, which tools/train.py and tools/test.py run as well.

    Raises:
        FileNotFoundError: When the data is not there.
    """
    budget, steps = BUDGETS[trial.row.task], trial.steps
    if budget.base is None:
        cfg = _copied(f"configs/{trial.row.leaf}.py")
    else:
        cfg = _copied(budget.base)
        apply(cfg.model, _read(f"configs/{trial.row.leaf}.py").to_dict()["model"])
    cfg.optim_wrapper.optimizer.lr = trial.rate
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    cfg.param_scheduler = _schedule(steps)
    each = max(1, steps // POINTS) if trial.row.curve else steps
    cfg.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=each)
    cfg.log_processor = dict(by_epoch=False)
    cfg.randomness = dict(seed=trial.seed)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=steps)
    cfg.train_dataloader.batch_size = budget.batch
    if trial.row.task in vl.VL_TASKS:
        vl.small(cfg.model, small_width)
        shown = _shown(setting.world)
        vl.prepare(cfg, trial.row.task, setting.world, shown, steps, WARMUP)
        return cfg
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.pipeline[0].num_frames = budget.frames
    _SPLITS[trial.row.task](cfg, setting.world)
    return cfg


@cache
def _read(path: str) -> Config:
    return load_config(str(ROOT / path))


def _copied(path: str) -> Config:
    return Config(_read(path).to_dict())


def _schedule(steps: int) -> list[dict[str, Any]]:
    warmup = round(WARMUP * steps)
    cosine = dict(
        type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=warmup, T_max=steps - warmup
    )
    rise = dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=warmup)
    return [rise, cosine] if warmup else [cosine]


def _split_retrieval(cfg: Config, world: Path) -> None:
    """Hold out the last training videos; averages and soft targets as fast as the training."""
    options = read_facts(world / "world.json")["options"]
    videos, captions = options["train_videos"], options["captions"]
    kept = videos - max(1, round(videos * HELD_OUT))
    train = cfg.train_dataloader.dataset
    cfg.val_dataloader = _copy(cfg.val_dataloader)
    val = cfg.val_dataloader.dataset
    val.update(ann_file=train.ann_file, split_file=train.split_file)
    # A training item is a caption, a test item a video with all of its captions.
    train.indices, val.indices = kept * captions, list(range(kept, videos))
    _read_from(cfg, f"{_shown(world)}/msrvtt/")
    cfg.val_cfg.k_test = min(_SHORTLIST_HELD_OUT, videos - kept)
    cfg.test_cfg.k_test = min(_SHORTLIST, options["test_videos"])
    cfg.model.momentum = 0.95
    cfg.custom_hooks = [dict(type="AlphaRampHook", epochs=0.1)]


def _read_from(cfg: Config, folder: str) -> None:
    """Let all data sets read a folder, and the config's own variable name it."""
    cfg.data_root = folder
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.data_root = folder


def _split_videoqa(cfg: Config, world: Path) -> None:
    _read_from(cfg, f"{_shown(world)}/msrvtt_qa/")
    cfg.model.answer_list = f"{_shown(world)}/msrvtt_qa/answer_list.json"


def _split_easy_vqa(cfg: Config, world: Path) -> None:
    """Hold out the last training pictures with their questions, which stand in their order."""
    pictures = [picture for _, _, picture in read_facts(_easy_vqa("train"))]
    first = round((1 - HELD_OUT) * (1 + pictures[-1]))
    kept = next(index for index, picture in enumerate(pictures) if picture >= first)
    cfg.train_dataloader.dataset.indices = kept
    cfg.val_dataloader = _copy(cfg.val_dataloader)
    cfg.val_dataloader.dataset.update(split="train", indices=range(kept, len(pictures)))


def _easy_vqa(split: str) -> Path:
    return Path(find_easy_vqa()) / split / "questions.json"


_SPLITS = {
    "retrieval": _split_retrieval,
    "videoqa": _split_videoqa,
    "easy_vqa": _split_easy_vqa,
}


def _copy(node: Any) -> Any:
    return Config(dict(it=node.to_dict())).it


def _shown(world: Path) -> str:
    """The world's folder as the configs of the repository name it, where it is in there."""
    return str(world.relative_to(ROOT)) if world.is_relative_to(ROOT) else str(world)


def read_facts(path: Path) -> Any:
    """A JSON file of the data.

    Raises:
        FileNotFoundError: When it is not there; the message says how to draw the data.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: `python tools/dataset_converters/make_toy_world.py --parts "
            "msrvtt_qa vl` draws the embedded data, and extract_toy_features.py beside it their "
            "features."
        )
    facts: dict[str, Any] = read_json(str(path))
    return facts


def fingerprints(cfg: Config, task: str, setting: Setting) -> dict[str, str]:
    """What a result depends on: the config, and the data with the backbone.

    Where the data lie, and what only speeds a run up, does not count.
    """
    text = json.dumps(cfg.to_dict(), sort_keys=True, default=repr)
    text = text.replace(_shown(setting.world), "WORLD")
    data = hashlib.sha256((ROOT / cfg.model.pretrained).read_bytes())
    paths = [setting.world / name for name in BUDGETS[task].data]
    paths += [_easy_vqa(split) for split in ("train", "test")] if task == "easy_vqa" else []
    for path in paths:
        data.update(json.dumps(read_facts(path), sort_keys=True).encode())
    return {"config": hashlib.sha256(text.encode()).hexdigest(), "data": data.hexdigest()}
