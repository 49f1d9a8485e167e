"""Taps of frozen towers on disk: training reads them, and never runs the towers."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from uniadapter.checkpoints.state import backbone_fingerprint
from uniadapter.datasets import BaseRetrievalDataset, MediaError
from uniadapter.datasets.tap_store import DTYPES, TapStore, digest_of
from uniadapter.models.execution import Want, Words
from uniadapter.registry import HOOKS
from uniadapter.retrieval.progress import Progress
from uniadapter.structures import KeptStates, MultimodalSample

_ROLES = ("visual", "text")
# What a transform without words of its own is told apart by.
_PLAIN = (bool, int, float, str, tuple, list, type(None))

# What modules of towers are told apart by beside their weights, and those that change no state.
_SAID = ("num_heads", "num_attention_heads", "eps")
_NOTHING = (_DropoutNd, nn.Identity)


@HOOKS.register_module()
class TapStoreHook(Hook):
    """Keep the states of both towers of all training items on disk, and train from them.

    For methods that read taps beside embeddings (UniPT in retrieval) and pipelines that draw
    nothing. Before training starts, what is missing is computed once, by all ranks, and its size is
    said first; then no epoch decodes a medium or runs a tower. Runs in validation and test, and of
    texts that read a medium, are as without it. A folder belongs to one model's weights, one
    pipeline and one split: with any other it is an error. An interrupted run goes on where it was.

    Args:
        dir (str): The folder; created. Runs of the same model and data may share it.
        dtype (str): Type on disk: ``'float32'``, with which training gives the numbers that it
            gives without the folder, but for rounding of batches of other sizes; or ``'bfloat16'``
            or ``'float16'``, half as large and rounded. Defaults to ``'float16'``.

    Raises:
        ValueError: If an option is outside its set, the model or the pipeline has what can't be
            kept, the folder belongs to something else, or the disk is too small.
    """

    priority = "LOW"

    def __init__(self, dir: str, dtype: str = "float16") -> None:
        if not isinstance(dir, str | os.PathLike) or not str(dir):
            raise ValueError(f"TapStoreHook.dir={dir!r} must name a folder.")
        if dtype not in DTYPES:
            raise ValueError(f"TapStoreHook.dtype={dtype!r}: choose from {sorted(DTYPES)}.")
        self.dir, self.dtype = str(dir), dtype

    def before_train(self, runner: Runner) -> None:
        """Keep what is missing, and let the dataset read it.

        Args:
            runner: The runner.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = runner.train_dataloader.dataset
        _check(model, dataset)
        with runner.optim_wrapper.optim_context(runner.model), model.frozen_autocast():
            facts = facts_of(model, dataset, self.dtype)
            store = TapStore(self.dir, facts, layers_of(model))
            keep_all(store, model, dataset, runner.logger)
        dataset.taps = store


def _check(model: Any, dataset: Any) -> None:
    """Refuse what can't be kept."""
    adapter = getattr(model, "adapter", None)
    if adapter is None or not set(_ROLES) <= set(adapter.embedded):
        raise ValueError(
            "TapStoreHook keeps what a method reads beside both embeddings: it needs "
            "model.adapter=dict(type='UniPT') in a RetrievalModel. Take it out of custom_hooks."
        )
    if adapter.tower_dropout:
        raise ValueError(
            "TapStoreHook: with adapter.tower_dropout=True every run of the towers differs: set it "
            "to False, or take the hook out."
        )
    if getattr(model.data_preprocessor, "change_words", None) is not None:
        raise ValueError(
            "TapStoreHook: with data_preprocessor.word_masking texts are drawn anew each time: set "
            "it to None, or take the hook out."
        )
    if not isinstance(dataset, BaseRetrievalDataset):
        raise ValueError(
            f"TapStoreHook: train_dataloader.dataset is a {type(dataset).__name__}, and taps are "
            "kept of a retrieval dataset itself."
        )


def layers_of(model: Any) -> tuple[list[int], list[int]]:
    """Numbers of the layers that the adapter reads, of the visual and of the text tower."""
    found = []
    for role in _ROLES:
        read = model.adapter.reads(role)
        found.append(
            list(range(len(model.role(role).role_layers(role)) + 1)) if read is None else read
        )
    return found[0], found[1]


def want_of(model: Any) -> Want:
    """What is kept of what the towers give: matching reads all tokens, else it is the first."""
    return "all" if model.matches else "first"


