"""What a linear classifier reads out of the frozen visual tokens of easy-VQA's pictures.

It tells whether color and shape are in what the text towers read, before anything is trained. The
features are the class token beside the mean and the maximum of the patch tokens; the classifier is
trained on pictures of the training split, and tested on pictures of the test split.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch.nn import functional as F

from uniadapter.apis.model import build_model
from uniadapter.registry import DATASETS
from uniadapter.utils.arguments import natural, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_model_config
from uniadapter.utils.errors import one_message

KINDS = ("color", "shape")
_BATCH, _STEPS, _LR = 100, 300, 0.02


def pictures(
    dataset_cfg: Mapping[str, Any], count: int
) -> tuple[torch.Tensor, dict[str, list[str | None]]]:
    """The first pictures of a split and what is known of them.

    Args:
        dataset_cfg (Mapping): Config of an :class:`EasyVQA`.
        count (int): Number of pictures P.

    Returns:
        tuple: uint8 frames (P, 1, 3, H, W), and for ``'color'`` and ``'shape'`` the answer of
        each picture, None where no question asks for it.
    """
    with DefaultScope.overwrite_default_scope("uniadapter"):
        dataset = DATASETS.build({**dataset_cfg, "test_mode": True})
    first: dict[int, int] = {}
    facts: dict[str, dict[int, str]] = {kind: {} for kind in KINDS}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        first.setdefault(info["media_id"], index)
        if info["question_type"] in KINDS:
            facts[info["question_type"]][info["media_id"]] = info["gt_answers"][0]
    media = sorted(first)[:count]
    frames = torch.stack([dataset[first[number]]["inputs"] for number in media])
    return frames, {kind: [facts[kind].get(number) for number in media] for kind in KINDS}


@torch.no_grad()
def features(model: Any, frames: torch.Tensor) -> torch.Tensor:
    """Class token, mean and maximum of the patch tokens of frames (P, 1, 3, H, W): (P, 3 D)."""
    parts = []
    prepare = model.data_preprocessor
    for start in range(0, len(frames), _BATCH):
        pixels = (frames[start : start + _BATCH].float() - prepare.mean) / prepare.std
        tokens = model.encode_frames(pixels)[:, 0]
        patches = tokens[:, 1:]
        parts.append(torch.cat((tokens[:, 0], patches.mean(1), patches.amax(1)), dim=1))
    return torch.cat(parts)


def accuracy(
    train: torch.Tensor, train_names: list[str | None], test: torch.Tensor, names: list[str | None]
) -> float:
    """Share of test features (Q, F) classified right after fitting (P, F), in percent."""
    classes = {name: i for i, name in enumerate(sorted({n for n in train_names if n}))}
    known = [i for i, name in enumerate(train_names) if name]
    asked = [i for i, name in enumerate(names) if name]
    labels = torch.tensor([classes[train_names[i]] for i in known])  # type: ignore[index]
    truth = torch.tensor([classes[names[i]] for i in asked])  # type: ignore[index]
    mean, std = train.mean(0), train.std(0) + 1e-5
    inputs, held_out = (train[known] - mean) / std, (test[asked] - mean) / std
    weight = torch.zeros(inputs.shape[1], len(classes), requires_grad=True)
    bias = torch.zeros(len(classes), requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=_LR, weight_decay=1e-3)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(inputs @ weight + bias, labels).backward()
        optimizer.step()
    right = (held_out @ weight + bias).argmax(1) == truth
    return 100 * right.float().mean().item()


def probe(cfg: Config, pictures_of: Mapping[str, int]) -> dict[str, float]:
    """Accuracy for color and shape, in percent.

    Args:
        cfg (Config): A config of ``configs/easy_vqa``.
        pictures_of (Mapping): Number of pictures of ``'train'`` and ``'test'``.
    """
    model = build_model(cfg.model.to_dict())
    model.init_weights()
    model.eval()
    found = {}
    for split, count in pictures_of.items():
        frames, names = pictures(cfg[f"{split}_dataloader"].dataset, count)
        with model.adapter_disabled():
            found[split] = features(model, frames), names
    (train, train_names), (test, names) = found["train"], found["test"]
    return {kind: accuracy(train, train_names[kind], test, names[kind]) for kind in KINDS}


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="configs/easy_vqa/r64.py")
    parser.add_argument("--size", type=side, help="side of the pictures (default: the config's)")
    parser.add_argument(
        "--train", type=natural, default=4000, help="training pictures (default 4000)"
    )
    parser.add_argument("--test", type=natural, default=1000, help="test pictures (default 1000)")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, metavar="KEY=VALUE")
    args = parser.parse_args(argv)
    try:
        cfg = load_model_config(args.config, args.cfg_options)
        if args.size is not None:
            cfg.model.visual.img_size = args.size
            for split in ("train", "test"):
                steps = cfg[f"{split}_dataloader"].dataset.pipeline
                next(step for step in steps if step.type == "VideoResize").size = args.size
        found = probe(cfg, {"train": args.train, "test": args.test})
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(
        f"{cfg.model.visual.img_size} pixels: "
        + ", ".join(f"{k} {v:.1f}" for k, v in found.items())
    )


if __name__ == "__main__":
    main()
