"""Visual tokens on disk give what visual tokens in memory give."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.spawn import apart, spawn
from tests.test_engine.test_runner.retrieval_stubs import (
    FakeRunner,
    Recorder,
    Split,
    StubModel,
    build,
    loader,
)
from uniadapter.engine.runner import RetrievalTestLoop, RetrievalValLoop
from uniadapter.retrieval import token_store
from uniadapter.retrieval.token_store import DiskTokens


def rows(split: Split, **options: Any) -> tuple[dict, list[Tensor]]:
    options = {"k_test": 3, **options}
    loop = RetrievalTestLoop(FakeRunner(StubModel()), loader(split), Recorder(), **options)
    return loop.run(), [scores for blocks in loop.evaluator.rows for scores in blocks]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"folds": 2}, {"k_test": 0}])
def test_results_are_those_of_main_memory(tmp_path: Path, dtype: str, options: dict) -> None:
    split = Split(8, skipped=[3])
    metrics, expected = rows(split, gallery_dtype=dtype, **options)
    folder = tmp_path / "new" / "folder"
    found, got = rows(split, gallery_dtype=dtype, gallery_dir=str(folder), **options)
    assert found == metrics
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert list(folder.iterdir()) == []


def test_validation_has_it_too(tmp_path: Path) -> None:
    expected = build(StubModel(), loader(Split(5)), RetrievalValLoop).run()
    loop = build(StubModel(), loader(Split(5)), RetrievalValLoop, gallery_dir=str(tmp_path))
    assert loop.run() == expected


def _run(rank: int, world: int, folder: str | None, dtype: str) -> tuple[dict, list[Tensor]]:
    model: nn.Module = StubModel()
    if world > 1:
        model = nn.parallel.DistributedDataParallel(model)
    data = loader(Split(7, skipped=[2]), 2, rank, world)
    loop = RetrievalTestLoop(
        FakeRunner(model), data, Recorder(), k_test=3, gallery_dtype=dtype, gallery_dir=folder
    )
    return loop.run(), [torch.cat(part) for part in loop.evaluator.rows]


def _ranks_agree(rank: int, world: int, folder: str) -> None:
    for dtype in ("float32", "bfloat16"):
        metrics, expected = _run(rank, world, None, dtype)
        found, got = _run(rank, world, folder, dtype)
        assert found == metrics
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_two_ranks_share_a_folder(tmp_path: Path) -> None:
    spawn(_ranks_agree, 2, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def tokens(count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(count, 2, 5, 3, generator=generator).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_come_back_in_any_order(tmp_path: Path, dtype: torch.dtype) -> None:
    expected = tokens(6, dtype)
    store = DiskTokens(str(tmp_path), 6, "gallery_dir")
    store.extend(expected[:4])
    assert torch.equal(store[1], expected[1])
    store.extend(t.transpose(0, 1).contiguous().transpose(0, 1) for t in expected[4:])
    assert len(store) == 6
    assert store.nbytes == sum(t.nbytes for t in expected)
    for index in (5, 0, 3, -1):
        assert torch.equal(store[index], expected[index])
    part = store.select([4, 1]).select([1])
    assert len(part) == 1
    assert torch.equal(part[0], expected[1])
    assert [torch.equal(a, b) for a, b in zip(store[2:4], expected[2:4], strict=True)] == [True] * 2
    store.close()
    with pytest.raises(ValueError, match="closed"):
        part[0]


def test_what_does_not_fit_the_file_is_an_error(tmp_path: Path) -> None:
    store = DiskTokens(str(tmp_path), 2, "gallery_dir")
    store.extend(tokens(1))
    with pytest.raises(ValueError, match=r"gallery_dir: .*one shape and dtype.*\(2, 5, 4\)"):
        store.extend([torch.zeros(2, 5, 4)])
    with pytest.raises(ValueError, match="one shape and dtype"):
        store.extend(tokens(1, torch.float16))
    with pytest.raises(ValueError, match="more than the announced 2"):
        store.extend(tokens(2))


def test_a_disk_too_small_is_found_before_it_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = StubModel()
    usage = token_store.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(token_store.shutil, "disk_usage", lambda path: usage)
    loop = build(model, loader(Split(7)), gallery_dir=str(tmp_path))
    message = r"test_cfg\.gallery_dir = .*7 media take 0\.00 GiB.*free there\. Choose another"
    with pytest.raises(OSError, match=message) as caught:
        loop.run()
    assert caught.value.errno == errno.ENOSPC
    # One batch was encoded, and nothing stays behind.
    assert len(model.modes) == 1
    assert list(tmp_path.iterdir()) == []


def _on_a_small_disk(folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    store = DiskTokens(folder, 10, "gallery_dir")
    with pytest.raises(OSError, match=r"^\[Errno 27\] gallery_dir"):
        store.extend([torch.zeros(200)])
    assert len(store) == 0


def test_the_space_is_really_taken_at_once(tmp_path: Path) -> None:
    apart(_on_a_small_disk, str(tmp_path))


def test_a_file_system_that_promises_nothing_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    store = DiskTokens(str(tmp_path), 3, "gallery_dir")
    store.extend(tokens(3))
    assert torch.equal(store[2], tokens(3)[2])


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    loop = build(StubModel(), loader(Split(5)), gallery_dir=str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"test_cfg\.gallery_dir = .*can't be written to"):
        loop.run()


def test_nothing_stays_behind_after_an_error(tmp_path: Path) -> None:
    class Failing(StubModel):
        def match_one(self, *_: Any) -> Tensor:
            assert len(os.listdir(tmp_path)) == 0
            raise RuntimeError("no")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(RuntimeError, match="no"):
        build(Failing(), loader(Split(5)), gallery_dir=str(tmp_path)).run()
    assert list(tmp_path.iterdir()) == []
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _with_a_large_gallery(folder: str) -> None:
    store = DiskTokens(folder, 100, "gallery_dir")
    before = _peak_mib()
    for i in range(100):
        store.extend([torch.full((1024, 1024), float(i))])
    assert all(store[i][0, 0] == i for i in range(100))
    # 400 MiB are on disk.
    assert _peak_mib() - before < 100


def test_memory_does_not_grow_with_the_gallery(tmp_path: Path) -> None:
    apart(_with_a_large_gallery, str(tmp_path))
