"""Which answers can a frozen language-model head say at all?

An adapter moves the states that reach the decoder's head; the head and the word embeddings it is
tied to stay as they are. For each token of the answers this looks, by gradient descent on the state
itself, for the state that the head reads the token out of best. An adapter has to do with the
cross-entropy that remains then. A word that pre-training never saw keeps a high one: its row of the
embeddings was only ever pushed away, together with those of all other unseen words.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from uniadapter.apis.model import build_model
from uniadapter.models.tasks.vqa import VQAModel
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message

_STEPS, _LR = 1000, 0.1


def lowest_losses(model: VQAModel, tokens: list[int]) -> list[float]:
    """Cross-entropy of each token at the state that says it best.

    Args:
        model (VQAModel): The model with its weights.
        tokens (list[int]): T ids of the vocabulary.

    Returns:
        list[float]: T losses in nats.
    """
    head = model.decoder.cls.predictions
    weight = model.decoder.bert.embeddings.word_embeddings.weight.detach()
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(len(tokens), weight.shape[1], generator=generator).requires_grad_()
    targets = torch.tensor(tokens)
    optimizer = torch.optim.Adam([states], lr=_LR)
    for _ in range(_STEPS):
        logits = F.linear(head.transform(states), weight, head.bias)
        losses = F.cross_entropy(logits, targets, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), states)
        states.grad = gradient
        optimizer.step()
    return losses.tolist()


def sayable(
    config: str, answers: list[str] | None = None, cfg_options: Mapping[str, Any] | None = None
) -> list[tuple[str, list[tuple[str, float]]]]:
    """The lowest losses of the tokens of each answer.

    Args:
        config (str): Config of a :class:`VQAModel`.
        answers (list[str], optional): Answers; None for the config's list.
        cfg_options (Mapping, optional): Overrides by dotted key.

    Returns:
        list: For each answer (answer, [(token, lowest loss in nats) ...]).

    Raises:
        FileNotFoundError: If the config or the weights do not exist.
        ValueError: If the model answers no questions or there are no answers.
    """
    cfg = load_config(config, cfg_options)
    model = build_model(cfg.model.to_dict()) if isinstance(cfg.get("model"), dict) else None
    if not isinstance(model, VQAModel):
        raise ValueError(f"{config}: key 'model' must be a VQAModel.")
    answers = answers or model.answer_list
    if not answers:
        raise ValueError(f"{config} has no model.answer_list: name answers with --answers.")
    model.init_weights()
    ids, mask = model.tokenizer(answers, None)
    # The first token and the last one, [SEP], frame the answer.
    rows = [row[1 : int(length) - 1].tolist() for row, length in zip(ids, mask.sum(1), strict=True)]
    unique = sorted({token for row in rows for token in row})
    loss = dict(zip(unique, lowest_losses(model, unique), strict=True))
    name = model.tokenizer.decode
    return [
        (answer, [(name([token]), loss[token]) for token in row])
        for answer, row in zip(answers, rows, strict=True)
    ]


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print a line an answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file of a VQAModel")
    parser.add_argument("--answers", nargs="+", help="answers (default: the config's list)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override config values",
    )
    args = parser.parse_args(argv)
    try:
        rows = sayable(args.config, args.answers, args.cfg_options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{'answer':<16} {'nats':>7}  lowest loss of each token")
    for answer, tokens in rows:
        parts = " ".join(f"{token} {loss:.2f}" for token, loss in tokens)
        print(f"{answer:<16} {sum(loss for _, loss in tokens):>7.2f}  {parts}")


if __name__ == "__main__":
    main()
