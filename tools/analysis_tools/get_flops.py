"""Count the floating-point operations of a config's model by tower, its adapters apart.

    python tools/analysis_tools/get_flops.py configs/uniadapter/msrvtt_r512.py

One video and one text, forward, at the config's real size on the meta device: nothing is allocated
or computed. A multiplication with its addition counts as two operations; only products of matrices
and convolutions count, as in torch's ``FlopCounterMode``, no norms, activations and element-wise
products. A tower's figure is that of the bare backbone, an adapter's what the run takes on top.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from uniadapter.apis.model import build_model
from uniadapter.models.execution import Words
from uniadapter.models.tasks import CaptionModel, RetrievalModel, VQAModel, VseModel
from uniadapter.registry import MODELS
from uniadapter.utils.arguments import side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import dataset_config, load_model_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.json_files import brief

COUNTED = (RetrievalModel, VQAModel, CaptionModel)
Parts = dict[str, dict[str, int]]


def count_flops(
    config: str,
    frames: int | None = None,
    text_len: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> Parts:
    """Count the operations of one video and one text.

    Args:
        config: Config file.
        frames: Frames of the video. None: as many as the test loads.
        text_len: Tokens of the text. None: ``max_text_len`` of the data preprocessor.
        cfg_options: Overrides by dotted key.

    Returns:
        By run (``visual``, ``text``, ``fusion``, ``decoder``, those that the model has) the
        operations of the ``backbone`` and of the ``adapter``; ``frame_attention``, where the model
        has it, has the weights that it computes under ``backbone``.

    Raises:
        FileNotFoundError: If the config does not exist.
        ValueError: If it has no model, or one of another kind.
    """
    cfg = load_model_config(config, cfg_options)
    frames = frames or loaded_frames(cfg)
    # Before it is built: others have no `fast`.
    kind = MODELS.get(cfg.model.type) if isinstance(cfg.model.type, str) else cfg.model.type
    if kind is None or not issubclass(kind, COUNTED) or issubclass(kind, VseModel):
        raise ValueError(
            f"{config}: the operations of {cfg.model.type} are not counted, only those of "
            f"{', '.join(known.__name__ for known in COUNTED)}."
        )
    text_len = text_len or _loaded_tokens(cfg)
    # The plain way of every run: the fast ones look at lengths, which the meta device has not.
    options = {**cfg.model.to_dict(), "fast": False, "prefix_cache": None}
    with torch.device("meta"):
        model = build_model(options).eval()
    return count_parts(model, frames, text_len)


def _loaded_tokens(cfg: Any) -> int:
    given = cfg.model.get("data_preprocessor") or {}
    length = given.get("max_text_len", 30) if isinstance(given, dict) else None
    if type(length) is not int or length < 1:
        raise ValueError(
            f"model.data_preprocessor is {brief(given)}: it must be a dict, and its max_text_len a "
            "whole number above 0."
        )
    return length


def loaded_frames(cfg: Any) -> int:
    """Frames that the test of a config loads of a medium; 1 where it says nothing of frames."""
    split = next((name for name in ("test", "val") if cfg.get(f"{name}_dataloader")), None)
    steps = () if split is None else dataset_config(cfg, split, "config").get("pipeline") or ()
    if not isinstance(steps, list | tuple) or not all(isinstance(step, dict) for step in steps):
        raise ValueError(
            f"{split}_dataloader.dataset.pipeline is {brief(steps)}, not a list of transforms."
        )
    found = [step[key] for step in steps for key in ("num_frames", "max_frames") if key in step]
    if found and type(found[0]) is not int:
        raise ValueError(
            f"{split}_dataloader.dataset.pipeline loads {brief(found[0])} frames, not a whole "
            "number of them."
        )
    return found[0] if found else 1


def count_parts(model: Any, frames: int, text_len: int) -> Parts:
    """Count the runs of a model, each apart.

    Args:
        model: On the meta device, in evaluation mode, with the plain execution.
        frames: Frames N of the video.
        text_len: Tokens L of the text.

    Returns:
        As :func:`count_flops`.
    """
    size = model.visual.img_size
    height, width = size if isinstance(size, list | tuple) else (size, size)
    pixels = torch.empty(frames, 3, height, width, device="meta")
    ones = torch.ones(1, text_len, dtype=torch.long, device="meta")
    words, roles = Words(ones, ones), model.roles()
    states: dict[str, Tensor] = {}

    def visual() -> Tensor:
        return model.role("visual").tokens(pixels, "all", frames)

    def text() -> Tensor:
        return model.role("text").states(words, "all")

    def fusion() -> Tensor:
        tower = model.role("fusion")
        given = states["text"] if tower.takes_states else None
        return tower.fuse(words, tower.memory(seen()), "all", given)

    def decoder() -> Tensor:
        # An answer is read off the question that has read the video, a caption off the video.
        tower = model.role("decoder")
        return tower.logits(words, tower.memory(states.get("fusion", seen())))[0]

    def seen() -> Tensor:
        return states["visual"].reshape(1, -1, states["visual"].shape[-1])

    parts: Parts = {}
    runs: dict[str, Callable[[], Tensor]] = dict(
        visual=visual, text=text, fusion=fusion, decoder=decoder
    )
    for role in (name for name in runs if name in roles):
        with model.adapter_disabled():
            bare, states[role] = counted(runs[role])
        whole = bare if model.adapter is None else counted(runs[role])[0]
        parts[role] = {"backbone": bare, "adapter": whole - bare}
    if getattr(model, "pfa", None) is not None and frames > 1:
        parts["frame_attention"] = {"backbone": frame_attention(model, frames, states["text"])}
        parts["frame_attention"]["adapter"] = 0
    return parts


def frame_attention(model: Any, frames: int, text: Tensor) -> int:
    """Operations of the frame weights of one text and one video.

    It has no parameters. What it computes is one dot product a frame, of contrastive features
    (class tokens in the paper's variant), and a softmax; that patch tokens are multiplied by the
    weights is element-wise, and that texts read the tokens of all frames is the fusion's.
    """
    # Not on the meta device, which has no autocast to switch off.
    cls, text_cls = torch.zeros(1, frames, model.visual.embed_dims), torch.zeros(text[:, 0].shape)
    sizes = model.contrast.visual(cls.to("meta")).shape, model.contrast.text(text[:, 0]).shape
    features = [torch.zeros(size) for size in sizes]
    return counted(lambda: model.pfa(cls, features[0], text_cls, features[1]))[0]


def counted(run: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Operations of a run, and what it returns."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = run()
    return counter.get_total_flops(), result


def as_table(parts: Parts) -> str:
    """Lay out counts as a text table, in units of 1e9."""
    lines = [f"{'run':<16} {'backbone':>12} {'adapter':>12}   GFLOPs"]
    total = {"backbone": 0, "adapter": 0}
    for name, found in parts.items():
        lines.append(f"{name:<16} {found['backbone'] / 1e9:>12.6f} {found['adapter'] / 1e9:>12.6f}")
        total = {key: total[key] + found[key] for key in total}
    lines.append(f"{'sum':<16} {total['backbone'] / 1e9:>12.6f} {total['adapter'] / 1e9:>12.6f}")
    return "\n".join(lines)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("--frames", type=side, help="frames of the video (as the test loads)")
    parser.add_argument("--text-len", type=side, help="tokens of the text (max_text_len)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override config values, e.g. model.visual.img_size=384",
    )
    return parser.parse_args(argv)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print the counts."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        for name in ("frames", "text_len"):
            if getattr(args, name) is not None and getattr(args, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1.")
        parts = count_flops(args.config, args.frames, args.text_len, args.cfg_options)
    print(json.dumps(parts) if args.json else as_table(parts))


if __name__ == "__main__":
    main()