def facts_of(model: Any, dataset: Any, dtype: str) -> dict[str, Any]:
    """What states depend on, by the names that errors say."""
    prepare = model.data_preprocessor
    rows = [dataset.get_data_info(index) for index in range(len(dataset))]
    sizes = {row["media_path"]: _size(row["media_path"]) for row in rows}
    device = next(model.parameters()).device.type
    autocast = torch.is_autocast_enabled(device)
    positions = {n: t for n, t in model.visual.state_dict().items() if n == "pos_embed"}
    return {
        "backbone weights": digest_of([backbone_fingerprint(model), *_numbers(positions)]),
        "towers": digest_of([plan_of(tower) for tower in (model.visual, model.text)]),
        "transforms": [_said(transform) for transform in dataset.pipeline.transforms],
        "normalisation": [prepare.mean.flatten().tolist(), prepare.std.flatten().tolist()],
        "max_text_len": prepare.max_text_len,
        "data": digest_of(
            [[row["video_id"], row["text"], sizes[row["media_path"]]] for row in rows]
        ),
        "arithmetic": str(torch.get_autocast_dtype(device)) if autocast else "float32",
        "tokens": want_of(model),
        "dtype": dtype,
    }


def plan_of(tower: nn.Module) -> list[Any]:
    """What a tower computes beside its weights: heads, epsilons and activations, in their order.

    Dropout plays no part: states are kept in evaluation.
    """
    found: list[Any] = []
    for module in tower.modules():
        found += [[name, getattr(module, name)] for name in _SAID if hasattr(module, name)]
        bare = not any(module.children()) and not any(True for _ in module.parameters())
        if bare and not isinstance(module, _NOTHING) and not hasattr(module, "drop_prob"):
            found.append(type(module).__name__)
    return found


def _said(transform: Any) -> str:
    """A transform with its options, in words that are the same in every process."""
    if type(transform).__repr__ is not object.__repr__:
        return repr(transform)
    plain = {k: v for k, v in vars(transform).items() if isinstance(v, _PLAIN)}
    return f"{type(transform).__qualname__}({sorted(plain.items())})"


def _numbers(tensors: Mapping[str, torch.Tensor]) -> list[Any]:
    return [[name, tensor.double().flatten().tolist()] for name, tensor in tensors.items()]


def _size(path: str) -> int | None:
    return os.path.getsize(path) if os.path.isfile(path) else None


def keep_all(store: TapStore, model: Any, dataset: Any, logger: Any) -> None:
    """Compute and keep what is missing, this rank its part of it, and wait for the others.

    All ranks must call it: they share what is missing out among themselves.

    Args:
        store: Where.
        model: The model, on its device.
        dataset: The training split.
        logger: Where the size is said.

    Raises:
        ValueError: If a rank does not see what the others kept.
    """
    items: dict[int, list[int]] = {}
    for index in range(len(dataset)):
        items.setdefault(dataset.get_data_info(index)["media_id"], []).append(index)
    missing = store.missing(list(items))
    # Nobody writes while another one still looks: their parts would be of different lists.
    barrier()
    if missing:
        _keep_own(store, model, dataset, {medium: items[medium] for medium in missing}, logger)
    else:
        logger.info(f"Taps of all {len(items):,} media are in {store.folder}.")
    barrier()
    _check_whole(store, missing)


def _check_whole(store: TapStore, media: Sequence[int]) -> None:
    """See that what all ranks kept is there for this one."""
    gone = store.missing(media)
    if gone:
        raise ValueError(
            f"TapStoreHook: process {get_rank()} of {get_world_size()} does not see the taps of "
            f"{len(gone):,} of {len(media):,} media in {store.folder} that were just kept: all "
            "processes need one and the same folder. Name one on a disk that all machines share "
            "in TapStoreHook.dir, and leave its files alone while a run is keeping taps."
        )


def _keep_own(
    store: TapStore, model: Any, dataset: Any, items: Mapping[int, list[int]], logger: Any
) -> None:
    """Compute and keep this rank's part of some media, given with their items."""
    own = list(items)[get_rank() :: get_world_size()]
    progress = Progress("Keeping taps", len(own), 10.0)
    mode, said = model.training, False
    model.eval()
    try:
        for number, medium in enumerate(own):
            kept = _keep(store, model, dataset, medium, items[medium])
            if kept is not None and not said:
                said = True
                say_size(store, kept, len(items), sum(map(len, items.values())), logger)
                store.begin()
            if kept is not None:
                store.put(medium, *kept)
            progress.update(number + 1)
    finally:
        model.train(mode)


