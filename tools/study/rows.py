"""The rows of the study, and the tables of the paper they belong to: data, nothing else.

A row is a config of the paper's size (``configs/<leaf>.py``); ``scale.py`` makes its small twin, so
nothing of a method is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from tools.study import vl

#: Tasks in the order they are run: those of the paper's tables, and those that are run on request.
PAPER_TASKS = ("retrieval", "videoqa")
TASKS = (*PAPER_TASKS, "easy_vqa", *vl.VL_TASKS)


@dataclass(frozen=True)
class Row:
    """A method with its options on a task.

    Attributes:
        task: One of :data:`TASKS`.
        name: Its name in the study, unique in the task.
        leaf: The config of the paper's size, relative to ``configs/`` and without ``.py``.
        family: Rows of one family share the learning rate that is best for the first of them.
        curve: Whether it is tested on the held-out split during training too (figure 3b).
    """

    task: str
    name: str
    leaf: str
    family: str
    curve: bool = False

    @property
    def key(self) -> str:
        """Its name with the task's, as ``--rows`` matches it."""
        return f"{self.task}/{self.name}"


@dataclass(frozen=True)
class Table:
    """A table of the paper, or one beside it.

    Attributes:
        name: Its name for ``report``'s marks and headings.
        title: What it compares.
        task: The task whose results it shows.
        rows: Label and name of each row, in order.
        paper: Whether the paper prints it.
    """

    name: str
    title: str
    task: str
    rows: tuple[tuple[str, str], ...]
    paper: bool = True


_PARTS = ("no_sharing", "no_query_residual")
_SHARED = (("down_up", "down+up"), ("down", "down"), ("up", "up"))
_SHARED_LAYERS = (("9_12", "9-12"), ("5_12", "5-12"), ("1_4_9_12", "1-4, 9-12"))

_RETRIEVAL = (
    ("uniadapter_r512", "ablation/didemo_sharing_down", "uniadapter"),
    ("full_finetune", "ablation/didemo_full_finetune", "full_finetune"),
    ("adapter_r512", "ablation/didemo_r512_no_pfa", "adapter"),
    ("linear_probe", "ablation/didemo_linear_probe", "linear_probe"),
    ("lora_r512", "lora/didemo_r512", "lora"),
    ("parallel_adapter_r512", "parallel_adapter/didemo_r512", "parallel"),
    ("unipt", "unipt/didemo_blip", "unipt"),
    ("st_adapter_r512", "st_adapter/didemo_r512", "parallel"),
    ("mam_r512", "mam/didemo_r512", "parallel"),
    ("uniadapter_r128", "ablation/didemo_r128", "uniadapter"),
    ("adapter_r128", "ablation/didemo_r128_no_pfa", "adapter"),
    *(
        (f"uniadapter_{r}_{part}", f"ablation/didemo_{r}_{part}", "uniadapter")
        for r in ("r512", "r128")
        for part in _PARTS
    ),
    *((f"towers_{t}", f"ablation/didemo_towers_{t}", "adapter") for t in ("v", "t", "vt", "c")),
    *(
        (f"sharing_{s}", f"ablation/didemo_sharing_{s}", "uniadapter")
        for s in ("none", "up", "down_up")
    ),
    *(
        (f"query_residual_{w}", f"ablation/didemo_query_residual_{w}", "adapter")
        for w in ("own", "shared")
    ),
    ("textual_branch_off", "ablation/didemo_textual_branch_off", "uniadapter"),
    *(
        (f"layers_{la}", f"ablation/didemo_layers_{la}", "uniadapter")
        for la in ("1_4", "5_8", "9_12", "5_12")
    ),
    *((f"uniadapter_{r}", f"ablation/didemo_{r}", "uniadapter") for r in ("r64", "r256", "r768")),
    *(
        (f"sharing_{s}_layers_{la}", f"ablation/didemo_sharing_{s}_layers_{la}", "uniadapter")
        for s, _ in _SHARED
        for la, _ in _SHARED_LAYERS
    ),
    ("houlsby_r512_tied", "houlsby/didemo_r512_tied", "houlsby"),
)
_VIDEOQA = (
    ("uniadapter_r512", "ablation/msrvttqa_sharing_down", "uniadapter"),
    ("full_finetune", "ablation/msrvttqa_full_finetune", "full_finetune"),
    ("adapter_r512", "ablation/msrvttqa_r512_no_query_residual", "adapter"),
    ("linear_probe", "ablation/msrvttqa_linear_probe", "linear_probe"),
    ("lora_r512", "lora/msrvttqa_r512", "lora"),
    ("parallel_adapter_r512", "parallel_adapter/msrvttqa_r512", "parallel"),
    ("unipt", "unipt/msrvttqa_blip", "unipt"),
    ("st_adapter_r512", "st_adapter/msrvttqa_r512", "parallel"),
    ("mam_r512", "mam/msrvttqa_r512", "parallel"),
    ("uniadapter_r128", "ablation/msrvttqa_r128", "uniadapter"),
    ("adapter_r128", "ablation/msrvttqa_r128_no_query_residual", "adapter"),
    ("uniadapter_r512_no_sharing", "ablation/msrvttqa_r512_no_sharing", "uniadapter"),
    ("uniadapter_r128_no_sharing", "ablation/msrvttqa_r128_no_sharing", "uniadapter"),
    *(
        (f"sharing_{s}", f"ablation/msrvttqa_sharing_{s}", "uniadapter")
        for s in ("none", "up", "down_up")
    ),
)
_EASY_VQA = (
    ("linear_probe", "easy_vqa/linear_probe", "linear_probe"),
    ("uniadapter_r64", "easy_vqa/r64", "uniadapter"),
    ("full_finetune", "easy_vqa/full_finetune", "full_finetune"),
)
_LISTED = {"retrieval": _RETRIEVAL, "videoqa": _VIDEOQA, "easy_vqa": _EASY_VQA, **vl.LISTED}
_CURVES = ("uniadapter_r512", "adapter_r512", "full_finetune")

