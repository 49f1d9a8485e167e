"""The package's own evaluation loop on media in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch.utils.data import Dataset

from uniadapter.evaluation import RetrievalMetric
from uniadapter.models.tasks import RetrievalModel
from uniadapter.registry import SCOPE, register_all_modules

#: Media encoded at once, by both ways.
BATCH = 8
_AMP = {"fp32": None, "bf16": "bfloat16"}


class ScoreRecorder(Evaluator):
    """An evaluator that keeps the scores of both directions beside measuring them."""

    def __init__(self) -> None:
        super().__init__(RetrievalMetric())
        self.rows: list[list[torch.Tensor]] = [[], []]

    def process(self, data_samples: Sequence[dict], data_batch: Any = None) -> None:
        """Keep the scores and hand them on."""
        for sample in data_samples:
            self.rows[sample["direction"]].append(sample["scores"])
        super().process(data_samples, data_batch)

    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of texts against media and of media against texts, since the last call."""
        texts, media = (torch.cat(rows) for rows in self.rows)
        self.rows = [[], []]
        return texts, media


@contextmanager
def evaluation_loop(
    model: RetrievalModel, media: Dataset, k_test: int, precision: str = "fp32"
) -> Iterator[Any]:
    """The RetrievalTestLoop of a runner, as ``tools/test.py`` runs it.

    Args:
        model (RetrievalModel): The model.
        media (Dataset): A test dataset.
        k_test (int): Length of the shortlists.
        precision (str): ``'fp32'`` or ``'bf16'`` (autocast).

    Yields:
        RetrievalTestLoop: With a :class:`ScoreRecorder` as its evaluator.
    """
    register_all_modules(init_scope=False)
    with TemporaryDirectory() as folder:
        runner = Runner(
            model=model,
            work_dir=folder,
            test_dataloader={
                "batch_size": BATCH,
                "num_workers": 0,
                "dataset": media,
                "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
                "collate_fn": {"type": "pseudo_collate"},
            },
            test_cfg={
                "type": "RetrievalTestLoop",
                "k_test": k_test,
                "amp_dtype": _AMP[precision],
                "log_seconds": 3600.0,
            },
            test_evaluator=ScoreRecorder(),
            default_scope=SCOPE,
            experiment_name=f"benchmark_{id(media)}_{precision}",
            log_level="ERROR",
        )
        # What Runner.test() does before it runs the loop: the logger opens its files.
        runner.call_hook("before_run")
        yield runner.test_loop


def encoded_gallery(loop: Any) -> Any:
    """Run a loop once and return the gallery it encoded, whose pairs can then be scored again."""
    galleries: list[Any] = []
    measure = loop._measure

    def keep(gallery: Any) -> dict[str, float]:
        galleries.append(gallery)
        return measure(gallery)

    loop._measure = keep
    try:
        loop.run()
    finally:
        del loop._measure
    return galleries[0]
