"""Draw PFA's weights of a video's frames for a text, and which patches the text attends to.

    python tools/visualization/draw_frame_weights.py CONFIG CHECKPOINT weights.png

A query has two strips: the frames as decoded with their weights, and as the model sees them with
the attention of the text's tokens over their patches. ``weights.html`` is the same as a page.
"""

from __future__ import annotations

import argparse
import sys

import torch

from uniadapter.apis.examples import Example, Examples, open_examples
from uniadapter.models.inspection import attention_maps
from uniadapter.utils.arguments import natural, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import Entry, Panel, Report, png_path
from uniadapter.visualization.strips import color_bar, heated, sized, strip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw frame weights and attention over patches.")
    parser.add_argument("config", help="config of retrieval with matching, or of questions")
    parser.add_argument("checkpoint", help="checkpoint or folder of an exported adapter")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument("--num", type=natural, default=4, help="videos, spread over the test split")
    parser.add_argument("--text", help="ask this of every video, instead of its own text")
    parser.add_argument("--layer", type=side, help="attention of this layer, from 1 (mean of all)")
    parser.add_argument(
        "--token", choices=("words", "first"), default="words",
        help="attention of all tokens of the text (mean), or of the first one alone",
    )  # fmt: skip
    parser.add_argument("--height", type=side, default=72, help="height of a frame in pixels")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def text_of(item: Example, asked: str | None) -> str:
    """The text that is read with an item: its first caption or its question."""
    captions = item.sample.captions()
    if asked is None and not captions:
        raise ValueError(f"{item.name} has no text: ask one with --text.")
    return captions[0] if asked is None else asked


def heat_of(maps: torch.Tensor, mask: torch.Tensor, layer: int | None, token: str) -> torch.Tensor:
    """Attention over tokens (N, M) of one text.

    Args:
        maps (Tensor): Probabilities (layers, heads, L, N, M).
        mask (Tensor): (L,), 0 where the text is padded.
        layer (int, optional): From 1; None: the mean of all.
        token (str): ``'words'``: the mean over the text's tokens; ``'first'``: the first one's.
    """
    if layer is not None and not 1 <= layer <= len(maps):
        raise ValueError(f"--layer {layer}: cross-attention has the layers 1 to {len(maps)}.")
    chosen = maps if layer is None else maps[layer - 1 : layer]
    mean = chosen.mean((0, 1))
    return mean[0] if token == "first" else mean[mask.bool()].mean(0)


def panels_of(
    item: Example, heat: torch.Tensor, weights: torch.Tensor | None, height: int
) -> list[Panel]:
    """The two strips of an example, and what the colours mean."""
    # The first token of a frame stands for no patch.
    patches = heat[:, 1:]
    high, wide = item.seen.shape[1:3]
    rows = round((patches.shape[1] * high / wide) ** 0.5)
    if rows < 1 or patches.shape[1] % rows:
        raise ValueError(
            f"{patches.shape[1]} tokens behind the first one are no patches of a frame of "
            f"{high} x {wide} pixels: no map is drawn."
        )
    most = float(patches.max()) or 1.0
    shares = (patches / most).unflatten(1, (rows, -1)).numpy()
    frames = [sized(frame, height) for frame in item.frames]
    maps = [heated(frame, part, height) for frame, part in zip(item.seen, shares, strict=True)]
    values = None if weights is None else weights.tolist()
    title = "frames" if values is None else "frames and their weights A (PFA)"
    return [
        Panel(strip(frames, values), title),
        Panel(strip(maps), "attention of the text over the patches the model sees"),
        Panel(color_bar("0", f"{most:.2g} of the attention"), ""),
    ]


def draw(examples: Examples, args: argparse.Namespace) -> Report:
    """All examples as a report."""
    layer = "mean of all layers" if args.layer is None else f"layer {args.layer}"
    report = Report(
        "What a text looks at",
        [
            f"{args.config}, {args.checkpoint}",
            f"Attention: {layer} and all heads, "
            + ("mean of the text's tokens." if args.token == "words" else "first token."),
            *(f"left out: {line}" for line in examples.unreadable),
        ],
    )
    for item in examples.items:
        text = text_of(item, args.text)
        ids, mask = examples.words([text])
        maps, weights = attention_maps(examples.model, examples.pixels([item]), ids, mask)
        heat = heat_of(maps[:, 0].cpu(), mask[0].cpu(), args.layer, args.token)
        own = None if weights is None or weights.shape[1] == 1 else weights[0].float().cpu()
        panels = panels_of(item, heat, own, args.height)
        report.entries.append(Entry(text, [f"video: {item.name}"], panels, stacked=True))
    return report


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        if args.height < 8:
            raise ValueError(f"--height {args.height}: at least 8 pixels.")
        examples = open_examples(
            args.config, args.checkpoint, args.num, "test", args.device, args.cfg_options
        )
        page = draw(examples, args).save(args.out)
    for line in examples.unreadable:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{len(examples.items)} videos in {args.out} and {page}")


if __name__ == "__main__":
    main()
