"""A checkpoint of one config, resumed under another: what of which is in force, said aloud.

The config decides what may change during a run: learning rate, schedule, length, batch size, number
of processes. The checkpoint decides what can't: states of the optimizer, the seed. What fits
neither is an error. docs/training.md has the table.
"""

from __future__ import annotations

import difflib
import logging
import re
import warnings
from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .epoch_lengths import steps_before
from .position import each_wrapper

# Of a scheduler's state: how far it is. The rest is what the config says.
_PROGRESS = ("last_step", "_global_step", "_last_value", "verbose")
# What iterations are counted in.
_COUNTED = (
    "train_dataloader.batch_size",
    "the number of processes",
    "the length of the data set",
    "train_dataloader.sampler",
    "train_dataloader.batch_sampler",
    "optim_wrapper.accumulative_counts",
)
_NOT_COMPARED = {"work_dir", "experiment_name", "load_from", "resume", "launcher"}


def describe_run(runner: Runner) -> dict[str, Any]:
    """What a checkpoint records of its run, to be compared when it is resumed.

    Args:
        runner: The runner, in training.

    Returns:
        Values by the name under which an error or a warning shows them.
    """
    loader = runner.train_dataloader
    wrappers = each_wrapper(runner.optim_wrapper)
    return {
        "train_dataloader.batch_size": _batch_size(loader),
        "the number of processes": get_world_size(),
        "the length of the data set": len(loader.dataset),
        "train_dataloader.sampler": _order_of_items(runner),
        "train_dataloader.batch_sampler": _order(loader),
        "train_dataloader.num_workers": loader.num_workers,
        "optim_wrapper.accumulative_counts": [w._accumulative_counts for w in wrappers.values()],
        "optim_wrapper.type": [type(w).__name__ for w in wrappers.values()],
        "optim_wrapper.optimizer.type": [type(w.optimizer).__name__ for w in wrappers.values()],
    }


