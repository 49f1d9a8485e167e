"""The side network against its formulas, and what they promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers import draws
from tests.test_models.test_adapters.test_unipt import reference
from tests.test_models.test_adapters.test_unipt.draws import build, inputs, run, side_options
from uniadapter.models.adapters.unipt import SideNet
from uniadapter.models.adapters.unipt.interaction import (
    Guard,
    confidence,
    mix,
    pool,
    similarities,
)
from uniadapter.models.taps import Recorder
from uniadapter.registry import MODELS

SEEDS = st.integers(0, 2**31)


@given(side_options(), SEEDS)
@settings(max_examples=draws(40))
def test_formulas(drawn: tuple[dict[str, Any], bool], seed: int):
    """Outputs and the gradients of all parameters and of the encoder's side output."""
    options, single = drawn
    net, given_ = build(options, seed), inputs(options, single, seed)
    leaves = dict(net.named_parameters())
    if "memory" in given_:
        leaves["memory"] = given_["memory"].requires_grad_()
    weights = {name: value for name, value in leaves.items() if name != "memory"}
    out = run(net, options, given_)
    expected = reference.forward(weights, options, **given_)
    torch.testing.assert_close(out, expected, rtol=1e-8, atol=1e-9)
    weight = torch.randn_like(out)
    # A draw may leave a parameter, or all of them, without influence.
    nothing = 0 * sum((leaf.sum() for leaf in leaves.values()), torch.zeros(()))
    results = [
        torch.autograd.grad((y * weight).sum() + nothing, list(leaves.values()), retain_graph=True)
        for y in (out, expected)
    ]
    for name, a, b in zip(leaves, *results, strict=True):
        if name != "gate.bias":
            close = 1e-7 * max(1.0, float(b.abs().max()))
            torch.testing.assert_close(a, b, rtol=1e-6, atol=close, msg=f"{name}: {a} {b}")


@given(side_options(), SEEDS)
@settings(max_examples=draws(20))
def test_gate_bias_does_nothing(drawn: tuple[dict[str, Any], bool], seed: int):
    options, single = drawn
    options["confidence"] = "gate"
    net, given_ = build(options, seed), inputs(options, single, seed)
    before = run(net, options, given_)
    before.square().sum().backward()
    assert net.gate is not None
    assert net.gate.bias.grad is not None
    largest = max(float(p.grad.abs().max()) for p in net.parameters() if p.grad is not None)
    assert float(net.gate.bias.grad.abs().max()) <= 1e-9 * max(largest, 1.0)
    with torch.no_grad():
        net.gate.bias += 3
        torch.testing.assert_close(run(net, options, given_), before, rtol=1e-9, atol=1e-9)


@given(side_options(), SEEDS)
@settings(max_examples=draws(20))
def test_padding_reaches_no_real_token(drawn: tuple[dict[str, Any], bool], seed: int):
    options, single = drawn
    if options["norm"] == "batch":
        return
    net, given_ = build(options, seed), inputs(options, single, seed)
    given_["mask"][:, :1] = 1
    real = given_["mask"].bool()
    # The residual's token is a real one.
    given_["position"].zero_()
    other = dict(given_)
    other["taps"] = [torch.where(real[..., None], t, 7 * t + 1) for t in given_["taps"]]
    if not single:
        other["guide"] = torch.where(real[..., None], given_["guide"], -5 * given_["guide"])
    if options["crosser"]:
        real_states = given_["memory_mask"].bool()[..., None]
        other["memory"] = torch.where(real_states, given_["memory"], given_["memory"] + 2)
    with torch.no_grad():
        a, b = run(net, options, given_), run(net, options, other)
    if single:
        torch.testing.assert_close(a, b)
    else:
        torch.testing.assert_close(a[..., real, :], b[..., real, :])


