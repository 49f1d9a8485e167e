"""Words of the toy world: what stills are described with, what only videos are described with.

The *old* words occur in the captions of the stills a backbone is pre-trained on. The *new* words
(synonyms, verbs, the language of time) are in the vocabulary file but in no still's caption: they
are the language shift that an adapter has to bridge.
"""

from __future__ import annotations

import numpy as np

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 225, 60),
    "green": (45, 160, 65),
    "blue": (45, 85, 220),
    "purple": (150, 55, 190),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart")
WALLS = ("plain", "striped", "dotted", "checked")
SIZES = ("big", "small")
PLACES: dict[str, tuple[float, float]] = {
    "on the left": (0.24, 0.5),
    "on the right": (0.76, 0.5),
    "at the top": (0.5, 0.24),
    "at the bottom": (0.5, 0.76),
    "in the middle": (0.5, 0.5),
}
# Relation of the first object to the second -> unit vector from the second to the first (y down).
RELATIONS: dict[str, tuple[float, float]] = {
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
    "left of": (-1.0, 0.0),
    "right of": (1.0, 0.0),
}
OPPOSITES = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}

SYNONYMS: dict[str, str] = {
    "red": "crimson",
    "orange": "amber",
    "yellow": "golden",
    "green": "emerald",
    "blue": "azure",
    "purple": "violet",
    "white": "snowy",
    "black": "inky",
    "circle": "disc",
    "square": "box",
    "triangle": "wedge",
    "star": "spark",
    "cross": "plus",
    "ring": "hoop",
    "heart": "locket",
    "plain": "bare",
    "striped": "lined",
    "dotted": "speckled",
    "checked": "tiled",
    "above": "over",
    "below": "under",
    "wall": "backdrop",
}
# What a moving object does; which of them one frame can show is discussed in docs/embedded_data.md.
MOTIONS: dict[str, tuple[str, ...]] = {
    "across": ("glides across", "moves along"),
    "vertical": ("rises and falls before", "bobs up and down before"),
    "swell": ("swells before", "grows before"),
    "still": ("rests before", "waits before"),
}
GLUE = (
    *("a", "an", "the", "is", "of", "on", "in", "at", "and", "there", "next", "to", "with"),
    *("picture", "photo", "video", "clip", "scene", "wall", "object", "objects", "shows", "sits"),
    *("first", "then", "later", "while", "before", "after", "for", "moment", "briefly"),
    *("appears", "pops", "up", "flashes", "moving", "across"),
    *("what", "which", "where", "how", "many", "color", "shape", "do", "does", "yes", "no"),
    *("zero", "one", "two", "three", "four", "left", "right", "top", "bottom", "middle"),
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def vocabulary() -> list[str]:
    """All WordPiece tokens of the world in the order of the vocabulary file.

    Returns:
        Special tokens, single letters and their continuations (so that any lower-case word has a
        spelling), digits, punctuation, then words in alphabetical order. ``[DEC]`` and ``[ENC]``
        are not in it: the tokenizer appends them.
    """
    words: set[str] = set(GLUE) | set(COLORS) | set(SHAPES) | set(WALLS) | set(SIZES)
    words |= set(SYNONYMS) | set(SYNONYMS.values())
    for phrases in (PLACES, RELATIONS, *MOTIONS.values()):
        words |= {word for phrase in phrases for word in phrase.split()}
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(f"##{c}" for c in letters), *"0123456789", *".,?!'-"]
    return [*SPECIAL, *pieces, *sorted(words - set(pieces))]


def choose(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    """Draw one of ``options`` as a plain ``str``."""
    return options[int(rng.integers(len(options)))]


def write_articles(caption: str) -> str:
    """Write ``an`` for ``a`` before a vowel."""
    words = caption.split()
    pairs = zip(words, [*words[1:], ""], strict=True)
    return " ".join("an" if a == "a" and b[:1] in tuple("aeio") else a for a, b in pairs)


def shift_language(caption: str, rng: np.random.Generator, share: float) -> str:
    """Replace old words by their synonyms, each with probability ``share``."""
    words = caption.split()
    return write_articles(
        " ".join(
            SYNONYMS[word] if word in SYNONYMS and rng.random() < share else word for word in words
        )
    )
