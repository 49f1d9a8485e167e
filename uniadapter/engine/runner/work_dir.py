"""One training a work directory, and what a killed one leaves in it."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path
from typing import IO, Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import EpochBasedTrainLoop, Runner

from uniadapter.utils.safe_io import writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".training.lock"
# Names under which files and folders are written before they are renamed.
_TEMPORARY = re.compile(
    r"\.(?:.+\.pth|.+_adapter|last_checkpoint|to_validate)\.\d+(?:\.[0-9a-f]{8,16}|\.old)?\.tmp"
)


class WorkDirLock:
    """Sees that one process writes a folder's checkpoints.

    The lock belongs to the process: it ends with it, however that ends, and the workers of a data
    loader don't inherit it.
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def take(self, work_dir: str | Path) -> bool:
        """Take the lock.

        Args:
            work_dir: The folder.

        Returns:
            Whether it was taken; False where the system or the file system has no locks.

        Raises:
            ValueError: If another process has it.
        """
        if fcntl is None:
            return False
        path = Path(work_dir) / LOCK
        while True:
            with writing(path):
                file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                file.seek(0)
                owner = file.read() or "another process"
                file.close()
                raise ValueError(
                    f"{work_dir}: {owner} is training there, and two would overwrite each other's "
                    "checkpoints: wait for it, or name another --work-dir."
                ) from error
            except OSError:
                file.close()
                return False
            # The one that had it may have removed the file since it was opened.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()
        with writing(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        self._file = file
        return True

    def claim(self, work_dir: str | Path) -> None:
        """Take the lock, on all ranks, and remove what a killed run was writing. A collective.

        Args:
            work_dir: The folder.

        Raises:
            ValueError: If another process has it.
            WriteError: If the folder can't be written to.
        """
        refused: list[Any] = [None]
        if is_main_process():
            # An error is handed to the other ranks, which would otherwise wait for this one.
            try:
                if self.take(work_dir):
                    remove_leftovers(work_dir)
            except (ValueError, OSError) as error:
                refused = [error]
        broadcast_object_list(refused)
        if refused[0] is not None:
            raise refused[0]

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None


def remove_leftovers(folder: str | Path) -> list[str]:
    """Remove what was being written to a folder when its process was killed.

    Args:
        folder: A folder that nobody else writes to.

    Returns:
        Names of what was removed.
    """
    found = sorted(path for path in Path(folder).glob(".*.tmp") if _TEMPORARY.fullmatch(path.name))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in found]


def mark_of(runner: Runner) -> Path:
    """The file that holds the iteration of a checkpoint until it has been validated."""
    return Path(runner.work_dir) / "to_validate"


def _unvalidated(runner: Runner) -> bool:
    """Whether a resumed run goes on from a checkpoint whose validation had not ended. A collective.

    Args:
        runner: The runner, in training.
    """
    loop, mark = runner.train_loop, mark_of(runner)
    if not runner._resume or runner.val_loop is None or loop.iter == 0:
        return False
    marked: list[Any] = [None]
    if is_main_process() and mark.is_file():
        marked = [mark.read_text(encoding="utf-8", errors="replace").strip()]
    broadcast_object_list(marked)
    if marked[0] != str(loop.iter):
        return False
    # As the loops decide it themselves.
    loop._decide_current_val_interval()
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    done, last = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    inside = by_epoch and getattr(loop, "done", 0) > 0
    return not inside and done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)


def validate_again(runner: Runner) -> None:
    """Run the validation that a run was killed before or in. A collective.

    Args:
        runner: The runner, in training.
    """
    if runner._resume and runner.iter > 0:
        # As behind the last iteration: where no other one comes first, checkpoints hold it.
        runner.message_hub.update_info("iter", runner.iter - 1)
    if not _unvalidated(runner):
        return
    runner.logger.info("The run was stopped before this validation had ended")
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    runner.message_hub.update_info("epoch", runner.epoch - by_epoch)
    runner.val_loop.run()
