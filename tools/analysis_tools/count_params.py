"""Count the parameters of a config's model by component, without allocating its weights."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import torch

from uniadapter.apis.model import build_model
from uniadapter.models.adapters.state import count_parameters
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_model_config
from uniadapter.utils.errors import one_message

# Keys that every answer has, whatever the model is made of.
_ALWAYS = ("adapter", "heads", "temperature", "kv_pair", "backbone")


def count_config(config: str, cfg_options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Build the model of a config on the meta device and count its parameters.

    Args:
        config (str): Config file.
        cfg_options (Mapping, optional): Overrides by dotted key.

    Returns:
        dict[str, int]: Parameters by component (``adapter``, ``heads``, ``temperature``,
        ``kv_pair``, ``backbone``; 0 where there is none), ``trainable`` and ``total``; each
        tensor counts once.

    Raises:
        FileNotFoundError: If the config does not exist.
        ValueError: If it has no model, or an option of the model is wrong.
    """
    cfg = load_model_config(config, cfg_options)
    with torch.device("meta"):
        model = build_model(cfg.model.to_dict())
    counts = count_parameters(model)
    sums = {key: counts.pop(key) for key in ("trainable", "total")}
    parts = dict.fromkeys(_ALWAYS, 0)
    parts.update(counts)
    return {**parts, **sums}


def as_table(counts: Mapping[str, int]) -> str:
    """Lay out counts as a text table with each component's share of the model."""
    lines = [f"{'component':<12} {'parameters':>14} {'share':>8}"]
    for name, count in counts.items():
        if count or name in ("adapter", "trainable", "total"):
            lines.append(f"{name:<12} {count:>14,} {count / counts['total']:>8.2%}")
    return "\n".join(lines)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override config values, e.g. model.adapter.bottleneck=128",
    )
    return parser.parse_args(argv)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print the counts."""
    args = parse_args(argv)
    try:
        counts = count_config(args.config, args.cfg_options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(counts) if args.json else as_table(counts))


if __name__ == "__main__":
    main()
