"""Writes videos, pictures and annotations."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np

from uniadapter.utils.safe_io import atomic_write

FPS = 8
JPEG_QUALITY = 95


def write_mp4(path: Path, frames: np.ndarray) -> None:
    """Encode ``frames`` (T, H, W, 3) uint8 RGB as MPEG-4 at 8 frames a second.

    Raises:
        OSError: When OpenCV can't write the file.
    """
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, FPS, (frames.shape[2], frames.shape[1]))
    if not writer.isOpened():
        raise OSError(f"{path} can't be written: this OpenCV has no MPEG-4 encoder.")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def write_jpg(path: Path, image: np.ndarray) -> None:
    """Encode ``image`` (H, W, 3) uint8 RGB as JPEG.

    Raises:
        WriteError: If the disk is full, read-only or the like.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    content = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), options)[1]
    atomic_write(path, content.tobytes(), sync=False)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as JSON."""
    atomic_write(path, json.dumps(content).encode(), sync=False)


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a table with a header line."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    atomic_write(path, text.getvalue().encode(), sync=False)
