"""Sites and taps of other projects' towers: against their own modules and against our towers."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    BlipForImageTextRetrieval,
    CLIPConfig,
    CLIPModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from tests.test_models.test_parity_hf.twins import (
    SMALL,
    bert_cfg,
    blip_config,
    images,
    load_twin,
    pad,
    randomise,
    visual_cfg,
    words,
)
from uniadapter.models.backbones.charts import CHARTS, Chart, Place, find_chart
from uniadapter.models.backbones.hosted import HostedTower
from uniadapter.models.sites import Places, disabled
from uniadapter.registry import MODELS
from uniadapter.utils.compat import mmpretrain_models

_mmpretrain = mmpretrain_models()
ConvNeXt, ResNet = _mmpretrain.ConvNeXt, _mmpretrain.ResNet
VisionTransformer = _mmpretrain.VisionTransformer

WIDTH, VOCAB = 16, 60
SIZES = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2}
CLIP = {
    "text_config": {**SIZES, "num_hidden_layers": 2, "vocab_size": VOCAB, "eos_token_id": 1},
    "vision_config": {**SIZES, "num_hidden_layers": 2, "image_size": 32, "patch_size": 16},
}
BERT = {**SIZES, "num_hidden_layers": 2, "vocab_size": VOCAB}
ARCH = {"embed_dims": WIDTH, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32}
IDS = torch.randint(5, VOCAB, (2, 7), generator=torch.Generator().manual_seed(3))
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def clip(part):
    return getattr(CLIPModel(CLIPConfig(**CLIP)), f"{part}_model")


def bart(part):
    options = {f"{side}_{key}": 2 for side in ("encoder", "decoder") for key in ("layers",)}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    wide = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = BartConfig(d_model=WIDTH, vocab_size=VOCAB, **options, **heads, **wide)
    return getattr(BartModel(config), part)


def t5(part):
    config = T5Config(d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=VOCAB)
    return getattr(T5Model(config), part)


def vit(**options):
    return VisionTransformer(ARCH, img_size=32, patch_size=16, out_type="raw", **options)


STAGES = {"depths": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
STATES = {"encoder_hidden_states": torch.randn(2, 4, WIDTH)}
TOWERS = {
    "clip_vision": (lambda: clip("vision"), lambda m: m(PIXELS).last_hidden_state),
    "clip_text": (lambda: clip("text"), lambda m: m(IDS).last_hidden_state),
    "bert": (lambda: BertModel(BertConfig(**BERT)), lambda m: m(IDS).last_hidden_state),
    "roberta": (
        lambda: RobertaModel(RobertaConfig(**BERT)),
        lambda m: m(IDS).last_hidden_state,
    ),
    "vit": (
        lambda: ViTModel(ViTConfig(**SIZES, num_hidden_layers=2, image_size=32, patch_size=16)),
        lambda m: m(PIXELS).last_hidden_state,
    ),
    "bart_encoder": (lambda: bart("encoder"), lambda m: m(IDS).last_hidden_state),
    "bart_decoder": (lambda: bart("decoder"), lambda m: m(IDS, **STATES).last_hidden_state),
    "t5_encoder": (lambda: t5("encoder"), lambda m: m(IDS).last_hidden_state),
    "t5_decoder": (lambda: t5("decoder"), lambda m: m(IDS, **STATES).last_hidden_state),
    "mmpretrain_vit": (vit, lambda m: m(PIXELS)[-1]),
    "mmpretrain_resnet": (lambda: ResNet(18), lambda m: m(PIXELS)[-1]),
    "mmpretrain_convnext": (
        lambda: ConvNeXt(STAGES, gap_before_final_norm=False),
        lambda m: m(PIXELS)[-1],
    ),
    "torchvision_resnet": (lambda: torchvision.models.resnet18(), lambda m: m(PIXELS)),
}


def randomised(make):
    """A tower in evaluation whose biases and norms matter as well."""
    torch.manual_seed(0)
    model = make()
    # mmpretrain's own method returns nothing.
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def bend(x):
    return 0.3 * x.tanh()


@pytest.mark.parametrize("name", TOWERS)
@torch.no_grad()
def test_every_site_acts_and_leaves_no_trace(name):
    make, run = TOWERS[name]
    model = randomised(make)
    tower, want = HostedTower(model), run(model)
    places = Places()
    places.add("role", tower.sites())
    assert list(places.slots)
    assert not hooks(model)
    for address, slots in places.slots.items():
        for index, slot in slots.items():
            slot.fill(lambda x: 0 * x)
            assert torch.equal(run(model), want), address
            slot.clear()
            slot.fill(bend)
            moved = run(model)
            assert not torch.allclose(moved, want, atol=1e-4), (address, index)
            with disabled(places):
                assert torch.equal(run(model), want), address
            slot.clear()
            assert not hooks(model)
    assert torch.equal(run(model), want)


@pytest.mark.parametrize("name", TOWERS)
def test_taps_are_the_states_between_layers(name):
    make, run = TOWERS[name]
    model = randomised(make)
    tower = HostedTower(model)
    taps = tower.taps if not name.startswith(("bart_d", "t5_d")) else None
    given = IDS if "vi" not in name and "res" not in name and "conv" not in name else PIXELS
    found = taps(given) if taps else tower.taps(IDS, **STATES)
    assert len(found.hidden) == len(tower.layers) + 1
    assert not any(state.requires_grad for state in found.hidden)
    assert not hooks(model)
    if hasattr(model, "config"):
        extra = STATES if taps is None else {}
        with torch.no_grad():
            theirs = model(given, output_hidden_states=True, **extra).hidden_states
        # Their last one may be behind the final norm.
        for ours, state in zip(found.hidden[:-1], theirs[: len(found.hidden) - 1], strict=True):
            assert torch.equal(ours, state)


@torch.no_grad()
def test_clip_sites_are_the_equations():
    model = randomised(lambda: clip("vision"))
    layer = model.encoder.layers[0]
    sites = HostedTower(model).sites()[0][1]
    x = torch.randn(2, 5, WIDTH)
    attended = layer.self_attn(layer.layer_norm1(x))[0]
    x1 = x + attended
    n2 = layer.layer_norm2(x1)
    want = {
        ("after_self", "output"): x1 + layer.mlp(n2) + bend(x1),
        ("ffn", "output"): x1 + layer.mlp(n2) + bend(layer.mlp(n2)),
        ("ffn", "input"): x1 + layer.mlp(n2) + bend(n2),
    }
    y = x + attended + bend(attended)
    want["attn", "output"] = y + layer.mlp(layer.layer_norm2(y))
    y = x + attended + bend(layer.layer_norm1(x))
    want["attn", "input"] = y + layer.mlp(layer.layer_norm2(y))
    for (name, reads), value in want.items():
        sites.slots[name].fill(bend, reads=reads)
        out = layer(x, attention_mask=None)
        assert_close(out if isinstance(out, torch.Tensor) else out[0], value, atol=1e-6, rtol=1e-6)
        sites.slots[name].clear()


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    """transformers' BLIP and ours on the same weights."""
    theirs = randomise(BlipForImageTextRetrieval(blip_config(SMALL)))
    config = {
        "type": "RetrievalModel",
        "visual": visual_cfg(SMALL),
        "text": bert_cfg(SMALL),
        "embed_dim": 16,
        "queue_size": 4,
    }
    ours = load_twin(theirs, MODELS.build(config), tmp_path_factory.mktemp("hf"))
    return ours, theirs