Kept = tuple[KeptStates, dict[int, tuple[str, torch.Tensor, KeptStates]]]


def _keep(
    store: TapStore, model: Any, dataset: Any, medium: int, indices: Sequence[int]
) -> Kept | None:
    """States of a medium and its captions; None where the medium can't be read."""
    try:
        item = run_fixed(dataset, indices[0])
    except MediaError as error:
        store.begin()
        store.put_fault(medium, error)
        return None
    texts = {index: text_of(dataset, index) for index in indices}
    if item["data_samples"].text != texts[indices[0]]:
        raise ValueError(
            "TapStoreHook: a transform of the pipeline changes texts, and does not say so by "
            f"of_text=True: {[type(t).__name__ for t in dataset.pipeline.transforms]}."
        )
    return states_of(model, item["inputs"], item["data_samples"], texts, store.layers)


@torch.no_grad()
def states_of(
    model: Any,
    frames: torch.Tensor,
    sample: MultimodalSample,
    texts: Mapping[int, str],
    layers: tuple[Sequence[int], Sequence[int]],
) -> Kept:
    """Run both towers on a medium and its captions.

    Args:
        model: The model.
        frames: (N, 3, H, W) uint8.
        sample: The medium's sample.
        texts: Captions by the number of their item.
        layers: Which layers are kept, of the visual and of the text tower.

    Returns:
        tuple: States of the frames, and captions with ids and states by number.
    """
    prepare, want = model.data_preprocessor, want_of(model)
    batch = prepare({"inputs": [frames], "data_samples": [sample]})
    pixels = batch["pixels"][0, : len(frames)]
    seen = model.role("visual").keep_frames(pixels, layers[0], want)
    ids, mask = prepare.tokenizer(list(texts.values()), prepare.max_text_len)
    words = Words(ids.to(pixels.device), mask.to(pixels.device))
    read = model.role("text").keep_words(words, layers[1], want)
    found = {}
    for row, (index, text) in enumerate(texts.items()):
        length = int(mask[row].sum())
        # All tokens, or one more where one stands in front as well.
        beyond = ids.shape[1] - length if read.out.shape[1] > 1 else 0
        out = read.out[row : row + 1, : read.out.shape[1] - beyond]
        states = KeptStates(read.hidden[row : row + 1, :, :length], out)
        found[index] = (text, ids[row, :length], states)
    return seen, found


def text_of(dataset: Any, index: int) -> str:
    """The caption of an item as the pipeline hands it on, without its medium."""
    results = dataset.get_data_info(index)
    for transform in dataset.pipeline.transforms:
        if getattr(transform, "of_text", False):
            results = transform(results)
    return results["text"]


def run_fixed(dataset: Any, index: int) -> dict[str, Any]:
    """An item after the pipeline, none of whose transforms may draw.

    Raises:
        ValueError: If one does.
        MediaError: If its medium can't be read.
    """
    results = dataset.get_data_info(index)
    for transform in dataset.pipeline.transforms:
        before = _drawn()
        results = transform(results)
        if _drawn() != before:
            raise ValueError(
                f"TapStoreHook: {transform} draws at random, so that no two epochs have the same "
                "pixels: take it out of the training pipeline (LoadVideo with sampling='center' "
                "draws nothing), or take the hook out."
            )
    return results


def _drawn() -> tuple[Any, ...]:
    """The state of all generators that a transform may draw from."""
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[2], bytes(numpy[1]), bytes(torch.get_rng_state().numpy())


def say_size(store: TapStore, kept: Kept, media: int, texts: int, logger: Any) -> None:
    """Say how much will be written, before it is.

    Args:
        store: Where.
        kept: States of the first medium and its captions.
        media: How many media are missing.
        texts: How many captions they have.
        logger: Where to say it.
    """
    frames, words = kept
    width = store.dtype.itemsize
    a_medium = frames.hidden.numel() * width
    a_text = sum(states.hidden.numel() for *_, states in words.values()) * width / len(words)
    needed = int(media * a_medium + texts * a_text)
    free = store.check_room(needed)
    logger.info(
        f"Taps are kept in {store.folder} as {store.facts['dtype']}: {media:,} media of about "
        f"{a_medium / 2**20:.2f} MiB ({len(frames.hidden)} frames), {texts:,} texts of about "
        f"{a_text / 2**20:.3f} MiB, {needed / 2**30:.2f} GiB in all; {free / 2**30:.1f} GiB are "
        "free."
    )
