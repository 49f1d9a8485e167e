"""GLUE's files in small: rows are drawn, columns as published."""

from __future__ import annotations

import random
from pathlib import Path

_MNLI = "\t".join(
    (
        *("index", "promptID", "pairID", "genre", "sentence1_binary_parse"),
        *("sentence2_binary_parse", "sentence1_parse", "sentence2_parse", "sentence1", "sentence2"),
    )
)
# Header, what stands in a row ({a}, {b} texts, {y} label, {i} index) of labelled and of test files.
FORMS: dict[str, tuple[str, str, str, str, str]] = {
    "cola": ("CoLA", "", "gj04\t{y}\t*\t{a}", "index\tsentence", "{i}\t{a}"),
    "sst2": ("SST-2", "sentence\tlabel", "{a}\t{y}", "index\tsentence", "{i}\t{a}"),
    "mrpc": (
        "MRPC",
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{y}\t702\t703\t{a}\t{b}",
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{i}\t702\t703\t{a}\t{b}",
    ),
    "qqp": (
        "QQP",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "{i}\t1\t2\t{a}\t{b}\t{y}",
        "id\tquestion1\tquestion2",
        "{i}\t{a}\t{b}",
    ),
    "mnli": (
        "MNLI",
        f"{_MNLI}\tlabel1\tgold_label",
        "{i}\tp\tq\tfiction\t( x )\t( y )\t(X)\t(Y)\t{a}\t{b}\tneutral\t{y}",
        _MNLI,
        "{i}\tp\tq\tfiction\t( x )\t( y )\t(X)\t(Y)\t{a}\t{b}",
    ),
    "qnli": (
        "QNLI",
        "index\tquestion\tsentence\tlabel",
        "{i}\t{a}\t{b}\t{y}",
        "index\tquestion\tsentence",
        "{i}\t{a}\t{b}",
    ),
    "rte": (
        "RTE",
        "index\tsentence1\tsentence2\tlabel",
        "{i}\t{a}\t{b}\t{y}",
        "index\tsentence1\tsentence2",
        "{i}\t{a}\t{b}",
    ),
    "stsb": (
        "STS-B",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "{i}\tnews\tf\t2012\t0\tnone\tnone\t{a}\t{b}\t{y}",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "{i}\tnews\tf\t2012\t0\tnone\tnone\t{a}\t{b}",
    ),
}
LABELS = {
    "mnli": ["contradiction", "entailment", "neutral"],
    "qnli": ["entailment", "not_entailment"],
    "rte": ["entailment", "not_entailment"],
}
# The label columns of a development file of MNLI are more.
_DEV_LABELS = "\tlabel2\tlabel3\tlabel4\tlabel5"


def text_of(task: str, part: str, row: int, side: str) -> str:
    """A text that tells where it stands; some have quotes that have no end."""
    quote = '"' if row % 3 == 0 else ""
    return f"{quote}{task} {part} {row} {side}"


def label_of(task: str, drawn: random.Random) -> str:
    if task == "stsb":
        return f"{drawn.uniform(0, 5):.3f}"
    return drawn.choice(LABELS.get(task, ["0", "1"]))


def write_glue(
    root: Path, task: str, train: int = 12, dev: int = 7, test: int = 5, seed: int = 0
) -> dict[str, list[str]]:
    """Write the files of a task and return the labels by file."""
    folder, header, form, test_header, test_form = FORMS[task]
    drawn, labels = random.Random(seed), {}
    (root / folder).mkdir(parents=True, exist_ok=True)
    sizes = {"train": train, "dev": dev, "test": test}
    if task == "mnli":
        sizes = {"train": train}
        sizes |= {
            f"{part}_{kind}": n
            for part, n in (("dev", dev), ("test", test))
            for kind in ("matched", "mismatched")
        }
    for part, size in sizes.items():
        testing = part.startswith("test")
        head, body = (test_header, test_form) if testing else (header, form)
        if task == "mnli" and part.startswith("dev"):
            head = head.replace("label1", f"label1{_DEV_LABELS}")
            body = body.replace("\tneutral", "\tneutral" * 5)
        labels[part] = [label_of(task, drawn) for _ in range(size)]
        rows = [
            body.format(
                i=row, a=text_of(task, part, row, "a"), b=text_of(task, part, row, "b"), y=label
            )
            for row, label in enumerate(labels[part])
        ]
        lines = "\n".join([head, *rows] if head else rows) + "\n"
        # The files begin with a byte order mark or not, and so should not matter.
        mark = "\ufeff" if task == "mrpc" else ""
        (root / folder / f"{part}.tsv").write_text(mark + lines, encoding="utf-8")
    return labels