ROWS = tuple(
    Row(task, name, leaf, family, task == "retrieval" and name in _CURVES)
    for task, listed in _LISTED.items()
    for name, leaf, family in listed
)


def _components(task: str) -> tuple[tuple[str, str], ...]:
    """Table 2; without PFA its UniAdapter is the plain Adapter, and VideoQA has no PFA."""
    rows = [("Linear probe", "linear_probe"), ("Full fine-tuning", "full_finetune")]
    for r in ("r128", "r512"):
        rows += [
            (f"Adapter, {r[1:]}", f"adapter_{r}"),
            (f"UniAdapter, {r[1:]}", f"uniadapter_{r}"),
            ("- without sharing", f"uniadapter_{r}_no_sharing"),
        ]
        if task == "retrieval":
            rows.append(("- nor query residual", f"uniadapter_{r}_no_query_residual"))
        last = (
            "- nor PFA (= Adapter)" if task == "retrieval" else "- nor query residual (= Adapter)"
        )
        rows.append((last, f"adapter_{r}"))
    return tuple(rows)


_SHARING_ROWS = (
    ("none", "sharing_none"),
    ("down", "uniadapter_r512"),
    ("up", "sharing_up"),
    ("up and down", "sharing_down_up"),
)
_METHOD_ROWS = (
    ("LoRA", "lora_r512"),
    ("Adapter", "adapter_r512"),
    ("ST-Adapter", "st_adapter_r512"),
    ("Parallel Adapter", "parallel_adapter_r512"),
    ("MAM Adapter", "mam_r512"),
    ("UniAdapter", "uniadapter_r512"),
)
_BESIDE = (
    ("linear probe", "linear_probe"),
    ("UniPT", "unipt"),
    ("LoRA", "lora_r512"),
    ("UniAdapter", "uniadapter_r512"),
    ("full fine-tuning", "full_finetune"),
)

