r"""Convert a checkpoint from another project's names to ours, or back.

    uniadapter convert model_base.pth checkpoints/blip_base.safetensors --from blip \
        --config uniadapter_msrvtt_r512

The same as tools/model_converters/convert_checkpoint.py.
"""

from __future__ import annotations

from ..scripts import run_script


def main(argv: list[str]) -> None:
    """Convert as the arguments say."""
    run_script("convert", "tools/model_converters/convert_checkpoint.py", argv, __doc__)
