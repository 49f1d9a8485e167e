"""Sizes of images and patches: what a visual tower can cut into whole patches."""

from __future__ import annotations

from collections.abc import Sequence


def check_sides(img_size: int, patch_size: int) -> None:
    """Refuse a tower whose images have no whole number of patches a side.

    Args:
        img_size (int): Side of the square input in pixels.
        patch_size (int): Side of a patch in pixels.

    Raises:
        ValueError: If one is no positive integer, or the image is no multiple of a patch.
    """
    for key, value in (("img_size", img_size), ("patch_size", patch_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"visual.{key}={value!r} must be one positive integer, the side of a square in "
                "pixels."
            )
    if img_size % patch_size:
        near = max(round(img_size / patch_size), 1) * patch_size
        raise ValueError(
            f"visual.img_size={img_size} is no multiple of visual.patch_size={patch_size}: pixels "
            f"at two sides would be in no patch. Set it, and the pipeline's size, to {near}."
        )


def check_pixels(shape: Sequence[int], patch_size: int) -> None:
    """Refuse images that are cut into patches with a rest.

    Args:
        shape (Sequence[int]): Of the images, (..., H, W).
        patch_size (int): Side of a patch in pixels.

    Raises:
        ValueError: If a side is no multiple of a patch.
    """
    height, width = shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"Images of {height} x {width} pixels are no multiple of visual.patch_size="
            f"{patch_size}, and the rest would be in no patch: set the pipeline's size to that of "
            "model.visual.img_size."
        )
