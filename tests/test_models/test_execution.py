"""Plain, fast and naive: three ways to compute one thing, the last of which shares no code."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import ROOT, draws, tiny_retrieval_cfg
from tests.model_helpers import WORDS, adapter_cfg, randomize, tiny_batch, tiny_model
from tools.analysis_tools.naive import NaiveModel, NaiveRetrieval
from tools.analysis_tools.naive.layers import (
    PairStates,
    _cross_attention,
    _output,
    _self_attention,
    adapter_term,
    linear,
    text_tokens,
    visual_tokens,
)
from uniadapter.models.execution import Execution, Words
from uniadapter.models.fast import FastExecution, FastPaths
from uniadapter.models.heads import decoder_loss
from uniadapter.registry import MODELS

NAMES = [field.name for field in fields(FastPaths)]
ADAPTERS = [
    None,
    adapter_cfg(),
    adapter_cfg(layers="2", textual_branch=False),
    adapter_cfg(sharing="none", query_residual="own"),
    adapter_cfg(variant="released", kv_rank=4),
]
PFA = [None, {"type": "FrameAwareAttention"}, {"type": "FrameAwareAttention", "variant": "paper"}]
LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=4)
SWITCHES = st.one_of(st.just(True), st.fixed_dictionaries({n: st.booleans() for n in NAMES}))


def drawn_batch(lengths: list[int], frames: int, seed: int) -> dict[str, torch.Tensor]:
    batch = tiny_batch(size=len(lengths), frames=frames, length=max(lengths), seed=seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, WORDS, mask.shape, generator=torch.Generator().manual_seed(seed))
    return {**batch, "input_ids": ids * mask, "attention_mask": mask}


def retrieval(fast: Any, adapter: Any, pfa: Any) -> Any:
    text = {**tiny_retrieval_cfg()["text"], "dropout": 0.0, "attention_dropout": 0.0}
    model = tiny_model(fast=fast, adapter=adapter, pfa=pfa, text=text, momentum=0.9)
    return randomize(model, std=0.1)


def gradients(losses: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """Losses, and the gradients of what is trained, each in units of its own size."""
    sum(losses.values()).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**{name: loss.detach() for name, loss in losses.items()}, **found}


def assert_alike(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert set(got) == set(want)
    for name, value in want.items():
        scale = value.abs().max().clamp(min=1e-2)
        assert_close(got[name] / scale, value / scale, atol=3e-4, rtol=0, msg=name)


@settings(max_examples=draws(6))
@given(
    st.sampled_from(ADAPTERS),
    st.sampled_from(PFA),
    SWITCHES,
    LENGTHS,
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_a_step_of_retrieval(
    adapter: Any, pfa: Any, fast: Any, lengths: list[int], frames: int, seed: int
) -> None:
    batch = drawn_batch(lengths, frames, seed)
    found = []
    for switches in (False, fast):
        model = retrieval(switches, adapter, pfa).train()
        found.append(gradients(model(**batch, mode="loss"), model))
    naive = retrieval(False, adapter, pfa).train()
    want = gradients(NaiveRetrieval(naive, max(lengths) + 1).loss(batch), naive)
    assert_alike(found[0], want)
    assert_alike(found[1], want)


@settings(max_examples=draws(6))
@given(
    st.sampled_from(ADAPTERS),
    st.sampled_from(PFA),
    SWITCHES,
    LENGTHS,
    st.integers(1, 3),
    st.data(),
)
@torch.no_grad()
def test_scores_of_re_ranking(
    adapter: Any, pfa: Any, fast: Any, lengths: list[int], frames: int, data: st.DataObject
) -> None:
    batch = drawn_batch(lengths, frames, data.draw(st.integers(0, 99)))
    texts = batch["input_ids"], batch["attention_mask"]
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1)))
    plain = retrieval(False, adapter, pfa).eval()
    naive = NaiveModel(plain, max(lengths) + 1)
    tokens, _, frame_features = plain.encode_visual(batch["pixels"])
    states, features = plain.encode_text(*texts)
    sims = plain.frame_sims(tokens[:, :, 0], frame_features, states[:, 0], features)
    medium = None if sims is None else sims[chosen, 0]
    want = naive.score_texts(tokens[0], *(t[chosen] for t in texts), medium)
    for switches in (False, fast):
        scorer = retrieval(switches, adapter, pfa).eval().scorer(*texts, chunk=2)
        for _ in ("before", "after"):
            assert_close(scorer.score(tokens[0], chosen, medium), want, atol=5e-5, rtol=1e-4)
            scorer.prepare(3)


def question_model(fast: Any, adapter: Any) -> Any:
    cfg = tiny_retrieval_cfg()
    text = {**cfg["text"], "dropout": 0.0, "attention_dropout": 0.0}
    parts = {"visual": cfg["visual"], "text": text, "decoder": {**text, "type": "BertDecoder"}}
    torch.manual_seed(0)
    model = MODELS.build({"type": "VQAModel", **parts, "adapter": adapter, "fast": fast})
    for tower in model.towers().values():
        for module in tower.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data.mul_(8)
    return randomize(model, std=0.1).train()


def naive_words(model: Any, ids: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (L, V) of a decoder's next words, for one text (1, L) without padding."""
    bert, adapter = model.decoder.bert, model.adapter
    words, length = bert.embeddings, ids.shape[1]
    x = F.embedding(ids, words.word_embeddings.weight) + words.position_embeddings.weight[:length]
    x = words.LayerNorm(x)
    mask = torch.full((length, length), torch.finfo(x.dtype).min).triu(1)
    for index, layer in enumerate(bert.encoder.layer):
        query = _self_attention(layer.attention, x, mask)
        hidden = _cross_attention(layer.crossattention, query, PairStates(states), None)
        term = adapter_term(adapter, index, "query", query)
        term = term + adapter_term(adapter, index, "cross", hidden)
        inner = F.gelu(linear(layer.intermediate.dense, hidden))
        x = _output(layer.output, inner, hidden) + term
    head = model.decoder.cls.predictions
    x = head.transform.LayerNorm(F.gelu(linear(head.transform.dense, x)))
    return (x @ words.word_embeddings.weight.t() + head.bias)[0].log_softmax(-1)


