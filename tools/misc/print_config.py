"""Print a config with its bases merged and the options of the command line applied."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import dump

from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

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


def text_of(config: Config, suffix: str) -> str:
    """A config as it stands in a file with such an end."""
    if suffix == ".py":
        return str(config.pretty_text)
    return str(dump(config.to_dict(), file_format=suffix[1:]))


@one_message()
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
        atomic_write(args.save_path, text_of(config, Path(args.save_path).suffix).encode())
        print(f"# written to {args.save_path}")


if __name__ == "__main__":
    main()
