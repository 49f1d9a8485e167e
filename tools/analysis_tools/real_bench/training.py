"""Training of one row on one split, on what frozen layers have computed already."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from .frozen import Frozen, normalised, tap_maps, taps_of, words_of
from .pictures import Collection
from .scores import measures


class Recipe(NamedTuple):
    """What all trained rows have in common.

    Attributes:
        epochs (int): An epoch draws a picture of every description of the training set.
        batch (int): Pairs of a step.
        decay (float): Weight decay of AdamW.
    """

    epochs: int
    batch: int
    decay: float


class Encoder:
    """Features of pictures and texts by a model, from the lowest state that is not trained.

    Args:
        model (RetrievalModel): The model of a row.
        pictures (Collection): The pictures.
        frozen (Frozen): What the frozen towers make of them.
    """

    def __init__(self, model: Any, pictures: Collection, frozen: Frozen) -> None:
        self.model, self.pictures, self.frozen = model, pictures, frozen
        self.beside = model.adapter is not None and bool(model.adapter.tapped)
        self.maps: list[list[torch.Tensor | None]] = []
        self.level = untouched(model.visual, "visual")
        self.text_trained = untouched(model.text, "text") < model.text.num_layers
        if self.beside:
            wanted = {*model.adapter.sides["visual"].chosen, model.visual.num_layers}
            if min(wanted) < frozen.layers:
                raise ValueError(f"Layers {sorted(wanted)} are read, kept from {frozen.layers} on.")
            self.maps = tap_maps(model, frozen, wanted)

    def visual(self, rows: torch.Tensor, mirrored: bool = False) -> torch.Tensor:
        """Features (B, E) of pictures by their numbers."""
        model, side = self.model, int(mirrored)
        if self.beside:
            taps = taps_of(self.maps[side], rows, self.frozen.images[side, rows])
            tokens = model.role("visual").tokens(rows, taps=taps)
            if "visual" in model.adapter.pooled:
                return model.contrast.visual(tokens, lengths=model.kept_tokens(tokens))
            cls = tokens[:, 0]
            return model.contrast.visual(cls, model.embedding_term("visual", cls))
        if self.level == model.visual.num_layers:
            states = self.frozen.images[side, rows]
        elif self.level >= self.frozen.layers:
            lower = self.frozen.lower[side, rows].float()
            states = model.visual.finish(lower, "first", self.frozen.layers)[:, 0]
        else:
            x = normalised(self.pictures.pixels[rows], mirrored)
            states = model.visual.tokens(x, "first")[:, 0]
        return model.contrast.visual(states)

    def text(self, rows: torch.Tensor) -> torch.Tensor:
        """Features (B, E) of the pictures' texts."""
        if self.text_trained or self.beside:
            captions = [self.pictures.captions[row] for row in rows.tolist()]
            return self.model.encode_text(*words_of(self.model, captions), True)[1]
        return self.model.contrast.text(self.frozen.texts[rows])

    @torch.no_grad()
    def measure(self, numbers: list[int]) -> dict[str, float]:
        """Recalls on some pictures and their descriptions."""
        self.model.eval()
        parts = torch.tensor(numbers).split(50)
        visual = torch.cat([self.visual(part) for part in parts])
        text = torch.cat([self.text(part) for part in parts])
        return measures(visual @ text.t(), [self.pictures.keys[number] for number in numbers])


def untouched(tower: Any, role: str) -> int:
    """Leading layers of a tower, with what lies before them, that nothing trains or fills."""
    sites = [at for _, at in tower.sites(role)]
    layers = tower.role_layers(role)
    inside = {id(p) for layer in layers for p in layer.parameters()}
    if any(p.requires_grad and id(p) not in inside for p in tower.parameters()):
        return 0
    for index, (layer, at) in enumerate(zip(layers, sites, strict=True)):
        trained = any(p.requires_grad for p in layer.parameters())
        changed = any("linear_uses" in vars(part) for part in layer.modules())
        if trained or changed or at.filled():
            return index
    return len(layers)


def batches(
    keys: list[str], numbers: list[int], size: int, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """An epoch's batches: every description once, by a picture of it that is drawn.

    So no description is twice in a batch, where it would be its own negative.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for number in numbers:
        groups[keys[number]].append(number)
    chosen = [
        group[int(torch.randint(len(group), (1,), generator=generator))]
        for group in groups.values()
    ]
    order = torch.randperm(len(chosen), generator=generator)
    yield from torch.tensor(chosen)[order].tensor_split(math.ceil(len(chosen) / size))


def train(
    model: Any,
    pictures: Collection,
    frozen: Frozen,
    split: dict[str, list[int]],
    recipe: Recipe,
    rate: float,
) -> dict[str, Any]:
    """Train a model and measure it.

    Args:
        model (RetrievalModel): With its start.
        pictures (Collection): The pictures.
        frozen (Frozen): What the frozen towers make of them.
        split (dict): Numbers of pictures.
        recipe (Recipe): Steps.
        rate (float): Learning rate, which falls to zero by a cosine.

    Returns:
        dict: ``val`` and ``test`` measures, ``trainable`` parameters, ``loss`` of the last epoch
        and ``cpu_seconds`` of training.
    """
    # Draws and dropout are the row's own, whatever ran before.
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(model, pictures, frozen)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=recipe.decay)
    started, losses = time.process_time(), []
    steps = recipe.epochs * len(
        list(batches(pictures.keys, split["train"], recipe.batch, generator))
    )
    model.train()
    step = 0
    for _ in range(recipe.epochs):
        losses = []
        for rows in batches(pictures.keys, split["train"], recipe.batch, generator):
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            _warm_up(model.contrast, step, steps // recipe.epochs)
            model.contrast.prepare(model, model.features)
            mirrored = bool(torch.randint(2, (1,), generator=generator))
            loss = model.contrast.loss(encoder.visual(rows, mirrored), encoder.text(rows), rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            step += 1
    seconds = time.process_time() - started
    return {
        "val": encoder.measure(split["val"]),
        "test": encoder.measure(split["test"]),
        "trainable": sum(p.numel() for p in parameters),
        "loss": sum(losses) / len(losses),
        "cpu_seconds": round(seconds, 1),
    }


def _warm_up(head: Any, step: int, epoch: int) -> None:
    """All negatives for an epoch, then the hardest ones, their loss rising for another one.

    As ``HardNegativeHook`` does it in a run of the Runner; nothing for heads without a hinge.
    """
    if hasattr(head, "hardest"):
        head.hardest = step >= epoch
        head.loss_scale = min(1.0, (step - epoch) / epoch) if head.hardest else 1.0
