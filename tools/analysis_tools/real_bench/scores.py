"""How pictures and descriptions are ranked, and the rows that are solved rather than trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from uniadapter.evaluation.functional import ranks_of_best_positives, retrieval_measures


def measures(scores: torch.Tensor, keys: Sequence[str]) -> dict[str, float]:
    """Recalls of both directions in percent.

    Pictures of one description are all right answers to it, and it stands in the gallery of
    descriptions once: nobody could say which of two equal ones is meant.

    Args:
        scores (Tensor): (N, N) of pictures with the descriptions of the same pictures.
        keys (Sequence[str]): What descriptions are compared by, one a picture.

    Returns:
        dict: ``t2i/R1`` and so on (descriptions as queries), ``i2t/R1`` and so on, and ``mean`` of
        the six recalls.
    """
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    texts = sorted(first.values())
    pictures_of = [[i for i, key in enumerate(keys) if key == keys[text]] for text in texts]
    place = {keys[text]: index for index, text in enumerate(texts)}
    found = {}
    for name, table, right in (
        ("t2i", scores.t()[texts], pictures_of),
        ("i2t", scores[:, texts], [[place[key]] for key in keys]),
    ):
        ranked = retrieval_measures(ranks_of_best_positives(table, right))
        found.update({f"{name}/{key}": value for key, value in ranked.items()})
    recalls = [value for key, value in found.items() if key.split("/")[1] in ("R1", "R5", "R10")]
    return {**found, "mean": sum(recalls) / len(recalls)}


def named_pictures(captions: Sequence[str], names: Sequence[str]) -> dict[int, set[int]]:
    """Pictures whose description is the name of a class, but for an article and marks.

    Args:
        captions (Sequence[str]): One a picture.
        names (Sequence[str]): Of the classes, each with its synonyms between commas.

    Returns:
        dict: Numbers of classes of that name by the number of the picture.
    """
    classes: dict[str, set[int]] = {}
    for number, synonyms in enumerate(names):
        for name in synonyms.split(","):
            classes.setdefault(" ".join(name.casefold().split()), set()).add(number)
    found = {}
    for index, caption in enumerate(captions):
        words = re.sub(r"[^\w\s-]", "", caption.casefold()).split()
        name = " ".join(words[1:] if words[:1] in (["a"], ["an"], ["the"]) else words)
        if name in classes:
            found[index] = classes[name]
    return found


class Space(NamedTuple):
    """Affine maps of features of pictures and of texts into one space.

    Attributes:
        visual, text (Tensor): Matrices (E, D).
        visual_bias, text_bias (Tensor): (E,).
    """

    visual: torch.Tensor
    visual_bias: torch.Tensor
    text: torch.Tensor
    text_bias: torch.Tensor

    def scores(self, visual: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Cosines (N, T) of features (N, Dv) and (T, Dt)."""
        one = F.normalize(visual @ self.visual.t() + self.visual_bias, dim=-1)
        return one @ F.normalize(text @ self.text.t() + self.text_bias, dim=-1).t()


def ridge(
    visual: torch.Tensor, text: torch.Tensor, strength: float, known: torch.Tensor | None = None
) -> Space:
    """Ridge regression of texts on pictures, both compared around the mean of the texts.

    Args:
        visual (Tensor): Features (N, D) of pictures.
        text (Tensor): Features (N, E) of their texts.
        strength (float): Lambda.
        known (Tensor, optional): (N, E), what something else says of the texts already: what it
            leaves is regressed, and it has to be added to the result. None: nothing.

    Returns:
        Space: Of width E.
    """
    rest = text if known is None else text - known
    centre, offset, middle = visual.mean(0), rest.mean(0), text.mean(0)
    x, y = (visual - centre).double(), (rest - offset).double()
    gram = x.t() @ x + strength * torch.eye(x.shape[1], dtype=torch.float64)
    matrix = torch.linalg.solve(gram, x.t() @ y).float().t()
    bias = offset - matrix @ centre - middle
    return Space(matrix, bias, torch.eye(text.shape[1]), -middle)
