"""Save the frames of videos as pictures, so that training reads pictures and decodes no video.

    python tools/dataset_converters/extract_frames.py data/msrvtt/videos data/msrvtt/frames --fps 3

writes a folder a video, under the video's name without its extension (see docs/decoding.md)::

    data/msrvtt/frames/
        video0/
            000001.jpg ...
            frames.json     where the frames come from, their numbers and times

Videos whose folder is there already are left alone, so a run that was interrupted can be repeated.
A folder appears under its name only when it is whole. Exit status: 0 when all frames are there, 1
when a video couldn't be read or its folder is of another kind; these are listed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.utils import track_progress_rich
from PIL import Image

from uniadapter.datasets.media import VIDEO_EXTENSIONS, MediaError
from uniadapter.datasets.transforms import open_media
from uniadapter.datasets.transforms.pictures import (
    INDEX_NAME,
    INDEX_VERSION,
    frame_names,
    read_index,
)
from uniadapter.datasets.transforms.video import resize_frames
from uniadapter.utils.safe_io import atomic_write

#: Frames held in memory at once.
CHUNK = 32


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", help="folder of videos; folders in it are searched too")
    parser.add_argument("out", help="folder to write to")
    parser.add_argument("--fps", type=float, help="frames a second (default: every frame)")
    parser.add_argument("--short-side", type=int, help="shrink to this many pixels (default: no)")
    parser.add_argument("--image", choices=("jpg", "png"), default="jpg", help="png: lossless")
    parser.add_argument("--quality", type=int, default=95, help="of JPEG, 1 to 100")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace folders made with other options"
    )
    args = parser.parse_args(argv)
    if args.fps is not None and args.fps <= 0:
        parser.error(f"--fps {args.fps} must be above 0")
    if args.short_side is not None and args.short_side < 1:
        parser.error(f"--short-side {args.short_side} must be at least 1")
    if not 1 <= args.quality <= 100:
        parser.error(f"--quality {args.quality} must be in [1, 100]")
    if args.workers < 1:
        parser.error(f"--workers {args.workers} must be at least 1")
    return args


def find_videos(root: Path, out: Path) -> dict[Path, Path]:
    """Return the videos under a folder, and for each the folder of its frames.

    Raises:
        FileNotFoundError: When the folder doesn't exist or holds no video.
        ValueError: When two videos would share a folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder of videos.")
    found: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file():
            target = out / path.relative_to(root).with_suffix("")
            twin = owners.setdefault(target, path)
            if twin is not path:
                raise ValueError(f"{twin} and {path} would share the folder {target}: rename one.")
            found[path] = target
    if not found:
        raise FileNotFoundError(f"{root} holds no video {VIDEO_EXTENSIONS}.")
    return found


def choose_frames(spans: np.ndarray, fps: float | None) -> np.ndarray:
    """Choose the frames that are on screen at the middles of equal stretches of time.

    Args:
        spans: (N, 2), the seconds at which each frame comes and goes.
        fps: Stretches a second; None for all frames.

    Returns:
        Ascending frame numbers, at least one. Where the video has fewer frames a second than
        asked for, each is there once.
    """
    if fps is None:
        return np.arange(len(spans))
    start, stop = float(spans[0, 0]), float(spans[-1, 1])
    count = max(1, round((stop - start) * fps))
    moments = start + (np.arange(count) + 0.5) * (stop - start) / count
    numbers = np.searchsorted(spans[:, 0], moments, side="right") - 1
    return np.unique(numbers.clip(0, len(spans) - 1))


def extract(video: str, target: str, options: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Extract one video; return what became of it.

    Returns:
        dict: ``state`` (``'extracted'``, ``'there'`` or ``'fault'``), ``reason`` of a fault and
        the ``bytes`` written.
    """
    try:
        if os.path.lexists(target) and not overwrite:
            reason = misfit(video, target, options)
            return {"state": "fault", "reason": reason} if reason else {"state": "there"}
        return {"state": "extracted", "bytes": write_folder(video, Path(target), options)}
    except (MediaError, OSError) as error:
        return {"state": "fault", "reason": str(error)}


def misfit(video: str, target: str, options: dict[str, Any]) -> str | None:
    """Say why what lies at ``target`` is not what would be extracted, if it isn't."""
    index = (read_index(target) if os.path.isdir(target) else None) or {}
    source = index.get("source", {})
    if index.get("options") == options and source.get("bytes") == os.path.getsize(video):
        return None
    return (
        f"{target}: was not made from {video} with these options, but from {source} with "
        f"{index.get('options')}; --overwrite replaces it"
    )


def write_folder(video: str, target: Path, options: dict[str, Any]) -> int:
    """Write the frames under a temporary name, then rename the folder; return the bytes."""
    if target.exists() and not (target / INDEX_NAME).is_file():
        raise FileExistsError(f"{target}: is there, but not of this tool; remove it yourself")
    reader = open_media(video)
    spans = reader.spans()
    numbers = choose_frames(spans, options["fps"])
    index: dict[str, Any] = {
        "version": INDEX_VERSION,
        "source": {"name": Path(video).name, "bytes": os.path.getsize(video), "frames": len(spans)},
        "options": options,
        "image": options["image"],
        "numbers": numbers.tolist(),
        "times": [round(float(spans[number, 0]), 6) for number in numbers],
    }
    names = frame_names(index)
    partial = target.with_name(f".{target.name}.partial")
    # Left by a run that was killed.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for start in range(0, len(numbers), CHUNK):
            frames = shrink(reader.get_frames(numbers[start : start + CHUNK]), options)
            for name, frame in zip(names[start:], frames, strict=False):
                _save(frame, partial / name, options)
        index["size"] = list(frames.shape[1:3])
        atomic_write(partial / INDEX_NAME, (json.dumps(index) + "\n").encode())
        written = sum(file.stat().st_size for file in partial.iterdir())
        if target.is_dir():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return written


def shrink(frames: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Bring the short side of (N, H, W, 3) frames to ``short_side``; never enlarge."""
    height, width = frames.shape[1:3]
    side = options["short_side"] or min(height, width)
    if min(height, width) <= side:
        return frames
    scale = side / min(height, width)
    return resize_frames(frames, (max(1, round(height * scale)), max(1, round(width * scale))))


def _save(frame: np.ndarray, path: Path, options: dict[str, Any]) -> None:
    if options["image"] == "png":
        # The lightest compression: reading is what must be fast.
        Image.fromarray(frame).save(path, compress_level=1)
    else:
        Image.fromarray(frame).save(path, quality=options["quality"])


def main(argv: list[str] | None = None) -> int:
    """Extract and return the exit status."""
    args = parse_args(argv)
    options = {
        "fps": args.fps,
        "short_side": args.short_side,
        "image": args.image,
        "quality": args.quality if args.image == "jpg" else None,
    }
    try:
        videos = find_videos(Path(args.videos), Path(args.out))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    results = track_progress_rich(
        extract,
        [(str(video), str(target), options, args.overwrite) for video, target in videos.items()],
        nproc=args.workers,
        description="frames:",
    )
    states = [result["state"] for result in results]
    written = sum(result.get("bytes", 0) for result in results)
    print(
        f"{len(videos)} videos: {states.count('extracted')} extracted ({written / 2**20:.1f} MiB), "
        f"{states.count('there')} there already, {states.count('fault')} faults"
    )
    for result in results:
        if result["state"] == "fault":
            print(f"  {result['reason']}")
    return int("fault" in states)


if __name__ == "__main__":
    sys.exit(main())
