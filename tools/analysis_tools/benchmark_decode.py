"""Measure ways to read the sampled frames of videos, and the start-up of data loader workers.

On videos that the tool writes, or on your own (``--videos FOLDER``). Each way gives the same
uniformly sampled frames at the same size; whether they are the same is checked. All ways are timed
in turns in one process, video by video, several times over; shown are medians. Peak memory is
measured in a process of its own for each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dataset_converters"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from decode_bench.clips import write_clips
from decode_bench.ways import REFERENCE, WAYS, Job, compare, pictures_of, read_resized
from extract_frames import write_folder

from uniadapter.datasets.media import VIDEO_EXTENSIONS
from uniadapter.utils.arguments import any_processes, natural, positive, processes, side, whole
from uniadapter.utils.compat import import_decord
from uniadapter.utils.errors import one_message

#: How pictures are extracted: all frames, in their size.
PICTURES = {"fps": None, "short_side": None, "image": "jpg", "quality": 95}
#: Ways whose start-up in workers is measured.
LOADER_WAYS = ("ours, decord", "ours, av", "ours, pictures")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, help="folder of videos (default: write some)")
    parser.add_argument(
        "--count", type=natural, default=12, help="videos to write, or to use at most"
    )
    parser.add_argument(
        "--seconds", type=positive, nargs=2, default=(10, 30), metavar=("MIN", "MAX")
    )
    parser.add_argument("--size", type=side, nargs=2, default=(320, 240), metavar=("W", "H"))
    parser.add_argument("--keyint", type=natural, default=250, help="most frames between keyframes")
    parser.add_argument("--frames", type=side, default=16, help="frames a video")
    parser.add_argument("--img-size", type=side, default=224, help="side of the frames in pixels")
    parser.add_argument("--repeats", type=natural, default=5, help="timed passes over the videos")
    parser.add_argument(
        "--threads", type=processes, default=1, help="decoding threads of the others"
    )
    parser.add_argument(
        "--workers", type=any_processes, nargs="*", default=[2], help="worker processes"
    )
    parser.add_argument("--batch-size", type=side, default=4, help="of the data loader")
    parser.add_argument("--batches", type=whole(2), default=24, help="of the data loader, an epoch")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--peak-of", choices=tuple(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--loader-of", choices=LOADER_WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--persistent", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--jobs", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.seconds[0] > args.seconds[1] or min(args.size) < 16 or args.size[0] % 2:
        parser.error("--seconds must ascend from above 0, --size be even and at least 16")
    return args


def prepare(args: argparse.Namespace, folder: Path) -> tuple[list[Job], dict[str, Any]]:
    """Write or find the videos and extract their pictures.

    Raises:
        FileNotFoundError: When there is no video.
        MediaError: When a video can't be read.
    """
    if args.videos is None:
        videos = folder / "videos"
        encoder = write_clips(videos, args.count, args.seconds, tuple(args.size), args.keyint)
    else:
        videos, encoder = args.videos, "given"
    files = sorted(p for p in videos.glob("*") if p.suffix.lower() in VIDEO_EXTENSIONS)
    files = files[: args.count]
    if not files:
        raise FileNotFoundError(f"{videos} holds no video {VIDEO_EXTENSIONS}.")
    pictures = folder / "pictures"
    for file in files:
        write_folder(str(file), pictures_of(file, pictures), PICTURES)
    jobs = [
        Job(str(f), str(pictures_of(f, pictures)), args.frames, args.img_size, args.threads)
        for f in files
    ]
    return jobs, {"encoder": encoder, **facts_of(jobs)}


def facts_of(jobs: list[Job]) -> dict[str, Any]:
    """Say what the videos are."""
    decord = import_decord()
    frames, keys, seconds = 0, 0, 0.0
    for job in jobs:
        reader = decord.VideoReader(job.video, num_threads=1)
        frames += len(reader)
        keys += len(reader.get_key_indices())
        seconds += float(reader.get_frame_timestamp([len(reader) - 1])[0, 1])
        height, width = reader[0].shape[:2]
    size = sum(os.path.getsize(job.video) for job in jobs)
    pictures = sum(f.stat().st_size for job in jobs for f in Path(job.pictures).iterdir())
    return {
        "videos": len(jobs),
        "size_of_last": [width, height],
        "mean_seconds": round(seconds / len(jobs), 2),
        "mean_frames": round(frames / len(jobs), 1),
        "mean_keyframe_distance": round(frames / keys, 1),
        "video_mib": round(size / 2**20, 2),
        "pictures_mib": round(pictures / 2**20, 2),
    }


def time_ways(jobs: list[Job], ways: list[str], repeats: int) -> dict[str, dict[str, Any]]:
    """Time the ways in turns; one pass before warms caches up."""
    wall = {way: [0.0] * repeats for way in ways}
    cpu = {way: [0.0] * repeats for way in ways}
    for repeat in range(-1, repeats):
        for turn, job in enumerate(jobs):
            # A different way comes first each time, so that none is always behind the same one.
            first = (turn + repeat) % len(ways)
            for way in ways[first:] + ways[:first]:
                start, cpu_start = time.perf_counter(), time.process_time()
                read_resized(way, job)
                if repeat >= 0:
                    wall[way][repeat] += time.perf_counter() - start
                    cpu[way][repeat] += time.process_time() - cpu_start
        print(f"pass {repeat + 1}/{repeats}", file=sys.stderr)
    results = {}
    for way in ways:
        ratios = [base / own for base, own in zip(wall[REFERENCE], wall[way], strict=True)]
        results[way] = {
            "videos_per_second": round(len(jobs) / statistics.median(wall[way]), 2),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
            "cpu_ms_per_video": round(1000 * statistics.median(cpu[way]) / len(jobs), 1),
        }
    return results


def check_way(jobs: list[Job], way: str) -> dict[str, Any]:
    """Compare the frames of all videos with those of the reference."""
    largest, reasons = 0, Counter[str]()
    for job in jobs:
        difference, found = compare(way, job)
        largest = max(largest, difference)
        reasons.update(found)
    return {"max_difference": largest, "differing": dict(reasons.most_common())}


def status_kib(key: str) -> int:
    """Read a figure of this process's memory; Linux only."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{key}:"))