class ResumedRun:
    """Compares a checkpoint with this run, and changes it to what this run goes on with.

    Args:
        runner: The runner; loop, optimizer and schedule are built.
        checkpoint: What was read; changed in place by :meth:`adapt`.
        path: The file, for errors.
    """

    def __init__(self, runner: Runner, checkpoint: dict[str, Any], path: str) -> None:
        self.runner, self.checkpoint, self.path = runner, checkpoint, path
        self.meta = checkpoint["meta"]
        self.position = checkpoint.get("position", {})
        self.loop = runner.train_loop
        self.length = len(self.loop.dataloader)
        self.notes: list[str] = []

    def adapt(self) -> None:
        """Take from checkpoint and config what each decides.

        Raises:
            ValueError: If they can't be one run.
        """
        done = self._done()
        self._compare_records(bool(done))
        # The lengths of epochs may depend on the seed.
        self._take_seed()
        self._set_place(done)
        self._adapt_schedule()
        self._name_other_lines()
        if self.notes:
            listing = "\n".join(f"  {note}" for note in self.notes)
            print_log(
                f"The run resumed from {self.path} is not the run of this config:\n{listing}",
                logger="current",
                level=logging.WARNING,
            )

    def _refuse(self, reason: str) -> ValueError:
        return ValueError(
            f"Checkpoint {self.path} can't be resumed: {reason}. Resume with the config it was "
            "trained with, or start a new run on its weights with load_from."
        )

    def _done(self) -> int:
        """Batches that are done of an epoch that was not."""
        if "done" in self.position:
            return self.position["done"]
        # Files of earlier versions. Between two epochs `meta` has the epoch that comes.
        running = self.checkpoint["message_hub"].get("runtime_info", {}).get("epoch")
        if self.meta["epoch"] != running:
            return 0
        epochs = isinstance(self.loop, EpochBasedTrainLoop)
        start = steps_before(self.loop.dataloader, self.meta["epoch"]) if epochs else 0
        done = self.meta["iter"] - start
        if done > 0:
            self.notes.append(
                "The file was saved inside an epoch by a version that did not save the states of "
                "the generators: crops and dropout of the rest of the epoch will be other ones."
            )
        return max(0, done)

    def _compare_records(self, inside: bool) -> None:
        recorded, own = self.meta.get("run", {}), describe_run(self.runner)
        changed = {k: (recorded[k], own[k]) for k in own if k in recorded and recorded[k] != own[k]}
        if "optim_wrapper.optimizer.type" in changed:
            before, now = changed["optim_wrapper.optimizer.type"]
            raise self._refuse(f"its optimizer is {before}, this run's is {now}")
        counted = [k for k in changed if k in _COUNTED]
        said = ", ".join(f"{k} was {changed[k][0]} and is {changed[k][1]}" for k in counted)
        if counted and (inside or "gradients" in self.position):
            place = "inside an epoch" if inside else "between two updates of its gradients"
            raise self._refuse(f"it was saved {place}, and {said}")
        for key, (before, now) in changed.items():
            crops = inside and key == "train_dataloader.num_workers"
            more = ", which changes the crops of this epoch's rest" if crops else ""
            self.notes.append(f"{key}: {before} before, {now} from here on{more}.")

    def _set_place(self, done: int) -> None:
        """Tell the loop where its epoch goes on, and count iterations in this run's epochs."""
        if done:
            if not hasattr(self.loop, "go_on"):
                raise self._refuse(
                    f"it was saved inside an epoch, and {type(self.loop).__name__} starts epochs "
                    "from their beginning; build the run with build_runner or tools/train.py"
                )
            states = self.position.get("generators")
            own = None if states is None else states[self.runner.rank]
            self.loop.go_on(done, own)
            return
        if not isinstance(self.loop, EpochBasedTrainLoop):
            return
        expected = steps_before(self.loop.dataloader, self.meta["epoch"])
        if self.meta["iter"] != expected:
            self.notes.append(
                f"An epoch has {self.length} iterations now: the run goes on at the same epoch, "
                f"{self.meta['epoch']}, and at iteration {expected} instead of "
                f"{self.meta['iter']}."
            )
            self.meta["iter"] = expected

    def _take_seed(self) -> None:
        """The order of the data goes on as the checkpoint's seed has it, as all else does."""
        seed, own = self.meta.get("seed"), self.runner.seed
        if seed is None or seed == own:
            return
        if self.runner._randomness_cfg.get("seed") is not None:
            self.notes.append(f"randomness.seed: the file's {seed} is used, {own} is not.")
        sampler = _sampler(self.loop.dataloader)
        # One that the config gives a seed of its own keeps it.
        if _given_seed(self.runner) is None and getattr(sampler, "seed", None) == own:
            sampler.seed = seed

    def _adapt_schedule(self) -> None:
        """Where the config's rates differ, go on with those it has at this iteration."""
        wrappers = each_wrapper(self.runner.optim_wrapper)
        single = "" in wrappers
        states = self.checkpoint["optimizer"]
        saved = {"": states} if single else states
        own = _by_name(self.runner.param_schedulers, single)
        there = _by_name(self.checkpoint.get("param_schedulers"), single)
        plans = {k: [_plan(s.state_dict()) for s in own[k]] for k in own}
        changed = plans != {k: [_plan(s) for s in there[k]] for k in there}
        scheduled = {s.param_name for group in own.values() for s in group}
        for key, wrapper in wrappers.items():
            for index, group in enumerate(saved[key]["param_groups"]):
                mine = wrapper.optimizer.param_groups[index]
                changed |= self._compare_options(group, mine, scheduled)
        if not changed:
            return
        if plans != {k: [_plan(s) for s in there[k]] for k in there}:
            self.notes.append(
                f"The schedule is the config's: {_differences(own, there) or 'other schedulers'}. "
                f"It goes on as if it had been so from the start."
            )
        self._run_schedule(own)
        for key, wrapper in wrappers.items():
            fresh = wrapper.state_dict()
            if "base_param_settings" in fresh:
                saved[key]["base_param_settings"] = fresh["base_param_settings"]
            for index, group in enumerate(fresh["param_groups"]):
                saved[key]["param_groups"][index] = group
        if self.runner.param_schedulers is not None:
            progress = {k: [s.state_dict() for s in own[k]] for k in own}
            self.checkpoint["param_schedulers"] = progress[""] if single else progress

    def _compare_options(
        self, saved: dict[str, Any], own: dict[str, Any], scheduled: set[str]
    ) -> bool:
        """Note options of a parameter group that differ; scheduled ones by their first value."""
        found = False
        for key in sorted(set(saved) & set(own) - {"params", *scheduled}):
            if saved[key] != own[key]:
                found = True
                name = key.removeprefix("initial_")
                self.notes.append(
                    f"optim_wrapper.optimizer.{name}: {saved[key]} before, {own[key]} from here on."
                )
        return found

    def _run_schedule(self, schedulers: dict[str, list[Any]]) -> None:
        """Step the new schedulers to where the run is."""
        single = [s for group in schedulers.values() for s in group]
        if any(getattr(scheduler, "need_val_args", False) for scheduler in single):
            raise self._refuse("a schedule that depends on metrics has changed")
        epochs = isinstance(self.loop, EpochBasedTrainLoop)
        # Not the end of an epoch that a checkpoint inside it has not seen yet.
        seen = range(1, self.meta["epoch"] + 1) if epochs else ()
        ends = {steps_before(self.loop.dataloader, epoch) for epoch in seen}
        with warnings.catch_warnings():
            # MMEngine warns of a schedule that steps before the optimizer.
            warnings.simplefilter("ignore")
            for iteration in range(1, self.meta["iter"] + 1):
                for scheduler in single:
                    if not scheduler.by_epoch:
                        scheduler.step()
                for scheduler in single:
                    if scheduler.by_epoch and iteration in ends:
                        scheduler.step()

    def _name_other_lines(self) -> None:
        """Whatever else differs in the config's text: it is the config's that is in force."""
        if "cfg" not in self.meta:
            return
        before, now = _statements(self.meta["cfg"]), _statements(self.runner.cfg.pretty_text)
        lines = []
        for key in sorted((set(before) | set(now)) - _NOT_COMPARED):
            old, new = before.get(key, []), now.get(key, [])
            diff = difflib.unified_diff(old, new, n=0, lineterm="")
            lines += [line for line in diff if re.match(r"[-+](?![-+]{2} )", line)]
        if lines:
            more = [f"... and {len(lines) - 20} more"] if len(lines) > 20 else []
            listing = "".join(f"\n    {line}" for line in [*lines[:20], *more])
            self.notes.append(f"Lines of the config (-: the checkpoint's, +: this run's):{listing}")


