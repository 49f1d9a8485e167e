"""Looking into a model: what adapters read, and what texts attend to.

All of it runs the plain way, in evaluation and without a graph: the numbers are those of any other
run, and every token is where the model's own definition puts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from .execution import Words
from .fast import FastPaths
from .sites import Places
from .slots import OwnSlot, Use
from .tasks.base import VisionLanguageModel
from .tasks.retrieval import RetrievalModel

WHAT = ("input", "hidden", "term")


@contextmanager
def plainly(model: VisionLanguageModel) -> Iterator[None]:
    """Inside the context a model runs the plain way, in evaluation and without a graph."""
    fast, training = model.fast, model.training
    model.fast = FastPaths.build(False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.fast = fast
        model.train(training)


def adapted_sites(places: Places, layer: int | None = None) -> dict[str, int]:
    """Sites that an adapter reads states at, and the number of a layer of each.

    Args:
        places (Places): Of a model.
        layer (int, optional): Counted from 1. Defaults to None: the last one of each site.

    Returns:
        dict: Numbers from 0 by ``role.site``; those that are filled, or where none is, what a
        UniAdapter would read.

    Raises:
        ValueError: If no site has such a layer.
    """
    known = ("visual.after_self", "text.after_self", "fusion.after_self", "fusion.after_cross")
    # Keys, tokens and the pair of keys and values are no states of a layer.
    names = [name for name in places.slots if not name.endswith(("keys", ".tokens", ".kv"))]
    filled = [name for name in names if any(s.filled for s in places.slots[name].values())]
    found = {}
    for name in filled or [name for name in known if name in names]:
        slots = places.slots[name]
        layers = [i for i, slot in slots.items() if slot.filled or not filled]
        index = max(layers) if layer is None else layer - 1
        if index in layers:
            found[name] = index
    if not found:
        depth = max((i for name in names for i in places.slots[name]), default=-1) + 1
        raise ValueError(
            f"layer={layer}: the adapter reads nothing there; layers are counted from 1 to {depth}."
        )
    return found


@contextmanager
def watched(
    places: Places, sites: Mapping[str, int], adapter: nn.Module | None = None, what: str = "input"
) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Inside the context remember what passes by at sites.

    Args:
        places (Places): Of a model.
        sites (Mapping[str, int]): Numbers of layers by ``role.site``.
        adapter (nn.Module, optional): The adapter, for ``'hidden'``.
        what (str): ``'input'``, what is read there; ``'hidden'``, what the up-projection reads; or
            ``'term'``, what is added. Defaults to ``'input'``.

    Yields:
        dict: States by ``role.site``, a tensor a run.

    Raises:
        ValueError: If ``what`` is unknown, a site does not exist, or the adapter has no such thing.
    """
    if what not in WHAT:
        raise ValueError(f"what={what!r} is unknown: choose from {list(WHAT)}.")
    seen: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    behind: list[torch.Tensor] = []

    def around(site: str, use: Use | None) -> Use:
        def watching(x: torch.Tensor, **grid: Any) -> Any:
            behind.clear()
            term = None if use is None else use(x, **grid)
            if what == "hidden" and not behind:
                raise ValueError(f"what='hidden': nothing at {site} has a bottleneck.")
            if what == "term" and term is None:
                raise ValueError(f"what='term': nothing fills {site}; look at its input.")
            found: Any = {"input": x, "term": term, "hidden": behind and behind[-1]}
            seen[site].append(found[what])
            return term

        return watching

    with ExitStack() as stack:
        if what == "hidden" and adapter is not None:
            # Between activation and up-projection every bottleneck has its dropout.
            for module in adapter.modules():
                if isinstance(module, nn.Dropout):
                    hook = module.register_forward_hook(lambda _, __, out: behind.append(out))
                    stack.callback(hook.remove)
        for site, layer in sites.items():
            slot = places.slots.get(site, {}).get(layer)
            if slot is None or isinstance(slot, OwnSlot):
                raise ValueError(
                    f"There is no layer {layer + 1} of a site {site!r} that reads states."
                )
            stack.enter_context(slot.wrapped(partial(around, site)))
        yield seen


class _Watching:
    """Attention probabilities of a tower's cross-attentions, a tensor (P, H, L, S) a layer."""

    def __init__(self) -> None:
        self.maps: list[torch.Tensor] = []

    def see(self, attention: nn.Module, args: tuple, _: Any) -> None:
        """Hook behind a cross-attention: compute again what its softmax gave."""
        x, index, rows, memory, *rest = args
        module: Any = attention
        query = module.heads(rows.apart(module.query(x)))
        key, value = (
            part.expand(len(query), -1, -1, -1) for part in memory.projected(module, index)
        )
        mask, states = memory.visible, key.shape[2]
        if rest and rest[0] is not None and rest[0].filled:
            key, _, mask = rest[0].extend(key, value, mask)
        logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        # What a prefix puts in front is no part of the medium.
        self.maps.append(logits.float().softmax(-1)[..., -states:])


class Seen(NamedTuple):
    """What a run of media and texts gave.

    Attributes:
        tokens (Tensor): Visual tokens (B, N, M, D), the first of a frame its class token.
        weights (Tensor, optional): PFA's weights A of the frames, (B, N).
    """

    tokens: torch.Tensor
    weights: torch.Tensor | None