def run_apart(*arguments: str) -> Any:
    """Run this tool with hidden arguments in a new process; what it printed."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments[1]} ended with code {done.returncode}, see above.")
    return json.loads(done.stdout.splitlines()[-1])


def pack(jobs: list[Job]) -> str:
    """Jobs as an argument for :func:`run_apart`."""
    return json.dumps([asdict(job) for job in jobs])


def peak_apart(jobs: list[Job], way: str) -> dict[str, float]:
    """Read all videos once in a new process; its peak memory, and what reading added to it."""
    if not Path("/proc/self/status").exists():
        return {"peak_mib": float("nan"), "added_mib": float("nan")}
    return run_apart("--peak-of", way, "--jobs", pack(jobs))


def measure_peak(way: str, jobs: list[Job]) -> dict[str, float]:
    """The other side of :func:`peak_apart`."""
    # VmHWM begins anew with the program, unlike getrusage's figure.
    before = status_kib("VmRSS")
    for job in jobs:
        read_resized(way, job)
    peak = status_kib("VmHWM")
    return {"peak_mib": round(peak / 1024, 1), "added_mib": round((peak - before) / 1024, 1)}


class Videos(Dataset):
    """The videos over and over, by one way."""

    def __init__(self, jobs: list[Job], way: str, length: int) -> None:
        self.jobs = list(itertools.islice(itertools.cycle(jobs), length))
        self.way = way

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(read_resized(self.way, self.jobs[index]))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def time_loader(
    args: argparse.Namespace, jobs: list[Job], way: str, workers: int, persistent: bool
) -> dict[str, Any]:
    """Two epochs of a data loader: seconds to the first batch, then videos a second."""
    loader = DataLoader(
        Videos(jobs, way, args.batches * args.batch_size),
        batch_size=args.batch_size,
        num_workers=workers,
        persistent_workers=persistent,
        worker_init_fn=_one_thread,
    )
    before = cpu_seconds(resource.RUSAGE_CHILDREN if workers else resource.RUSAGE_SELF)
    starts, rates = [], []
    for _ in range(2):
        start = time.perf_counter()
        iterator = iter(loader)
        next(iterator)
        first = time.perf_counter()
        left = sum(len(batch) for batch in iterator)
        starts.append(round(first - start, 3))
        rates.append(round(left / (time.perf_counter() - first), 2))
    # Workers count once they have ended.
    del iterator, loader
    cpu = cpu_seconds(resource.RUSAGE_CHILDREN if workers else resource.RUSAGE_SELF) - before
    return {
        "way": way,
        "workers": workers,
        "persistent": persistent,
        "first_batch_seconds": starts,
        "videos_per_second": rates,
        "cpu_ms_per_video": round(1000 * cpu / (2 * args.batches * args.batch_size), 1),
    }


def cpu_seconds(who: int) -> float:
    """Processor time so far, of this process or of those it waited for."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def time_loaders(args: argparse.Namespace, jobs: list[Job]) -> list[dict[str, Any]]:
    """All data loaders, each in a new process: what a process has read changes its start-ups."""
    sizes = ["--batch-size", str(args.batch_size), "--batches", str(args.batches)]
    rows = []
    for workers in args.workers:
        for way in LOADER_WAYS:
            for persistent in (False, True) if workers else (False,):
                extra = ["--persistent"] if persistent else []
                rows.append(
                    run_apart(
                        *("--loader-of", way, "--workers", str(workers), "--jobs", pack(jobs)),
                        *(*sizes, *extra),
                    )
                )
    return rows


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run everything."""
    torch.set_num_threads(1)
    cv2.setNumThreads(args.threads)
    with tempfile.TemporaryDirectory(prefix="benchmark_decode_") as name:
        jobs, facts = prepare(args, Path(name))
        timed = time_ways(jobs, list(WAYS), args.repeats)
        ways = []
        for way in WAYS:
            threads = 1 if way.startswith("ours") else args.threads
            check = check_way(jobs, way)
            peak = peak_apart(jobs, way)
            ways.append({"way": way, "threads": threads, **timed[way], **peak, **check})
        loaders = time_loaders(args, jobs)
    setup = {
        **facts,
        "frames": args.frames,
        "img_size": args.img_size,
        "repeats": args.repeats,
        "batch_size": args.batch_size,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }
    return {"setup": setup, "ways": ways, "loaders": loaders}


def as_table(result: dict[str, Any]) -> str:
    """Lay the figures out as text."""
    setup = result["setup"]
    width, height = setup["size_of_last"]
    lines = [
        f"{setup['videos']} videos {width}x{height}, mean {setup['mean_seconds']} s, "
        f"{setup['mean_frames']} frames, a keyframe every {setup['mean_keyframe_distance']}; "
        f"encoder: {setup['encoder']}",
        f"on disk: videos {setup['video_mib']} MiB, all frames as pictures "
        f"{setup['pictures_mib']} MiB; {setup['cores']} cores; median of {setup['repeats']} passes",
        f"{setup['frames']} frames a video at {setup['img_size']}, resizing included",
        f"{'way':<18} {'threads':>7} {'videos/s':>9} {'ratio':>6} {'CPU ms':>7} {'peak MiB':>9} "
        f"{'added':>7} {'max diff':>9}",
    ]
    for row in result["ways"]:
        reasons = ", ".join(f"{count} x {why}" for why, count in row["differing"].items())
        lines.append(
            f"{row['way']:<18} {row['threads']:>7} {row['videos_per_second']:>9.1f} "
            f"{row['ratio']:>6.2f} {row['cpu_ms_per_video']:>7.1f} {row['peak_mib']:>9.0f} "
            f"{row['added_mib']:>7.0f} {row['max_difference']:>9} {reasons}".rstrip()
        )
    if result["loaders"]:
        lines.append(
            f"\nseconds to the first batch of {setup['batch_size']}, then videos/s, twice\n"
            f"{'data loader':<18} {'workers':>7} {'persistent':>10} {'first 1':>8} {'first 2':>8} "
            f"{'rate 1':>8} {'rate 2':>8} {'CPU ms':>7}"
        )
    for row in result["loaders"]:
        starts = "{:>8.3f} {:>8.3f}".format(*row["first_batch_seconds"])
        rates = "{:>8.1f} {:>8.1f}".format(*row["videos_per_second"])
        lines.append(
            f"{row['way']:<18} {row['workers']:>7} {row['persistent']!s:>10} {starts} {rates} "
            f"{row['cpu_ms_per_video']:>7.1f}"
        )
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    if args.jobs:
        torch.set_num_threads(1)
        jobs = [Job(**job) for job in json.loads(args.jobs)]
        if args.peak_of:
            print(json.dumps(measure_peak(args.peak_of, jobs)))
        else:
            workers = args.workers[0]
            print(json.dumps(time_loader(args, jobs, args.loader_of, workers, args.persistent)))
        return
    try:
        result = measure(args)
    except (FileNotFoundError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result) if args.json else as_table(result))


if __name__ == "__main__":
    main()
