"""The study's results as Markdown, between the marks of docs/study.md."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

from tools.study import vl
from tools.study.blind import blind
from tools.study.claims import CLAIMS, FAR, LEVEL, differences, half_interval, spread, verdict
from tools.study.plan import plan
from tools.study.results import FIRST_SEED, Store, score
from tools.study.rows import PAPER_TASKS, ROWS, TABLES, Row, Table, chooser_of, find
from tools.study.trials import RATES, ROOT, Setting, Trial, config_of
from uniadapter.utils.model_index import read_metafile
from uniadapter.utils.safe_io import atomic_write

BEGIN = "<!-- results: written by tools/study/run.py tables -->"
END = "<!-- end of results -->"
RETRIEVAL = {"R@1": "t2v/R1", "R@5": "t2v/R5", "R@10": "t2v/R10", "R@Mean": "t2v/RMean"}
RETRIEVAL["sum"] = "rsum"
#: Names of measures in tables, and in results; the one that the paper's order is about comes first.
MEASURES = {
    "retrieval": RETRIEVAL,
    "videoqa": {"accuracy": "accuracy"},
    "easy_vqa": {
        "accuracy": "accuracy",
        **{kind: f"question_type/{kind}" for kind in ("color", "shape")},
        "yes/no": "question_type/yes_no",
    },
    **vl.MEASURES,
}
MAIN = {"retrieval": "R@Mean", "videoqa": "accuracy", "easy_vqa": "accuracy"}
MAIN |= dict.fromkeys(vl.VL_TASKS, "Average")
NAMES = {"retrieval": "video retrieval", "videoqa": "VideoQA", "easy_vqa": "easy-VQA", **vl.NAMES}
#: Pages, and the tasks whose results they show.
PAGES = {"study.md": PAPER_TASKS, "easy_vqa.md": ("easy_vqa",), "vl_adapter.md": vl.VL_TASKS}


#: Figures of the paper's tasks and of VL-Adapter's (``figures.py``), and what they show.
PICTURES = {
    "study_parameters.png": "R@Mean and accuracy against trained parameters",
    "study_steps.png": "R@Mean on the held-out videos against training steps",
    "study_cost.png": "Time and memory of a step relative to full fine-tuning",
}
VL_PICTURES = {"vl_adapter_parameters.png": "Average of the tasks against trained parameters"}
#: What a claim on VL-Adapter's rows is held against.
RULE = (
    f'"Level" is that the averages differ by less than {LEVEL:g} points, "far behind" by more than '
    f"{FAR:g}, anything else is a difference above 0. A claim holds where the whole 95 % interval "
    "of the paired difference is in there, does not hold where none of it is, and cannot be told "
    "otherwise."
)


class Report:
    """Results of a store for some seeds and tasks, each read once."""

    def __init__(self, store: Store, seeds: Sequence[int], tasks: Sequence[str]) -> None:
        self.store, self.seeds, self.tasks = store, list(seeds), list(tasks)
        self.rows = [row for row in ROWS if row.task in self.tasks]
        self._rows: dict[Row, dict[int, dict[str, Any]]] = {}

    def results(self, row: Row) -> dict[int, dict[str, Any]]:
        """Results of a row by seed."""
        if row not in self._rows:
            self._rows[row] = self.store.of_row(row, self.seeds)
        return self._rows[row]

    def values(self, row: Row, measure: str) -> dict[int, float]:
        """A measure of a row by seed, where its training did not diverge."""
        found = self.results(row).items()
        return {seed: result["test"][measure] for seed, result in found if "test" in result}

    def trained(self, row: Row) -> int | None:
        """Trained parameters; None without a result."""
        counts = [result["parameters"] for result in self.results(row).values()]
        return counts[0]["trainable"] if counts else None

    def costs(self, row: Row, key: str) -> list[float]:
        """A cost of a row's trials with all rates and seeds: the rate does not change it."""
        tried = self.store.rate_results(row) if chooser_of(row) == row else {}
        later = [result for seed, result in self.results(row).items() if seed != FIRST_SEED]
        first = [*tried.values()] or [r for s, r in self.results(row).items() if s == FIRST_SEED]
        return [result[key] for result in first + later if result.get(key) is not None]


@cache
def _published() -> dict[str, dict[str, Any]]:
    """The paper's metrics of every config that has them."""
    found = {}
    for path in sorted((ROOT / "configs").glob("*/metafile.yml")):
        for model in read_metafile(path)["Models"]:
            for result in model.get("Results") or []:
                if str(result.get("Source", "")).startswith("paper"):
                    found.setdefault(model["Config"], result["Metrics"])
    return found


