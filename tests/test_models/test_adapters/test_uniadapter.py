"""UniAdapter's equations and options; what it promises as every method does is in contract.py."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import (
    adapter_cfg,
    outputs,
    randomize,
    same,
    seeded_model,
    sgd_steps,
    tiny_batch,
    tiny_model,
    tiny_pretrain_cfg,
)
from uniadapter.models.adapters.layer import LayerAdapter
from uniadapter.models.adapters.state import count_parameters, trained_state_dict
from uniadapter.models.adapters.uniadapter_options import SHARING, UniAdapterOptions

QUERY = ("off", "shared", "own")
# Tensors a layer: down- and up-projections by scheme, with the query residual off or shared.
PROJECTIONS = {"none": (3, 3), "down": (1, 3), "up": (3, 1), "down+up": (1, 1)}
D, R, DEPTH = 32, 8, 2
DOWN, UP = D * R + R, R * D + D

V, T = "visual.after_self", "text.after_self"
Q, C = "fusion.after_self", "fusion.after_cross"


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("query", QUERY)
def test_counts_follow_the_scheme(sharing, query):
    model = tiny_model(adapter=adapter_cfg(sharing=sharing, query_residual=query))
    downs, ups = PROJECTIONS[sharing]
    extra = DOWN + UP if query == "own" else 0
    assert count_parameters(model)["adapter"] == DEPTH * (downs * DOWN + ups * UP + extra)


@pytest.mark.parametrize("sharing", SHARING)
def test_tied_tensors_are_registered_once(sharing):
    model = tiny_model(adapter=adapter_cfg(sharing=sharing))
    pointers = [p.data_ptr() for p in trained_state_dict(model).values()]
    assert len(pointers) == len(set(pointers))
    names = [name for name in model.state_dict() if name.startswith("adapter.")]
    assert len(names) == 2 * DEPTH * sum(PROJECTIONS[sharing])


def _tied(model) -> bool:
    """Whether one down-projection acts in the visual, textual and cross-modal sites."""
    before = outputs(model, tiny_batch())
    with torch.no_grad():
        model.adapter.layers["0"].down["shared"].weight.add_(0.5)
    after = outputs(model, tiny_batch())
    return all(not torch.equal(before[i], after[i]) for i in (0, 3, 5))


def _through_dtype(model):
    return model.to(torch.float64).to(torch.float32)


def _through_state(model):
    other = randomize(tiny_model(seed=9), seed=5)
    other.load_state_dict(model.state_dict())
    assert same(outputs(model, tiny_batch()), outputs(other, tiny_batch()))
    return other


@pytest.mark.parametrize("through", [_through_dtype, _through_state, copy.deepcopy])
def test_tied_tensors_stay_tied(through):
    model = randomize(tiny_model())
    assert _tied(through(model))


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("branch", [False, True])
def test_a_layer_computes_the_equations(norms, branch):
    widths = {"visual": 6, "text": 6, "cross": 6, "query": 6}
    variant = "released" if norms else "paper"
    options = UniAdapterOptions(4, textual_branch=branch, variant=variant)
    layer = LayerAdapter(widths, options)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, 6)
    z = layer.norm_before["shared"](x) if norms else x
    hidden = F.relu(z @ layer.down["shared"].weight.t() + layer.down["shared"].bias)
    term = {name: hidden @ up.weight.t() + up.bias for name, up in layer.up.items()}
    cross = term["cross"] + (term["text"] if branch else 0)
    if norms:
        cross = F.layer_norm(cross, (6,), layer.norm_cross.weight, layer.norm_cross.bias, 1e-5)
    torch.testing.assert_close(layer(x, "visual"), 0.1 * term["visual"])
    torch.testing.assert_close(layer(x, "text"), 0.1 * term["text"])
    torch.testing.assert_close(layer(x, "cross"), 0.1 * cross)
    own = F.relu(z @ layer.down["query"].weight.t() + layer.down["query"].bias)
    own = own @ layer.up["query"].weight.t() + layer.up["query"].bias
    torch.testing.assert_close(layer(x, "query"), 0.1 * own)


@pytest.mark.parametrize("key", ["0", "1"])
def test_the_query_residual_is_the_textual_adapter_itself(key):
    model = randomize(tiny_model())
    layer, x = model.adapter.layers[key], torch.randn(2, 3, D)
    places = model.places()
    for address in ("fusion.after_self", "text.after_self"):
        assert torch.equal(places.of(address)[int(key)].term(x), layer(x, "text"))


def _deep(depth: int) -> dict:
    cfg = tiny_retrieval_cfg()
    visual = {**cfg["visual"], "arch": {**cfg["visual"]["arch"], "num_layers": depth}}
    return {"visual": visual, "text": {**cfg["text"], "num_layers": depth}}


def test_layers_choose_where_adapters_sit():
    model = tiny_model(adapter=adapter_cfg(layers="3-4"), **_deep(4))
    assert set(model.adapter.layers) == {"2", "3"}
    for name in (V, T, Q, C):
        slots = model.places().of(name)
        assert [slots[i].filled for i in range(4)] == [False, False, True, True]
    assert count_parameters(model)["adapter"] == 2 * (DOWN + 3 * UP)


def test_shared_layers_choose_where_sharing_happens():
    model = tiny_model(adapter=adapter_cfg(shared_layers=[2, 4]), **_deep(4))
    downs = [len(model.adapter.layers[str(i)].down) for i in range(4)]
    assert downs == [3, 1, 3, 1]


@pytest.mark.parametrize(
    ("towers", "filled", "options"),
    [
        (["visual"], {V}, {}),
        (["text"], {T}, {}),
        ("visual", {V}, {}),
        (["visual", "text"], {V, T}, {}),
        (["text", "cross"], {T, C, Q}, {}),
        (["cross"], {C}, {"query_residual": "off", "textual_branch": False}),
        (["cross"], {C, Q}, {"query_residual": "own", "textual_branch": False}),
    ],
)
def test_towers_choose_what_is_adapted(towers, filled, options):
    model, batch = tiny_model(adapter=adapter_cfg(towers=towers, **options)), tiny_batch()
    names = {
        name
        for name, slots in model.places().slots.items()
        if any(slot.filled for slot in slots.values())
    }
    assert names == filled
    before = {n: p.clone() for n, p in trained_state_dict(model).items()}
    sgd_steps(model, batch)
    assert not [n for n, p in trained_state_dict(model).items() if torch.equal(p, before[n])]


def test_sharing_is_kept_inside_each_width_and_depth():
    cfg = tiny_retrieval_cfg()
    arch = {"embed_dims": 48, "num_layers": 3, "num_heads": 2, "feedforward_channels": 64}
    model = tiny_model(
        visual={**cfg["visual"], "arch": arch}, text={**cfg["text"], "encoder_width": 48}
    )
    layers = model.adapter.layers
    assert set(layers["0"].down) == {"shared48", "shared32"}
    assert set(layers["2"].down) == {"shared48"}
    visual = 48 * R + R + R * 48 + 48
    assert count_parameters(model)["adapter"] == 3 * visual + 2 * (DOWN + 2 * UP)
    before = {n: p.clone() for n, p in trained_state_dict(model).items()}
    batch = tiny_batch()
    bare = outputs(model, batch)
    with model.adapter_disabled():
        assert same(outputs(model, batch), bare)
    sgd_steps(model, batch)
    assert not [n for n, p in trained_state_dict(model).items() if torch.equal(p, before[n])]


@pytest.mark.parametrize("decoder", ["shared", "own"])
def test_decoder_adapters_are_the_encoders_or_its_own(decoder):
    cfg = tiny_pretrain_cfg(adapter=adapter_cfg(decoder=decoder), train_backbone=False)
    model = seeded_model(cfg)
    encoder = DEPTH * (DOWN + 3 * UP)
    # A decoder has no visual use.
    own = DEPTH * (DOWN + 2 * UP) if decoder == "own" else 0
    assert count_parameters(model)["adapter"] == encoder + own
    before = {n: p.clone() for n, p in trained_state_dict(model).items()}
    sgd_steps(model, tiny_batch())
    assert not [n for n, p in trained_state_dict(model).items() if torch.equal(p, before[n])]


def test_dropout_acts_in_training_only():
    model = randomize(tiny_model(adapter=adapter_cfg(dropout=0.5)))
    x = torch.randn(4, D)
    layer = model.adapter.layers["0"]
    model.train()
    assert not torch.equal(layer(x, "text"), layer(x, "text"))
    model.eval()
    assert torch.equal(layer(x, "text"), layer(x, "text"))


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_bf16_autocast_is_finite(variant):
    model = randomize(
        tiny_model(
            adapter=adapter_cfg(variant=variant),
            pfa={"type": "FrameAwareAttention", "variant": variant},
        ),
        std=0.1,
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.train()(**tiny_batch(), mode="loss")
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sharing": "dwon"}, "adapter.sharing='dwon' is unknown"),
        ({"query_residual": "on"}, "adapter.query_residual='on' is unknown"),
        ({"decoder": "none"}, "adapter.decoder='none' is unknown"),
        ({"variant": "ours"}, "adapter.variant='ours' is unknown"),
        ({"towers": ["vision"]}, "adapter.towers='vision' is unknown"),
        ({"towers": []}, "adapter.towers=.* name one to three"),
        ({"towers": ["text", "text"]}, "adapter.towers=.*each once"),
        ({"bottleneck": 0}, "adapter.bottleneck=0 must be an int >= 1"),
        ({"bottleneck": "8"}, "adapter.bottleneck='8' must be an int"),
        ({"kv_rank": -1}, "adapter.kv_rank=-1 must be an int >= 0"),
        ({"dropout": 1.0}, r"adapter.dropout=1.0 must be in \[0, 1\)"),
        ({"layers": "1-9"}, "adapter.layers='1-9'.*do not exist"),
        ({"shared_layers": [7]}, r"adapter.shared_layers=\[7\].*do not exist"),
        ({"towers": ["cross"]}, "query_residual='shared' uses the textual adapter.*add 'text'"),
        (
            {"towers": ["cross"], "query_residual": "off"},
            "textual_branch=True uses the textual up-projection.*add 'text'",
        ),
    ],
)
def test_wrong_options_name_key_and_remedy(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter=adapter_cfg(**options))
