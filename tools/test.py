"""Evaluate a checkpoint: python tools/test.py CONFIG CHECKPOINT."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mmengine.config import Config

from uniadapter.apis.testing import OUT_ITEMS, Kept, load_for_test, run_test, set_test_amp
from uniadapter.engine.launch import LAUNCHERS, finish_distributed, setup_distributed
from uniadapter.engine.runner import build_runner
from uniadapter.utils.arguments import natural, whole
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message

CONFIG_WARNING = "A config file is a program that runs when it is read: open only trusted ones."


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Evaluate a model.", epilog=CONFIG_WARNING)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "checkpoint", help="checkpoint (.pth, .safetensors) or folder of an exported adapter"
    )
    parser.add_argument("--work-dir", help="where the log goes (work_dirs/CONFIG)")
    parser.add_argument("--out", metavar="FILE.json", help="also write the metrics to a file")
    parser.add_argument(
        "--out-item", choices=OUT_ITEMS, help="what --out gets: metrics (default) or predictions"
    )
    parser.add_argument("--show-dir", metavar="FOLDER", help="draw predictions there")
    parser.add_argument("--show-num", type=natural, metavar="N", help="items that are drawn (16)")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision (GPU)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override config values, e.g. test_cfg.k_test=256",
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="who starts ranks")
    parser.add_argument("--local-rank", "--local_rank", type=whole(0), default=0)
    return parser.parse_args(argv)


def build_config(args: argparse.Namespace) -> Config:
    """Read the config and merge the command line into it."""
    cfg = load_config(args.config, args.cfg_options)
    if not Path(args.checkpoint).exists():
        raise FileNotFoundError(f"Checkpoint {args.checkpoint} does not exist.")
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    # The checkpoint is loaded here; the runner's own way only logs what does not fit.
    cfg.load_from, cfg.resume = None, False
    return cfg


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Evaluate as the command line says."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        cfg = build_config(args)
        kept = Kept(args.out, args.out_item, args.show_dir, args.show_num)
        if cfg.get("test_cfg") is None:
            raise ValueError(f"{args.config} has no test_cfg, test_dataloader and test_evaluator.")
        if args.amp:
            set_test_amp(cfg, torch.cuda.is_available())
        setup_distributed(cfg, args.launcher, args.local_rank)
        runner = build_runner(cfg)
        load_for_test(runner, args.checkpoint)
    with one_message():
        run_test(runner, kept)
    finish_distributed()


if __name__ == "__main__":
    main()
