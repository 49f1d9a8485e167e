"""Print a config with its bases merged and the options of the command line applied."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message

SUFFIXES = (".py", ".json", ".yml", ".yaml")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="path of the config")
    parser.add_argument("--save-path", help="also write the merged config here (.py, .json, .yml)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        help="options to override, as key=value; nested keys take dots",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Print the merged config."""
    args = parse_args(argv)
    try:
        if args.save_path and Path(args.save_path).suffix not in SUFFIXES:
            raise ValueError(f"--save-path {args.save_path} must end in one of {SUFFIXES}.")
        config = load_config(args.config, args.cfg_options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(config.pretty_text)
    if args.save_path:
        with one_message():
            Path(args.save_path).parent.mkdir(parents=True, exist_ok=True)
            config.dump(args.save_path)
        print(f"# written to {args.save_path}")


if __name__ == "__main__":
    main()
