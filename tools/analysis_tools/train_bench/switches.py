"""A config's step with and without each fast path, on a CPU or a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from uniadapter.models.fast import FastPaths

from .measure import measure_apart
from .variant import Variant

#: What every row is divided by.
ALL = "all fast paths"
PLAIN = "none"


def switched(variant: Variant) -> dict[str, Variant]:
    """The variant with all fast paths, with each of them off, and with none, by name."""
    names = [field.name for field in fields(FastPaths)]

    def having(fast: Any) -> Variant:
        return replace(variant, options={**variant.options, "model.fast": fast})

    return {
        ALL: having(True),
        **{f"without {name}": having({name: False}) for name in names},
        PLAIN: having(False),
    }


def measure_switches(
    variant: Variant, precisions: Iterable[str], compiled: bool, steps: tuple[int, int, int]
) -> list[dict[str, Any]]:
    """Measure a variant in each precision with each choice of fast paths.

    Each in a process of its own; the first and the last process of a precision run with all of
    them, and rows are divided by their mean.

    Args:
        variant (Variant): What to run.
        precisions (Iterable[str]): ``'fp32'``, ``'bf16'``.
        compiled (bool): Whether to run all fast paths under torch.compile as well.
        steps (tuple): Measured steps, steps before them, threads.

    Returns:
        list[dict]: As ``measure_apart`` gives them, with ``name``, and ``time`` and
        ``memory`` relative to all fast paths.
    """
    measured, warmup, threads = steps
    rows = []
    for precision in precisions:
        chosen = switched(replace(variant, precision=precision))
        if compiled:
            chosen["all, torch.compile"] = replace(chosen[ALL], compiled=True)
        chosen[f"{ALL}, again"] = chosen[ALL]
        own = []
        for name, one in chosen.items():
            print(f"{precision}: {name}", file=sys.stderr)
            own.append({"name": name, **measure_apart(one, measured, warmup, threads, True)})
        first, last = own[0], own[-1]
        for row in own:
            for key, figure in (("time", "seconds_per_step"), ("memory", "peak_gib")):
                row[key] = row[figure] * 2 / (first[figure] + last[figure])
        rows += own
    return rows


def as_table(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as Markdown."""
    first = rows[0]
    lines = [
        f"{first['device']}, {first['threads']} thread(s), torch {first['torch']}: "
        f"{first['mode']}, {first['batch_size']} media x {first['frames']} frames x "
        f"{first['img_size']}, {first['text_length']} tokens a text",
        "",
        "| precision | fast paths | time | memory | s a step | peak GiB | waits | share |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        waits, share = row["synchronisations"], row["share_of_matmul_rate"]
        lines.append(
            f"| {row['precision']} | {row['name']} | {row['time']:.2f} | {row['memory']:.2f} | "
            f"{row['seconds_per_step']:.3f} | {row['peak_gib']:.2f} | "
            f"{'-' if waits is None else waits} | {'-' if share is None else f'{share:.0%}'} |"
        )
    return "\n".join(lines)