BLIP_VISION = Chart(
    "encoder.layers",
    {
        "attn": Place("self_attn.projection", input="self_attn.qkv"),
        "ffn": Place("mlp", input="mlp"),
        "after_self": Place("mlp", read="layer_norm2"),
    },
)


@pytest.mark.parametrize(
    ("site", "reads"),
    [
        ("attn", "output"),
        ("attn", "input"),
        ("ffn", "output"),
        ("ffn", "input"),
        ("after_self", "output"),
    ],
)
@pytest.mark.parametrize("role", ["visual", "text"])
@torch.no_grad()
def test_our_towers_have_the_same_sites(blip, role, site, reads):
    ours, theirs = blip
    their_tower = theirs.vision_model if role == "visual" else theirs.text_encoder
    chart = BLIP_VISION if role == "visual" else "BertModel"
    tower = HostedTower(their_tower, chart)
    own = ours.visual.sites() if role == "visual" else ours.text.sites("text")
    for sites in (tower.sites(), own):
        for _, layer in sites:
            layer.slots[site].fill(bend, reads=reads)
    try:
        if role == "visual":
            pixels = images(SMALL)
            got = ours.encode_frames(pixels[:, None])[:, 0]
            want = their_tower(pixels).last_hidden_state
        else:
            ids, mask = pad(words(SMALL, 4), [9, 5])
            got = ours.text(ids, mask)
            want = their_tower(ids, mask).last_hidden_state
        assert_close(got, want, atol=1e-4, rtol=1e-4)
    finally:
        for sites in (tower.sites(), own):
            for _, layer in sites:
                layer.slots[site].clear()


