"""What bounds VL-Adapter's embedded rows: what features tell, and what language models answer.

    python tools/study/limits.py

prints how often a linear classifier finds the color and the shape of a thing in the feature of its
cell, on pictures it has not seen, and how often the language models, asked in words alone, answer
"what color is the heart ? a red heart sits above an orange square" with the color of the thing that
is asked for, and with that of the other one (docs/vl_adapter.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.dataset_converters.extract_toy_features import BATCH, SIDE, Tower
from tools.dataset_converters.toy_world.language import choose, write_articles
from tools.dataset_converters.toy_world.photos import Photo, Scene, take_photo
from tools.dataset_converters.toy_world.statements import related_scene
from uniadapter.apis.model import init_model
from uniadapter.models.necks.visual_embedding import pool_grid
from uniadapter.structures import MultimodalSample
from uniadapter.utils.arguments import natural, whole
from uniadapter.utils.errors import one_message

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE_MODELS = ("vl_bart_pretrain", "vl_t5_pretrain")
#: Every fifth picture is tested with.
HELD_OUT = 5
#: Tokens that a row's model makes of a picture's 49.
TOKENS = 36


def scenes(count: int, seed: int) -> Iterator[tuple[Scene, np.random.Generator]]:
    """Draw scenes of two or three things, each with the randomness of its picture."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        yield related_scene(rng), rng


def cells(features: torch.Tensor, things: Sequence[Any]) -> torch.Tensor:
    """The features of the cells that the middles of things lie in.

    Args:
        features: (N, D), rows of a square grid one behind the other.
        things: Of the same picture, with ``x`` and ``y`` from 0 to 1.

    Returns:
        (things, D).
    """
    side = round(len(features) ** 0.5)
    places = [
        min(side - 1, int(t.y * side)) * side + min(side - 1, int(t.x * side)) for t in things
    ]
    return features[places]


def probe(features: np.ndarray, labels: Sequence[str], held_out: np.ndarray) -> float:
    """The share of labels that a linear classifier finds.

    Args:
        features: (things, D).
        labels: One a thing.
        held_out: (things,) bool, what is tested with; the others are learned from.
    """
    known = np.asarray(labels)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    classifier.fit(features[~held_out], known[~held_out])
    return float(classifier.score(features[held_out], known[held_out]))


def probe_features(count: int) -> dict[str, float]:
    """How often color and shape are found in a thing's feature, of pictures drawn anew."""
    tower, drawn = Tower(), list(scenes(count, seed=1))
    pictures = [take_photo(Photo("", 0, s, rng), SIDE, "night", 0.0, 0.0)[0] for s, rng in drawn]
    grids = [tower(pictures[i : i + BATCH])[:, 1:] for i in range(0, count, BATCH)]
    pooled = pool_grid(torch.from_numpy(np.concatenate(grids)).float()[:, None], TOKENS)[:, 0]
    found = torch.cat(
        [cells(grid, scene.things) for grid, (scene, _) in zip(pooled, drawn, strict=True)]
    ).numpy()
    things = [(number, thing) for number, (s, _) in enumerate(drawn) for thing in s.things]
    held_out = np.array([number % HELD_OUT == 0 for number, _ in things])
    return {
        name: probe(found, [getattr(thing, name) for _, thing in things], held_out)
        for name in ("color", "shape")
    }


def questions(count: int, seed: int) -> list[tuple[str, str, str]]:
    """Questions with a caption behind them, the color asked for and that of the other thing."""
    rows: list[tuple[str, str, str]] = []
    for scene, rng in scenes(50 * count, seed):
        if len(rows) == count:
            break
        first, second, *more = scene.things
        if more or first.shape == second.shape or first.color == second.color:
            continue
        asked, other = (first, second) if rng.random() < 0.5 else (second, first)
        caption = write_articles(choose(rng, scene.captions()))
        rows.append((f"what color is the {asked.shape} ? {caption}", asked.color, other.color))
    return rows


@torch.no_grad()
def answer(model: Any, texts: Sequence[str]) -> list[str]:
    """Let a language model write an answer to each text."""
    tokenizer = model.tokenizer
    ids = [torch.tensor(tokenizer.encode(text)) for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence(ids, True, tokenizer.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], True)
    samples = [MultimodalSample() for _ in texts]
    done = model(padded, mask, data_samples=samples, mode="predict")
    return [sample.pred_text for sample in done]


def ask_in_words(name: str, count: int) -> dict[str, float]:
    """How often a language model names the color asked for, and that of the other thing."""
    model = init_model(ROOT / f"configs/tiny/{name}.py", ROOT / f"configs/tiny/{name}.safetensors")
    model.eval()
    rows = questions(count, seed=2)
    texts = [text for text, *_ in rows]
    said = [word for i in range(0, count, 50) for word in answer(model, texts[i : i + 50])]
    return {
        key: float(
            np.mean(
                [text.split()[:1] == [row[place]] for text, row in zip(said, rows, strict=True)]
            )
        )
        for place, key in ((1, "asked"), (2, "other"))
    }


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print all shares."""
    parser = argparse.ArgumentParser(description="What bounds VL-Adapter's embedded rows.")
    parser.add_argument("--pictures", type=whole(50), default=1000)
    parser.add_argument("--questions", type=natural, default=300)
    args = parser.parse_args(argv)
    found = probe_features(args.pictures)
    print(f"a cell's feature tells: color {found['color']:.1%}, shape {found['shape']:.1%}")
    for name in LANGUAGE_MODELS:
        said = ask_in_words(name, args.questions)
        print(
            f"{name} in words: color of the thing {said['asked']:.1%}, of the other "
            f"{said['other']:.1%}"
        )


if __name__ == "__main__":
    main()
