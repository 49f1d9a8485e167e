"""Time and memory of several adapters on one backbone: switching, and batches whose rows differ.

    python tools/analysis_tools/benchmark_adapters.py configs/uniadapter/coco_r512.py --img-size 224

Weights, pixels and texts are random. All ways of answering one batch run in turns, and their
seconds are compared with those of the same batch with one adapter for all rows, which no way of
mixing adapters can be faster than. Memory is what the process, or the GPU, has allocated. On a
machine that others use as well take ``--threads 1 --cpu-time``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uniadapter.models.build import build_model
from uniadapter.registry import register_all_modules
from uniadapter.structures import MultimodalSample
from uniadapter.utils.arguments import natural, processes, seed_number, side
from uniadapter.utils.config import load_model_config
from uniadapter.utils.devices import check_device
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

MIB = 2**20


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("config", nargs="?", default="configs/uniadapter/coco_r512.py")
    parser.add_argument("--adapters", type=natural, default=3, help="how many, of one method")
    parser.add_argument(
        "--bottleneck", type=side, default=128, help="of UniAdapter, which it times"
    )
    parser.add_argument("--layers", help="which layers have adapters, such as 7-12 (default: all)")
    parser.add_argument("--batch-size", type=side, default=6, help="rows, dealt to the adapters")
    parser.add_argument("--frames", type=side, default=1, help="frames of a medium")
    parser.add_argument("--img-size", type=side, help="height and width (default: the config's)")
    parser.add_argument("--repeats", type=natural, default=3, help="measured times of every way")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--threads", type=processes, help="threads of torch")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the process's seconds, for a busy machine",
    )
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    return parser.parse_args(argv)


def build(args: argparse.Namespace) -> Any:
    """The config's model with random weights, in evaluation mode."""
    check_device(args.device)
    config = load_model_config(args.config).model.to_dict()
    config["pretrained"] = None
    config["adapter"] = _adapter(args)
    if args.img_size is None:
        args.img_size = config["visual"].get("img_size", 224)
    config["visual"]["img_size"] = args.img_size
    model = build_model(config).to(args.device).eval()
    if hasattr(model, "inference"):
        # Without a list of answers they are written.
        model.inference = "generate"
    return model


def _adapter(args: argparse.Namespace) -> dict[str, Any]:
    layers = {} if args.layers is None else {"layers": args.layers}
    return {"type": "UniAdapter", "bottleneck": args.bottleneck, **layers}


def allocated(device: str) -> int | None:
    """Bytes that the GPU's tensors, or the process, take now; None where nobody tells."""
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return None
    # In pages, which Linux has of this size.
    return int(statm.read_text().split()[1]) * 4096


def size_of(*modules: torch.nn.Module) -> int:
    """Bytes of all tensors of some modules, each once."""
    found = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(found.values())


def seconds(call: Callable[[], Any], args: argparse.Namespace) -> float:
    """How long a call takes."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    start = clock()
    call()
    if torch.device(args.device).type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def add_adapters(model: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Add adapters, whose tensors differ, and measure what they take.

    Returns:
        dict: MiB of the backbone, of an adapter with its heads by its tensors, and what was
        allocated for each.
    """
    before = allocated(args.device)
    for number in range(1, args.adapters):
        model.add_adapter(f"adapter{number}", _adapter(args))
    after = allocated(args.device)
    for name in model.list_adapters():
        model.set_adapter(name)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    found: dict[str, Any] = {"backbone": size_of(*model.towers().values()) / MIB}
    if args.adapters > 1:
        model.set_adapter("default")
        kept = model.adapters.get_submodule("adapter1")
        found["adapter"] = size_of(kept.adapter, kept.own) / MIB
        if before is not None and after is not None:
            found["allocated"] = (after - before) / MIB / (args.adapters - 1)
    return found