def test_copies_checkpointing_and_functional_calls():
    model = randomised(vit).requires_grad_(False)
    tower, linear = HostedTower(model), nn.Linear(WIDTH, WIDTH)
    for _, sites in tower.sites():
        sites.after_self.fill(linear)
    both = nn.ModuleDict({"vit": model, "linear": linear})
    twin = copy.deepcopy((both, tower))[0]
    before = twin["vit"](PIXELS)[-1]
    assert torch.equal(model(PIXELS)[-1], before)
    with torch.no_grad():
        linear.weight.add_(1)
    # The copy's hooks lead to the copy's adapter.
    assert torch.equal(twin["vit"](PIXELS)[-1], before)
    assert not torch.allclose(model(PIXELS)[-1], before)
    zeros = {name: torch.zeros_like(p) for name, p in linear.named_parameters()}
    named = {f"linear.{name}": tensor for name, tensor in zeros.items()}

    class Run(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.vit = linear, model

        def forward(self, x):
            return self.vit(x)[-1]

    run = Run()
    bare = randomised(vit)
    assert_close(functional_call(run, named, (PIXELS,)), bare(PIXELS)[-1])
    run(PIXELS).sum().backward()
    want = linear.weight.grad.clone()
    linear.zero_grad()
    torch.utils.checkpoint.checkpoint(run, PIXELS, use_reentrant=False).sum().backward()
    assert torch.equal(linear.weight.grad, want)


@torch.no_grad()
def test_a_stage_shows_its_places_as_tokens():
    model = randomised(lambda: ResNet(18))
    seen = {}
    for index, sites in HostedTower(model).sites():
        sites.after_self.fill(lambda x, i=index: seen.update({i: x}) or bend(x))
    bent = model(PIXELS)[-1]
    assert {i: tuple(x.shape) for i, x in seen.items()} == {
        0: (2, 64, 64),
        1: (2, 16, 128),
        2: (2, 4, 256),
        3: (2, 1, 512),
    }
    bare = randomised(lambda: ResNet(18))
    bare.layer4.register_forward_hook(lambda _, __, y: y + bend(y))
    for name in ("layer1", "layer2", "layer3"):
        getattr(bare, name).register_forward_hook(lambda _, __, y: y + bend(y))
    assert_close(bent, bare(PIXELS)[-1])


@torch.no_grad()
def test_a_stage_of_a_video_network_shows_its_places_as_tokens():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 8, 2, 2), nn.Conv3d(8, 4, (1, 2, 3), (1, 2, 1)))
    video = torch.randn(2, 3, 4, 8, 12)
    first = model[0](video)
    chart = {"layers": ["0", "1"], "sites": {"after_self": {"write": ""}}, "channels_first": True}
    seen = []
    for (_, sites), dim in zip(HostedTower(model, chart).sites(), (8, 4), strict=True):
        assert sites.after_self.dim == dim
        # The term of a token is its number.
        sites.after_self.fill(lambda x: seen.append(x) or torch.arange(x.shape[1])[None, :, None])
    bent = model(video)
    assert [tuple(x.shape) for x in seen] == [(2, 2 * 4 * 6, 8), (2, 2 * 2 * 4, 4)]
    assert_close(seen[0], first.flatten(2).transpose(1, 2))
    place = torch.arange(2 * 4 * 6).view(1, 1, 2, 4, 6)
    want = model[1].forward(first + place) + torch.arange(2 * 2 * 4).view(1, 1, 2, 2, 4)
    assert_close(bent, want)


def test_a_chart_of_the_package_goes_before_one_of_the_class():
    theirs = type("VisionTransformer", (nn.Module,), {"__module__": "mmaction.models.backbones"})
    assert find_chart(theirs(), None) is CHARTS["mmaction.VisionTransformer"]
    assert find_chart(vit(), None) is CHARTS["VisionTransformer"]


PLACE = {"write": "ffn"}


@pytest.mark.parametrize(
    ("chart", "match"),
    [
        (None, r"There is no chart 'Linear': choose from"),
        ("Vit", "There is no chart 'Vit'"),
        ({"sites": {}}, "must have the keys 'layers' and 'sites'"),
        ({"layers": "layers", "sites": {"ffn": {"reads": "x"}}}, r"chart\.sites\.ffn=.*'write'"),
        ({"layers": "blocks", "sites": {"ffn": PLACE}}, r"chart\.layers='blocks'.*it has \['patch"),
        ({"layers": "patch_embed", "sites": {"ffn": PLACE}}, "is no list of layers"),
        (
            {"layers": "layers", "sites": {"ffn": {"write": "mlp"}}},
            r"chart\.sites\.ffn\.write='mlp': TransformerEncoderLayer has no such module",
        ),
        (
            {"layers": "layers", "sites": {"ffn": {"write": "ffn", "input": "ffn.layers.9"}}},
            r"chart\.sites\.ffn\.input='ffn\.layers\.9'",
        ),
        (
            {"layers": "layers", "sites": {"ffn": {"write": "attn.out_drop"}}},
            "nothing in DropPath tells the width",
        ),
    ],
)
def test_wrong_charts_are_refused_by_name(chart, match):
    model = nn.Linear(2, 2) if chart is None else vit()
    with pytest.raises(ValueError, match=match):
        HostedTower(model, chart)


def test_a_wrong_layout_is_an_error_and_no_broadcast():
    chart = {"layers": ["layer1"], "sites": {"after_self": {"write": ""}}}
    model = ResNet(18)
    HostedTower(model, chart).sites()[0][1].after_self.fill(bend)
    with pytest.raises(ValueError, match="channels_first is wrong"):
        model(PIXELS)