def published(row: Row, measure: str) -> float | None:
    """The paper's figure of a row, as the metafile of its config quotes it."""
    return _published().get(f"configs/{row.leaf}.py", {}).get(measure)


@cache
def _blind(row: Row, setting: Setting) -> dict[str, float] | None:
    """What answers reach without a picture; None where the data are not there."""
    try:
        return blind(config_of(Trial(row, FIRST_SEED, RATES[0], 1), setting))
    except FileNotFoundError:
        return None


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(names: Sequence[str], left: int) -> list[str]:
    return [_line(names), _line(["---"] * left + ["---:"] * (len(names) - left))]


def table(report: Report, one: Table) -> str:
    """One of the tables, with a line for each of its rows."""
    measures = MEASURES[one.task]
    paper = [name for name in ("R@1", "R@Mean", "accuracy", "Average") if name in measures]
    paper = paper if one.task in (*PAPER_TASKS, *vl.VL_TASKS) else []
    several = len(report.store.setting.lengths(one.task)) > 1
    names = ["row", *(f"{name} (paper)" for name in paper), *measures, "trained", "rate"]
    lines = _head([*names, *(["steps"] if several else []), "seeds"], 1)
    if one.task in vl.VL_TASKS:
        lines.append(_line(_blind_cells(report, one.task)))
    for label, name in one.rows:
        row = find(f"{one.task}/{name}")
        quoted = [published(row, measure) for measure in paper]
        values = [list(report.values(row, key).values()) for key in measures.values()]
        chosen, trained = report.store.chosen(row), report.trained(row)
        cells = [label, *("-" if figure is None else f"{figure:.1f}" for figure in quoted)]
        cells += [spread(found) for found in values]
        cells.append("-" if trained is None else f"{trained:,}")
        cells += ["-", "-"] if chosen is None else [f"{chosen[0]:g}", f"{chosen[1]:,}"]
        cells = cells if several else cells[:-1]
        lines.append(_line([*cells, str(len(values[0]))]))
    what = "" if one.paper else " (not in the paper)"
    return f"### {one.name[0].upper()}{one.name[1:]}: {one.title}{what}\n\n" + "\n".join(lines)


def _blind_cells(report: Report, task: str) -> list[str]:
    """The line of answers that are given without a picture."""
    found = _blind(find(f"{task}/single"), report.store.setting) or {}
    values = (found.get(key) for key in MEASURES[task].values())
    said = ["-" if value is None else f"{value:.1f}" for value in values]
    return ["no picture, constants of training", "-", *said, "0", "-", "-"]


