"""Checkpoints that are small, whole, and load without running pickled code."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from uniadapter.checkpoints.adapter import save_adapter
from uniadapter.checkpoints.former_names import drop_obsolete, rename_checkpoint
from uniadapter.checkpoints.state import (
    KEPT_ADAPTERS,
    backbone_fingerprint,
    check_fingerprint,
    trained_state_dict,
)
from uniadapter.engine.runner.checkpoint_content import (
    plain_or_none,
    refuse_plain_ema,
    restored_by_pretrained,
)
from uniadapter.engine.runner.finite import check_losses, check_weights
from uniadapter.engine.runner.optimizer_state import match_optimizer, optimizer_names
from uniadapter.engine.runner.position import restore_gradients, take_position
from uniadapter.engine.runner.resume import (
    check_matches,
    check_resumable,
    find_resumable,
    state_of,
)
from uniadapter.engine.runner.resumed_run import ResumedRun, describe_run
from uniadapter.engine.runner.work_dir import WorkDirLock, mark_of, validate_again
from uniadapter.registry import HOOKS
from uniadapter.utils.safe_folders import new_folder
from uniadapter.utils.safe_io import atomic_write, load_torch_file, to_plain

from .best_rules import rule_of


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook`` with promises about what is on the disk.

    * A file is written under a temporary name and renamed, and an old one is removed only after
      the new one is there.
    * Everything loads under ``torch.load(weights_only=True)``: log histories are left out, numpy
      numbers become Python ones.
    * Frozen backbone tensors that ``model.pretrained`` restores are left out; the fingerprint of
      the backbone stands in for them and is checked when the file is loaded.
    * A run whose loss or trained weights are not finite stops before it saves them.
    * A checkpoint inside an epoch holds the states of the generators, one between two updates of
      accumulated gradients the gradients, so that the run goes on from there as well.
    * Optimizer states are saved with the names of their parameters and resumed by them.
    * One process at a time trains in a folder; another one is refused.
    * A run that was killed at any moment goes on as if it had not been: what it was writing is
      removed, and a validation that had not ended is run again.
    * Resuming checks names and shapes, and falls back from a damaged last checkpoint to the one
      before it. Keep at least two (``max_keep_ckpts``) for that.
    * The adapter alone (safetensors and JSON) is exported beside each checkpoint.

    Args:
        *args: As MMEngine's hook.
        export_adapter: Export ``<checkpoint>_adapter/`` for a model with an adapter.
        **kwargs: As MMEngine's hook.
    """

    # Metrics of this package that `save_best` may name without a `rule`.
    _default_greater_keys = [
        *CheckpointHook._default_greater_keys,
        *("R1", "R5", "R10", "RMean", "Rsum", "CIDEr", "BLEU", "P@1", "P@5", "P@10"),
    ]
    _default_less_keys = [*CheckpointHook._default_less_keys, "MdR"]
    #: Paths of the best files, one or by metric.
    best_ckpt_path: Any
    best_ckpt_path_dict: dict[str, Any]

    def __init__(self, *args: Any, export_adapter: bool = True, **kwargs: Any) -> None:
        if kwargs.get("backend_args") is None and kwargs.get("file_client_args") is None:
            kwargs["backend_args"] = {"backend": "atomic_local"}
        super().__init__(*args, **kwargs)
        self.export_adapter = export_adapter
        self._fingerprint: str | None = None
        self._saved: dict[str, Any] | None = None
        self._inside = False
        self._position: dict[str, Any] = {}
        self._gradients: dict[str, Any] | None = None
        self._lock = WorkDirLock()
        self._best_before: set[str] = set()

    def _init_rule(self, rules: list[str | None], key_indicators: list[str]) -> None:
        """As MMEngine's, which goes by parts of names."""
        words = (*self.greater_keys, *self.less_keys)
        given = rules * len(key_indicators) if len(rules) == 1 else rules
        known = [r or rule_of(name, words) for r, name in zip(given, key_indicators, strict=True)]
        super()._init_rule(known, key_indicators)

    def before_run(self, runner: Runner) -> None:
        """Choose the file to resume from, the same on all ranks.

        Args:
            runner: The runner.

        Raises:
            ValueError: If the file that was asked for, or every one there is, cannot be used.
        """
        refuse_plain_ema(runner)
        if not runner._resume:
            return
        outcome: list[Any] = [None]
        if is_main_process():
            outcome = [self._choose(runner)]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        if outcome[0] is not None:
            # The runner resumes from `load_from` where it is set, else from `last_checkpoint`.
            runner._load_from = outcome[0]

    @staticmethod
    def _choose(runner: Runner) -> str | None | Exception:
        # An error is handed to the other ranks, which would otherwise wait for this one.
        try:
            if runner._load_from is None:
                found = find_resumable(runner.work_dir)
                return None if found is None else str(found)
            check_resumable(runner._load_from)
        except (ValueError, FileNotFoundError) as error:
            return error
        return str(runner._load_from)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or another backbone.

        Args:
            runner: The runner.
            checkpoint: What was read.

        Raises:
            ValueError: If tensors or the backbone differ.
        """
        model, path = _unwrap(runner.model), str(runner._load_from)
        state = state_of(checkpoint, path)
        rename_checkpoint(model, checkpoint)
        meta = checkpoint.get("meta", {})
        left_out = meta.get("left_out", [])
        exact = bool(runner._resume)
        if exact:
            # Averages and queue of an adapter that was added are made where its training begins.
            mode = model.training
            model.train().train(mode)
        whole, state = state, drop_obsolete(path, state, model)
        if "state_dict" in checkpoint:
            checkpoint["state_dict"] = state
        check_matches(model, state, left_out, path, exact=exact)
        if left_out:
            digest, own = meta.get("backbone_sha256"), self._backbone(model)
            check_fingerprint(f"Checkpoint {path}", digest, model, own=own)
        if exact and "optimizer" in checkpoint:
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            checkpoint["optimizer"] = match_optimizer(
                checkpoint["optimizer"],
                checkpoint.get("optimizer_names"),
                runner.optim_wrapper,
                model,
                whole,
                set(whole) - set(state),
                path,
            )
            ResumedRun(runner, checkpoint, path).adapt()
            self._gradients = checkpoint.get("position", {}).get("gradients")
        if hasattr(model, "set_adapter_extras"):
            model.set_adapter_extras(meta.get("adapter_extras", {}))  # type: ignore[operator]

    def before_train(self, runner: Runner) -> None:
        """As MMEngine's; a run that was stopped between two updates gets its gradients back.

        Args:
            runner: The runner.
        """
        self._lock.claim(runner.work_dir)
        super().before_train(runner)
        resumed = Path(str(runner._load_from)) if runner._resume and runner._load_from else None
        if resumed is not None and resumed.parent.resolve() == Path(self.out_dir).resolve():
            # Saved again where the next validation is the best one yet.
            self.last_ckpt = str(resumed)
            self._tidy_up(runner, resumed)
        if self._gradients is not None:
            restore_gradients(runner.model, self._gradients)
            self._gradients = None
            runner.logger.info("The gradients of the iterations before the last update are back")
        validate_again(runner)

    def _tidy_up(self, runner: Runner, resumed: Path) -> None:
        """Finish what the run was doing behind the checkpoint when it was killed."""
        folder = Path(self.out_dir)
        hub = runner.message_hub
        if getattr(self, "best_ckpt_path", None):
            # The work directory may have been moved since.
            self.best_ckpt_path = str(folder / Path(str(self.best_ckpt_path)).name)
        if not is_main_process():
            return
        kept = {Path(path).name for path in self._best_files()} | {resumed.name}
        kept |= {self.filename_tmpl.format(step) for step in getattr(self, "keep_ckpt_ids", ())}
        for name in hub.get_info("outdated", []) if "outdated" in hub.runtime_info else []:
            if name not in kept:
                self._remove(str(folder / name))
        names = trained_state_dict(_unwrap(runner.model))
        for path in (str(resumed), *sorted(self._best_files())):
            if Path(path).is_file() and not _adapter_folder(path).is_dir():
                state = load_torch_file(path)["state_dict"]
                if set(names) <= set(state):
                    self._saved = {name: state[name] for name in names}
                    self._export(runner, path)

    def after_train(self, runner: Runner) -> None:
        """As MMEngine's; nothing is left to be validated.

        Args:
            runner: The runner.
        """
        super().after_train(runner)
        if is_main_process():
            mark_of(runner).unlink(missing_ok=True)

    def after_run(self, runner: Runner) -> None:
        """Let other processes write to the folder."""
        self._lock.release()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the best checkpoint; a resumed run need not validate here again.

        Args:
            runner: The runner.
            metrics: What was measured.
        """
        super().after_val_epoch(runner, metrics or {})
        if is_main_process():
            mark_of(runner).unlink(missing_ok=True)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop at a loss that is not finite; save by iterations.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used.
            outputs: The losses.

        Raises:
            NotFiniteError: If a loss is not finite on any rank.
        """
        check_losses(outputs, runner.iter + 1)
        self._inside = True
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._inside = False

    def _take_position(self, runner: Runner, iteration: int) -> None:
        check_weights(_unwrap(runner.model), iteration)
        loop = runner.train_loop
        inside = self._inside or (not self.by_epoch and isinstance(loop, IterBasedTrainLoop))
        done = iteration - getattr(loop, "epoch_start", 0) if inside else None
        self._position = take_position(runner, done)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen and turn the rest into plain values.

        Args:
            runner: The runner.
            checkpoint: What will be saved, changed in place.
        """
        model = _unwrap(runner.model)
        # Another hook may have put averages in the place of the weights: export what is saved.
        self._saved = {name: checkpoint["state_dict"][name] for name in trained_state_dict(model)}
        left_out = restored_by_pretrained(model)
        checkpoint["meta"]["left_out"] = left_out
        if hasattr(model, "adapter_extras"):
            checkpoint["meta"]["adapter_extras"] = model.adapter_extras()  # type: ignore[operator]
        if left_out:
            checkpoint["meta"]["backbone_sha256"] = self._backbone(model)
        # Adapters that are not active are no part of this run.
        state = checkpoint["state_dict"]
        gone = {*left_out, *(name for name in state if name.startswith(f"{KEPT_ADAPTERS}."))}
        if gone:
            kept = ((name, value) for name, value in state.items() if name not in gone)
            checkpoint["state_dict"] = OrderedDict(kept)
        checkpoint["meta"]["run"] = describe_run(runner)
        if self._position:
            checkpoint["position"] = self._position
        if "optimizer" in checkpoint:
            checkpoint["optimizer_names"] = optimizer_names(runner.optim_wrapper, model)
        hub = checkpoint["message_hub"]
        hub["log_scalars"] = {}
        info = {name: plain_or_none(name, value) for name, value in hub["runtime_info"].items()}
        hub["runtime_info"] = {name: value for name, value in info.items() if value is not None}
        hub["resumed_keys"] = {
            name: kept for name, kept in hub["resumed_keys"].items() if name in hub["runtime_info"]
        }
        for key in checkpoint:
            if key != "state_dict":
                checkpoint[key] = to_plain(checkpoint[key])

    def _backbone(self, model: nn.Module) -> str:
        if self._fingerprint is None:
            self._fingerprint = backbone_fingerprint(model)
        return self._fingerprint

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        stale: list[int] = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                stale.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        self._take_position(runner, meta["iter"])
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        outdated = [self.filename_tmpl.format(old) for old in stale]
        if self._best_before:
            outdated += sorted(Path(path).name for path in self._best_before - self._best_files())
        # A run that is killed before they are removed does so when it is resumed.
        runner.message_hub.update_info("outdated", outdated)
        if is_main_process() and runner.val_loop is not None:
            atomic_write(mark_of(runner), str(meta["iter"]).encode())
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        atomic_write(Path(runner.work_dir) / "last_checkpoint", str(self.last_ckpt).encode())
        self._export(runner, str(self.last_ckpt))
        for old in stale:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        if not self.save_best:
            return
        self._best_before = before = self._best_files()
        self._take_position(runner, runner.iter)
        single = getattr(self, "best_ckpt_path", None)
        several = dict(getattr(self, "best_ckpt_path_dict", {}))
        # MMEngine removes what stands there before it has written the new one.
        self.best_ckpt_path = None
        self.best_ckpt_path_dict = dict.fromkeys(several)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.best_ckpt_path = self.best_ckpt_path or single
            found = self.best_ckpt_path_dict
            self.best_ckpt_path_dict = {key: found[key] or several[key] for key in several}
            self._best_before = set()
        if not is_main_process():
            return
        after = self._best_files()
        for path in after - before:
            self._export(runner, path)
        for path in before - after:
            self._remove(path)

    def _best_files(self) -> set[str]:
        paths = [getattr(self, "best_ckpt_path", None)]
        paths += list(getattr(self, "best_ckpt_path_dict", {}).values())
        return {str(path) for path in paths if path}

    def _export(self, runner: Runner, checkpoint_path: str) -> None:
        model = _unwrap(runner.model)
        if not self.export_adapter or getattr(model, "adapter", None) is None:
            return
        with new_folder(_adapter_folder(checkpoint_path), replace=True) as inside:
            save_adapter(model, inside, self._saved)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        shutil.rmtree(_adapter_folder(path), ignore_errors=True)


def _adapter_folder(checkpoint_path: str) -> Path:
    path = Path(checkpoint_path)
    return path.with_name(f"{path.stem}_adapter")


def _unwrap(model: nn.Module) -> nn.Module:
    return getattr(model, "module", model)