def time_switches(model: Any, args: argparse.Namespace) -> list[float]:
    """Seconds of single switches, around all adapters."""
    names = model.list_adapters()
    model.set_adapter(names[0])
    around = [name for _ in range(max(args.repeats, 5)) for name in (*names[1:], names[0])]
    return [seconds(lambda name=name: model.set_adapter(name), args) for name in around]


def make_batch(model: Any, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Random pixels and, where the task reads texts, random words."""
    shape = (args.batch_size, args.frames, 3, args.img_size, args.img_size)
    batch = {"pixels": torch.randn(shape, device=args.device)}
    if model.text is not None:
        ids = torch.randint(5, model.text.vocab_size - 2, (args.batch_size, 20)).to(args.device)
        batch.update(input_ids=ids, attention_mask=torch.ones_like(ids))
    return batch


def run(model: Any, batch: dict[str, torch.Tensor]) -> Any:
    """Features of a retrieval model, or the words that another one writes."""
    if hasattr(model, "contrast"):
        return model(**batch, mode="tensor")
    samples = [MultimodalSample() for _ in batch["pixels"]]
    return model(**batch, data_samples=samples, mode="predict")


def ways(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, Callable[[], None]]:
    """The ways of answering a batch, by what they are."""
    rows, names = len(batch["pixels"]), model.list_adapters()
    of_row = [names[row % len(names)] for row in range(rows)]

    def one() -> None:
        model.active = names[0]
        run(model, batch)

    def mixed() -> None:
        model.active = of_row
        run(model, batch)
        model.active = names[0]

    def by_hand(groups: list[list[int]]) -> None:
        for index in groups:
            model.active = of_row[index[0]]
            run(model, {key: tensor[index] for key, tensor in batch.items()})

    groups = [[r for r in range(rows) if of_row[r] == name] for name in names[:rows]]
    return {
        "one adapter for all rows": one,
        "mixed rows, one call": mixed,
        "a call for each adapter": lambda: by_hand(groups),
        "a call for each row": lambda: by_hand([[row] for row in range(rows)]),
    }


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Build the model and measure switching, memory and all ways.

    Returns:
        dict: ``memory`` in MiB, ``switch`` in seconds (``median`` and ``slowest``) and ``batch``:
        median seconds of each way.
    """
    torch.manual_seed(args.seed)
    model = build(args)
    memory = add_adapters(model, args)
    switches = time_switches(model, args) if args.adapters > 1 else [0.0]
    taken: dict[str, list[float]] = {}
    for turn in range(args.repeats + 1):
        for name, way in ways(model, make_batch(model, args)).items():
            spent = seconds(way, args)
            if turn:
                taken.setdefault(name, []).append(spent)
    return {
        "adapters": len(model.list_adapters()),
        "rows": args.batch_size,
        "memory": memory,
        "switch": {"median": statistics.median(switches), "slowest": max(switches)},
        "batch": {name: statistics.median(times) for name, times in taken.items()},
    }


def as_table(found: dict[str, Any]) -> str:
    """What :func:`measure` returned, as Markdown."""
    lines = ["| memory | MiB |", "| --- | --- |"]
    lines += [f"| {name} | {size:.1f} |" for name, size in found["memory"].items()]
    lines += ["", "| switch | ms |", "| --- | --- |"]
    lines += [f"| {name} | {1000 * spent:.1f} |" for name, spent in found["switch"].items()]
    title = f"{found['rows']} rows of {found['adapters']} adapters"
    lines += ["", f"| {title} | seconds | of one adapter's |", "| --- | --- | --- |"]
    least = found["batch"]["one adapter for all rows"]
    for name, spent in found["batch"].items():
        lines.append(f"| {name} | {spent:.3f} | {spent / least:.2f} |")
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure, print and, where asked, write."""
    args = parse_args(argv)
    register_all_modules()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    found = measure(args)
    print(as_table(found))
    if args.json is not None:
        atomic_write(args.json, (json.dumps(found, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
