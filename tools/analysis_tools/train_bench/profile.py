"""Where the time of a training step goes: seconds and counted operations by phase and kind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .measure import counted, device_rate
from .rows import Row, cases
from .variant import Stepper, Variant

PHASES = ("losses", "backward", "optimizer")
KINDS = ("products", "attention", "elementwise", "averages", "optimizer")
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mkldnn_convolution", "convolution_backward"}
_AVERAGES = {"_foreach_lerp_", "lerp_"}


def kind_of(operation: str, phase: str) -> str:
    """The kind (see ``KINDS``) of a profiled operation such as ``aten::addmm``."""
    if phase == "optimizer":
        return "optimizer"
    name = operation.removeprefix("aten::")
    if name in _PRODUCTS:
        return "products"
    if "scaled_dot_product" in name:
        return "attention"
    return "averages" if name in _AVERAGES else "elementwise"


def _phases(stepper: Stepper) -> dict[str, Callable[[], Any]]:
    """The phases of one step, to be called in this order."""
    state: dict[str, torch.Tensor] = {}
    model, wrapper = stepper.model, stepper.wrapper

    def losses() -> None:
        state["loss"], _ = model.parse_losses(stepper.losses())

    def optimizer() -> None:
        wrapper.step()
        wrapper.zero_grad()

    def backward() -> None:
        wrapper.backward(state["loss"])

    return {"losses": losses, "backward": backward, "optimizer": optimizer}


def profile_variant(variant: Variant, steps: int, warmup: int) -> dict[str, Any]:
    """Profile training steps of a variant.

    Args:
        variant (Variant): What to run.
        steps (int): Steps that are averaged.
        warmup (int): Steps before them.

    Returns:
        dict: ``seconds`` a step by phase and kind, ``gflop`` by phase, ``matmul_gflops`` (the rate
        of the machine's own matrix product) and ``trainable``.
    """
    stepper = Stepper(variant)
    for _ in range(warmup):
        stepper.step()
    seconds = {phase: dict.fromkeys(KINDS, 0.0) for phase in PHASES}
    for _ in range(steps):
        for phase, run in _phases(stepper).items():
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                run()
            for event in profiler.key_averages():
                kind = kind_of(event.key, phase)
                seconds[phase][kind] += event.self_cpu_time_total / 1e6 / steps
    gflop = {phase: counted(run) / 1e9 for phase, run in _phases(stepper).items()}
    rate = device_rate(variant.precision, device=variant.device) / 1e9
    return {
        "seconds": seconds,
        "gflop": gflop,
        "matmul_gflops": rate,
        "trainable": stepper.trainable,
    }


def profile_row(row: Row, options: dict[str, Any], steps: int, warmup: int) -> dict[str, Any]:
    """Profile a row's variants, one after the other; a naive step is one piece and left out."""
    variants = cases(options)[row.case]
    result: dict[str, Any] = {"name": row.name, "what": row.what, "variants": []}
    for name in (row.first, row.second):
        if not variants[name].naive:
            print(f"{row.name}: {name}", file=sys.stderr)
            one = profile_variant(variants[name], steps, warmup)
            result["variants"].append({"name": name, **one})
    return {**result, "threads": torch.get_num_threads(), "torch": torch.__version__}


def as_table(results: list[dict[str, Any]]) -> str:
    """Lay profiles out as text."""
    lines = [f"{results[0]['threads']} thread(s), torch {results[0]['torch']}"]
    for result in results:
        lines.append(result["what"])
        head = "".join(f"{kind:>13}" for kind in KINDS)
        lines.append(f"  {'':<24}{head}{'s':>9}{'GFLOP':>9}{'at rate s':>11}")
        for one in result["variants"]:
            for phase in PHASES:
                parts, gflop = one["seconds"][phase], one["gflop"][phase]
                cells = "".join(f"{parts[kind]:>13.3f}" for kind in KINDS)
                lines.append(
                    f"  {one['name'] + ', ' + phase:<24}{cells}{sum(parts.values()):>9.3f}"
                    f"{gflop:>9.0f}{gflop / one['matmul_gflops']:>11.2f}"
                )
            total = sum(sum(parts.values()) for parts in one["seconds"].values())
            gflop = sum(one["gflop"].values())
            blank = " " * 13 * len(KINDS)
            lines.append(
                f"  {one['name'] + ', all':<24}{blank}{total:>9.3f}{gflop:>9.0f}"
                f"{gflop / one['matmul_gflops']:>11.2f}"
            )
    return "\n".join(lines)