@given(side_options(), SEEDS)
@settings(max_examples=draws(20))
def test_causal_form(drawn: tuple[dict[str, Any], bool], seed: int):
    """What comes later, taps and guide, changes nothing before; without the option it does."""
    options, single = drawn
    if single or options["norm"] == "batch":
        return
    options["causal"] = True
    net, given_ = build(options, seed), inputs(options, single, seed)
    given_["mask"] = torch.ones_like(given_["mask"])
    for cut in range(1, given_["mask"].shape[1]):
        other = dict(given_)
        later = torch.arange(given_["mask"].shape[1])[:, None] >= cut
        other["taps"] = [torch.where(later, 3 * t + 1, t) for t in given_["taps"]]
        other["guide"] = torch.where(later, -2 * given_["guide"], given_["guide"])
        with torch.no_grad():
            a, b = run(net, options, given_), run(net, options, other)
            short = {**given_, "guide": given_["guide"][:, :cut]}
            short["taps"] = [tap[:, :cut] for tap in given_["taps"]]
            short["mask"] = short["mask"][:, :cut]
            short["position"] = 0
            c = run(net, options, short)
        torch.testing.assert_close(a[..., :cut, :], b[..., :cut, :])
        torch.testing.assert_close(a[..., :cut, :], c)


def toy(**options: Any) -> tuple[SideNet, list[Tensor], Tensor]:
    """A network of two taps (3, 5, 4) and a mask, padding at the end."""
    options = {"in_dims": [4, 4], "guide_dim": 4, "side_dim": 6, "out_dim": 4, **options}
    net = build(options, 0)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    return net, [torch.randn(3, 5, 4, dtype=torch.float64) for _ in range(3)], mask


def test_every_part_counts():
    """Mask, L1 norm, residual, confidence, number of taps: none can be left out unseen."""
    net, taps, mask = toy()
    out = net(taps, mask=mask)
    state = net.state_dict()
    others = {
        "causal": toy(causal=True)[0](taps, mask=mask),
        "a tap": build_like(state, in_dims=[4])([taps[0], taps[2]], mask=mask),
        "residual": build_like(state, residual="none")(taps, mask=mask),
        "confidence": build_like(state, confidence="uniform")(taps, mask=mask),
        "guard": build_like(state, eps=0.5)(taps, mask=mask),
        "clamp": build_like(state, eps=500.0, eps_mode="clamp")(taps, mask=mask),
        "query": build_like(state, add_query=False)(taps, mask=mask),
    }
    for name, other in others.items():
        assert not torch.allclose(out[0], other[0]), name
    # Without padding a mask says nothing.
    plain = net(taps)
    torch.testing.assert_close(plain[0], out[0])
    assert not torch.allclose(plain[1, :3], out[1, :3])
    query = torch.randn(2, 3, 4)
    keys = query + 0.1 * torch.randn(2, 3, 4)
    found = similarities(query, keys, None)
    assert not torch.allclose(found / found.sum(-1, keepdim=True), found.softmax(-1))


def build_like(state: dict[str, Tensor], **options: Any) -> SideNet:
    """The toy with other options and the same weights."""
    options = {"in_dims": [4, 4], "guide_dim": 4, "side_dim": 6, "out_dim": 4, **options}
    net = SideNet(**options).double()
    net.load_state_dict({name: state[name] for name in net.state_dict()})
    return net


def test_residual_of_another_token():
    options = {"guide": "outside", "residual": "index"}
    net, taps, mask = toy(**options)
    guide = taps[0][:, 0]
    last = mask.sum(1) - 1
    out = net(taps[:2], guide, mask, last)
    first = net(taps[:2], guide, mask)
    assert out.shape == (3, 4)
    torch.testing.assert_close(out[2], first[2])
    assert not torch.allclose(out[:2], first[:2])
    torch.testing.assert_close(net(taps[:2], guide, mask, 0), first)