def _statements(text: str) -> dict[str, list[str]]:
    """Lines of a config's text by its top-level key."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in text.splitlines():
        start = re.match(r"(\w+) = ", line)
        key = start.group(1) if start else key
        found.setdefault(key, []).append(line)
    return found


def _plan(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in _PROGRESS}


def _differences(own: dict[str, list[Any]], there: dict[str, list[Any]]) -> str:
    parts = []
    for key in own:
        for scheduler, saved in zip(own[key], there.get(key, []), strict=False):
            now, before = _plan(scheduler.state_dict()), _plan(saved)
            kind = type(scheduler).__name__
            parts += [
                f"{kind}.{name} {before.get(name)} before, {now.get(name)} now"
                for name in now
                if before.get(name) != now[name]
            ]
    return "; ".join(parts)


def _by_name(schedulers: Any, single: bool) -> dict[str, list[Any]]:
    if schedulers is None:
        return {}
    return {"": schedulers} if single else dict(schedulers)


def _sampler(loader: DataLoader) -> Any:
    own = loader.sampler
    return own if hasattr(own, "seed") else getattr(loader.batch_sampler, "sampler", None)


def _given_seed(runner: Runner) -> int | None:
    """The seed that the config gives to the sampler of training; None where it is the run's."""
    loader = runner._train_dataloader
    sampler = loader.get("sampler") if isinstance(loader, Mapping) else None
    return sampler.get("seed") if isinstance(sampler, Mapping) else None


def _order_of_items(runner: Runner) -> dict[str, Any]:
    """What decides the order of items, beside the run's seed, which is the checkpoint's."""
    sampler = _sampler(runner.train_dataloader)
    return {
        "type": type(sampler).__name__,
        "shuffle": getattr(sampler, "shuffle", None),
        "seed": _given_seed(runner),
    }


def _batch_size(loader: DataLoader) -> int | None:
    size = loader.batch_size
    return getattr(loader.batch_sampler, "batch_size", None) if size is None else size


def _order(loader: DataLoader) -> Any:
    """What a batch sampler says of its batches beside their size."""
    describe = getattr(loader.batch_sampler, "describe", None)
    return None if describe is None else describe()
