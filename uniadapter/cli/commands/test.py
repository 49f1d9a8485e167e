"""Evaluate a checkpoint or an adapter on the test data of a config, in one process or several.

    uniadapter test configs/tiny/msrvtt_r32.py runs/first/epoch_5.pth --out metrics.json
    uniadapter test uniadapter_msrvtt_r512 my_adapter/ --nproc-per-node 8

Options of torchrun (--nproc-per-node, --nnodes, --node-rank, --master-port ...) start that many
processes; on Slurm, put srun in front and add --launcher slurm. The same as tools/test.py.
"""

from __future__ import annotations

from ..scripts import run_processes


def main(argv: list[str]) -> None:
    """Evaluate as the arguments say."""
    run_processes("test", "tools/test.py", argv, __doc__)
