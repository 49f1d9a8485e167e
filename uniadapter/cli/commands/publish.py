"""Turn what a run saved into files to hand on.

    uniadapter publish work_dirs/blip_tiny/epoch_5.pth blip_tiny.safetensors

The same as tools/model_converters/publish_model.py.
"""

from __future__ import annotations

from ..scripts import run_script


def main(argv: list[str]) -> None:
    """Publish as the arguments say."""
    run_script("publish", "tools/model_converters/publish_model.py", argv, __doc__)
