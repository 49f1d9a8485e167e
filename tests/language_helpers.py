"""Language models of transformers with sites, tasks and a method, without a task's model around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uniadapter.models.active_task import ActiveTask
from uniadapter.models.backbones.hosted import HostedTower, linear_sites
from uniadapter.models.sites import Places, TokenSlot
from uniadapter.registry import MODELS

TASKS = ("vqa", "gqa", "nlvr", "caption")


def bart(**sizes: Any) -> Any:
    """BART of two layers a stack."""
    from transformers import BartConfig, BartForConditionalGeneration

    small = {"vocab_size": 40, "d_model": 16, "max_position_embeddings": 64}
    for stack in ("encoder", "decoder"):
        small.update({f"{stack}_layers": 2, f"{stack}_attention_heads": 2, f"{stack}_ffn_dim": 32})
    rates = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)
    return BartForConditionalGeneration(BartConfig(**{**small, **rates, **sizes}))


def t5(**sizes: Any) -> Any:
    """T5 of two layers a stack."""
    from transformers import T5Config, T5ForConditionalGeneration

    small = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2}
    small |= {"num_heads": 2, "dropout_rate": 0.0, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(**{**small, **sizes}))


def places_of(model: Any, tasks: Sequence[str] | None = TASKS) -> Places:
    """The sites of both stacks, with places for tokens."""
    places = Places(tasks=None if tasks is None else ActiveTask(tasks))
    places.towers["text"] = model
    for role, stack in (("text", model.get_encoder()), ("decoder", model.get_decoder())):
        sites = HostedTower(stack).sites()
        places.add(role, sites)
        places.add_linears(role, linear_sites(stack, role, range(len(sites))))
        places.slots[f"{role}.tokens"] = {0: TokenSlot(model.config.d_model)}
    return places


@contextmanager
def method_on(model: Any, config: dict[str, Any], tasks: Any = TASKS) -> Iterator[Any]:
    """A method on a model, which it leaves behind the context."""
    places = places_of(model, tasks)
    try:
        yield MODELS.build(config, default_args={"places": places})
    finally:
        for slot in places:
            slot.clear()
        for sites in places.linears.values():
            for site in sites.values():
                site.clear()


def logits(model: Any, front: TokenSlot | None = None, seed: int = 0) -> Tensor:
    """Logits of a drawn batch; learned tokens stand among the encoder's words."""
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 40, (2, 5), generator=drawn)
    states = model.get_input_embeddings()(ids)
    states = states if front is None else front.extend(states)
    found: Tensor = model(inputs_embeds=states, decoder_input_ids=ids[:, :3]).logits
    return found


class Language(nn.Module):
    """A frozen language model with a method.

    Args:
        model (nn.Module): Of :func:`bart` or :func:`t5`.
        adapter (dict): Config of the method.
        tasks (Sequence[str], optional): Tasks.
    """

    def __init__(
        self, model: Any, adapter: dict[str, Any], tasks: Sequence[str] | None = TASKS
    ) -> None:
        super().__init__()
        self.model: Any = model.requires_grad_(False)
        places = places_of(model, tasks)
        self.tasks: Any = places.tasks
        self.adapter: Any = MODELS.build(adapter, default_args={"places": places})

    def forward(self, seed: int = 0) -> Tensor:
        """See :func:`logits`."""
        front: Any = self.adapter.places.slots["text.tokens"][0]
        return logits(self.model, front, seed)

    def loss(self, seed: int = 0) -> Tensor:
        """Something that depends on all of it."""
        found = self(seed)
        return (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum()


def randomize(module: nn.Module, seed: int = 1, std: float = 0.3) -> None:
    """Move what is trained away from where it starts."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=drawn) * std)