def naive_loss(model: Any, ids: torch.Tensor, states: torch.Tensor, smoothing: float) -> Any:
    """Summed loss of one text's words behind the first, which stand in ``ids`` (L,)."""
    log_probs = naive_words(model, ids[None], states)[:-1]
    own = log_probs.gather(1, ids[1:, None])[:, 0]
    return -((1 - smoothing) * own + smoothing * log_probs.mean(1)).sum()


QUESTIONS = {
    "adapter": st.sampled_from(ADAPTERS[:4]),
    "fast": SWITCHES,
    "lengths": LENGTHS,
    "frames": st.integers(1, 3),
    "seed": st.integers(0, 99),
}


def three_ways(
    fast: Any, adapter: Any, loss: Callable[[Any], Any], naive: Callable[[Any], Any]
) -> None:
    """Losses and gradients of a model, plain and fast, against those of the naive way."""
    found = []
    for switches, way in ((False, naive), (False, loss), (fast, loss)):
        model = question_model(switches, adapter)
        found.append(gradients({"loss": way(model)}, model) if adapter else {"loss": way(model)})
    for got in found[1:]:
        assert_alike(got, found[0])


@settings(max_examples=draws(6))
@given(**QUESTIONS, answers=st.data())
def test_questions_and_answers(
    adapter: Any, fast: Any, lengths: list[int], frames: int, seed: int, answers: st.DataObject
) -> None:
    batch = drawn_batch(lengths, frames, seed)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    counts = answers.draw(st.lists(st.integers(2, 5), min_size=len(ids), max_size=2 * len(ids)))
    owner = torch.arange(len(counts)) % len(ids)
    replies = drawn_batch(counts, 1, seed + 1)
    words, seen = replies["input_ids"], replies["attention_mask"]
    labels = words.masked_fill(seen == 0, -100)

    def loss(model: Any) -> torch.Tensor:
        states = model.encode_question(batch["pixels"], ids, mask)
        memory = model.role("decoder").memory(states, mask, owner)
        return decoder_loss(model.decoder, (words, seen, labels), memory, 0.1, "sum").sum()

    def naive(model: Any) -> torch.Tensor:
        total = torch.zeros(())
        for row, count in zip(owner.tolist(), zip(words, counts, strict=True), strict=True):
            tokens = visual_tokens(model.visual, model.adapter, batch["pixels"][row])
            asked = ids[row : row + 1, : lengths[row]].clone()
            asked[:, 0] = model.enc_token_id
            pairs = PairStates(tokens.flatten(0, 1)[None])
            states = text_tokens(model.text, model.adapter, asked, torch.ones_like(asked), pairs)
            total = total + naive_loss(model, count[0][: count[1]], states, 0.1)
        return total

    three_ways(fast, adapter, loss, naive)


