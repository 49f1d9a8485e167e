"""What the paper's tables say of two rows, held against the results here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import mean, stdev

#: Two-sided 95 % points of Student's t, by degrees of freedom.
T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


#: Two rows of VL-Adapter are level, in points of the average, where they are no further apart: its
#: methods with adapters differ by 1.6 points at most, and prompts are 18 behind.
LEVEL = 2.0
#: A row of VL-Adapter is far behind, in points of the average, where it is more behind.
FAR = 5.0


@dataclass(frozen=True)
class Claim:
    """How far one row is ahead of another.

    Attributes:
        table: Number of the paper's table; empty where it is not known.
        better: Name of the row that the paper prints a higher figure of.
        worse: Name of the other.
        text: What it says.
        above: The difference is above this; 0 is that it is better.
        below: And below this.
    """

    table: str
    task: str
    better: str
    worse: str
    text: str
    above: float = 0.0
    below: float = inf


_R, _Q = "retrieval", "videoqa"
_PAPER_CLAIMS = (
    Claim("1", _R, "towers_c", "towers_v", "Adapter in C beats V"),
    Claim("1", _R, "towers_c", "towers_t", "Adapter in C beats T"),
    Claim("1", _R, "towers_c", "towers_vt", "Adapter in C beats V and T together"),
    Claim("1", _R, "adapter_r512", "towers_c", "all three beat C alone"),
    Claim("2", _R, "uniadapter_r512", "linear_probe", "UniAdapter beats the linear probe"),
    Claim("2", _R, "full_finetune", "uniadapter_r512", "full fine-tuning beats UniAdapter"),
    Claim("2", _R, "uniadapter_r512", "adapter_r512", "UniAdapter beats Adapter, r=512"),
    Claim("2", _R, "uniadapter_r128", "adapter_r128", "UniAdapter beats Adapter, r=128"),
    Claim("2", _R, "uniadapter_r512", "uniadapter_r512_no_sharing", "sharing helps, r=512"),
    Claim(
        "2",
        _R,
        "uniadapter_r512_no_sharing",
        "uniadapter_r512_no_query_residual",
        "the query residual helps, r=512",
    ),
    Claim("2", _R, "uniadapter_r512_no_query_residual", "adapter_r512", "PFA helps, r=512"),
    Claim("2", _R, "uniadapter_r512", "uniadapter_r128", "r=512 beats r=128"),
    Claim("2", _Q, "uniadapter_r512", "full_finetune", "UniAdapter beats full fine-tuning"),
    Claim("2", _Q, "uniadapter_r512", "adapter_r512", "UniAdapter beats Adapter, r=512"),
    Claim("2", _Q, "uniadapter_r512", "uniadapter_r512_no_sharing", "sharing helps, r=512"),
    *(
        Claim("3", task, "uniadapter_r512", f"sharing_{other}", f"sharing down beats {word}")
        for task in (_R, _Q)
        for other, word in (("none", "none"), ("up", "up"), ("down_up", "up and down"))
    ),
    *(
        Claim("4", _R, "uniadapter_r512", other, f"UniAdapter beats {word}")
        for other, word in (
            ("lora_r512", "LoRA"),
            ("st_adapter_r512", "ST-Adapter"),
            ("parallel_adapter_r512", "Parallel Adapter"),
            ("mam_r512", "MAM"),
        )
    ),
    Claim("4", _R, "adapter_r512", "lora_r512", "Adapter beats LoRA"),
    Claim(
        "12", _R, "sharing_down_layers_5_12", "sharing_down_layers_9_12", "5-12 beats 9-12, down"
    ),
    Claim("12", _R, "sharing_down_layers_5_12", "sharing_up_layers_5_12", "down beats up in 5-12"),
    Claim("13", _R, "query_residual_shared", "adapter_r512", "a shared query residual helps"),
    Claim("13", _R, "query_residual_own", "adapter_r512", "one of its own helps"),
    Claim("13", _R, "query_residual_shared", "query_residual_own", "the shared one is better"),
    Claim("14", _R, "uniadapter_r512", "textual_branch_off", "the textual branch helps"),
    Claim("15", _R, "layers_5_8", "layers_1_4", "layers 5-8 beat 1-4"),
    Claim("15", _R, "layers_5_8", "layers_9_12", "layers 5-8 beat 9-12"),
    Claim("15", _R, "uniadapter_r512", "layers_5_8", "all layers beat 5-8"),
)

_BART, _VIDEO, _T5 = "vl_bart_image", "vl_bart_video", "vl_t5_image"
#: VL-Adapter's order, where a figure of both rows is published.
_VL_CLAIMS = (
    *(
        Claim(number, task, "full", "single", "single adapter level with full", -LEVEL, LEVEL)
        for number, task in (("1", _BART), ("", _VIDEO), ("", _T5))
    ),
    *(
        Claim("1", _BART, "single", other, f"single adapter beats {word}")
        for other, word in (
            ("multiple", "multiple"),
            ("half_shared", "half-shared"),
            ("hyperformer", "Hyperformer"),
            ("compacter_single", "single Compacter"),
            ("lora_single", "single LoRA"),
        )
    ),
    Claim("1", _BART, "multiple", "half_shared", "half-shared level with multiple", -LEVEL, LEVEL),
    Claim("1", _BART, "hyperformer", "multiple", "Hyperformer beats multiple adapters"),
    Claim("1", _BART, "lora_single", "lora_multiple", "single LoRA beats multiple"),
    Claim("1", _BART, "single", "prompt_single", "prompt far behind single adapter", FAR),
    Claim("1", _BART, "single", "visual_norms", "norms far behind single adapter", FAR),
    Claim("1", _BART, "single", "visual_only", "visual only far behind single adapter", FAR),
    Claim("1", _BART, "visual_norms", "visual_only", "norms help the visual embedding"),
    Claim("1", _BART, "prompt_single", "visual_only", "prompt beats visual only"),
    Claim("", _VIDEO, "single", "lora_single", "single adapter beats single LoRA"),
)
CLAIMS = (*_PAPER_CLAIMS, *_VL_CLAIMS)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation; of one value, the value alone."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


def differences(better: Mapping[int, float], worse: Mapping[int, float]) -> list[float]:
    """How far a row is ahead with each seed that both have; a seed's batches are the same."""
    return [better[seed] - worse[seed] for seed in sorted(set(better) & set(worse))]


def half_interval(gaps: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean of paired differences; None of fewer than two."""
    if len(gaps) < 2:
        return None
    return T_95.get(len(gaps) - 1, 2.23) * stdev(gaps) / sqrt(len(gaps))


def verdict(gaps: Sequence[float], above: float = 0.0, below: float = inf) -> str:
    """What the differences say of a claim that they are above, and below, a bound.

    It holds where the whole interval is between the bounds, and does not where none of it is.
    """
    if not gaps:
        return "not run"
    half = half_interval(gaps)
    if half is None:
        return "not told by one seed"
    low, high = mean(gaps) - half, mean(gaps) + half
    if low > above and high < below:
        return "holds"
    return "does not hold" if high < above or low > below else "cannot be told"
