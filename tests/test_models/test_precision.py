"""Frozen weights in half precision give what autocast gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import (
    adapter_cfg,
    one_seed,
    outputs,
    randomize,
    same,
    seeded_model,
    tiny_batch,
    tiny_model,
)
from uniadapter.engine.hooks import FrozenPrecisionHook
from uniadapter.models.adapters.state import backbone_fingerprint
from uniadapter.models.precision import cast_frozen


def step(model):
    batch = tiny_batch()
    with one_seed(4), torch.autocast("cpu", torch.bfloat16):
        losses = model.train()(**batch, mode="loss")
    sum(losses.values()).backward()
    return losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_a_step_is_that_of_autocast_bit_for_bit():
    plain, cast = (randomize(tiny_model(adapter=adapter_cfg()), std=0.1) for _ in range(2))
    count = cast_frozen(cast, "bfloat16")
    stored = [p for p in cast.parameters() if p.dtype == torch.bfloat16]
    assert count == sum(p.numel() for p in stored) > 0
    assert not any(p.requires_grad for p in stored)
    want, want_gradients = step(plain)
    got, got_gradients = step(cast)
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert got_gradients.keys() == want_gradients.keys()
    assert all(torch.equal(got_gradients[n], g) for n, g in want_gradients.items())
    assert all(g.dtype == torch.float32 for g in got_gradients.values())


def random_biases(model):
    """Biases of a new model are zero, and a rounded zero is a zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


RELEASED = {"variant": "released", "kv_rank": 4}
OWN = {"query_residual": "own", "sharing": "none", "layers": [2]}


@pytest.mark.parametrize("options", [None, {}, RELEASED, OWN])
@pytest.mark.parametrize("fast", [True, False, {"share_kv": False}])
@pytest.mark.parametrize("pfa", [None, "released", "paper"])
def test_frame_weights_fast_paths_and_adapters_change_no_bit(pfa, fast, options):
    cfg = {
        "adapter": None if options is None else adapter_cfg(**options),
        "pfa": None if pfa is None else {"type": "FrameAwareAttention", "variant": pfa},
        "fast": fast,
    }
    plain, cast = (random_biases(randomize(tiny_model(**cfg), std=0.1)) for _ in range(2))
    cast_frozen(cast, "bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        assert same(outputs(cast.eval(), tiny_batch()), outputs(plain.eval(), tiny_batch()))
    want, want_gradients = step(plain)
    got, got_gradients = step(cast)
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert all(torch.equal(got_gradients[n], g) for n, g in want_gradients.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("options", [{}, RELEASED])
def test_questions_and_answers_change_no_bit(options, fast, dtype):
    parts = tiny_retrieval_cfg(adapter=adapter_cfg(**options), fast=fast)
    cfg = {key: parts[key] for key in ("visual", "text", "adapter", "fast")}
    cfg |= {"type": "VQAModel", "decoder": {**parts["text"], "type": "BertDecoder"}}
    plain, cast = (random_biases(randomize(seeded_model(cfg), std=0.1)).eval() for _ in range(2))
    cast_frozen(cast, str(dtype).removeprefix("torch."))
    batch = tiny_batch()
    texts = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad(), torch.autocast("cpu", dtype):
        want, got = (model.encode_question(batch["pixels"], *texts) for model in (plain, cast))
        assert torch.equal(got, want)
        want, got = (
            model.decoder(texts[0], texts[1], model.decoder.memory(want, texts[1]))[0]
            for model in (plain, cast)
        )
    assert torch.equal(got, want)


def test_biases_and_shared_matrices_are_kept():
    model = tiny_model(adapter=adapter_cfg())
    tied = model.text.encoder.layer[0].output.dense
    model.text.another_use = torch.nn.ParameterList([tied.weight])
    model.finish()
    cast_frozen(model, "bfloat16")
    assert tied.weight.dtype == torch.float32
    assert all(p.dtype == torch.float32 for n, p in model.named_parameters() if "bias" in n)


def test_the_fingerprint_is_that_of_the_weights_before():
    model = tiny_model(adapter=adapter_cfg())
    before = backbone_fingerprint(model)
    cast_frozen(model, "bfloat16")
    assert backbone_fingerprint(model) == before
    assert cast_frozen(model, "bfloat16") == 0
    with pytest.raises(ValueError, match=r"cast to torch\.bfloat16 already"):
        cast_frozen(model, "float16")


def test_nothing_is_cast_where_everything_is_trained():
    model = tiny_model(adapter=None, train_backbone=True)
    assert cast_frozen(model, "bfloat16") == 0
    assert model.frozen_dtype is None


def test_a_cast_model_refuses_other_weights():
    model = tiny_model(adapter=adapter_cfg())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    trained = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    cast_frozen(model, "bfloat16")
    model.load_state_dict(trained, strict=False)
    with pytest.raises(ValueError, match="load weights before they are cast"):
        model.load_state_dict(state)
    with pytest.raises(ValueError, match="frozen dtype 'int8' is unknown"):
        cast_frozen(model, "int8")


def test_the_model_runs_under_autocast_by_itself():
    model = tiny_model(adapter=adapter_cfg()).eval()
    cast_frozen(model, "bfloat16")
    with torch.no_grad():
        out = model._run_forward(tiny_batch(), mode="tensor")
        with model.frozen_autocast():
            tokens, _, _ = model.encode_visual(tiny_batch()["pixels"])
    assert torch.equal(out["visual_tokens"], tokens)


def runner_of(model, wrapper=None):
    logger = MMLogger.get_instance("frozen_precision_test")
    return SimpleNamespace(model=model, optim_wrapper=wrapper, logger=logger)


def amp_wrapper(dtype):
    # The constructor asks for a GPU.
    wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)
    wrapper.cast_dtype = dtype
    return wrapper


def test_the_hook_casts_where_autocast_has_the_same_type():
    model = tiny_model(adapter=adapter_cfg(), pretrained="backbone.safetensors")
    hook = FrozenPrecisionHook("bfloat16")
    for wrapper in (None, amp_wrapper(None), amp_wrapper(torch.float16)):
        with pytest.raises(ValueError, match=r"set optim_wrapper\.type='AmpOptimWrapper'"):
            hook.before_train(runner_of(model, wrapper))
    assert model.frozen_dtype is None
    hook.before_train(runner_of(model, amp_wrapper(torch.bfloat16)))
    assert model.frozen_dtype == torch.bfloat16
    hook.before_val(runner_of(model))


def test_the_hook_wants_the_weights_to_be_restorable():
    with pytest.raises(ValueError, match=r"needs model\.pretrained"):
        FrozenPrecisionHook().before_test(runner_of(tiny_model(adapter=adapter_cfg())))
    with pytest.raises(ValueError, match="choose from"):
        FrozenPrecisionHook("int8")
