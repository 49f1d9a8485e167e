"""A small retrieval model with clips, and what the test loop makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from tests.helpers import COLORS, SHAPES, tiny_run_cfg
from tests.test_engine.test_runner.retrieval_stubs import FakeRunner, Recorder
from uniadapter.apis import init_model
from uniadapter.engine.runner import RetrievalTestLoop
from uniadapter.registry import DATASETS

#: Clips of :func:`clips_world`; the first and the last are copies.
CLIPS = [f"{color}_{shape}" for color in COLORS for shape in SHAPES][:8]
OUTSIDE = -100


def clips_world(source: Path, root: Path) -> Path:
    """Copy some clips of ``write_world``, one of them twice, and the vocabulary."""
    for name in CLIPS[:7]:
        shutil.copytree(source / "clips" / name, root / "clips" / name)
    shutil.copytree(source / "clips" / CLIPS[0], root / "clips" / CLIPS[7])
    shutil.copy(source / "vocab.txt", root)
    return root


def clips_model(root: Path) -> Any:
    """A model whose adapter acts, and whose features differ."""
    torch.manual_seed(0)
    made = init_model(Config(tiny_run_cfg(root)))
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def clips_dataset(root: Path, model: Any, captions: dict[str, list[str]]) -> dict:
    """Config of a data set of captions by clip."""
    lines = [json.dumps({"media": name, "texts": texts}) for name, texts in captions.items()]
    (root / "drawn.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cfg = model.cfg.test_dataloader.dataset.to_dict()
    return {**cfg, "ann_file": "drawn.jsonl", "data_root": str(root)}


def scores_of_the_loop(
    model: Any, dataset: dict, batch: int = 3, **options: Any
) -> list[torch.Tensor]:
    """Scores of the test loop: texts to media, media to texts."""
    data = DataLoader(DATASETS.build(dataset), batch_size=batch, collate_fn=pseudo_collate)
    loop = RetrievalTestLoop(FakeRunner(model), data, Recorder(), **options)
    loop.run()
    return [torch.cat(rows) for rows in loop.evaluator.rows]


def same_scores(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal within rounding, near the end of a shortlist too, where rounding decides."""
    assert ours.shape == theirs.shape
    differ = (ours == OUTSIDE) != (theirs == OUTSIDE)
    # Of two candidates that rounding can't tell apart either may be on the list.
    assert int(differ.sum()) <= 0.05 * differ.numel()
    torch.testing.assert_close(ours[~differ], theirs[~differ], rtol=1e-4, atol=1e-4)
