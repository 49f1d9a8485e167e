"""Train and test one trial in this process, and measure what it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from tools.study.frames import hold
from uniadapter.engine.runner import build_runner
from uniadapter.models.components import count_parameters
from uniadapter.utils.finite import NotFiniteError
from uniadapter.utils.safe_io import to_plain

#: The first steps allocate and compile: they are not timed, and behind them memory is at its peak.
SETTLED = 5
#: The measure that a curve shows, of retrieval, of questions or of several tasks.
MAIN = ("t2v/RMean", "accuracy", "average")


class Watch(Hook):
    """Seconds of steps, peak memory behind the first of them, and what validations measured."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.tests: list[tuple[int, dict[str, float]]] = []
        self.peak: int | None = None
        self._start = 0.0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Start the clock of a step; its data is there already."""
        self._start = time.process_time()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop the clock, and check that the losses are numbers."""
        self.seconds.append(time.process_time() - self._start)
        if len(self.seconds) == SETTLED:
            self.peak = memory("VmHWM")
        loss = float(outputs["loss"].detach())
        if loss != loss or abs(loss) == float("inf"):
            raise NotFiniteError(f"the loss of step {len(self.seconds)} is {loss}")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Keep what a validation measured, with the number of steps it is behind."""
        self.tests.append((len(self.seconds), measures(metrics or {})))

    def curve(self) -> list[tuple[int, dict[str, float]]]:
        """Of each validation the steps before it, and its main measure."""
        return [(n, {k: v for k, v in m.items() if k in MAIN}) for n, m in self.tests]


def measures(metrics: dict[str, float]) -> dict[str, float]:
    """The measures of retrieval and of questions, with the sum of the six recalls."""
    found = {k.removeprefix("val/"): float(v) for k, v in to_plain(dict(metrics)).items()}
    recalls = [
        found[f"{way}/R{k}"] for way in ("t2v", "v2t") for k in (1, 5, 10) if f"{way}/R{k}" in found
    ]
    if len(recalls) == 6:
        found["rsum"] = sum(recalls)
    return {key: round(value, 4) for key, value in found.items() if key != "skipped"}


def memory(name: str) -> int | None:
    """A figure of Linux on this process's memory, in bytes: ``VmRSS`` or its peak, ``VmHWM``."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else None


def forget_peak() -> None:
    """Let Linux begin the peak anew, where it allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def train_and_test(cfg: Config, work_dir: Path) -> dict[str, Any]:
    """Train a config and test it on the held-out and the test split.

    Args:
        cfg: See ``trials.config_of``.
        work_dir: Folder of the logs.

    Returns:
        ``test`` and ``val``, the measures; ``curve``, (step, measures) of each validation; the
        counts of parameters; CPU and wall seconds and bytes. A training that diverges has
        ``diverged`` and no measures.
    """
    torch.set_num_threads(1)
    hold(cfg)
    cfg.work_dir, cfg.launcher = str(work_dir), "none"
    cfg.default_hooks.checkpoint = None
    start, cpu = time.monotonic(), time.process_time()
    runner = build_runner(cfg)
    watch = Watch()
    runner.register_hook(watch)
    model = runner.model
    result: dict[str, Any] = {"parameters": count_parameters(model)}
    forget_peak()
    built = memory("VmRSS")
    try:
        runner.train()
        result["test"] = measures(runner.test())
    except NotFiniteError as error:
        result["diverged"] = str(error)
    else:
        result["val"] = watch.tests[-1][1]
        result["curve"] = watch.curve()
    result["step_cpu_seconds"] = round(_median(watch.seconds[SETTLED:] or watch.seconds), 5)
    result["cpu_seconds"] = round(time.process_time() - cpu, 1)
    result["wall_seconds"] = round(time.monotonic() - start, 1)
    both = built is not None and watch.peak is not None
    result["step_bytes"] = watch.peak - built if both else None  # type: ignore[operator]
    result["load"] = round(os.getloadavg()[0], 1)
    result["torch"] = torch.__version__
    return result


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
