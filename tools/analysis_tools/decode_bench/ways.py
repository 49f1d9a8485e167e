"""Ways to read the same sampled frames of a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uniadapter.datasets.transforms import LoadVideo, sample_frames
from uniadapter.datasets.transforms.video import resize_frames
from uniadapter.utils.compat import import_decord

REFERENCE = "decord whole"


@dataclass(frozen=True)
class Job:
    """What to read.

    Attributes:
        video: The video file.
        pictures: Folder of all its frames as pictures.
        frames: Frames to sample.
        size: Side in pixels to resize them to.
        threads: Decoding threads, where the reader has a choice.
    """

    video: str
    pictures: str
    frames: int
    size: int
    threads: int


def _ours(backend: str) -> Callable[[Job], np.ndarray]:
    def read(job: Job) -> np.ndarray:
        path = job.pictures if backend == "frames" else job.video
        load = LoadVideo(job.frames, backend={"type": backend})
        return load.transform({"media_path": path})["frames"]

    return read


def decord_whole(job: Job) -> np.ndarray:
    """Decode every frame into one array and pick from it."""
    reader = import_decord().VideoReader(job.video, num_threads=job.threads)
    whole = reader.get_batch(range(len(reader))).asnumpy()
    return whole[sample_frames(len(whole), job.frames, "center")]


def _capture(job: Job) -> tuple[cv2.VideoCapture, np.ndarray]:
    capture = cv2.VideoCapture(job.video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, job.threads])
    length = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if length < 1:
        raise OSError(f"{job.video}: OpenCV can't read it.")
    return capture, sample_frames(length, job.frames, "center")


def opencv_sequential(job: Job) -> np.ndarray:
    """Decode up to the last wanted frame; convert the wanted ones only."""
    capture, indices = _capture(job)
    found = {}
    for number in range(int(indices[-1]) + 1):
        if not capture.grab():
            raise OSError(f"{job.video}: OpenCV can't read frame {number}.")
        if number in indices:
            found[number] = capture.retrieve()[1][:, :, ::-1]
    capture.release()
    return np.stack([found[number] for number in indices.tolist()])


def opencv_seeking(job: Job) -> np.ndarray:
    """Seek to each wanted frame."""
    capture, indices = _capture(job)
    found = []
    for number in indices.tolist():
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        good, frame = capture.read()
        if not good:
            raise OSError(f"{job.video}: OpenCV can't read frame {number}.")
        found.append(frame[:, :, ::-1])
    capture.release()
    return np.stack(found)


WAYS: dict[str, Callable[[Job], np.ndarray]] = {
    "ours, decord": _ours("decord"),
    "ours, av": _ours("av"),
    "ours, pictures": _ours("frames"),
    REFERENCE: decord_whole,
    "OpenCV sequential": opencv_sequential,
    "OpenCV seeking": opencv_seeking,
}


def read_resized(way: str, job: Job) -> np.ndarray:
    """Read by a way, then resize; (frames, size, size, 3) uint8 RGB."""
    return resize_frames(np.ascontiguousarray(WAYS[way](job)), (job.size, job.size))


def compare(way: str, job: Job) -> tuple[int, list[str]]:
    """Compare with a plain decoding of the whole video.

    Returns:
        The largest absolute difference of a pixel at the final size, and for each frame that
        differs what is wrong with it: another frame of the video, or the same one changed.
    """
    expected = read_resized(REFERENCE, job)
    got = read_resized(way, job).astype(np.int16)
    largest = np.abs(got - expected).reshape(len(got), -1).max(1)
    wrong = [place for place in range(len(got)) if largest[place]]
    if not wrong:
        return 0, []
    reader = import_decord().VideoReader(job.video, num_threads=1)
    indices = sample_frames(len(reader), job.frames, "center").tolist()
    reasons = []
    for place in wrong:
        near = [i for i in range(indices[place] - 3, indices[place] + 4) if 0 <= i < len(reader)]
        frames = resize_frames(reader.get_batch(near).asnumpy(), (job.size, job.size))
        distance = np.abs(frames.astype(np.int16) - got[place]).reshape(len(near), -1).mean(1)
        best = near[int(distance.argmin())]
        other = best != indices[place]
        reasons.append(f"frame {best - indices[place]:+d}" if other else "same frame, changed")
    return int(largest.max()), reasons


def pictures_of(video: Path, folder: Path) -> Path:
    """Where the pictures of a video lie."""
    return folder / video.stem
