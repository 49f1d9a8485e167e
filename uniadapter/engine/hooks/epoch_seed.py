"""Random numbers that a resumed run draws like an uninterrupted one."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from uniadapter.registry import FUNCTIONS, HOOKS
from uniadapter.utils.generators import mix_seed, seed_generators


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed numpy and Python in a data-loading worker from the seed torch gave to the worker.

    Torch derives that seed from the main process each time the workers start, and therefore from
    :class:`EpochSeedHook`. MMEngine's default function seeds each worker with a number that is the
    same in every epoch, which repeats the same crops and offsets epoch after epoch. Use it as
    ``worker_init_fn=dict(type='uniadapter.seed_worker')`` and without ``persistent_workers``.

    Args:
        worker_id: Index of the worker; the seed contains it already.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds all generators at the start of every training epoch from (seed, epoch, iter, rank).

    So a run that was stopped after any epoch goes on exactly as it would have, whatever else drew
    random numbers in between, and no generator state has to be stored. Ranks draw different
    numbers, and the data-loading workers follow (see :func:`seed_worker`). An iteration-based
    loop seeds each of its passes over the data likewise. A checkpoint that is saved inside an
    epoch holds the states of the generators, see :func:`take_position`.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Warn where the workers outlive an epoch and would not be seeded again.

        Args:
            runner: The runner of the training.
        """
        loader = runner.train_loop.dataloader
        if loader.num_workers > 0 and loader.persistent_workers:
            print_log(
                "train_dataloader.persistent_workers=True: the workers keep their random numbers "
                "over the epochs, so a resumed run will differ from an uninterrupted one. Set it "
                "to False for exact resuming.",
                logger="current",
                level=30,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the generators for the epoch that begins.

        Args:
            runner: The runner of the training.
        """
        # A resumed epoch may have begun some iterations ago.
        start = getattr(runner.train_loop, "epoch_start", runner.iter)
        seed_generators(mix_seed(runner.seed, runner.epoch, start, runner.rank))
