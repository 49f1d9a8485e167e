from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.analysis_tools import benchmark_decode
from tools.analysis_tools.benchmark_decode import (
    WAYS,
    Job,
    as_table,
    compare,
    main,
    parse_args,
    read_resized,
    time_ways,
    write_clips,
)
from uniadapter.datasets.transforms import DecordBackend
from uniadapter.utils.compat import import_decord

SMALL = ["--count", "2", "--seconds", "0.5", "1", "--size", "64", "48", "--repeats", "2"]
SMALL += ["--frames", "4", "--img-size", "32", "--batches", "2", "--batch-size", "2"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    write_clips(tmp_path, 1, (2, 2), (64, 48), 12)
    return Job(str(tmp_path / "clip000.mp4"), str(tmp_path / "pictures"), 4, 32, 1)


def test_clips_are_as_asked_for(tmp_path: Path) -> None:
    write_clips(tmp_path, 3, (0.5, 1.5), (64, 48), 5)
    lengths = []
    for path in sorted(tmp_path.iterdir()):
        reader = import_decord().VideoReader(str(path), num_threads=1)
        lengths.append(len(reader))
        assert max(np.diff(reader.get_key_indices()), default=0) <= 5
        assert DecordBackend(str(path)).get_frames([0]).shape == (1, 48, 64, 3)
    assert lengths == [15, 30, 45]
    draw = sys.modules["decode_bench.clips"].draw
    first, second = (np.stack(list(draw(seed, 3, (64, 48)))) for seed in (0, 1))
    assert np.abs(first.astype(int) - second).mean() > 10
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("way", [way for way in WAYS if way != "ours, pictures"])
def test_the_ways_read_the_same_frames(job: Job, way: str) -> None:
    assert read_resized(way, job).shape == (4, 32, 32, 3)
    assert compare(way, job) == (0, [])


def test_differences_are_found_and_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def early(job: Job) -> np.ndarray:
        frames = DecordBackend(job.video).get_frames([6, 21, 37, 52])
        frames[1] = np.clip(frames[1].astype(int) + 3, 0, 255)
        return frames

    # The middles of four parts of 60 frames are 7, 22, 37 and 52.
    monkeypatch.setitem(WAYS, "early", early)
    difference, reasons = compare("early", job)
    assert difference > 0
    assert reasons == ["frame -1", "frame -1"]

    def brighter(job: Job) -> np.ndarray:
        frames = DecordBackend(job.video).get_frames([7, 22, 37, 52])
        return np.clip(frames.astype(int) + 2, 0, 255).astype(np.uint8)

    monkeypatch.setitem(WAYS, "early", brighter)
    difference, reasons = compare("early", job)
    assert 0 < difference <= 4
    assert reasons == ["same frame, changed"] * 4


def test_every_way_is_timed_equally_often(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for way in WAYS:
        monkeypatch.setitem(
            WAYS, way, lambda job, way=way: calls.append(way) or np.zeros((1, 8, 8, 3), "u1")
        )
    results = time_ways([job] * 3, list(WAYS), 2)
    assert {calls.count(way) for way in WAYS} == {9}
    # In turns, beginning with another one each time.
    assert len({tuple(calls[i : i + len(WAYS)]) for i in range(0, len(calls), len(WAYS))}) > 1
    assert results["decord whole"]["ratio"] == 1
    assert set(results) == set(WAYS)


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would import torch anew."""

    def here(args: argparse.Namespace, jobs: list[Job]) -> list[dict]:
        modes = [(0, False), (1, False), (1, True)]
        return [
            benchmark_decode.time_loader(args, jobs, way, workers, persistent)
            for workers, persistent in modes
            for way in benchmark_decode.LOADER_WAYS
            if args.workers
        ]

    monkeypatch.setattr(benchmark_decode, "time_loaders", here)
    monkeypatch.setattr(
        benchmark_decode, "peak_apart", lambda *_: {"peak_mib": 2.0, "added_mib": 1.0}
    )


@pytest.mark.usefixtures("no_processes")
def test_the_report_has_a_row_for_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--workers", "0", "1", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert [row["way"] for row in result["ways"]] == list(WAYS)
    assert result["setup"]["videos"] == 2
    assert result["setup"]["mean_frames"] == 22.5
    for row in result["ways"]:
        assert row["videos_per_second"] > 0
        if row["way"] != "ours, pictures":
            assert (row["max_difference"], row["differing"]) == (0, {})
    modes = [(row["workers"], row["persistent"]) for row in result["loaders"]]
    assert modes == [(0, False)] * 3 + [(1, False)] * 3 + [(1, True)] * 3
    table = as_table(result)
    assert all(way in table for way in WAYS)
    assert len(table.splitlines()) == 4 + 6 + 3 + 9


def test_peak_memory_is_that_of_reading(job: Job) -> None:
    whole = benchmark_decode.peak_apart([job], "decord whole")
    assert whole["peak_mib"] > 100
    assert whole["peak_mib"] > whole["added_mib"] > 0


def test_every_data_loader_has_a_process_of_its_own(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    plain = benchmark_decode.run_apart

    def first_only(*arguments: str) -> dict:
        asked.append(arguments)
        return plain(*arguments) if len(asked) == 1 else {}

    monkeypatch.setattr(benchmark_decode, "run_apart", first_only)
    args = parse_args([*SMALL, "--workers", "1", "0"])
    rows = benchmark_decode.time_loaders(args, [job])
    assert len(rows) == len(asked) == 3 * 2 + 3
    assert rows[0]["way"] == "ours, decord"
    assert (rows[0]["workers"], rows[0]["persistent"]) == (1, False)
    assert len(rows[0]["first_batch_seconds"]) == len(rows[0]["videos_per_second"]) == 2
    assert rows[0]["cpu_ms_per_video"] > 0
    assert [("--persistent" in arguments) for arguments in asked] == [False, True] * 3 + [False] * 3


@pytest.mark.usefixtures("no_processes")
def test_own_videos(tmp_path: Path, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--videos", str(tmp_path), *SMALL, "--repeats", "1", "--workers", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["setup"]["encoder"] == "given"
    assert result["setup"]["mean_frames"] == 60
    assert result["loaders"] == []


@pytest.mark.parametrize(
    "options",
    [["--count", "0"], ["--size", "65", "48"], ["--seconds", "3", "2"], ["--batches", "1"]],
)
def test_bad_options(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args(options)


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no video"):
        main(["--videos", str(tmp_path)])