def run_pairs(
    model: VisionLanguageModel,
    pixels: torch.Tensor,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
) -> Seen:
    """Run every tower of a model once: media, texts, and texts that read their media.

    A decoder does not run: what it writes is no text that is given.

    Args:
        model (VisionLanguageModel): Any task, best inside :func:`plainly`.
        pixels (Tensor): (B, N, 3, H, W).
        input_ids (Tensor): (B, L), text b belongs to medium b.
        attention_mask (Tensor): (B, L).
    """
    words, fused = Words(input_ids, attention_mask), "fusion" in model.roles()
    if not isinstance(model, RetrievalModel):
        tokens = model.encode_frames(pixels)
        if fused:
            fusion = model.role("fusion")
            fusion.fuse(words, fusion.memory(tokens.flatten(1, 2)))
        return Seen(tokens, None)
    tokens, _, frames = model.encode_visual(pixels)
    states, features = model.encode_text(input_ids, attention_mask)
    if not fused:
        return Seen(tokens, None)
    fusion, factor, weights = model.role("fusion"), None, None
    sims = model.frame_sims(tokens[:, :, 0], frames, states[:, 0], features)
    if sims is not None and model.pfa is not None:
        own = sims.diagonal(dim1=0, dim2=1).t()
        weights, factor = model.pfa.weights(own), model.factor(own, *tokens.shape[1:3])
    memory = fusion.memory(tokens.flatten(1, 2), factor=factor)
    fusion.fuse(words, memory, "all", states if fusion.takes_states else None)
    return Seen(tokens, weights)


def attention_maps(
    model: VisionLanguageModel,
    pixels: torch.Tensor,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the tokens of texts attend to in the media that they are fused with.

    Args:
        model (VisionLanguageModel): With a fusion role, such as retrieval with matching, or VQA.
        pixels (Tensor): (B, N, 3, H, W).
        input_ids (Tensor): (B, L), text b reads medium b.
        attention_mask (Tensor): (B, L).

    Returns:
        tuple: Probabilities (layers, B, heads, L, N, M), M tokens a frame, the class token first;
        and PFA's frame weights A (B, N), None of a model without PFA.

    Raises:
        ValueError: If the model does not fuse texts and media.
    """
    text: Any = model.text if "fusion" in model.roles() else None
    layers: list[Any] = [] if text is None else text.role_layers("fusion")
    if not layers or not all(hasattr(layer, "crossattention") for layer in layers):
        raise ValueError(
            f"This {type(model).__name__} has no cross-attention in which texts read media: take a "
            "model with a matching head (BLIP, ALBEF), or one for questions."
        )
    watching = _Watching()
    with plainly(model), ExitStack() as stack:
        for layer in layers:
            attention: Any = layer.crossattention
            stack.callback(attention.self.register_forward_hook(watching.see).remove)
        seen = run_pairs(model, pixels, input_ids, attention_mask)
    if not watching.maps:
        raise ValueError("The adapter runs networks of its own in the place of cross-attention.")
    # Tokens that an adapter puts behind the first one are none of the text's.
    maps = torch.stack(watching.maps)
    added = maps.shape[3] - input_ids.shape[1]
    maps = torch.cat((maps[:, :, :, :1], maps[:, :, :, 1 + added :]), 3)
    return maps.unflatten(-1, seen.tokens.shape[1:3]), seen.weights


def site_states(
    model: VisionLanguageModel,
    pixels: torch.Tensor,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    sites: Mapping[str, int],
    what: str = "input",
    tokens: str = "first",
) -> dict[str, torch.Tensor]:
    """One state an example of what passes by at sites, see :func:`watched`.

    Args:
        model (VisionLanguageModel): Any task.
        pixels (Tensor): (B, N, 3, H, W).
        input_ids (Tensor): (B, L), text b belongs to medium b.
        attention_mask (Tensor): (B, L).
        sites (Mapping[str, int]): Numbers of layers by ``role.site``.
        what (str): ``'input'``, ``'hidden'`` or ``'term'``. Defaults to ``'input'``.
        tokens (str): ``'first'``: of the token that stands for a text, of the class token of an
            image; ``'mean'`` of all. A video has the mean of its frames'. Defaults to ``'first'``.

    Returns:
        dict: (B, D) by ``role.site``; those that nothing ran at are left out.
    """
    batch, frames = pixels.shape[:2]
    words = Words(input_ids, attention_mask)
    with plainly(model), watched(model.places(), sites, model.adapter, what) as seen:
        run_pairs(model, pixels, input_ids, attention_mask)
    found = {}
    for site, states in seen.items():
        if not states:
            continue
        x = states[-1].float()
        if site.startswith("visual."):
            x = x.reshape(batch, frames, -1, x.shape[-1])
            found[site] = (x[:, :, 0] if tokens == "first" else x.mean(2)).mean(1)
            continue
        found[site] = _of_texts(model, site.partition(".")[0], x, words, tokens)
    return found


def _of_texts(
    model: VisionLanguageModel, role: str, x: torch.Tensor, words: Words, tokens: str
) -> torch.Tensor:
    """One state (B, D) a text of those of all tokens (B, L, D) of a run."""
    ids, mask = words
    slots = model.places().slots.get(f"{role}.tokens", {})
    own = [slot.own() for slot in slots.values() if isinstance(slot, OwnSlot)]
    # Tokens that an adapter puts behind the first one move those behind them.
    moved = sum(len(part) for part in own if part is not None)
    place: Any = getattr(model.role(role), "place", lambda _: None)(words)
    if tokens == "first" and place is None:
        return x[:, 0]
    if mask is None or x.shape[1] != ids.shape[1] + moved:
        raise ValueError(
            f"The run {role!r} of this {type(model).__name__} has other tokens beside those of the "
            "texts: show the first ones."
        )
    if tokens == "first":
        return x[torch.arange(len(x), device=x.device), place + moved]
    added = mask.new_ones(len(x), moved)
    seen = torch.cat((mask[:, :1], added, mask[:, 1:]), 1)[..., None]
    return (x * seen).sum(1) / seen.sum(1)
