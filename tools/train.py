"""Train a model: python tools/train.py CONFIG (several processes: tools/dist_train.sh)."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mmengine.config import Config

from uniadapter.engine.launch import LAUNCHERS, finish_distributed, setup_distributed
from uniadapter.engine.runner import build_runner
from uniadapter.utils.arguments import whole
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message

CONFIG_WARNING = "A config file is a program that runs when it is read: open only trusted ones."


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a model.", epilog=CONFIG_WARNING)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where logs and checkpoints go (work_dirs/CONFIG)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="FILE",
        help="go on from FILE, or from the newest whole checkpoint of the work directory",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision (GPU)")
    parser.add_argument("--no-validate", action="store_true", help="do not evaluate in between")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override config values, e.g. model.adapter.bottleneck=128",
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="who starts ranks")
    parser.add_argument("--local-rank", "--local_rank", type=whole(0), default=0)
    return parser.parse_args(argv)


def build_config(args: argparse.Namespace) -> Config:
    """Read the config and merge the command line into it."""
    cfg = load_config(args.config, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    if args.amp:
        set_amp(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        if "base_batch_size" not in (cfg.get("auto_scale_lr") or {}):
            raise ValueError(
                f"--auto-scale-lr: {args.config} has no `auto_scale_lr.base_batch_size`, the batch "
                "size that its learning rate was chosen for; add it."
            )
        cfg.auto_scale_lr.enable = True
    return cfg


def set_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to mixed precision."""
    if not torch.cuda.is_available():
        raise ValueError("--amp needs a GPU, and this machine has none: leave it out.")
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ValueError(
            f"--amp replaces optim_wrapper.type='OptimWrapper', but the config has {kind!r}."
        )
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        cfg = build_config(args)
        if cfg.get("train_cfg") is None:
            raise ValueError(f"{args.config} has no train_cfg: tools/test.py can run it, not this.")
        setup_distributed(cfg, args.launcher, args.local_rank)
        runner = build_runner(cfg)
    with one_message():
        runner.train()
    finish_distributed()


if __name__ == "__main__":
    main()
