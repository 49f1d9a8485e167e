"""Time training steps on random weights and data, and measure peak memory.

    python tools/analysis_tools/benchmark_train.py CONFIG           # one config, each precision
    python tools/analysis_tools/benchmark_train.py --rows --threads 2
                                                  # the rows of docs/performance.md, by ratio
    python tools/analysis_tools/benchmark_train.py CONFIG --switches --device cuda
                                                  # with and without each fast path
    python tools/analysis_tools/benchmark_train.py --methods --threads 2
                                                  # every method beside full fine-tuning
    python tools/analysis_tools/benchmark_train.py --unipt --threads 2
                                                  # memory and time of UniPT beside others
    python tools/analysis_tools/benchmark_train.py --vl-adapter --threads 2
                                                  # VL-Adapter's methods in VL-BART

A step is all that training does: losses, backward pass, optimizer, averages and queue. With
``--mode predict`` forward passes of the test are timed instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from train_bench.measure import measure_alone, measure_apart
from train_bench.methods import METHODS, TASKS, measure_methods
from train_bench.methods import as_table as methods_as_table
from train_bench.options import parse_given, refuse_unread
from train_bench.profile import as_table as profile_as_table
from train_bench.profile import profile_row
from train_bench.rows import ROWS, SHARE, cases, finished_row, measure_case
from train_bench.rows import as_table as rows_as_table
from train_bench.switches import as_table as switches_as_table
from train_bench.switches import measure_switches
from train_bench.unipt import CASES, measure_unipt
from train_bench.unipt import as_table as unipt_as_table
from train_bench.variant import MODES, Variant
from train_bench.vl_adapter import DEFAULT as VL_DEFAULT
from train_bench.vl_adapter import METHODS as VL_METHODS
from train_bench.vl_adapter import as_table as vl_as_table
from train_bench.vl_adapter import measure_vl_adapter

from uniadapter.engine.launch import return_freed_memory
from uniadapter.utils.arguments import natural, processes, side, whole
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message

PRECISIONS = ("fp32", "bf16")
#: Tokens of a text, as the configs cut them, unless --text-length says otherwise.
TEXT_LENGTH = 35
#: What every measurement reads (a parser sets a positional argument that is left out, too), what a
#: config's does beside it, and further ones by their option.
COMMON = {"config", "steps", "warmup", "threads", "json"}
OF_CONFIG = {
    *("mode", "batch_size", "frames", "img_size", "text_length", "precision"),
    *("frozen_bf16", "compile", "device", "switches", "grad_checkpointing", "cfg_options"),
}
READ = {
    "rows": {"rows", "profile", "cfg_options"},
    "methods": {"methods", "tasks", "img_size", "cfg_options"},
    "unipt": {"unipt", "cfg_options"},
    "vl_adapter": {"vl_adapter", "cfg_options"},
    "variant": {"variant", "shares"},
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="config file of any task")
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", nargs="*", choices=names, help="compare (default: all rows)")
    parser.add_argument(
        "--methods",
        nargs="*",
        choices=[method.name for method in METHODS],
        help="cost of methods relative to full fine-tuning (default: all)",
    )
    parser.add_argument(
        "--unipt",
        nargs="*",
        choices=list(CASES),
        help="UniPT beside UniAdapter, LoRA and full fine-tuning (default: on all models)",
    )
    parser.add_argument(
        "--vl-adapter",
        nargs="*",
        choices=list(VL_METHODS),
        help="joint steps of VL-BART beside full fine-tuning (default: some methods)",
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="of --methods"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="with --rows: where the time of both variants goes, instead of how long they take",
    )
    parser.add_argument("--mode", choices=MODES, default="loss", help="training steps or tests")
    parser.add_argument("--batch-size", type=side, default=2, help="media a step")
    parser.add_argument("--frames", type=side, default=8, help="frames a medium")
    parser.add_argument("--img-size", type=side, help="side in pixels (default: the config's)")
    parser.add_argument("--text-length", type=side, default=TEXT_LENGTH, help="tokens a text")
    parser.add_argument("--precision", choices=(*PRECISIONS, "both"), default="both")
    parser.add_argument("--frozen-bf16", action="store_true", help="store frozen weights in bf16")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="with torch.compile, as CompileHook; needs a C++ compiler",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:1")
    parser.add_argument(
        "--switches",
        action="store_true",
        help="with a config: each fast path off, all of them off, and torch.compile if --compile",
    )
    parser.add_argument("--steps", type=natural, default=3, help="measured steps")
    parser.add_argument("--warmup", type=whole(0), default=1, help="steps before the measured ones")
    parser.add_argument("--threads", type=processes, help="threads of torch (default: torch's own)")
    parser.add_argument(
        "--grad-checkpointing", action="store_true", help="recompute layers in the backward pass"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--shares", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override config values, e.g. model.adapter.bottleneck=128",
    )
    args, given = parse_given(parser, argv)
    choices = (args.config, *(getattr(args, name) for name in READ))
    if sum(choice is not None for choice in choices) != 1:
        parser.error("name either a config or --rows or --methods or --unipt or --vl-adapter")
    if args.switches and args.config is None:
        parser.error("--switches needs a config")
    if args.device != "cpu" and args.config is None and args.variant is None:
        parser.error("--device needs a config: rows and methods are the CPU's")
    if args.profile and args.rows is None:
        parser.error("--profile needs --rows")
    if args.compile and args.config is None:
        parser.error("--compile needs a config: rows and methods are not compiled")
    chosen = next((name for name in READ if getattr(args, name) is not None), None)
    read = OF_CONFIG if chosen is None else READ[chosen]
    what = "a config" if chosen is None else f"--{chosen.replace('_', '-')}"
    refuse_unread(parser, given, COMMON | read, what)
    if args.frozen_bf16 and args.precision != "bf16":
        parser.error("--frozen-bf16 needs --precision bf16")
    if args.grad_checkpointing and args.mode == "predict":
        parser.error("--grad-checkpointing needs --mode loss: a test has no backward pass")
    if args.threads is None:
        args.threads = torch.get_num_threads()
    return args


def variant_of(args: argparse.Namespace) -> Variant:
    """What the command line asks for, in fp32 unless it says bf16."""
    options = dict(args.cfg_options or {})
    if args.grad_checkpointing:
        options["model.grad_checkpointing"] = True
    return Variant(
        config=args.config,
        options=options,
        mode=args.mode,
        precision="bf16" if args.precision == "bf16" else "fp32",
        frozen_bf16=args.frozen_bf16,
        compiled=args.compile,
        batch_size=args.batch_size,
        frames=args.frames,
        img_size=args.img_size,
        text_length=args.text_length,
        device=args.device,
    )


def measure_config(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure a config, in a process a precision when both are asked for."""
    variant = variant_of(args)
    if args.precision != "both":
        return [measure_alone(variant, args.steps, args.warmup)]
    variant.read_config()
    return [
        measure_apart(replace(variant, precision=p), args.steps, args.warmup, args.threads)
        for p in PRECISIONS
    ]