def rates(report: Report) -> str:
    """How the learning rates of the families were chosen."""
    parts = []
    for task in report.tasks:
        first, *further = report.store.setting.lengths(task)
        names = [f"{rate:g}" for rate in RATES] + ["taken", "at the edge"]
        lines = _head(["family", *names, *(f"{steps:,} steps" for steps in further)], 1)
        for row in (row for row in report.rows if row.task == task and chooser_of(row) == row):
            tried = report.store.rate_results(row)
            rate = report.store.chosen_rate(row)
            cells = [_cell(tried.get(one), task) for one in RATES]
            edge = "" if rate is None else "yes" if rate in (min(RATES), max(RATES)) else "no"
            cells += ["-" if rate is None else f"{rate:g}", edge]
            longer = {} if rate is None else report.store.length_results(row, rate)
            cells += [_cell(longer.get(steps), task) for steps in further]
            lines.append(_line([row.family, *cells]))
        name = NAMES[task][0].upper() + NAMES[task][1:]
        title = f"{name}: {MAIN[task]} on the held-out split, by rate"
        parts.append(f"**{title}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _cell(result: dict[str, Any] | None, task: str) -> str:
    if result is None:
        return "-"
    return f"{score(result, task):.1f}" if "val" in result else "diverged"


def claims(report: Report) -> str:
    """The paper's order of rows, and what is seen of it here."""
    lines = _head(["table", "the paper's order", "paper", "here", "seeds", "here it"], 2)
    for claim in (claim for claim in CLAIMS if claim.task in report.tasks):
        better, worse = (find(f"{claim.task}/{name}") for name in (claim.better, claim.worse))
        measure = MAIN[claim.task]
        key = MEASURES[claim.task][measure]
        gaps = differences(report.values(better, key), report.values(worse, key))
        half = half_interval(gaps)
        here = (
            "-" if not gaps else f"{mean(gaps):+.1f}" + ("" if half is None else f" ± {half:.1f}")
        )
        figures = published(better, measure), published(worse, measure)
        printed = "-" if None in figures else f"{figures[0] - figures[1]:+.1f}"
        seeds = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
        place = ", ".join(part for part in (claim.table, NAMES[claim.task]) if part)
        said = verdict(gaps, claim.above, claim.below)
        lines.append(_line([place, claim.text, printed, here, seeds if gaps else "-", said]))
    return "\n".join(lines)


COST_ROWS = (
    ("linear probe", "linear_probe"),
    ("UniAdapter, 128", "uniadapter_r128"),
    ("UniAdapter, 512", "uniadapter_r512"),
    ("Adapter, 512", "adapter_r512"),
    ("LoRA, 512", "lora_r512"),
    ("Parallel Adapter, 512", "parallel_adapter_r512"),
    ("UniPT", "unipt"),
    ("full fine-tuning", "full_finetune"),
)


def relative(report: Report, row: Row, key: str) -> float | None:
    """Median of a cost relative to full fine-tuning's; None where one of them is missing."""
    own, full = (report.costs(one, key) for one in (row, find(f"{row.task}/full_finetune")))
    return median(own) / median(full) if own and full and median(full) else None


def costs(report: Report) -> str:
    """Time and memory of a step relative to full fine-tuning (table 10)."""
    tasks = ("videoqa", "retrieval")
    names = [f"{NAMES[task]}: {what}" for task in tasks for what in ("time", "memory")]
    lines = _head(["row", *names, "trials"], 1)
    for label, name in COST_ROWS:
        cells, trials = [label], []
        for task in tasks:
            row = find(f"{task}/{name}")
            found = [relative(report, row, key) for key in ("step_cpu_seconds", "step_bytes")]
            cells += ["-" if value is None else f"{value:.2f}" for value in found]
            trials.append(str(len(report.costs(row, "step_cpu_seconds"))))
        lines.append(_line([*cells, " + ".join(trials)]))
    return "\n".join(lines)


def state(report: Report) -> str:
    """What is finished, and what is missing."""
    jobs = plan(report.rows, report.seeds, report.store.setting)
    firsts = [job for job in jobs if job.seed == FIRST_SEED]
    trials = {job.trial(report.store) for job in jobs} - {None}
    results = [report.store.read(trial) for trial in trials if trial is not None]
    done = [result for result in results if result is not None]
    rows = sum(len(report.results(row)) for row in report.rows)
    seconds = [result["cpu_seconds"] for result in done]
    wanted = len(report.rows) * len(report.seeds)
    text = f"**State**: {rows} of {wanted} rows with a seed are finished"
    if seconds:
        # The trial whose rate was taken is its row's result with the first seed.
        twice = sum(not job.chooses and chooser_of(job.row) == job.row for job in firsts)
        text += f"; {len(done)} of {len(jobs) - twice} trials with those that choose rates, "
        text += f"{sum(seconds) / 60:.0f} CPU minutes, {median(seconds):.0f} s the median one"
    missing: dict[str, list[str]] = {}
    for row in report.rows:
        seeds = [str(seed) for seed in report.seeds if seed not in report.results(row)]
        missing.setdefault(", ".join(seeds), []).append(row.key)
    for seeds, keys in missing.items():
        if seeds:
            text += f". Without seeds {seeds}: {', '.join(keys)}"
    text += "."
    folders = [report.store.folder / task for task in report.tasks]
    stale = sum(1 for folder in folders for _ in folder.rglob("seed*.json")) - len(done)
    return text + (f" {stale} files are of another config or data and left out." if stale else "")


def page_text(report: Report, images: Path) -> str:
    """Everything between the marks: of the paper's tasks with its order and what rows cost.

    Args:
        report: The results.
        images: Folder of figures beside the page; those that are drawn are shown.
    """
    parts = [state(report), "### Learning rates", rates(report)]
    whole, several = set(PAPER_TASKS) <= set(report.tasks), set(vl.VL_TASKS) <= set(report.tasks)
    if whole or several:
        parts += ["### The paper's order, here", *([RULE] if several else []), claims(report)]
        pictures = {**(PICTURES if whole else {}), **(VL_PICTURES if several else {})}
        drawn = {name: text for name, text in pictures.items() if (images / name).is_file()}
        parts += [f"![{text}]({images.name}/{name})" for name, text in drawn.items()]
    parts += [table(report, one) for one in TABLES if one.task in report.tasks]
    if whole:
        parts += ["### Time and memory relative to full fine-tuning (table 10)", costs(report)]
    return "\n\n".join(parts)


def write_page(report: Report, path: Path) -> None:
    """Write the results into a page between its marks.

    Raises:
        ValueError: When the page does not hold both marks once, in order.
    """
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(END) < page.index(BEGIN):
        raise ValueError(f"{path} must hold the lines {BEGIN!r} and {END!r} once each, in order.")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    atomic_write(
        path,
        f"{before}{BEGIN}\n\n{page_text(report, path.parent / 'images')}\n\n{END}{after}".encode(),
    )
