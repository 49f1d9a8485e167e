"""A test whose metrics, predictions and pictures are kept: what ``tools/test.py`` does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.model import is_model_wrapper

from uniadapter.checkpoints import load_weights
from uniadapter.engine.hooks import PredictionHook
from uniadapter.engine.hooks.prediction import write_rows
from uniadapter.engine.runner import RetrievalTestLoop
from uniadapter.engine.runner.resume import check_matches, state_of
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.utils.safe_folders import check_place
from uniadapter.utils.safe_io import atomic_write, load_torch_file, to_plain
from uniadapter.visualization.report import png_path

from .pictures import RankingPictures, prediction_report, ranking_report, read_ranking

OUT_ITEMS = ("metrics", "pred")


@dataclass(frozen=True)
class Kept:
    """What of a test is kept.

    Attributes:
        out (str, optional): JSON file to write.
        out_item (str): What goes there: ``'metrics'``, or ``'pred'``, the predictions: of
            retrieval its rankings, see :class:`~uniadapter.retrieval.RetrievalTestOptions`, of all
            else a row an item, see :class:`~uniadapter.engine.hooks.PredictionHook`.
        show_dir (str, optional): Folder for ``predictions.png`` and ``predictions.html``.
        show_num (int): Items, or queries, that are drawn, spread over the split.

    Raises:
        ValueError: If an option is outside its set, or one would not be read.
    """

    out: str | None = None
    out_item: str | None = None
    show_dir: str | None = None
    show_num: int | None = None

    def __post_init__(self) -> None:
        if self.out is not None and not self.out.endswith(".json"):
            what = "predictions" if self.predicts else "metrics"
            raise ValueError(f"--out {self.out}: {what} are written as JSON, name a .json file.")
        if self.out_item not in (None, *OUT_ITEMS):
            raise ValueError(f"--out-item {self.out_item}: choose from {OUT_ITEMS}.")
        if self.out_item is not None and self.out is None:
            raise ValueError(f"--out-item {self.out_item} needs --out FILE.json to write it to.")
        if self.show_num is not None and self.show_dir is None:
            raise ValueError(f"--show-num {self.show_num} needs --show-dir FOLDER to draw in.")
        if self.show_num is not None and self.show_num < 1:
            raise ValueError(f"--show-num {self.show_num}: at least one is drawn.")

    @property
    def predicts(self) -> bool:
        """Whether predictions go to the file."""
        return self.out_item == "pred"

    @property
    def page(self) -> Path | None:
        """The picture that is drawn."""
        return None if self.show_dir is None else Path(self.show_dir) / "predictions.png"


def set_test_amp(cfg: Config, gpu: bool) -> None:
    """Switch the test loop of a config to mixed precision.

    Args:
        cfg: The config, changed in place.
        gpu: Whether there is a GPU.

    Raises:
        ValueError: If there is none, or the loop's precision is set otherwise.
    """
    if not gpu:
        raise ValueError("--amp needs a GPU, and this machine has none: leave it out.")
    chosen = cfg.test_cfg.get("amp_dtype")
    if chosen is not None:
        raise ValueError(f"--amp and test_cfg.amp_dtype={chosen!r}: leave one of them out.")
    cfg.test_cfg.fp16 = True


def load_for_test(runner: Any, checkpoint: str) -> None:
    """Load a checkpoint into the model of a runner, of this package or of another project.

    Args:
        runner: The runner, before its test.
        checkpoint: As :func:`~uniadapter.checkpoints.load_weights` takes it; of a model of another
            project a training checkpoint or a state dict, which must have all that is trained.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or belongs to another model.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if isinstance(model, VisionLanguageModel):
        load_weights(model, checkpoint)
        return
    state = state_of(load_torch_file(checkpoint), checkpoint)
    check_matches(model, state, (), checkpoint, exact=False)
    model.load_state_dict(state, strict=False)


def run_test(runner: Any, kept: Kept) -> dict[str, float]:
    """Test what a runner has, and keep what is asked for.

    Args:
        runner: A runner with a test loop.
        kept: What to write and draw.

    Returns:
        The metrics.

    Raises:
        WriteError: If what is to be kept can't be written there.
        ValueError: If a ranking of several galleries is asked for, or predictions can't be drawn.
    """
    if kept.page is not None:
        png_path(kept.page)
    if is_main_process():
        places: list[str | Path | None] = [kept.out, kept.page]
        for place in places:
            if place is not None:
                check_place(place)
    wanted = kept.predicts or kept.page is not None
    ranks = wanted and isinstance(runner.test_loop, RetrievalTestLoop)
    hook = PredictionHook()
    ranking = _dump_ranking(runner.test_loop, kept) if ranks else None
    if wanted and not ranks:
        runner.register_hook(hook)
    metrics = runner.test()
    if is_main_process():
        if kept.out is not None and not kept.predicts:
            kind = Path(kept.out).suffix[1:]
            content = dump(to_plain(dict(metrics)), file_format=kind, indent=2)
            atomic_write(kept.out, content if isinstance(content, bytes) else content.encode())
        elif ranking is not None:
            _keep_ranking(ranking, kept)
        elif kept.out is not None:
            write_rows(kept.out, hook.rows)
        if kept.page is not None:
            _draw(runner.cfg.filename or "a test", hook, ranking, kept)
    return metrics


def _dump_ranking(loop: RetrievalTestLoop, kept: Kept) -> Path:
    """Let the loop write its ranking: where the config says, else where it is wanted."""
    if loop.options.dump is None:
        out = kept.out if kept.predicts else str(Path(kept.show_dir or "") / "ranking.json")
        loop.options = dataclasses.replace(loop.options, dump=out)
        loop._check_options()
    return Path(str(loop.options.dump))


def _keep_ranking(ranking: Path, kept: Kept) -> None:
    if kept.predicts and Path(str(kept.out)).resolve() != ranking.resolve():
        atomic_write(str(kept.out), ranking.read_bytes())


def _draw(about: str, hook: PredictionHook, ranking: Path | None, kept: Kept) -> None:
    number = kept.show_num or 16
    if ranking is None:
        report = prediction_report(hook.rows, about, number)
    else:
        options = RankingPictures(queries=number)
        report = ranking_report(read_ranking(ranking), about, options)
    report.save(str(kept.page))
