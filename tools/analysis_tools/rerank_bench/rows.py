"""The rows of the table: what each measures and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .compare import order_errors, score_errors
from .measure import Measured

#: Largest difference of scores that counts as equal in float32.
EQUAL = 1e-4
#: In bf16 two scores are a near-tie if they are nearer than this share of the scores' standard
#: deviation, or than two that the naive way swaps when it runs in bf16 itself.
NEAR_TIE = 0.1


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: Its name on the command line.
        case: Which measurement it reads.
        precision: Of the package; the naive way is always float32.
        bound: Least ratio of naive to the package's seconds.
        what: What is measured, for the table.
    """

    name: str
    case: str
    precision: str
    bound: float
    what: str


ROWS = (
    Row("video_released", "released", "fp32", 10, "one video, PFA released, fp32"),
    Row("video_paper", "paper", "fp32", 10, "one video, PFA paper, fp32"),
    Row("video_released_35", "released_35", "fp32", 6, "the same, texts of 35 tokens, released"),
    Row("video_paper_35", "paper_35", "fp32", 6, "the same, texts of 35 tokens, paper"),
    Row("video_released_bf16", "released", "bf16", 25, "one video, PFA released, bf16"),
    Row("video_paper_bf16", "paper", "bf16", 25, "one video, PFA paper, bf16"),
    Row("image", "image", "fp32", 4, "one image, fp32"),
    Row("image_bf16", "image", "bf16", 12, "one image, bf16"),
    Row("albef", "albef", "fp32", 6, "four images, ALBEF, fp32"),
    Row("evaluation", "evaluation", "fp32", 12, "whole evaluation, both directions, fp32"),
)


def finished_row(
    row: Row, measured: Measured, rates: dict[str, float], threads: int
) -> dict[str, Any]:
    """Put a row's figures together.

    Args:
        row (Row): The row.
        measured (Measured): Its measurement.
        rates (dict[str, float]): Operations a second of the matrix product by precision.
        threads (int): Threads that were used.

    Returns:
        dict: Ready for JSON.
    """
    naive, ours = measured.naive_median(), measured.median(row.precision)
    scores = measured.scores[row.precision]
    result: dict[str, Any] = {
        "name": row.name,
        "what": row.what,
        "bound": row.bound,
        "ratio": naive / ours,
        "naive_seconds": naive,
        "seconds": ours,
        "all_naive_seconds": measured.naive_seconds,
        "all_seconds": measured.seconds[row.precision],
        **score_errors(measured.naive_scores, scores),
        "precision": row.precision,
        "threads": threads,
        "texts": len(measured.lengths),
        "mean_text_tokens": sum(measured.lengths) / len(measured.lengths),
        "longest_text_tokens": max(measured.lengths),
        "visual_tokens": measured.tokens,
        "naive_chunk": measured.chunk,
    }
    equal = result["max_error"] <= EQUAL
    if measured.naive_bf16 is not None and row.precision == "bf16":
        result.update(order_errors(measured.naive_scores[0], scores[0]))
        own = order_errors(measured.naive_scores[0], measured.naive_bf16)
        result["naive_bf16_swapped"] = own["swapped"]
        result["naive_bf16_swapped_gap"] = own["swapped_gap"]
        near = max(NEAR_TIE * result["score_std"], own["swapped_gap"])
        equal = result["swapped_gap"] <= near
    result["gflop"] = measured.operations / 1e9
    result["naive_gflop"] = measured.naive_operations / 1e9
    result["counted_ratio"] = measured.naive_operations / measured.operations
    result["share_of_matmul_rate"] = measured.operations / ours / rates[row.precision]
    result["naive_share_of_matmul_rate"] = measured.naive_operations / naive / rates["fp32"]
    if measured.full_depth_ratio is not None:
        result["counted_ratio_all_layers"] = measured.full_depth_ratio
    result["equal"] = equal
    result["met"] = equal and result["ratio"] >= row.bound
    return result


def as_table(rows: list[dict[str, Any]], rates: dict[str, float]) -> str:
    """Lay rows out as text."""
    rate = ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in rates.items())
    lines = [f"matrix product: {rate}; {rows[0]['threads']} thread(s)"]
    lines.append(
        f"{'row':<42}{'bound':>6}{'ratio':>8}{'naive s':>10}{'ours s':>9}{'max error':>11}"
        f"{'counted':>9}{'share':>7}  met"
    )
    for row in rows:
        lines.append(
            f"{row['what']:<42}{row['bound']:>6g}{row['ratio']:>8.2f}{row['naive_seconds']:>10.3f}"
            f"{row['seconds']:>9.3f}{row['max_error']:>11.1e}"
            f"{row['counted_ratio']:>9.1f}{row['share_of_matmul_rate']:>7.0%}"
            f"  {'yes' if row['met'] else 'no'}"
        )
        if "swapped" in row:
            lines.append(
                f"    order: {row['swapped']} of {row['pairs']} pairs swapped, the farthest apart "
                f"by {row['swapped_gap']:.1e} of scores with standard deviation "
                f"{row['score_std']:.2f}; best text {'equal' if row['best_equal'] else 'differs'}; "
                f"the naive way in bf16 swaps {row['naive_bf16_swapped']}, "
                f"{row['naive_bf16_swapped_gap']:.1e}"
            )
        if "counted_ratio_all_layers" in row:
            lines.append(f"    counted with all layers: {row['counted_ratio_all_layers']:.1f}")
        if row["only_one_scored"]:
            lines.append(f"    {row['only_one_scored']} pairs on the shortlist of one way alone")
        lines.append(
            f"    {row['texts']} texts, {row['mean_text_tokens']:.2f} tokens on average, at most "
            f"{row['longest_text_tokens']}; {row['visual_tokens']} visual tokens; naive: "
            f"{row['naive_chunk']} pair(s) a call"
        )
    return "\n".join(lines)
