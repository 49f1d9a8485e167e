"""Open every file of a config's data sets and list what is missing, empty or damaged.

    uniadapter verify uniadapter_msrvtt_r512 --split test --out report.json

The same as tools/misc/verify_dataset.py.
"""

from __future__ import annotations

from ..scripts import run_script


def main(argv: list[str]) -> None:
    """Verify as the arguments say."""
    run_script("verify", "tools/misc/verify_dataset.py", argv, __doc__)
