"""Whatever changes below the boundary, the prefix cache gives and keeps nothing that is wrong."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from tests.helpers import draws
from tests.model_helpers import one_seed, tiny_batch
from tests.prefix_helpers import FRAMES, build, counts, entries
from uniadapter.models.fast import prefix_cache as module


def lora(model, dropout=0.0):
    """A frozen LoRA that acts, in the lower layer too."""
    config = LoraConfig(r=2, target_modules=["qkv"], lora_dropout=dropout, lora_alpha=16)
    inject_adapter_in_model(config, model.visual)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.visual.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
            parameter.requires_grad_(False)
    return model


def first(model):
    return model.visual.layers[0]


def data(model):
    first(model).ffn.layers[1].bias.data[0] += 0.5


def rows_exchanged(model):
    weight = first(model).attn.proj.weight
    weight.data.copy_(weight.data.flip(0))


def embedding_data(model):
    model.visual.pos_embed.data.mul_(1.5)


def in_place(model):
    with torch.no_grad():
        first(model).attn.qkv.weight.mul_(1.1)


def other_module(model):
    first(model).ffn.layers[0][1] = nn.ReLU()


def other_epsilon(model):
    first(model).ln1.eps = 0.5


def other_forward(model):
    plain = first(model).ln2.forward
    first(model).ln2.forward = lambda x: plain(x) * 2


def hook(model):
    first(model).register_forward_hook(lambda owner, inputs, output: output * 1.25)


def loose_tensor(model):
    """A tensor that is neither a parameter nor a buffer, read by a hook."""
    attention = first(model).attn
    if not hasattr(attention, "gain"):
        attention.gain = torch.tensor(1.0)
        attention.register_forward_hook(lambda owner, inputs, output: output * owner.gain)
    attention.gain += 1


def lora_off(model):
    first(model).attn.qkv.enable_adapters(False)


def lora_stronger(model):
    first(model).attn.qkv.scale_layer(3)


def lora_merged(model):
    first(model).attn.qkv.merge()


UNSEEN = [data, rows_exchanged, embedding_data]
SEEN = [in_place, other_module, other_epsilon, other_forward, hook, loose_tensor]
LORA = [lora_off, lora_stronger, lora_merged]


def model_of(folder):
    return lora(build(folder)).eval()


def tokens(model, pixels=None):
    with torch.no_grad():
        return model.encode_frames(tiny_batch()["pixels"] if pixels is None else pixels)


@pytest.mark.parametrize("change", SEEN + LORA)
def test_a_change_that_can_be_seen_is_seen_in_the_next_call(change, tmp_path):
    model, off = model_of(tmp_path), model_of(None)
    tokens(model)
    for each in (model, off):
        change(each)
    assert counts(model) == (0, FRAMES)
    assert torch.equal(tokens(model), tokens(off))


@pytest.mark.parametrize("change", UNSEEN)
@pytest.mark.parametrize("mode", [True, False])
def test_a_change_through_data_is_found_as_an_epoch_starts(change, mode, tmp_path):
    model, off = model_of(tmp_path).train(mode), model_of(None).train(mode)
    tokens(model)
    for each in (model, off):
        change(each)
    model.train(mode)
    assert counts(model) == (0, FRAMES)
    assert torch.equal(tokens(model), tokens(off))


@pytest.mark.parametrize("change", UNSEEN)
def test_after_a_change_through_data_nothing_wrong_is_written(change, tmp_path):
    model, off = model_of(tmp_path), model_of(None)
    pixels = tiny_batch()["pixels"]
    tokens(model, pixels)
    change(model)
    # Half of the frames are found, of the weights before: they are computed with the others.
    more = torch.cat((pixels[:, :1], tiny_batch(seed=9)["pixels"][:, :1]), dim=1)
    change(off)
    assert torch.equal(tokens(model, more), tokens(off, more))
    # A later run with the weights that the first entries were made with.
    later = model_of(tmp_path)
    assert counts(later) == (FRAMES, 0)
    # Found ones were computed in another batch, with other kernels perhaps.
    torch.testing.assert_close(tokens(later, more), tokens(model_of(None), more))


def test_a_full_folder_is_not_written_to_and_reads_no_weights(tmp_path, monkeypatch):
    model = build(tmp_path, options={"max_gib": 1e-9}).eval()
    tokens(model)
    sizes, plain = [], module._bytes
    monkeypatch.setattr(module, "_bytes", lambda t: sizes.append(t.shape) or plain(t))
    data(model)
    off = build(None).eval()
    data(off)
    assert torch.equal(tokens(model), tokens(off))
    assert len(sizes) == FRAMES
    assert not entries(tmp_path)


@pytest.mark.parametrize("share", [True, False])
def test_what_draws_is_never_kept(share, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module, "print_log", lambda message, *_: said.append(message))
    fast = {"share_prefix": share}
    model = lora(build(tmp_path, fast=fast), dropout=0.5).train()
    off = lora(build(None, fast=fast), dropout=0.5).train()
    with one_seed(1):
        want = off(**tiny_batch(), mode="loss")
    with one_seed(1):
        got = model(**tiny_batch(), mode="loss")
    torch.testing.assert_close(got, want)
    assert len(said) == 1
    assert "keeps nothing in training: the first visual layer draws at random" in said[0]
    # The momentum model draws nothing: where it runs by itself, it keeps what evaluation finds.
    assert len(entries(tmp_path)) == (0 if share else FRAMES)
    model, off = model.eval(), off.eval()
    assert counts(model) == ((0, FRAMES) if share else (FRAMES, 0))
    assert torch.equal(tokens(model), tokens(off))


def test_another_class_is_another_entry_and_another_process_has_the_same_plan(tmp_path):
    model = model_of(tmp_path)
    tokens(model)
    assert counts(model_of(tmp_path)) == (FRAMES, 0)
    first(model).ffn.layers[0][1].forward = partial(torch.pow, exponent=2)
    assert counts(model) == (0, FRAMES)
    first(model).ffn.layers[0][1].forward = partial(torch.pow, exponent=3)
    assert counts(model) == (0, FRAMES)


@settings(max_examples=draws(10))
@given(drawn=st.data())
def test_any_order_of_changes_and_epochs(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    model, off = model_of(folder), model_of(None)
    steps = st.sampled_from([*UNSEEN, *SEEN[:1], *SEEN[2:], *LORA[:2], None])
    for change in drawn.draw(st.lists(steps, min_size=1, max_size=6)):
        if change is not None:
            for each in (model, off):
                change(each)
        if change is None or change in UNSEEN:
            model.eval()
        pixels = tiny_batch(seed=drawn.draw(st.integers(1, 3)))["pixels"]
        torch.testing.assert_close(tokens(model, pixels), tokens(off, pixels))
    fresh = model_of(folder)
    torch.testing.assert_close(tokens(fresh), tokens(model_of(None)))