TABLES = (
    Table(
        "table 1",
        "where Adapter is inserted (r=512)",
        "retrieval",
        (
            ("V", "towers_v"),
            ("T", "towers_t"),
            ("V, T", "towers_vt"),
            ("C", "towers_c"),
            ("V, T, C", "adapter_r512"),
        ),
    ),
    Table("table 2, retrieval", "components", "retrieval", _components("retrieval")),
    Table("table 2, VideoQA", "components", "videoqa", _components("videoqa")),
    Table("table 3, retrieval", "what is shared", "retrieval", _SHARING_ROWS),
    Table("table 3, VideoQA", "what is shared", "videoqa", _SHARING_ROWS),
    Table(
        "table 4, retrieval",
        "methods (r=512)",
        "retrieval",
        (*_METHOD_ROWS, ("Adapter, read as Houlsby's, tied", "houlsby_r512_tied")),
    ),
    Table("table 4, VideoQA", "methods (the paper has retrieval only)", "videoqa", _METHOD_ROWS),
    Table(
        "table 12",
        "layers that share",
        "retrieval",
        tuple(
            (f"{layers}: {what}", f"sharing_{s}_layers_{la}")
            for la, layers in _SHARED_LAYERS
            for s, what in _SHARED
        )
        + (
            ("1-12: down+up", "sharing_down_up"),
            ("1-12: down", "uniadapter_r512"),
            ("1-12: up", "sharing_up"),
        ),
    ),
    Table(
        "table 13",
        "query residual of Adapter",
        "retrieval",
        (
            ("none", "adapter_r512"),
            ("own weights", "query_residual_own"),
            ("shared", "query_residual_shared"),
        ),
    ),
    Table(
        "table 14",
        "textual up-projection in the cross-modal one",
        "retrieval",
        (("without", "textual_branch_off"), ("with", "uniadapter_r512")),
    ),
    Table(
        "table 15",
        "adapted layers",
        "retrieval",
        (
            ("1-4", "layers_1_4"),
            ("5-8", "layers_5_8"),
            ("9-12", "layers_9_12"),
            ("5-12", "layers_5_12"),
            ("1-12", "uniadapter_r512"),
        ),
    ),
    Table(
        "figure 3a",
        "bottleneck r",
        "retrieval",
        tuple((str(r), f"uniadapter_r{r}") for r in (64, 128, 256, 512, 768)),
    ),
    Table(
        "easy-VQA",
        "methods at their own best learning rate and length",
        "easy_vqa",
        (
            ("linear probe", "linear_probe"),
            ("UniAdapter, r=64", "uniadapter_r64"),
            ("full fine-tuning", "full_finetune"),
        ),
        paper=False,
    ),
    Table("UniPT, retrieval", "UniPT beside others", "retrieval", _BESIDE, paper=False),
    Table("UniPT, VideoQA", "UniPT beside others", "videoqa", _BESIDE, paper=False),
    *(
        Table(
            f"VL-Adapter, {vl.NAMES[task]}",
            "methods, learned jointly",
            task,
            tuple((vl.LABELS[name], name) for name, *_ in listed),
        )
        for task, listed in vl.LISTED.items()
    ),
)


def find(key: str) -> Row:
    """The row of a task and name.

    Raises:
        ValueError: If there is none.
    """
    for row in ROWS:
        if row.key == key:
            return row
    raise ValueError(f"{key}: no such row; `tools/study/run.py list` names all.")


def chooser_of(row: Row) -> Row:
    """The row that chooses the learning rate of a row's family: the first of the family's."""
    family = (row.task, row.family)
    return next(one for one in ROWS if (one.task, one.family) == family)


def matching(pattern: str) -> list[Row]:
    """Rows whose task and name, or name alone, match a pattern such as ``retrieval/sharing_*``.

    Raises:
        ValueError: If none does.
    """
    found = [row for row in ROWS if fnmatchcase(row.key, pattern) or fnmatchcase(row.name, pattern)]
    if not found:
        raise ValueError(f"--rows {pattern}: matches no row; `tools/study/run.py list` names all.")
    return found
