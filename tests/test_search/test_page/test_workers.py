"""Jobs in processes of their own, and the files that they make."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.page_helpers import grey_video, plain_picture
from uniadapter.search.page.cache import DiskCache
from uniadapter.search.page.worker_pool import WorkerError, WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, 20.0)
    yield pool
    pool.close()


def failure(pool: WorkerPool, job: str, **arguments: object) -> str:
    with pytest.raises(WorkerError) as caught:
        asyncio.run(pool.ask(job, **arguments))
    return str(caught.value)


def test_what_can_not_be_read(pool: WorkerPool, tmp_path: Path) -> None:
    video = grey_video(tmp_path / "video.mp4")
    picture = plain_picture(tmp_path / "picture.png")
    half = tmp_path / "half.png"
    half.write_bytes(picture.read_bytes()[:60])
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    limits = {"pixels": 10_000, "seconds": 10.0}
    assert asyncio.run(pool.ask("check_video", source=str(video), **limits))["size"] == [64, 64]
    assert "too many" in failure(pool, "check_video", source=str(video), pixels=9, seconds=9)
    assert "seconds" in failure(pool, "check_video", source=str(video), pixels=9999, seconds=1)
    assert "can't be" in failure(pool, "check_video", source=str(playlist), **limits)
    assert "can't be" in failure(pool, "check_picture", source=str(half), pixels=9999)
    assert "too many" in failure(pool, "check_picture", source=str(picture), pixels=99)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert str(tmp_path) not in failure(pool, "check_picture", source=str(text), pixels=9999)
    # The same process goes on.
    assert asyncio.run(pool.ask("probe", source=str(video))) == {"native": False}


def test_a_picture_of_sixteen_bits(pool: WorkerPool, tmp_path: Path) -> None:
    source, target = str(tmp_path / "deep.png"), str(tmp_path / "small.jpg")
    Image.fromarray(np.full((60, 90), 100 * 257, np.uint16)).save(source)
    asyncio.run(pool.ask("picture", source=source, target=target, side=30))
    with Image.open(target) as small:
        assert small.size == (30, 20)
        assert abs(np.asarray(small).astype(int) - 100).max() < 3


def test_a_process_that_dies_or_hangs(pool: WorkerPool, tmp_path: Path) -> None:
    video = str(grey_video(tmp_path / "video.mp4"))
    asyncio.run(pool.ask("probe", source=video))
    worker = pool._workers[0]
    assert worker.process is not None
    worker.process.kill()
    worker.process.wait()
    assert asyncio.run(pool.ask("probe", source=video)) == {"native": False}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pool.timeout = 0.3
    began = time.monotonic()
    assert "longer than 0.3 seconds" in failure(pool, "probe", source=str(pipe))
    assert time.monotonic() - began < 5.0
    pool.timeout = 20.0
    assert asyncio.run(pool.ask("probe", source=video)) == {"native": False}


def put(cache: DiskCache, name: str, size: int) -> Path:
    temporary = cache.temporary(name)
    temporary.write_bytes(b"x" * size)
    return cache.add(name, temporary)


def test_files_used_least_recently_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 100)
    for name in ("aa1", "bb2", "cc3"):
        put(cache, name, 30)
    assert cache.find("aa1") == tmp_path / "aa/aa1"
    put(cache, "dd4", 30)
    assert [cache.find(name) is not None for name in ("aa1", "bb2", "cc3", "dd4")] == [
        *(True, False, True, True)
    ]
    # Another process finds them, in that order of use.
    os.utime(tmp_path / "aa/aa1", (1, 1))
    again = DiskCache(tmp_path, 100)
    put(again, "ee5", 20)
    assert again.find("aa1") is None
    assert again.find("ee5") is not None
    # One that is larger than all others together stays until the next comes.
    put(again, "ff6", 500)
    assert [path.name for path in tmp_path.rglob("??/*")] == ["ff6"]


def test_what_others_removed_and_left(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 100)
    put(cache, "aa1", 60).unlink()
    assert cache.find("aa1") is None
    put(cache, "bb2", 60)
    put(cache, "cc3", 40)
    assert cache.find("bb2") is not None
    left = cache.temporary("dd4")
    left.write_bytes(b"half")
    DiskCache(tmp_path, 100)
    assert left.exists()
    os.utime(left, (1, 1))
    DiskCache(tmp_path, 100)
    assert not left.exists()