def test_dead_rows_give_the_residual():
    """No similarity above 0: F is the weighted residual, and finite are all gradients."""
    query = -torch.rand(2, 3, 4, dtype=torch.float64).requires_grad_()
    taps = [torch.rand(2, 3, 4, dtype=torch.float64).requires_grad_() for _ in range(2)]
    shares = torch.tensor([0.25, 0.75], dtype=torch.float64).expand(2, 1, 2)
    for clamp in (False, True):
        guard = Guard(1e-8, clamp)
        found = mix(query, taps, None, shares, [*taps], guard)
        torch.testing.assert_close(found, 0.25 * taps[0] + 0.75 * taps[1])
        assert mix(query, taps, None, shares, [None, None], guard).abs().max() == 0
        grads = torch.autograd.grad(found.sum(), [query, *taps])
        assert all(grad.isfinite().all() for grad in grads)


@given(SEEDS, st.booleans(), st.integers(1, 4))
@settings(max_examples=draws(10))
def test_confidence_sums_to_one(seed: int, causal: bool, count: int):
    torch.manual_seed(seed)
    query, *taps = (torch.randn(2, 5, 3) for _ in range(count + 1))
    mask = torch.rand(2, 5) < 0.6
    for gate in (nn.Linear(3, 1), None):
        shares = confidence(query, taps, mask, gate, causal)
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, 5 if causal and gate else 1))
        assert (shares > 0).all()


def test_mean_of_nothing_is_zero():
    tokens, mask = torch.randn(2, 3, 4), torch.tensor([[0, 0, 0], [0, 1, 1]])
    assert pool(tokens, mask)[0].abs().max() == 0
    causal = pool(tokens, mask, causal=True)
    assert causal[0].abs().max() == 0
    assert causal[1, 0].abs().max() == 0
    torch.testing.assert_close(causal[1, 2], tokens[1, 1:].mean(0))


@given(SEEDS, st.floats(1e-3, 1e3))
@settings(max_examples=draws(10))
def test_scale_of_similarities_is_free(seed: int, factor: float):
    """ReLU and L1 norm do not depend on a positive factor: beyond the guard nothing changes."""
    torch.manual_seed(seed)
    query, *taps = (torch.randn(2, 4, 6, dtype=torch.float64) for _ in range(3))
    shares = torch.full((2, 1, 2), 0.5, dtype=torch.float64)
    found = [
        mix(q, taps, None, shares, [*taps], Guard(1e-12, False)) for q in (query, factor * query)
    ]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


def test_the_sum_runs():
    """For the backward pass nothing of the size of a tap is kept but the taps and the guide."""
    query, *taps = (torch.randn(2, 7, 64, requires_grad=True) for _ in range(6))
    shares = torch.rand(2, 1, 5, requires_grad=True)
    kept: set[int] = set()

    def keep(tensor: Tensor) -> Tensor:
        if tensor.numel() >= query.numel():
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mix(query, taps, None, shares, [*taps], Guard(1e-6, False))
    assert kept <= {tensor.untyped_storage().data_ptr() for tensor in (query, *taps)}


def test_similarities_under_autocast_are_of_float32():
    """Guide and taps in bfloat16 are compared and summed as their float32 copies would be."""
    net, taps, mask = toy()
    net.float()
    half = [tap.bfloat16() for tap in taps]
    states = [net.down[i].linear(half[i].float()).bfloat16() for i in range(2)]
    query = net.down_guide.linear(half[2].float()).bfloat16()
    with torch.no_grad():
        plain = net._interact(query.float(), [state.float() for state in states], mask, 0)
        with torch.autocast("cpu", torch.bfloat16):
            found = net._interact(query, states, mask, 0)
    assert found.dtype == torch.float32
    assert torch.equal(found, plain)
    # Sums that float16 can't hold.
    large = [tap.half() * 300 for tap in taps]
    with torch.no_grad():
        assert net(large, mask=mask).isfinite().all()
        assert SideNet([4, 4], 4, 6).bfloat16()(half, mask=mask).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert SideNet([4, 4], 4, 6, 4, projection="mlp")(half, mask=mask).isfinite().all()


