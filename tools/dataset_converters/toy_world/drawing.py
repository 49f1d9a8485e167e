"""Draws coloured shapes before textured walls (OpenCV, anti-aliased, RGB)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .language import COLORS

# Sub-pixel precision of OpenCV's drawing functions: coordinates are multiplied by 2**SHIFT.
SHIFT = 4


@dataclass(frozen=True)
class Thing:
    """One drawn object; positions and radius are fractions of the image side."""

    color: str
    shape: str
    x: float
    y: float
    radius: float
    angle: float = 0.0

    @property
    def name(self) -> str:
        """Colour and shape as a caption says them."""
        return f"{self.color} {self.shape}"


def _outline(shape: str) -> np.ndarray:
    """Corners (K, 2) of a polygonal shape of circumradius 1, y downwards."""
    if shape == "square":
        return np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]])
    if shape == "triangle":
        return np.array([[0.0, -1.05], [1.0, 0.75], [-1.0, 0.75]])
    if shape == "cross":
        a, b = 0.34, 1.0
        return np.array(
            [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a]]
            + [[a, b], [-a, b], [-a, a], [-b, a], [-b, -a], [-a, -a]]
        )
    if shape == "star":
        turn = np.pi * np.arange(10) / 5 - np.pi / 2
        length = np.where(np.arange(10) % 2 == 0, 1.15, 0.45)
        return np.stack([np.cos(turn), np.sin(turn)], 1) * length[:, None]
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        return np.stack([x, y], 1) / 16.0
    raise ValueError(f"no outline for the shape {shape!r}")


def outline(thing: Thing, side: int) -> np.ndarray:
    """Corners (K, 2) of a thing with straight sides in a picture of this side, in pixels."""
    center, radius = np.array([thing.x, thing.y]) * side, thing.radius * side
    turn = np.array(
        [
            [np.cos(thing.angle), -np.sin(thing.angle)],
            [np.sin(thing.angle), np.cos(thing.angle)],
        ]
    )
    return _outline(thing.shape) @ turn.T * radius + center


def draw_thing(image: np.ndarray, thing: Thing, rgb: np.ndarray) -> None:
    """Draw ``thing`` into ``image`` (H, H, 3 uint8, RGB) in place, with the colour ``rgb``."""
    side = image.shape[0]
    color = tuple(int(v) for v in rgb)
    center = np.array([thing.x, thing.y]) * side
    radius = thing.radius * side
    fixed = tuple(int(v) for v in np.round(center * 2**SHIFT))
    if thing.shape == "circle":
        length = round(0.95 * radius * 2**SHIFT)
        cv2.circle(image, fixed, length, color, -1, cv2.LINE_AA, SHIFT)
        return
    if thing.shape == "ring":
        length = round(0.75 * radius * 2**SHIFT)
        cv2.circle(image, fixed, length, color, max(2, round(0.4 * radius)), cv2.LINE_AA, SHIFT)
        return
    points = np.round(outline(thing, side) * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(image, [points], color, cv2.LINE_AA, SHIFT)


def draw_wall(wall: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """A wall (side, side, 3 uint8): two greys in the pattern ``wall``, random in phase and tone."""
    tone = rng.uniform(95, 150)
    low, high = tone, tone + rng.choice([-1.0, 1.0]) * 34
    yy, xx = np.mgrid[0:side, 0:side] * (48 / side)
    phase = rng.uniform(0, 8, 2)
    if wall == "plain":
        mask = np.zeros((side, side), bool)
    elif wall == "striped":
        mask = ((xx + phase[0]) % 8) < 4
    elif wall == "checked":
        mask = (((xx + phase[0]) // 6).astype(int) + ((yy + phase[1]) // 6).astype(int)) % 2 == 0
    elif wall == "dotted":
        mask = ((xx + phase[0]) % 8 - 4) ** 2 + ((yy + phase[1]) % 8 - 4) ** 2 < 5
    else:
        raise ValueError(f"no wall {wall!r}")
    gray = np.where(mask, high, low)
    tint = rng.uniform(-6, 6, 3)
    return np.clip(gray[..., None] + tint, 0, 255).astype(np.uint8)


def paint(rng: np.random.Generator, color: str, jitter: float = 14.0) -> np.ndarray:
    """The RGB of ``color`` (3,), a little different every time."""
    return np.clip(np.array(COLORS[color]) + rng.uniform(-jitter, jitter, 3), 0, 255)
