"""What a training step of every method costs, relative to full fine-tuning in the same run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .measure import measure_apart
from .variant import Variant


@dataclass(frozen=True)
class Method:
    """A method and its configs.

    Attributes:
        name: Its name on the command line.
        title: What the table calls it.
        folder: Of its configs.
        suffix: Behind the data set's name in the file's.
    """

    name: str
    title: str
    folder: str
    suffix: str = ""

    def config(self, data: str) -> str:
        """The config for a data set."""
        return f"configs/{self.folder}/{data}{self.suffix}.py"


FULL = Method("full_finetune", "full fine-tuning", "full_finetune")
METHODS = (
    Method("linear_probe", "linear probe", "linear_probe"),
    Method("bitfit", "BitFit", "bitfit"),
    Method("ia3", "IA3 (peft)", "peft", "_ia3"),
    Method("prompt", "prompts", "prompt"),
    Method("uniadapter_r128", "UniAdapter r=128", "uniadapter", "_r128"),
    Method("uniadapter_r512", "UniAdapter r=512", "uniadapter", "_r512"),
    Method("houlsby", "Houlsby r=512", "houlsby", "_r512"),
    Method("pfeiffer", "Pfeiffer r=512", "pfeiffer", "_r512"),
    Method("parallel_adapter", "parallel adapter r=512", "parallel_adapter", "_r512"),
    Method("st_adapter", "ST-Adapter r=512", "st_adapter", "_r512"),
    Method("mam", "MAM r=512", "mam", "_r512"),
    Method("lora", "LoRA r=512", "lora", "_r512"),
    Method("dora", "DoRA r=512 (peft)", "peft", "_dora_r512"),
    Method("ladder", "ladder side network", "ladder"),
    Method("unipt", "UniPT", "unipt", "_blip"),
)
#: What is trained on, the data set whose configs are taken, and what the table calls it.
TASKS = {"vqa": ("msrvttqa", "VQA"), "retrieval": ("flickr30k", "image retrieval")}
#: Paper, table 10: time and memory relative to full fine-tuning, on GPUs.
PAPER = {
    "uniadapter_r128": {"vqa": (0.44, 0.60), "retrieval": (0.81, 0.73)},
    "uniadapter_r512": {"vqa": (0.47, 0.61), "retrieval": (0.86, 0.76)},
}
#: Methods between two runs of full fine-tuning, by whose mean their figures are divided.
EVERY = 4
_FIGURES = ("seconds_per_step", "cpu_seconds_per_step", "peak_gib")


def _variant(method: Method, task: str, options: dict[str, Any], img_size: int | None) -> Variant:
    if method is FULL or method.folder == "linear_probe":
        options = {k: v for k, v in options.items() if not k.startswith("model.adapter")}
    return Variant(
        method.config(TASKS[task][0]),
        options,
        batch_size=4,
        frames=1,
        img_size=img_size,
    )


def measure_methods(
    names: Iterable[str],
    tasks: Iterable[str],
    options: dict[str, Any],
    img_size: int | None,
    steps: tuple[int, int, int],
) -> dict[str, Any]:
    """Measure training steps of methods, each in a process of its own.

    Full fine-tuning runs before the first, behind every fourth and behind the last, so that
    a machine that slows down meanwhile is seen, and every method is divided by the runs next to it.

    Args:
        names (Iterable[str]): Of :data:`METHODS`.
        tasks (Iterable[str]): Of :data:`TASKS`.
        options (dict): Changes of every config by dotted key (a smaller model).
        img_size (int, optional): Side in pixels. None: the configs'.
        steps (tuple): Measured steps, steps before them, threads.

    Returns:
        dict: By task: ``full``, the results of all runs of full fine-tuning, and ``methods`` by
        name: the result and its ``time``, ``cpu_time`` and ``memory`` relative to them.
    """
    chosen = [method for method in METHODS if method.name in set(names)]
    results: dict[str, Any] = {}
    for task in tasks:
        runs: dict[str, dict[str, Any]] = {}
        full: list[dict[str, Any]] = []
        beside: dict[str, int] = {}

        def run(method: Method, task: str = task) -> dict[str, Any]:
            print(f"{task}: {method.title}", file=sys.stderr)
            measured, warmup, threads = steps
            variant = _variant(method, task, options, img_size)
            return measure_apart(variant, measured, warmup, threads)

        for index, method in enumerate(chosen):
            if index % EVERY == 0:
                full.append(run(FULL))
            beside[method.name] = len(full) - 1
            runs[method.name] = run(method)
        full.append(run(FULL))
        for name, result in runs.items():
            pair = full[beside[name] : beside[name] + 2]
            for key, figure in zip(("time", "cpu_time", "memory"), _FIGURES, strict=True):
                result[key] = result[figure] / (sum(one[figure] for one in pair) / len(pair))
        results[task] = {"full": full, "methods": runs}
    return results


def as_table(results: dict[str, Any]) -> str:
    """Lay the results out as Markdown."""
    tasks = list(results)
    first = results[tasks[0]]["full"][0]
    head = ["method", "trained"]
    for task in tasks:
        title = TASKS[task][1]
        head += [f"{title}: time", "CPU time", "memory", "paper", "CPU s", "peak GiB"]
    lines = [
        f"{first['batch_size']} images of {first['img_size']}, {first['threads']} thread(s), torch "
        f"{first['torch']}; runs of full fine-tuning, CPU seconds a step: "
        + "; ".join(
            f"{TASKS[t][1]} "
            + ", ".join(f"{one['cpu_seconds_per_step']:.2f}" for one in results[t]["full"])
            for t in tasks
        ),
        "",
        "| " + " | ".join(head) + " |",
        "| --- " + "| ---: " * (len(head) - 1) + "|",
    ]
    cells = [FULL.title, _trained([results[t]["full"][0] for t in tasks])]
    for task in tasks:
        full = results[task]["full"]
        seconds = sum(one["cpu_seconds_per_step"] for one in full) / len(full)
        peak = sum(one["peak_gib"] for one in full) / len(full)
        cells += ["1", "1", "1", "", f"{seconds:.2f}", f"{peak:.2f}"]
    lines.append("| " + " | ".join(cells) + " |")
    for name in results[tasks[0]]["methods"]:
        rows = [results[t]["methods"][name] for t in tasks]
        cells = [next(m.title for m in METHODS if m.name == name), _trained(rows)]
        for task, row in zip(tasks, rows, strict=True):
            paper = PAPER.get(name, {}).get(task)
            cells += [f"{row[key]:.2f}" for key in ("time", "cpu_time", "memory")]
            cells.append("" if paper is None else f"{paper[0]:.2f}, {paper[1]:.2f}")
            cells += [f"{row['cpu_seconds_per_step']:.2f}", f"{row['peak_gib']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _trained(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['trainable']:,}" for row in rows)
