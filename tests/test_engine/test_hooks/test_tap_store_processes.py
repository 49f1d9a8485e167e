"""Taps on disk with several processes: kept by all of them together, read by each."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch.testing import assert_close

from tests.helpers import COLORS, load_tool, write_clip, write_run_cfg
from tests.spawn import spawn
from tests.test_engine.test_hooks import test_tap_store as alone
from uniadapter.datasets.tap_store import TapStore
from uniadapter.engine.hooks import tap_store
from uniadapter.engine.launch import setup_distributed
from uniadapter.engine.runner import build_runner

train = load_tool("train.py")


def write_world(root: Path, captions: tuple[int, ...]) -> Path:
    """Clips of 1 to 4 frames with so many captions each."""
    lines = []
    for number, count in enumerate(captions):
        color = list(COLORS)[number % len(COLORS)]
        write_clip(root / "clips" / f"m{number}", color, "square", 1 + number % 4)
        texts = [("ab cdefgh" * 2)[number + k : 2 * number + 3 * k + 3] for k in range(count)]
        lines += [json.dumps({"media": f"m{number}", "text": text}) for text in texts]
    (root / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    alone.clip_tokenizer(root)
    return root


def write_cfg(folder: Path, root: Path, taps: Path | None, batch_size: int) -> Path:
    """Two epochs; with epsilon at the size of rounding, Adam would turn noise into whole steps."""
    folder.mkdir()
    hooks = [{"type": "LossRecorder", "path": str(folder / "record.json")}]
    kept = {"type": "TapStoreHook", "dir": str(taps), "dtype": "float32"}
    return write_run_cfg(
        folder / "cfg.py",
        {
            "model": alone.model_cfg(root),
            "train_dataloader": {
                "batch_size": batch_size,
                "num_workers": 0,
                "sampler": {"type": "DefaultSampler", "shuffle": True},
                "dataset": alone.dataset_cfg(root),
            },
            "train_cfg": {"max_epochs": 2},
            "val_cfg": None,
            "test_cfg": None,
            "optim_wrapper": {"optimizer": {"lr": 1e-2, "eps": 1e-4}},
            "custom_imports": {"imports": ["uniadapter", "tests.recorder"]},
            "custom_hooks": [*hooks, *([kept] if taps else [])],
            "default_hooks": {"checkpoint": {"max_keep_ckpts": -1}},
        },
    )


def run(cfg: Path, *arguments: str, launcher: str = "none") -> None:
    """What tools/train.py does, without leaving the process at the end."""
    options = train.parse_args([str(cfg), "--work-dir", str(cfg.parent), *arguments])
    config = train.build_config(options)
    setup_distributed(config, launcher)
    build_runner(config).train()


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their names there."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def assert_same_taps(kept: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """The same files and tensors; the last bits depend on what a medium shares its batch with."""
    assert kept.keys() == wanted.keys()
    for name, content in wanted.items():
        if name.endswith(".safetensors"):
            assert_close(load(kept[name]), load(content), atol=1e-5, rtol=1e-5)
        else:
            assert kept[name] == content


def _train_twice(rank: int, world: int, root: str) -> None:
    """A whole run and, from its first epoch, a resumed one; this process looks after the others."""
    folder, counted = Path(root), []
    states_of, missing = tap_store.states_of, TapStore.missing

    def counting(*args: Any) -> Any:
        counted.append(1)
        return states_of(*args)

    def late(store: TapStore, media: Any) -> list[int]:
        time.sleep(0.4 * rank)
        return missing(store, media)

    tap_store.states_of, TapStore.missing = counting, late  # type: ignore[method-assign]
    run(folder / "two" / "cfg.py", launcher="pytorch")
    resumed = folder / "resumed"
    if rank == 0:
        shutil.copy(folder / "two" / "epoch_1.pth", resumed)
        (resumed / "last_checkpoint").write_text(str(resumed / "epoch_1.pth"))
    torch.distributed.barrier()
    run(resumed / "cfg.py", "--resume", launcher="pytorch")
    (folder / f"counted_{rank}.txt").write_text(str(len(counted)))


@pytest.mark.parametrize(
    ("world_size", "captions"),
    [(2, (2, 1, 3, 1, 1)), pytest.param(4, (3, 2, 3), marks=pytest.mark.deep)],
)
def test_processes_keep_and_read_what_one_does(world_size, captions, tmp_path):
    """Parts of unequal size, or none: files and losses of one process; each medium runs once."""
    root = write_world(tmp_path / "world", captions)
    one = write_cfg(tmp_path / "one", root, tmp_path / "taps_of_one", 4)
    run(one)
    for name in ("two", "resumed"):
        write_cfg(tmp_path / name, root, tmp_path / "taps", 4 // world_size)
    spawn(_train_twice, world_size, str(tmp_path))
    kept = files(tmp_path / "taps")
    assert_same_taps(kept, files(tmp_path / "taps_of_one"))
    assert len(kept) == 2 * len(captions) + 1
    shares = [int((tmp_path / f"counted_{r}.txt").read_text()) for r in range(world_size)]
    assert shares == [len(captions[rank::world_size]) for rank in range(world_size)]
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("one", "two")]
    for a, b in zip(*(record["losses"] for record in records), strict=True):
        assert a.pop("media") == b.pop("media")
        assert b == pytest.approx(a, abs=2e-5)
    finals = [
        torch.load(tmp_path / name / "epoch_2.pth", weights_only=True)["state_dict"]
        for name in ("one", "two", "resumed")
    ]
    assert len({tuple(state) for state in finals}) == 1
    for name, tensor in finals[1].items():
        torch.testing.assert_close(tensor, finals[0][name], rtol=0, atol=2e-5, msg=name)
        # A sum of two is the same in any order; of more it hangs on DDP's buckets, which it lays
        # anew behind the first step of a run.
        near = 0 if world_size == 2 else 1e-6
        torch.testing.assert_close(finals[2][name], tensor, rtol=0, atol=near, msg=name)


def test_a_folder_that_others_do_not_see(tmp_path, monkeypatch):
    """As on two machines without a common disk: the other one's part is not there."""
    root = alone.write_world(tmp_path)
    model, dataset = alone.parts(root)
    monkeypatch.setattr(tap_store, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"does not see the taps of 2 of 5 media.*share"):
        alone.keep(root / "taps", model, dataset)
