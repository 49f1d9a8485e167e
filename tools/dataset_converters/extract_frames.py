"""Save the frames of videos as pictures, so that training reads pictures and decodes no video.

    python tools/dataset_converters/extract_frames.py data/msrvtt/videos data/msrvtt/frames --fps 3

writes a folder a video, under the video's name without its extension (see docs/decoding.md)::

    data/msrvtt/frames/
        video0/
            000001.jpg ...
            frames.json     where the frames come from, their numbers and times

Videos whose folder is there already are left alone, so a run that was interrupted can be repeated.
A folder appears under its name only when it is whole. Exit status: 0 when all frames are there, 1
when a video couldn't be read or its folder is of another kind; these are listed, and the other
videos extracted all the same.
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
from PIL import Image

from uniadapter.datasets.media import VIDEO_EXTENSIONS, MediaError
from uniadapter.datasets.transforms import AvBackend
from uniadapter.datasets.transforms.pictures import (
    INDEX_NAME,
    INDEX_VERSION,
    frame_names,
    read_index,
)
from uniadapter.datasets.transforms.spans import MAX_FPS, choose_frames, fault_of_times
from uniadapter.datasets.transforms.video import resize_frames
from uniadapter.utils.arguments import number, processes, side, whole
from uniadapter.utils.errors import one_message
from uniadapter.utils.processes import Died, map_in_processes
from uniadapter.utils.safe_io import atomic_write


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", help="folder of videos; folders in it are searched too")
    parser.add_argument("out", help="folder to write to")
    parser.add_argument(
        "--fps",
        type=number(0, MAX_FPS, open_below=True),
        help="frames a second (default: every frame)",
    )
    parser.add_argument("--short-side", type=side, help="shrink to this many pixels (default: no)")
    parser.add_argument("--image", choices=("jpg", "png"), default="jpg", help="png: lossless")
    parser.add_argument("--quality", type=whole(1, 100), default=95, help="of JPEG, 1 to 100")
    parser.add_argument("--workers", type=processes, default=2, help="processes")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace folders made with other options"
    )
    return parser.parse_args(argv)


def find_videos(root: Path, out: Path) -> dict[Path, Path]:
    """Return the videos under a folder, and for each the folder of its frames.

    Raises:
        FileNotFoundError: When the folder doesn't exist or holds no video.
        ValueError: When two videos would share a folder, or one's folder lie in another's.
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
    for target, path in owners.items():
        outer = next((owners[folder] for folder in target.parents if folder in owners), None)
        if outer is not None:
            raise ValueError(
                f"the folder {target} of {path} would lie among the frames of {outer}: rename one."
            )
    return found


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
    # Whatever one video does to its decoder, the others are to be extracted.
    except Exception as error:
        return {"state": "fault", "reason": f"{video}: {type(error).__name__}: {error}"}


def misfit(video: str, target: str, options: dict[str, Any]) -> str | None:
    """Say why what lies at ``target`` is not what would be extracted, if it isn't."""
    index = (read_index(target) if os.path.isdir(target) else None) or {}
    source = index.get("source", {})
    if index.get("options") == options and source.get("bytes") == os.path.getsize(video):
        lost = sorted(set(frame_names(index)) - set(os.listdir(target)))
        if not lost:
            return None
        return (
            f"{target}: lacks {len(lost)} of its pictures, such as {lost[0]}; --overwrite renews it"
        )
    return (
        f"{target}: was not made from {video} with these options, but from {source} with "
        f"{index.get('options')}; --overwrite replaces it"
    )


def write_folder(video: str, target: Path, options: dict[str, Any]) -> int:
    """Write the frames under a temporary name, then rename the folder; return the bytes."""
    if target.exists() and not (target / INDEX_NAME).is_file():
        raise FileExistsError(f"{target}: is there, but not of this tool; remove it yourself")
    reader = AvBackend(video)
    spans = reader.spans()
    try:
        numbers = choose_frames(spans, options["fps"])
    except ValueError as error:
        raise MediaError(
            video,
            f"{error}, so that --fps can't choose frames by their times; extract every frame "
            "(without --fps), or encode the video anew",
        ) from error
    sound = fault_of_times(spans) is None
    index: dict[str, Any] = {
        "version": INDEX_VERSION,
        "source": {"name": Path(video).name, "bytes": os.path.getsize(video), "frames": len(spans)},
        "options": options,
        "image": options["image"],
        "numbers": numbers.tolist(),
        "times": [round(float(spans[n, 0]), 6) for n in numbers] if sound else None,
    }
    names = frame_names(index)
    partial = target.with_name(f".{target.name}.partial")
    aside = target.with_name(f".{target.name}.partial.old")
    # Left by a run that was killed.
    for left in (partial, aside):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, frame in zip(names, reader.walk(numbers.tolist()), strict=True):
            picture = shrink(frame[None], options)[0]
            _save(picture, partial / name, options)
        index["size"] = list(picture.shape[:2])
        atomic_write(partial / INDEX_NAME, (json.dumps(index) + "\n").encode())
        written = sum(file.stat().st_size for file in partial.iterdir())
        if target.is_dir():
            # Removed in its place it might lose its index first, and be nobody's.
            target.rename(aside)
        partial.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
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


@one_message()
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
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    tasks = [(str(video), str(target), options, args.overwrite) for video, target in videos.items()]
    results = map_in_processes(extract, tasks, args.workers, "frames:")
    for index, (video, *_) in enumerate(tasks):
        if isinstance(results[index], Died):
            results[index] = {"state": "fault", "reason": f"{video}: {results[index].reason}"}
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
