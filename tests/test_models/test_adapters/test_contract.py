"""What every method promises on every model it serves; see contract.py."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.model_helpers import randomize
from tests.test_models.test_adapters.contract import METHODS, MODELS, Method, Model
from tests.test_models.test_adapters.contract_models import Outputs, write_files
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.checkpoints.state import trained_state_dict
from uniadapter.models.components import count_parameters


def _pairs(*, task: bool = False, promise: str | None = None) -> list[Any]:
    """All pairs of a method and a model that it serves; those beyond the core suite are marked."""
    found = []
    for name, method in METHODS.items():
        for kind, model in MODELS.items():
            kept = kind not in method.refuses and (model.task or not task)
            if kept and (promise is None or getattr(method, promise)):
                marks = [] if kind in method.core else [pytest.mark.deep]
                found.append(pytest.param(method, model, id=f"{name}-{kind}", marks=marks))
    return found


def _marks(method: Method) -> list[Any]:
    """What the core suite tries on no model, it leaves to the deep one."""
    return [] if method.core else [pytest.mark.deep]


every_pair = pytest.mark.parametrize(("method", "model"), _pairs())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("contract"))


def build(method: Method, model: Model, folder: Path, **options: Any) -> Any:
    """The model with the method, in evaluation."""
    return model.build(method.config_for(model), folder, **options).eval()


def exact(method: Method, model: Model) -> dict[str, Any]:
    """Options of a model under which it takes the same operations with the method and without."""
    return {} if method.same_paths or not model.task else {"fast": False}


def bare(model: Model, folder: Path, state: dict[str, torch.Tensor], **options: Any) -> Any:
    """A model without an adapter on the weights of one with."""
    found = model.build(None, folder, seed=7, **options).eval()
    found.load_state_dict({n: state[n] for n in found.state_dict() if n in state}, strict=False)
    return found


def train(model: Model, found: Any, steps: int = 3) -> None:
    """Train a little."""
    # Whatever the size of a gradient is, it is seen.
    trained = [p for p in found.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01, eps=1e-15)
    found.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(found).backward()
        optimizer.step()
    found.eval()


def gradients(model: Model, found: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    """The loss of a step and what it gives every trained parameter."""
    loss = model.loss(found.train())
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in found.named_parameters() if p.requires_grad}


def assert_equal(got: Outputs, want: Outputs) -> None:
    for role, tensors in want.items():
        for one, other in zip(got[role], tensors, strict=True):
            assert torch.equal(one, other), role


def changed(got: Outputs, want: Outputs) -> set[str]:
    """Roles whose outputs differ."""
    same = {role: map(torch.equal, tensors, want[role]) for role, tensors in got.items()}
    return {role for role, equal in same.items() if not all(equal)}


def assert_close_gradients(got: dict[str, Any], want: dict[str, Any], tolerance: float) -> None:
    assert set(got) == set(want)
    for name, gradient in want.items():
        if gradient is None:
            assert got[name] is None, name
            continue
        scale = float(gradient.abs().max().clamp(min=1e-3))
        assert_close(got[name] / scale, gradient / scale, atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize(("method", "model"), _pairs(promise="starts_frozen"))
def test_step_zero_is_the_frozen_model(method, model, folder):
    options = exact(method, model)
    adapted = build(method, model, folder, **options)
    want = model.outputs(bare(model, folder, adapted.state_dict(), **options))
    assert_equal(model.outputs(adapted), want)


@every_pair
def test_a_step_trains_the_method_and_the_heads_alone(method, model, folder):
    options = exact(method, model)
    found = build(method, model, folder, **options)
    before = {name: p.detach().clone() for name, p in found.named_parameters()}
    start = found.state_dict(keep_vars=False)
    start = {name: tensor.clone() for name, tensor in start.items()}
    train(model, found, method.steps)
    trained = set(trained_state_dict(found))
    moved = {n for n, p in found.named_parameters() if not torch.equal(p, before[n])}
    idle = {name for name in trained if re.match(method.idle, name)}
    assert moved | idle == trained
    own = {name for name in trained if re.match(method.own, name)}
    assert own
    assert all(re.match(model.heads, name) for name in trained - own)

    # Disabled, the model is the bare backbone under the heads as they are now.
    heads = {n: t for n, t in found.state_dict().items() if re.match(model.heads, n)}
    want = model.outputs(bare(model, folder, {**start, **heads}, **options))
    got = model.outputs(found)
    with found.adapter_disabled():
        assert_equal(model.outputs(found), want)
    assert_equal(model.outputs(found), got)
    roles = {address.partition(".")[0] for address in _filled(found)} | set(found.adapter.tapped)
    assert changed(got, want) >= (roles & set(want))
    assert changed(got, want)


def _filled(found: Any) -> set[str]:
    """Addresses of the sites that the method fills."""
    slots = found.places().slots.items()
    return {name for name, layers in slots if any(slot.filled for slot in layers.values())}


@every_pair
def test_every_tensor_is_registered_saved_and_counted_once(method, model, folder):
    found = build(method, model, folder)
    trained = trained_state_dict(found)
    pointers = [tensor.data_ptr() for tensor in trained.values()]
    assert len(pointers) == len(set(pointers))
    state = found.state_dict()
    assert set(trained) <= set(state)
    stored = [state[name].data_ptr() for name in state if re.match(method.own, name)]
    assert len(stored) == len(set(stored))
    own = sum(t.numel() for n, t in trained.items() if re.match(method.own, n))
    components = found.adapter.components()
    assert own == sum(p.numel() for parameters in components.values() for p in parameters)
    if model.task:
        counts = count_parameters(found)
        assert own == sum(counts[name] for name in components)
        assert counts["trainable"] == sum(tensor.numel() for tensor in trained.values())
        assert counts["total"] == sum(p.numel() for p in found.parameters())


@every_pair
def test_what_is_saved_is_small_and_loads_to_the_same_bits(method, model, folder, tmp_path):
    found = randomize(build(method, model, folder))
    other = randomize(build(method, model, folder, seed=3), seed=11)
    frozen = {n: p for n, p in found.named_parameters() if not p.requires_grad}
    other.load_state_dict(frozen, strict=False)
    want = model.outputs(found)
    assert changed(model.outputs(other), want)
    trained = trained_state_dict(found)
    if model.task:
        save_adapter(found, tmp_path)
        load_adapter(other, tmp_path)
        size = sum(path.stat().st_size for path in tmp_path.iterdir())
    else:
        torch.save(found.state_dict(), tmp_path / "state.pth")
        other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
        size = (tmp_path / "state.pth").stat().st_size
    assert_equal(model.outputs(other), want)
    for name, tensor in trained_state_dict(other).items():
        assert torch.equal(tensor, trained[name]), name
    # Names, shapes and torch's notes on modules take a few hundred bytes a tensor.
    bound = sum(t.numel() * t.element_size() for t in trained.values()) + 600 * len(trained) + 3000
    assert not model.apart or size < bound


@every_pair
def test_a_copy_shares_nothing_with_its_original(method, model, folder):
    found = randomize(build(method, model, folder))
    want = model.outputs(found)
    clone = copy.deepcopy(found)
    assert_equal(model.outputs(clone), want)
    randomize(clone, seed=11)
    assert changed(model.outputs(clone), want)
    assert_equal(model.outputs(found), want)
    # Nor does the copy's switch reach the original.
    with clone.adapter_disabled():
        assert_equal(model.outputs(found), want)


@every_pair
def test_gradients_are_the_same_with_checkpointing(method, model, folder):
    plain, recomputed = (
        randomize(build(method, model, folder, grad_checkpointing=flag)) for flag in (False, True)
    )
    want_loss, want = gradients(model, plain)
    loss, got = gradients(model, recomputed)
    assert_close(loss, want_loss)
    assert_close_gradients(got, want, 1e-5)


@pytest.mark.parametrize(("method", "model"), _pairs(task=True))
def test_fast_paths_give_what_the_plain_way_gives(method, model, folder):
    plain, fast = (
        randomize(build(method, model, folder, fast=flag), std=0.1) for flag in (False, True)
    )
    for role, tensors in model.outputs(plain).items():
        for one, other in zip(model.outputs(fast)[role], tensors, strict=True):
            assert_close(one, other, atol=2e-5, rtol=2e-5)
    want_loss, want = gradients(model, plain)
    loss, got = gradients(model, fast)
    assert_close(loss, want_loss, atol=2e-5, rtol=2e-5)
    assert_close_gradients(got, want, 2e-4)


@every_pair
def test_half_precision_is_finite(method, model, folder):
    found = randomize(build(method, model, folder), std=0.1).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(found)
    loss.backward()
    assert torch.isfinite(loss)
    trained = {n: p for n, p in found.named_parameters() if p.requires_grad}
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("method", "kind", "match"),
    [
        pytest.param(method, kind, match, id=f"{name}-{kind}", marks=_marks(method))
        for name, method in METHODS.items()
        for kind, match in method.refuses.items()
    ],
)
def test_a_model_that_a_method_does_not_serve_is_refused_by_name(method, kind, match, folder):
    model = MODELS[kind]
    with pytest.raises(ValueError, match=match):
        model.outputs(build(method, model, folder))


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        pytest.param(
            method,
            next(k for k in MODELS if k not in method.refuses),
            id=name,
            marks=_marks(method),
        )
        for name, method in METHODS.items()
        if not method.merges
    ],
)
def test_it_says_that_it_cannot_be_merged(method, kind, folder):
    found = build(method, MODELS[kind], folder)
    with pytest.raises(ValueError, match=f"{found.adapter.method} cannot be merged"):
        found.adapter.merge()


@pytest.mark.parametrize(("method", "model"), _pairs(promise="merges"))
def test_it_is_merged_into_the_weights_and_taken_out_again(method, model, folder):
    found = randomize(build(method, model, folder))
    want = model.outputs(found)
    found.adapter.merge()
    assert found.adapter.merged
    for role, tensors in model.outputs(found).items():
        for one, other in zip(tensors, want[role], strict=True):
            assert_close(one, other, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="unmerge\\(\\) it"):
        found.train()
    with pytest.raises(ValueError, match="unmerge\\(\\) it"), found.adapter_disabled():
        pass
    found.adapter.unmerge()
    assert_equal(model.outputs(found), want)
