"""Tiny models, batches and comparisons that the tests of the models share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tests.helpers import VOCAB_SIZE, tiny_retrieval_cfg, write_vocab
from uniadapter.apis.model import build_model
from uniadapter.models.tasks import RetrievalModel
from uniadapter.registry import register_all_modules

WORDS = VOCAB_SIZE - 2


class Uninitialised(TorchFunctionMode):
    """Weights are made without values, for models whose shapes alone are looked at.

    On the meta device a third of the time of building a model goes into filling what is not there.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def adapter_cfg(**options: Any) -> dict[str, Any]:
    return {"type": "UniAdapter", "bottleneck": 8, **options}


def seeded_model(cfg: dict[str, Any], seed: int = 0) -> RetrievalModel:
    """A model whose attention is far from uniform, unlike that of freshly initialised towers."""
    torch.manual_seed(seed)
    model = build_model(cfg)
    with torch.no_grad():
        for tower in model.towers().values():
            for module in tower.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.mul_(8)
    if model.adapter is not None:
        # These weights take the place of a file's, of which adapters are told.
        model.adapter.backbone_loaded()
    return model


def tiny_model(seed: int = 0, **overrides: Any) -> RetrievalModel:
    return seeded_model(tiny_retrieval_cfg(**overrides), seed)


def tiny_pretrain_cfg(**overrides: Any) -> dict[str, Any]:
    cfg = tiny_retrieval_cfg(type="BlipPretrainModel", **overrides)
    cfg["decoder"] = {**cfg["text"], "type": "BertDecoder"}
    return cfg


def tiny_batch(
    size: int = 3,
    frames: int = 2,
    length: int = 6,
    seed: int = 1,
    ids: list[int] | None = None,
) -> dict[str, torch.Tensor]:
    """A batch in which the texts differ in length."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(size, length, dtype=torch.long)
    for row in range(size):
        mask[row, length - row % 3 :] = 0
    words = torch.randint(5, WORDS, (size, length), generator=generator)
    return {
        "pixels": torch.randn(size, frames, 3, 32, 32, generator=generator),
        "input_ids": words * mask,
        "attention_mask": mask,
        "media_ids": torch.tensor(list(range(size)) if ids is None else ids),
    }


def randomize(model: RetrievalModel, seed: int = 2, std: float = 0.3) -> RetrievalModel:
    """Move the trained tensors away from their start, so that every adapter acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def models_of(folder: Path, *options: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Models that differ in options of their adapters and in weights, with their configs."""
    register_all_modules()
    vocab, found = write_vocab(folder / "vocab.txt"), []
    for seed, chosen in enumerate(options):
        cfg = tiny_retrieval_cfg(vocab)
        cfg["adapter"] = {**cfg["adapter"], **chosen}
        found.append((randomize(build_model(cfg), seed=seed), {"model": cfg}))
    return found


def outputs(model: RetrievalModel, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Everything a retrieval model computes: tokens, features and matching logits."""
    with torch.no_grad():
        tokens, feature, frames = model.encode_visual(batch["pixels"])
        texts = (batch["input_ids"], batch["attention_mask"])
        text_tokens, text_feature = model.encode_text(*texts)
        sims = model.frame_sims(tokens[:, :, 0], frames, text_tokens[:, 0], text_feature)
        rows = torch.arange(len(tokens))
        pairs = None if sims is None else sims[rows, rows]
        logits = model.match(*texts, tokens, pairs)
    return [tokens, feature, frames, text_tokens, text_feature, logits]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def sgd_steps(
    model: RetrievalModel, batch: dict[str, torch.Tensor], steps: int = 3, lr: float = 0.05
) -> list[dict[str, torch.Tensor]]:
    """Train a little and return the losses of each step."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr)
    history = []
    for _ in range(steps):
        losses = model(**batch, mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.detach() for name, loss in losses.items()})
    return history


@contextmanager
def one_seed(seed: int) -> Iterator[None]:
    """Draw the same random numbers whatever was drawn before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
