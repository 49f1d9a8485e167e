"""Seconds, peak memory and counted operations of variants."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from .variant import Stepper, Variant

_TOOL = Path(__file__).resolve().parent.parent / "benchmark_train.py"
_SIDE = 2048


def peak_bytes() -> int:
    """Largest resident memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage keeps the peak of the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    # macOS counts bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def matmul_rate(precision: str, repeats: int = 5) -> float:
    """Operations a second of the machine's own matrix product of 2048 x 2048, the best of some."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / min(seconds[1:])


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    # Logits again, then the gradients of values, probabilities, queries and keys: 5 products to
    # the forward pass's 2.
    return sdpa_flop_count(query, key, value) * 5 // 2


def counted(run: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products in a call, by torch's own counter.

    Elementwise operations are not counted. The counter doesn't know the CPU's attention kernel, so
    that is added here.
    """
    aten = torch.ops.aten
    extra = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=extra) as counter:
        run()
    return counter.get_total_flops()


def count_operations(stepper: Stepper) -> int:
    """Operations of one step, see :func:`counted`."""
    return counted(stepper.step)


def time_in_turns(steppers: dict[str, Stepper], rounds: int, warmup: int) -> dict[str, list[float]]:
    """Seconds of each step, the variants one after the other in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for turn in range(warmup + rounds):
        for name, stepper in steppers.items():
            start = time.perf_counter()
            stepper.step()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
        print(f"round {turn + 1}/{warmup + rounds} done", file=sys.stderr)
    return seconds


def measure_alone(variant: Variant, steps: int, warmup: int) -> dict[str, Any]:
    """Run a variant in this process, which should be a fresh one.

    Returns:
        dict: ``seconds_per_step`` (median), ``cpu_seconds_per_step`` (median of the threads' sum,
        which other load on the machine hardly changes), ``peak_gib`` (resident memory of the whole
        process; ``start_gib`` before and ``built_gib`` after the model is built), ``loss`` of the
        last step, and what was run.
    """
    start_bytes = peak_bytes()
    stepper = Stepper(variant)
    built_bytes = peak_bytes()
    seconds, cpu_seconds, loss = [], [], 0.0
    for step in range(warmup + steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = stepper.step()
        if step >= warmup:
            seconds.append(time.perf_counter() - start)
            cpu_seconds.append(time.process_time() - cpu_start)
        print(f"{variant.precision}: step {step + 1}/{warmup + steps}", file=sys.stderr)
    return {
        "precision": variant.precision,
        "mode": variant.mode,
        "seconds_per_step": round(statistics.median(seconds), 3),
        "cpu_seconds_per_step": round(statistics.median(cpu_seconds), 3),
        "peak_gib": round(peak_bytes() / 2**30, 3),
        "start_gib": round(start_bytes / 2**30, 3),
        "built_gib": round(built_bytes / 2**30, 3),
        "loss": loss,
        "batch_size": variant.batch_size,
        "frames": variant.frames,
        "img_size": stepper.img_size,
        "text_length": variant.text_length or "as MSR-VTT",
        "grad_checkpointing": bool(variant.options.get("model.grad_checkpointing", False)),
        "trainable": stepper.trainable,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def measure_apart(variant: Variant, steps: int, warmup: int, threads: int) -> dict[str, Any]:
    """Run a variant in a process of its own, so that its peak memory is its own.

    Raises:
        RuntimeError: If the process fails.
    """
    command = [sys.executable, str(_TOOL), "--variant", json.dumps(variant.as_dict())]
    command += ["--steps", str(steps), "--warmup", str(warmup), "--threads", str(threads), "--json"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(
            f"The run of {variant.config} ({variant.precision}) ended with code "
            f"{process.returncode}, see above."
        )
    return json.loads(process.stdout.splitlines()[-1])
