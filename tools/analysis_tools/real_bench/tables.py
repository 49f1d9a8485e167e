"""Tables of the page, from the files of results."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.study.claims import differences, half_interval
from uniadapter.datasets.readers import read_json
from uniadapter.utils.safe_io import atomic_write

TITLES = {
    "zero_shot": "frozen, by the names of ImageNet's classes",
    "ridge": "frozen, ridge regression",
    "sum": "frozen, both scores added",
    "names_and_ridge": "frozen, ridge regression of what the names leave",
    "linear_probe": "linear probe",
    "uniadapter": "UniAdapter",
    "houlsby": "Houlsby",
    "lora": "LoRA",
    "unipt": "UniPT beside the embeddings",
    "real_vse": "UniPT in VSE-infinity's form",
    "full_finetune": "full fine-tuning",
}
#: The row that the others are compared with, split by split.
PROBE = "linear_probe"
COLUMNS = ("t2i/R1", "t2i/R5", "t2i/R10", "i2t/R1", "i2t/R5", "i2t/R10", "mean")


def chosen_runs(runs: dict[str, Any], row: str) -> tuple[str, dict[int, dict[str, Any]]]:
    """The runs of a row that count, by split, and the learning rate they have.

    Args:
        runs (dict): Results by ``row/split`` or ``row/split/rate``.
        row (str): The row.

    Returns:
        tuple: The rate as a text, empty where nothing is trained; and the results by split.
    """
    own = {tuple(key.split("/")[1:]): run for key, run in runs.items() if key.split("/")[0] == row}
    first = {key[1]: run for key, run in own.items() if key[0] == "0" and len(key) > 1}
    # As in Study.run, the lowest of several that are best.
    rate = max(sorted(first, key=float), key=lambda r: first[r]["val"]["mean"], default="")
    found = {int(key[0]): run for key, run in own.items() if key[1:] == ((rate,) if rate else ())}
    return rate, dict(sorted(found.items()))


def ahead(found: dict[int, dict[str, Any]], probe: dict[int, dict[str, Any]]) -> str:
    """How far the mean of a row's recalls is above the linear probe's on the same splits.

    All rows have the same splits, which differ more than rows do: only paired differences tell.

    Args:
        found (dict): The row's results by split.
        probe (dict): The linear probe's.

    Returns:
        str: Their mean with the 95 % interval of Student's t over the splits that both have; "-" of
        the linear probe itself, and where no split is common.
    """
    means = [{n: run["test"]["mean"] for n, run in side.items()} for side in (found, probe)]
    gaps = differences(*means)
    if not gaps or found == probe:
        return "-"
    half = half_interval(gaps)
    return f"{statistics.mean(gaps):+.1f}" + ("" if half is None else f" ± {half:.1f}")


def table(runs: dict[str, Any]) -> str:
    """Markdown: mean and spread (standard deviation) over the splits, one line a row.

    Behind the mean stands what :func:`ahead` says of it.
    """
    lines = [
        "| row | trained | rate | splits | text to image R@1 | R@5 | R@10 | image to text R@1 "
        "| R@5 | R@10 | mean | to the linear probe | s |",
        "| --- " + "| ---: " * 12 + "|",
    ]
    probe = chosen_runs(runs, PROBE)[1]
    for row, title in TITLES.items():
        rate, by_split = chosen_runs(runs, row)
        found = list(by_split.values())
        if not found:
            continue
        cells = [title, f"{found[0]['trainable']:,}", rate or "-", str(len(found))]
        for column in COLUMNS:
            values = [run["test"][column] for run in found]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        seconds = statistics.mean(run["cpu_seconds"] for run in found)
        lines.append("| " + " | ".join([*cells, ahead(by_split, probe), f"{seconds:.0f}"]) + " |")
    return "\n".join(lines)


def write_page(page: Path, results: Path, made: Mapping[str, str]) -> None:
    """Write the tables of all results between the page's marks, ``<!-- table:NAME -->``.

    Args:
        page (Path): The page; where it has no marks of a collection, that table is printed.
        results (Path): Folder of the results.
        made (Mapping[str, str]): What runs have to be of, by row (``study.made_of``): those of
            another config are left out and named.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    for path in sorted(results.glob("*.json")):
        runs = read_json(str(path))["runs"]
        valid = {key: r for key, r in runs.items() if r["made"] == made.get(key.split("/")[0])}
        stale = sorted({key.split("/")[0] for key in set(runs) - set(valid)})
        if stale:
            print(f"{path}: runs of other configs are left out: {', '.join(stale)}")
        shown = table(valid)
        begin, end = f"<!-- table:{path.stem} -->", f"<!-- /table:{path.stem} -->"
        print(f"\n{path.stem}\n{shown}")
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, t=shown, b=begin, e=end: f"{b}\n\n{t}\n\n{e}", text)
    if page.is_file():
        atomic_write(page, text.encode())