@settings(max_examples=draws(6))
@given(**QUESTIONS)
def test_captions(adapter: Any, fast: Any, lengths: list[int], frames: int, seed: int) -> None:
    lengths = [length + 1 for length in lengths]
    batch = drawn_batch(lengths, frames, seed)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    labels = ids.masked_fill(mask == 0, -100)

    def loss(model: Any) -> torch.Tensor:
        memory = model.role("decoder").memory(model.encode_frames(batch["pixels"]).flatten(1, 2))
        return decoder_loss(model.decoder, (ids, mask, labels), memory, 0.1)

    def naive(model: Any) -> torch.Tensor:
        total = torch.zeros(())
        for pixels, row, length in zip(batch["pixels"], ids, lengths, strict=True):
            tokens = visual_tokens(model.visual, model.adapter, pixels).flatten(0, 1)[None]
            total = total + naive_loss(model, row[:length], tokens, 0.1)
        return total / (sum(lengths) - len(lengths))

    three_ways(fast, adapter, loss, naive)


def test_what_a_step_remembers_ends_with_it() -> None:
    model, pixels = tiny_model(adapter=adapter_cfg(layers="2")).train(), tiny_batch()["pixels"]
    ran: list[int] = []
    model.visual.layers[0].attn.register_forward_hook(lambda *_: ran.append(1))

    def looks(seen: torch.Tensor) -> int:
        ran.clear()
        model.encode_frames(seen)
        return len(ran)

    def fail() -> None:
        with model.execution.step(model.visual, pixels):
            assert looks(pixels) == 0
            # Of other pixels nothing is known.
            assert looks(pixels.clone()) == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert looks(pixels) == 1


def test_the_model_gives_its_execution_to_its_parts() -> None:
    # A dict takes those that it does not name.
    none_but_one = {field.name: field.name == "share_kv" for field in fields(FastPaths)}
    none = dict.fromkeys(none_but_one, False)
    cases = ((False, Execution), (none, Execution), (none_but_one, FastExecution))
    for fast, kind in (*cases, (True, FastExecution), ({"share_kv": False}, FastExecution)):
        model = tiny_model(fast=fast)
        assert type(model.execution) is kind
        assert model.text.execution is model.contrast.execution is model.execution
    model = tiny_model(fast=False)
    assert type(model.execution) is Execution
    model.fast = FastPaths(share_kv=False)
    assert isinstance(model.execution, FastExecution)
    assert model.text.execution is model.contrast.execution is model.execution


def test_a_tower_that_takes_anothers_place_runs_as_it_did() -> None:
    model, other = (tiny_model(adapter=None).eval() for _ in range(2))
    text = other.text
    assert text.execution is not model.execution
    model.text = text
    assert text.execution is model.execution
    batch = tiny_batch()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        tokens = model.encode_visual(batch["pixels"])[0][0]
        got = model.score_texts(tokens, ids, mask)
        model.fast = FastPaths.build(False)
        assert_close(got, model.score_texts(tokens, ids, mask), atol=1e-5, rtol=1e-4)


def test_the_plain_model_is_read_without_a_fast_path() -> None:
    """No switch is named, and ``fast`` imported only where a model or a role is put together."""
    models = ROOT / "uniadapter" / "models"
    importing = set()
    for path in sorted(models.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.is_relative_to(models / "fast"):
            continue
        assert not [name for name in NAMES if name in text], path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and "fast" in (node.module or "").split("."):
                importing.add(path.relative_to(models).as_posix())
    # And where it is switched off to look inside, and where rows of several adapters share layers.
    assert importing == {"inspection.py", "tapped.py", "tasks/base.py", "tasks/mixed.py"}


@torch.no_grad()
def test_one_medium_may_be_read_by_any_number_of_texts() -> None:
    for fast in (False, True):
        fusion = randomize(tiny_model(fast=fast), std=0.1).eval().role("fusion")
        batch = tiny_batch()
        words = Words(batch["input_ids"], batch["attention_mask"])
        states = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0))
        one, copies = fusion.memory(states), fusion.memory(states.expand(3, -1, -1))
        want = fusion.fuse(words, copies, "first")
        for memory in (one, one.kept(), one.of(torch.zeros(3, dtype=torch.long))):
            assert_close(fusion.fuse(words, memory, "first"), want, atol=1e-5, rtol=1e-5)
