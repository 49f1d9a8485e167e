"""Train what a config says, in one process or several.

    uniadapter train configs/tiny/msrvtt_r32.py --work-dir runs/first
    uniadapter train uniadapter_msrvtt_r512 --nproc-per-node 8 --amp

Options of torchrun (--nproc-per-node, --nnodes, --node-rank, --master-port ...) start that many
processes; on Slurm, put srun in front and add --launcher slurm. The same as tools/train.py.
"""

from __future__ import annotations

from ..scripts import run_processes


def main(argv: list[str]) -> None:
    """Train as the arguments say."""
    run_processes("train", "tools/train.py", argv, __doc__)
