"""Prompt tuning through a perceptron, as VL-Adapter's baseline has it (Sung et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..sites import Places
from .base import Adapter, check_choice, check_int
from .sharing import ByTask, check_axes, tasks_for

INITS = ("normal", "torch")


class PromptEncoder(nn.Module):
    """Tokens (n, d): ``W2 tanh(W1 E + c1) + c2`` of an embedding E (n, d).

    Args:
        length (int): Tokens n.
        width (int): Width d.
        hidden (int): Inner width.
        init (str): ``'normal'`` of standard deviation 0.02 with zero biases, or ``'torch'``.
    """

    def __init__(self, length: int, width: int, hidden: int, init: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(length, width)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        if init == "normal":
            for part in (self.embedding, self.inner, self.outer):
                nn.init.normal_(part.weight, std=0.02)
            for linear in (self.inner, self.outer):
                nn.init.zeros_(linear.bias)

    def forward(self) -> torch.Tensor:
        """The tokens (n, d)."""
        prompt: torch.Tensor = self.outer(torch.tanh(self.inner(self.embedding.weight)))
        return prompt


@MODELS.register_module()
class PromptTuning(Adapter):
    """Learned tokens at the input of a run, from a perceptron that is kept at inference.

    Where they stand is the model's to say: among a text's tokens, or in front of them. In a decoder
    they are in front of what it writes. Step 0 is not the frozen model.

    Args:
        places (Places): The model's sites.
        length (int): Tokens n. Defaults to 40.
        hidden (int): Inner width of the perceptron. Defaults to 800.
        roles (list[str]): Runs that have them, ``'text'``, ``'decoder'`` or both. Defaults to
            ``['text']``.
        share (list[str]): ``['task']`` has one set for all tasks, none one for each. Defaults to
            ``['task']``.
        init (str): See :class:`PromptEncoder`. Defaults to ``'normal'``.

    Raises:
        ValueError: If an option is outside its set, a run has no place for tokens, or sets are kept
            apart by tasks that the model does not have.
    """

    def __init__(
        self,
        places: Places,
        length: int = 40,
        hidden: int = 800,
        roles: Iterable[str] = ("text",),
        share: Iterable[str] = ("task",),
        init: str = "normal",
    ) -> None:
        check_int(length, 1, "adapter.length")
        check_int(hidden, 1, "adapter.hidden")
        check_choice(init, INITS, "adapter.init")
        roles = [roles] if isinstance(roles, str) else list(roles)
        if not roles or len(set(roles)) != len(roles):
            raise ValueError(f"adapter.roles={roles}: name at least one, each once.")
        shared = check_axes(share, "adapter.share", ("task",))
        options = {"length": length, "hidden": hidden, "roles": roles, "share": shared}
        super().__init__(places, {**options, "init": init})
        self.prompts = nn.ModuleDict()
        tasks = tasks_for(places, shared, self.method)
        for role in roles:
            slots = places.need(f"{role}.tokens", self.method)
            slot = slots[min(slots)]
            make = partial(PromptEncoder, length, slot.dim, hidden, init)
            prompt = make() if tasks is None else ByTask(tasks, make, self.method)
            self.prompts[role] = prompt
            slot.fill(prompt)
