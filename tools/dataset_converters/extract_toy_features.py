"""Features of the embedded world's pictures and videos by the small BLIP's frozen visual tower.

    python tools/dataset_converters/make_toy_world.py --parts vl
    python tools/dataset_converters/extract_toy_features.py --data data/toy_world/vl

writes what VL-Adapter's data sets read, as NPZ files with float16 ``features``::

    {COCO,VG,GQA,nlvr}/clip_features/data_clip_RN101_att/{name}.npz    (49, 128), a grid of 7 x 7
    video/vis_features/tv/clip-vit/{name}.npz                          (frames, 128), class tokens

Of a video every second frame is taken. What is there already is left alone, unless it is of other
weights or another drawing of the world; ``features.json`` says of which.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from uniadapter.apis.model import init_model
from uniadapter.datasets.feature_stores.writing import npz_bytes
from uniadapter.datasets.readers import read_json
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

ROOT = Path(__file__).resolve().parents[2]
CONFIG, WEIGHTS = "configs/tiny/msrvtt_zero_shot.py", "configs/pretrain/blip_tiny.safetensors"
GRIDS, FRAMES = "clip_features/data_clip_RN101_att", "video/vis_features/tv/clip-vit"
FACTS = "features.json"
SIDE, STEP, BATCH = 56, 2, 64


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Features of the embedded pictures and videos.")
    parser.add_argument("--data", default="data/toy_world/vl", help="folder of the world's part")
    parser.add_argument("--force", action="store_true", help="extract what is there as well")
    return parser.parse_args(argv)


class Tower:
    """The small BLIP's visual tower on pictures of 7 x 7 patches."""

    def __init__(self) -> None:
        options = {"model.visual.img_size": SIDE}
        self.model: Any = init_model(ROOT / CONFIG, ROOT / WEIGHTS, cfg_options=options)
        preprocessor = self.model.data_preprocessor
        self.mean = preprocessor.mean.view(3, 1, 1)
        self.std = preprocessor.std.view(3, 1, 1)

    @torch.no_grad()
    def __call__(self, pictures: list[np.ndarray]) -> np.ndarray:
        """The last layer's tokens.

        Args:
            pictures: Each (56, 56, 3) uint8 RGB.

        Returns:
            (pictures, 50, 128) float16, the class token first.
        """
        parts = []
        for first in range(0, len(pictures), BATCH):
            pixels = torch.from_numpy(np.stack(pictures[first : first + BATCH]))
            pixels = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
            parts.append(self.model.encode_frames(pixels[:, None], "all")[:, 0])
        return torch.cat(parts).numpy().astype(np.float16)


def save(path: Path, features: np.ndarray) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, npz_bytes(features), sync=False)


def read_picture(path: Path) -> np.ndarray:
    """A picture (56, 56, 3) uint8 RGB.

    Raises:
        ValueError: If it can't be read or has another size.
    """
    image = cv2.imread(str(path))
    if image is None or image.shape != (SIDE, SIDE, 3):
        raise ValueError(f"{path} is no picture of the embedded world: draw it anew (--force).")
    return np.ascontiguousarray(image[..., ::-1])


def read_frames(path: Path) -> list[np.ndarray]:
    """Every second frame of a video.

    Raises:
        ValueError: If it can't be read or has frames of another size.
    """
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            break
        frames.append(np.ascontiguousarray(frame[..., ::-1]))
    capture.release()
    if not frames or frames[0].shape != (SIDE, SIDE, 3):
        raise ValueError(f"{path} is no video of the embedded world: draw it anew (--force).")
    return frames[::STEP]


def wanted(data: Path, force: bool) -> Iterator[tuple[Path, Path, bool]]:
    """Yield each source whose features are missing, where they go, and whether it is a video."""
    for source in sorted((data / "pictures").glob("*/*.jpg")):
        target = data / source.parent.name / GRIDS / f"{source.stem}.npz"
        if force or not target.is_file():
            yield source, target, False
    for source in sorted((data / "videos/tv").glob("*.mp4")):
        target = data / FRAMES / f"{source.stem}.npz"
        if force or not target.is_file():
            yield source, target, True


def extract(data: Path, force: bool = False) -> int:
    """Write what is missing.

    Args:
        data: Folder of the world's part.
        force: Write the rest as well.

    Returns:
        The number of files that were written.

    Raises:
        FileNotFoundError: If there are no pictures.
        ValueError: If a picture or video is none of the world's.
    """
    if not (data / "pictures").is_dir():
        raise FileNotFoundError(
            f"{data / 'pictures'} does not exist: `python tools/dataset_converters/"
            "make_toy_world.py --parts vl` draws it."
        )
    facts = {
        "weights": hashlib.sha256((ROOT / WEIGHTS).read_bytes()).hexdigest(),
        "world": read_json(str(data / "part.json"))["sha256"],
    }
    path = data / FACTS
    same = path.is_file() and read_json(str(path)) == facts
    todo = list(wanted(data, force or not same))
    if not todo:
        return 0
    tower = Tower()
    pictures = [(source, target) for source, target, video in todo if not video]
    for first in range(0, len(pictures), BATCH):
        rows = pictures[first : first + BATCH]
        tokens = tower([read_picture(source) for source, _ in rows])
        for (_, target), found in zip(rows, tokens, strict=True):
            save(target, found[1:])
    for source, target, video in todo:
        if video:
            save(target, tower(read_frames(source))[:, 0])
    # Written last, so that features of an interrupted run are extracted anew.
    atomic_write(path, (json.dumps(facts) + "\n").encode())
    return len(todo)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Extract, and say what was done."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    data = Path(args.data)
    try:
        print(f"wrote features of {extract(data, args.force)} pictures and videos to {data}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
