"""Fetch weights of the project's models by name, and check them.

    uniadapter download blip_base clip_b32

They go to $UNIADAPTER_HOME/checkpoints (~/.cache/uniadapter/checkpoints); what is there already is
checked and not fetched, what was interrupted goes on. `uniadapter list --long` shows which models
have weights.
"""

from __future__ import annotations

import argparse
import sys

from uniadapter.apis.weights import find_weights, weights_of


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="names of models")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Fetch; the status is 1 where one of the files can't be had."""
    failed = False
    for name in parse_args(argv).names:
        try:
            path = find_weights(name, download=True)
            checked = "sha256 is right" if weights_of(name).verified else "unverified"
            print(f"{name}: {path} ({checked})")
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    return int(failed)