def test_tower_gets_no_gradient():
    tower = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))
    taps = Recorder([*tower])(lambda: tower(torch.randn(2, 5, 8)))
    assert not any(tap.requires_grad for tap in taps.hidden)
    net = SideNet([8] * 3, 8, 4, 8)
    out = net(taps.hidden)
    out.square().sum().backward()
    assert all(parameter.grad is None for parameter in tower.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_zero_up_is_the_frozen_output():
    """At the start, bit for bit, whatever else the network is; and it learns from there."""
    for extra in ({"residual": "index", "guide": "outside"}, {"projection": "mlp"}):
        net = SideNet([4, 4], 4, 6, 4, out_residual=True, zero_up=True, init="normal", **extra)
        taps = [torch.randn(2, 5, 4) for _ in range(3)]
        if "guide" in extra:
            guide = taps[2][:, 0]
            out = net(taps[:2], guide)
        else:
            guide = taps[2]
            out = net(taps)
        assert torch.equal(out, guide)
        out.square().sum().backward()
        assert net.up.linear.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "norm-linear"}, "order='norm-linear' is unknown: choose from"),
        ({"norm": "none"}, "order='linear-norm' needs norm"),
        ({"order": "act-linear"}, "set both, or both to 'none'"),
        ({"side_dim": 0}, "side_dim=0 must be an int >= 1"),
        ({"in_dims": [4, -1]}, r"in_dims\[1\]=-1"),
        ({"in_dims": []}, "name the width of one tap"),
        ({"eps": 0.0}, "eps=0.0 must be above 0"),
        ({"out_dim": None, "out_act": True}, "no U, contradicts out_act"),
        ({"residual": "index", "causal": True}, "single query, contradicts causal, guide='last'"),
        ({"residual": "index"}, "contradicts guide='last'"),
        ({"norm": "batch", "causal": True}, "mix tokens"),
        ({"reduction": True, "guide": "outside"}, "contradicts guide='outside'"),
        ({"out_residual": True, "out_dim": 5}, r"adds the guide \(4 wide\)"),
        ({"out_residual": True, "every_tap": True}, "contradicts"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str):
    given_ = {"in_dims": [4, 4], "guide_dim": 4, "side_dim": 6, "out_dim": 4, **options}
    with pytest.raises(ValueError, match=message):
        SideNet(**given_)


def test_bad_inputs():
    net, taps, mask = toy()
    cross, index = toy(crosser=True)[0], toy(guide="outside", residual="index")[0]
    batch, causal = toy(norm="batch")[0], toy(guide="outside", residual="none", causal=True)[0]
    guide, memory = taps[2][:, 0], torch.randn(3, 2, 6).double()
    cases: list[tuple[Any, str]] = [
        (lambda: net(taps[:2]), "2 taps, expected 3"),
        (lambda: net(taps, taps[0]), "is the last of the taps"),
        (lambda: index(taps[:2]), "comes from outside"),
        (lambda: net([tap[..., :3] for tap in taps]), r"widths \[3, 3, 3\]"),
        (lambda: net([*taps[:2], taps[2][:, :4]]), r"A guide of shape \(3, 4, 4\)"),
        (lambda: net([taps[0], taps[1][:, :4], taps[2]]), r"not of one \(B, N, D\)"),
        (lambda: net(taps, mask=mask[:, :4]), r"A mask of shape \(3, 4\), expected \(3, 5\)"),
        (lambda: net(taps, mask=mask[:1]), "A mask of shape"),
        (lambda: batch(taps, mask=mask), "count padding in its statistics"),
        (lambda: index(taps[:2], taps[2]), "A guide of shape"),
        (lambda: index(taps[:2], guide, position=5), "position=5, but the taps have 5 tokens"),
        (lambda: index(taps[:2], guide, position=torch.tensor([1])), "position of shape"),
        (lambda: causal(taps[:2], guide), "one state a token"),
        (lambda: net(taps, memory=memory), "is off, and memory= was given"),
        (lambda: cross(taps), "needs memory="),
        (lambda: cross(taps, memory=memory[..., :4]), "memory of shape"),
        (lambda: cross(taps, memory=memory, memory_mask=mask), "A memory_mask of shape"),
        (lambda: net(taps, memory_mask=mask), "A memory_mask of shape"),
        (lambda: MODELS.build({"type": "UniPTSide", "preset": "clip"}), "preset='clip' is unknown"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
