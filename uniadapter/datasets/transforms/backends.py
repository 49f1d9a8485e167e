"""Readers of frames behind one small interface: video files, folders of frames, single images."""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..media import IMAGE_EXTENSIONS, MediaError

_ISO_SUFFIXES = (".mp4", ".mov", ".m4v", ".3gp")
# Top-level boxes of ISO base media files and of QuickTime.
_BOXES = frozenset(
    b"ftyp styp moov mdat free skip wide pnot uuid moof mfra sidx ssix emsg meta prft udta".split()
)


class VideoBackend(ABC):
    """Frames of one medium, opened for the length of one call.

    Args:
        path: File or folder.

    Raises:
        MediaError: When the medium is missing, empty, truncated or of another kind.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise MediaError(path, "does not exist", "missing")
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise MediaError(path, "the file is empty", "empty")

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode the wanted frames only.

        Args:
            indices: Frame numbers in [0, len), in any order, repeats allowed.

        Returns:
            (len(indices), H, W, 3) uint8 RGB.

        Raises:
            MediaError: When one of them can't be decoded.
        """


class DecordBackend(VideoBackend):
    """Video files through decord.

    Frames are numbered as they are decoded, in order of presentation: in a file of variable frame
    rate a number is not a time. One decoding thread, because the data loader's workers already
    occupy the cores.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if os.path.isdir(path):
            raise MediaError(path, "is a folder; a video file is expected (backend 'decord')")
        check_boxes(path)
        # Imported here: decord must come after torch, and inside the worker that uses it.
        import decord

        try:
            self._reader = decord.VideoReader(path, num_threads=1)
        # decord raises bare exceptions of several unrelated classes.
        except Exception as error:
            raise MediaError(path, _summary(error)) from error

    def __len__(self) -> int:
        return len(self._reader)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        frames = []
        for index in wanted.tolist():
            try:
                frames.append(_without_padding(self._reader[index].asnumpy()))
            except Exception as error:
                raise MediaError(self.path, f"frame {index}: {_summary(error)}") from error
        return np.stack(frames)[places]


class FramesBackend(VideoBackend):
    """A folder of pictures, one a frame, in the order of their sorted names."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if not os.path.isdir(path):
            raise MediaError(path, "is a file; a folder of frames is expected (backend 'frames')")
        self._names = sorted(
            name for name in os.listdir(path) if name.lower().endswith(IMAGE_EXTENSIONS)
        )
        if not self._names:
            raise MediaError(path, f"the folder has no picture {IMAGE_EXTENSIONS}", "empty")

    def __len__(self) -> int:
        return len(self._names)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        frames = {i: read_image(os.path.join(self.path, self._names[i])) for i in set(indices)}
        shapes = {frame.shape for frame in frames.values()}
        if len(shapes) > 1:
            raise MediaError(self.path, f"the frames differ in size: {sorted(shapes)}")
        return np.stack([frames[i] for i in indices])


class ImageBackend(VideoBackend):
    """One picture, as a video of one frame."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if os.path.isdir(path):
            raise MediaError(path, "is a folder; a picture is expected (backend 'image')")
        self._frame = read_image(path)

    def __len__(self) -> int:
        return 1

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        return np.repeat(self._frame[None], len(indices), axis=0)


BACKENDS: dict[str, type[VideoBackend]] = {
    "decord": DecordBackend,
    "frames": FramesBackend,
    "image": ImageBackend,
}


def open_media(path: str, backend: str = "auto") -> VideoBackend:
    """Open a medium.

    Args:
        path: File or folder.
        backend: A key of :data:`BACKENDS`, or ``'auto'``: a folder is a folder of frames, a file
            with the extension of a picture an image, and all else a video.

    Raises:
        MediaError: When it can't be opened.
        ValueError: For an unknown backend.
    """
    if backend == "auto":
        if os.path.isdir(path):
            backend = "frames"
        else:
            backend = "image" if path.lower().endswith(IMAGE_EXTENSIONS) else "decord"
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {list(BACKENDS)}, got {backend!r}.")
    return BACKENDS[backend](path)


def read_image(path: str) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 RGB, upright.

    Grey, palette and CMYK pictures are converted; 16 bits a channel are scaled to 8; what is
    transparent lies on white; of an animation the first frame counts; the orientation that EXIF
    notes is applied.

    Raises:
        MediaError: When it can't be read whole.
    """
    if os.path.getsize(path) == 0:
        raise MediaError(path, "the file is empty", "empty")
    try:
        with Image.open(path) as image:
            return _as_rgb(_upright(image))
    except UnidentifiedImageError as error:
        raise MediaError(path, "is no picture in a known format", "undecodable") from error
    # Pillow reports broken pictures as OSError, SyntaxError, ValueError or struct.error.
    except Exception as error:
        kind = "truncated" if "truncated" in str(error) else "undecodable"
        raise MediaError(path, _summary(error), kind) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        image.getexif()
    # A picture whose notes are broken is no broken picture.
    except Exception:
        return image
    return ImageOps.exif_transpose(image)


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts values at 255: such a picture would come out white.
        values = np.asarray(image).astype(np.int64)
        grey = (values.clip(0, 65535) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("pixels of floating point have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image.convert("RGB"))


def check_boxes(path: str) -> None:
    """Check that the top-level boxes of an MP4-like file fill it to its end.

    A file cut short whose index stands at the front opens without complaint and merely looks
    shorter, so that frames would be drawn from its beginning only. The sizes the container itself
    declares tell; reading them costs a few seeks.

    Args:
        path: File; other containers than the MP4 family are left alone.

    Raises:
        MediaError: When a box claims more bytes than the file has.
    """
    if not path.lower().endswith(_ISO_SUFFIXES):
        return
    total = os.path.getsize(path)
    position = 0
    seen = set()
    with open(path, "rb") as file:
        while position + 8 <= total:
            file.seek(position)
            size, name = struct.unpack(">I4s", file.read(8))
            if name not in _BOXES:
                # Another container, a maker's own box or junk at the end: the decoder's business.
                return
            seen.add(name)
            if size == 1:
                extended = file.read(8)
                size = struct.unpack(">Q", extended)[0] if len(extended) == 8 else total + 1
            elif size == 0:
                size = total - position
            position += max(size, 8)
            if position > total:
                raise MediaError(
                    path,
                    f"truncated: its {name.decode()!r} box ends at byte {position}, the file at "
                    f"{total}",
                    "truncated",
                )
    if b"moov" not in seen:
        raise MediaError(path, "truncated: it ends before its index (no 'moov' box)", "truncated")


def _without_padding(frame: np.ndarray) -> np.ndarray:
    """Undo the row padding that decord leaves in frames narrower than 64 pixels.

    Its decoder pads rows to a multiple of 64 bytes; where that makes a fourth byte a pixel, the
    array arrives as (H, W, 4) although the rows still hold packed RGB and then padding.
    """
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)


def _summary(error: Exception) -> str:
    """Return the first line of an error, without the decoder's time stamp and source location."""
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return first.rsplit("Check failed:", 1)[-1].strip() or type(error).__name__