def measure_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the chosen rows, each case once."""
    chosen = [row for row in ROWS if not args.rows or row.name in args.rows]
    if args.profile:
        options = dict(args.cfg_options or {})
        return [profile_row(row, options, args.steps, args.warmup) for row in chosen]
    variants = cases(dict(args.cfg_options or {}))
    results = {}
    for case in dict.fromkeys(row.case for row in chosen):
        needed = {n for row in chosen if row.case == case for n in (row.first, row.second)}
        own = {name: variant for name, variant in variants[case].items() if name in needed}
        results[case] = measure_case(own, args.steps, args.warmup, args.threads)
    return [finished_row(row, results[row.case]) for row in chosen]


def print_methods(args: argparse.Namespace) -> None:
    """Measure the chosen methods and print what they cost."""
    names = args.methods or [method.name for method in METHODS]
    steps = (args.steps, args.warmup, args.threads)
    results = measure_methods(names, args.tasks, args.cfg_options or {}, args.img_size, steps)
    print(json.dumps(results) if args.json else methods_as_table(results))


def print_unipt(args: argparse.Namespace) -> None:
    """Measure UniPT beside other methods and print the tables."""
    steps = (args.steps, args.warmup, args.threads)
    options = dict(args.cfg_options or {})
    small = "model.visual.img_size" in options
    results = measure_unipt(args.unipt or list(CASES), options, small, steps)
    print(json.dumps(results) if args.json else unipt_as_table(results))


def print_vl_adapter(args: argparse.Namespace) -> None:
    """Measure VL-Adapter's methods and print the table."""
    steps = (args.steps, args.warmup, args.threads)
    names = args.vl_adapter or VL_DEFAULT
    results = measure_vl_adapter(names, dict(args.cfg_options or {}), steps)
    print(json.dumps(results) if args.json else vl_as_table(results))


def print_switches(args: argparse.Namespace) -> None:
    """Measure a config with and without each fast path and print the table."""
    precisions = PRECISIONS if args.precision == "both" else (args.precision,)
    variant = replace(variant_of(args), compiled=False)
    rows = measure_switches(
        variant, precisions, args.compile, (args.steps, args.warmup, args.threads)
    )
    print(json.dumps(rows) if args.json else switches_as_table(rows))


def as_table(rows: list[dict[str, Any]]) -> str:
    """Lay out the results of one config as a text table."""
    first = rows[0]
    lines = [
        f"{first['mode']}: {first['batch_size']} media x {first['frames']} frames x "
        f"{first['img_size']}, {first['text_length']} tokens a text, "
        f"{first['trainable']:,} trained parameters, "
        f"{first['device']}, {first['threads']} thread(s), torch {first['torch']}",
        f"{'precision':<10} {'s/step':>8} {'CPU s/step':>11} {'peak GiB':>9}",
    ]
    lines += [
        f"{row['precision']:<10} {row['seconds_per_step']:>8.2f} "
        f"{row['cpu_seconds_per_step']:>11.2f} {row['peak_gib']:>9.2f}"
        for row in rows
    ]
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    # As the training script does; naive and ours alike.
    return_freed_memory()
    try:
        if args.variant is not None:
            variant = Variant(**json.loads(args.variant))
            with redirect_stdout(sys.stderr):
                result = measure_alone(variant, args.steps, args.warmup, args.shares)
            print(json.dumps(result))
            return
        if args.methods is not None:
            print_methods(args)
            return
        if args.unipt is not None:
            print_unipt(args)
            return
        if args.vl_adapter is not None:
            print_vl_adapter(args)
            return
        if args.switches:
            print_switches(args)
            return
        # Building an optimizer logs to the output, which is the result's alone.
        with redirect_stdout(sys.stderr):
            results = measure_rows(args) if args.rows is not None else measure_config(args)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    if args.json:
        single = args.rows is None and args.precision != "both"
        print(json.dumps(results[0] if single else results))
    elif args.rows is None:
        print(as_table(results))
    elif args.profile:
        print(profile_as_table(results))
    else:
        print(rows_as_table(results))
        share = [r["share_of_matmul_rate"] for r in results if r["name"] == "retrieval"]
        if share:
            print(
                f"share of the matrix product's rate, fp32 step: {share[0]:.0%} (bound {SHARE:.0%})"
            )


if __name__ == "__main__":
    main()
