"""Seconds, peak memory and counted operations of variants."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rerank_bench.operations import matmul_rate
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from .variant import Stepper, Variant, check_device, synchronize

_TOOL = Path(__file__).resolve().parent.parent / "benchmark_train.py"
_SIDE = 2048


def peak_bytes(device: str = "cpu") -> int:
    """Largest resident memory this process has had so far; of a CUDA device, what it allocated."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage keeps the peak of the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    # macOS counts bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_rate(precision: str, device: str = "cpu") -> float:
    """Operations a second of the device's own matrix product, the best of some.

    Of 2048 x 2048; of 8192 x 8192 on a GPU, which has too little to do with the smaller.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return matmul_rate(dtype, _SIDE if device == "cpu" else 4 * _SIDE, device=device)


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
            device = stepper.variant.device
            synchronize(device)
            start = time.perf_counter()
            stepper.step()
            synchronize(device)
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
        print(f"round {turn + 1}/{warmup + rounds} done", file=sys.stderr)
    return seconds


def device_name(device: str) -> str:
    """What a device calls itself; ``'cpu'`` for a CPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def synchronisations(stepper: Stepper) -> int | None:
    """Times that the host waits for a CUDA device in a step; None on a CPU."""
    if not stepper.variant.device.startswith("cuda"):
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            stepper.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def measure_alone(
    variant: Variant, steps: int, warmup: int, shares: bool = False
) -> dict[str, Any]:
    """Run a variant in this process, which should be a fresh one.

    Returns:
        dict: ``device``, ``seconds_per_step`` (median), ``cpu_seconds_per_step`` (median of the
        threads' sum, which other load on the machine hardly changes), ``peak_gib`` (resident memory
        of the whole process; ``start_gib`` before and ``built_gib`` after the model is built),
        ``loss`` of the last step, ``synchronisations`` with a GPU in a step (None on a CPU),
        ``share_of_matmul_rate``, that the counted operations reach of the device's own matrix
        product (None unless ``shares``, and of a compiled model), ``features`` of a picture, their
        number and width (None of a model that reads pixels), and what was run.
    """
    device = variant.device
    check_device(device)
    start_bytes = peak_bytes(device)
    stepper = Stepper(variant)
    built_bytes = peak_bytes(device)
    seconds, cpu_seconds, loss = [], [], 0.0
    for step in range(warmup + steps):
        synchronize(device)
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = stepper.step()
        synchronize(device)
        if step >= warmup:
            seconds.append(time.perf_counter() - start)
            cpu_seconds.append(time.process_time() - cpu_start)
        print(f"{variant.precision}: step {step + 1}/{warmup + steps}", file=sys.stderr)
    peak, waits = peak_bytes(device), synchronisations(stepper)
    seconds_per_step = statistics.median(seconds)
    features = stepper.batch.get("features")
    share = None
    if shares and not variant.compiled:
        rate = device_rate(variant.precision, device=device)
        share = count_operations(stepper) / seconds_per_step / rate
    return {
        "precision": variant.precision,
        "mode": variant.mode,
        "device": device_name(device),
        "seconds_per_step": round(seconds_per_step, 3),
        "cpu_seconds_per_step": round(statistics.median(cpu_seconds), 3),
        "peak_gib": round(peak / 2**30, 3),
        "start_gib": round(start_bytes / 2**30, 3),
        "built_gib": round(built_bytes / 2**30, 3),
        "loss": loss,
        "synchronisations": waits,
        "share_of_matmul_rate": share,
        "batch_size": variant.batch_size,
        "frames": variant.frames,
        "img_size": stepper.img_size,
        "text_length": variant.text_length or "as MSR-VTT",
        "target_length": variant.target_length,
        "features": list(features.shape[2:]) if features is not None else None,
        "grad_checkpointing": bool(variant.options.get("model.grad_checkpointing", False)),
        "trainable": stepper.trainable,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def measure_apart(
    variant: Variant, steps: int, warmup: int, threads: int, shares: bool = False
) -> dict[str, Any]:
    """Run a variant in a process of its own, so that its peak memory is its own.

    Raises:
        RuntimeError: If the process fails.
    """
    command = [sys.executable, str(_TOOL), "--variant", json.dumps(variant.as_dict())]
    command += ["--steps", str(steps), "--warmup", str(warmup), "--threads", str(threads), "--json"]
    command += ["--shares"] if shares else []
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(
            f"The run of {variant.config} ({variant.precision}) ended with code "
            f"{process.returncode}, see above."
        )
    return json.loads(process.stdout.splitlines()[-1])
