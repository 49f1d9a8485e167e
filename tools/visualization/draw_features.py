"""Draw what adapters read in each modality on a plane: principal components and t-SNE.

    python tools/visualization/draw_features.py CONFIG CHECKPOINT features.png

Every example gives one point a site: the state of its first token (or the mean of all) where the
adapter of that layer reads it. ``features.html`` is the same as a page.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch

from uniadapter.apis.examples import Examples, open_examples
from uniadapter.models.inspection import WHAT, adapted_sites, site_states
from uniadapter.utils.arguments import natural, positive, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.visualization.plots import load_matplotlib, scatter
from uniadapter.visualization.projection import neighbours, pca, tsne
from uniadapter.visualization.report import Entry, Panel, Report, png_path

NAMES = {
    "visual.after_self": "visual",
    "text.after_self": "textual",
    "fusion.after_self": "cross-modal, query residual",
    "fusion.after_cross": "cross-modal",
}
SAYS = {
    "input": "what adapters read",
    "hidden": "what up-projections read",
    "term": "what adapters add",
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw what adapters read, by modality.")
    parser.add_argument("config", help="config of a model")
    parser.add_argument("checkpoint", help="checkpoint or folder of an exported adapter")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument(
        "--num", type=natural, default=128, help="media, spread over the test split"
    )
    parser.add_argument("--layer", type=side, help="layer, from 1 (the last one)")
    parser.add_argument("--sites", nargs="+", help="role.site ... (those that the adapter fills)")
    parser.add_argument("--what", choices=WHAT, default="input", help="what of an adapter is shown")
    parser.add_argument(
        "--tokens", choices=("first", "mean"), default="first", help="of a text or frame"
    )
    parser.add_argument("--perplexity", type=positive, help="of t-SNE (30, less with few points)")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def sites_of(model: Any, args: argparse.Namespace) -> dict[str, int]:
    """The sites that are looked at, with the number of a layer each."""
    places = model.places()
    if args.sites is None:
        return adapted_sites(places, args.layer)
    for site in args.sites:
        if site not in places.slots:
            raise ValueError(f"--sites {site}: this model has {sorted(places.slots)}.")
    layer = None if args.layer is None else args.layer - 1
    return {s: max(places.slots[s]) if layer is None else layer for s in args.sites}


def states_of(examples: Examples, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """States of all examples by site, (P, D) each.

    Raises:
        ValueError: If nothing runs at any of the sites, or their widths differ.
    """
    sites, parts = sites_of(examples.model, args), {}
    for items, _ in examples.batches():
        texts = [next(iter(item.sample.captions()), "") for item in items]
        words = examples.words(texts)
        pixels = examples.pixels(items)
        found = site_states(examples.model, pixels, *words, sites, args.what, args.tokens)
        for site, states in found.items():
            parts.setdefault(site, []).append(states.cpu())
    if not parts:
        raise ValueError(f"Nothing runs at {list(sites)} where media and texts are encoded.")
    states = {site: torch.cat(rows) for site, rows in parts.items()}
    widths = {site: rows.shape[1] for site, rows in states.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            f"Only states of one width lie in one space, and these have {widths}: name those of "
            "one width with --sites."
        )
    return states


def draw(examples: Examples, args: argparse.Namespace) -> Report:
    """Both figures as a report."""
    states = states_of(examples, args)
    layer = args.layer or max(sites_of(examples.model, args).values()) + 1
    points, counts = torch.cat(list(states.values())), [len(rows) for rows in states.values()]
    names = [NAMES.get(site, site) for site in states]
    flat, shares = pca(points)
    perplexity = neighbours(points, args.perplexity)
    planes = {
        "PCA": (flat, tuple(f"component {i} ({s:.0%})" for i, s in enumerate(shares.tolist(), 1))),
        f"t-SNE, perplexity {perplexity:.3g}": (tsne(points, perplexity), ("", "")),
    }
    figures = []
    for title, (plane, axes) in planes.items():
        groups = dict(zip(names, (part.numpy() for part in plane.split(counts)), strict=True))
        figures.append(Panel(scatter(groups, title, axes)))
    lines = [
        f"{args.config}, {args.checkpoint}",
        f"Layer {layer}, {len(examples.items)} examples, "
        + ("first tokens" if args.tokens == "first" else "means of all tokens"),
        f"Sites: {', '.join(states)}",
        *(f"left out: {line}" for line in examples.unreadable),
    ]
    title = SAYS[args.what]
    return Report(
        title[0].upper() + title[1:], lines, [Entry("All modalities together", (), figures)]
    )


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        load_matplotlib()
        examples = open_examples(
            args.config, args.checkpoint, args.num, "test", args.device, args.cfg_options
        )
        page = draw(examples, args).save(args.out)
    for line in examples.unreadable:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{len(examples.items)} examples in {args.out} and {page}")


if __name__ == "__main__":
    main()
