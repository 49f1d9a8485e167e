"""VSE-infinity's model against its formulas, on towers that others wrote."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.helpers import draws
from tests.test_models import vse_reference as reference
from tests.test_models.test_heads.test_hinge import looped
from uniadapter.checkpoints import load_adapter, save_adapter, trained_state_dict
from uniadapter.models import build_model

torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

WORDS = 40


def config(**overrides: Any) -> dict[str, Any]:
    """A small VSE model."""
    return {
        "type": "VseModel",
        "visual": {"type": "ResNetVisual", "arch": {"block": "basic", "layers": [1, 1, 1, 1]}},
        "text": {
            "type": "BertText",
            "vocab_size": WORDS,
            "hidden_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "intermediate_size": 16,
            "max_positions": 12,
        },
        "adapter": {"type": "UniPT"},
        "embed_dim": 8,
        **overrides,
    }


def model_of(seed: int = 0, **overrides: Any) -> Any:
    """The model with drawn weights, so that nothing is at its start."""
    torch.manual_seed(seed)
    model = build_model(config(**overrides)).double()
    if model.adapter is not None:
        for part in (model.adapter, model.visual_pool, model.text_pool):
            for parameter in part.parameters():
                nn.init.normal_(parameter, std=0.3)
    for module in model.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def batch_of(
    seed: int, lengths: list[int], side: int = 64, width: int | None = None
) -> dict[str, torch.Tensor]:
    """Images, squares unless their width is given, and texts of these lengths."""
    torch.manual_seed(seed)
    ids = torch.randint(1, WORDS, (len(lengths), max(lengths)))
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    return {
        "pixels": torch.randn(len(lengths), 1, 3, side, width or side).double(),
        "input_ids": ids * mask,
        "attention_mask": mask.long(),
        "media_ids": torch.arange(len(lengths)),
    }


def stages_of(model: Any, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of the stages of torchvision's own network with the model's weights."""
    arch = model.visual
    kind = torchvision.models.resnet
    block = kind.Bottleneck if hasattr(arch.layer1[0], "conv3") else kind.BasicBlock
    counts = [len(getattr(arch, f"layer{k}")) for k in range(1, 5)]
    net = kind.ResNet(block, counts).double().eval()
    state = reference.part(model.state_dict(), "visual.")
    assert set(net.load_state_dict(state, strict=False).missing_keys) == {"fc.weight", "fc.bias"}
    found = []
    for k in range(1, 5):
        getattr(net, f"layer{k}").register_forward_hook(lambda _, __, out: found.append(out))
    with torch.no_grad():
        net(pixels)
    return found


def hidden_of(model: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """States of transformers' BERT with the model's weights."""
    own = model.text
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=own.vocab_size,
            hidden_size=own.hidden_size,
            num_hidden_layers=own.num_layers,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=12,
        ),
        add_pooling_layer=False,
    )
    left = bert.load_state_dict(reference.part(model.state_dict(), "text."), strict=False)
    assert not left.missing_keys
    with torch.no_grad():
        mask = batch["attention_mask"]
        out = bert.double().eval()(batch["input_ids"], mask, output_hidden_states=True)
    return list(out.hidden_states)


@given(
    lengths=st.lists(st.integers(2, 6), min_size=2, max_size=3),
    block=st.sampled_from(["basic", "bottleneck"]),
    layers=st.integers(2, 3),
    width=st.sampled_from([4, 6]),
    sides=st.sampled_from([(64, 64), (32, 96), (96, 64)]),
    drop=st.sampled_from([0.0, 0.3, 0.95]),
    hardest=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=draws(3))
def test_a_step_against_the_formulas(lengths, block, layers, width, sides, drop, hardest, seed):
    """Features and loss in training, gradients of what is trained, none of the towers."""
    model = model_of(
        seed,
        visual={"type": "ResNetVisual", "arch": {"block": block, "layers": [1, 1, 1, 1]}},
        text={**config()["text"], "num_layers": layers},
        embed_dim=width,
        token_drop=drop,
    ).train()
    model.contrast.hardest = hardest
    batch = batch_of(seed, lengths, *sides)
    stages = stages_of(model, batch["pixels"][:, 0])
    torch.manual_seed(seed)
    drawn = torch.rand(len(lengths), stages[-1].shape[2:].numel()).tolist()
    kept = [[i for i, u in enumerate(row) if u > drop or u == max(row)] for row in drawn]
    torch.manual_seed(seed)
    loss = model(**batch, mode="loss")["loss_itc"]
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    images = reference.images(state, stages, kept)
    texts = reference.texts(state, hidden_of(model, batch), lengths)
    torch.manual_seed(seed)
    torch.testing.assert_close(
        model.features(batch["pixels"], batch["input_ids"], batch["attention_mask"]),
        (images, texts),
        rtol=1e-5,
        atol=1e-6,
    )
    expected = looped(images, texts, 0.2, hardest)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in trained} == {"adapter", "visual_pool", "text_pool"}
    grads = [
        torch.autograd.grad(y, list(trained.values()), allow_unused=True, retain_graph=True)
        for y in (loss, expected)
    ]
    for name, own, wanted in zip(trained, *grads, strict=True):
        wanted = torch.zeros_like(own) if wanted is None else wanted
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5, msg=name)


def test_padding_changes_nothing():
    """Ids under padding, more of it, and other texts of the batch."""
    model, batch = model_of().eval(), batch_of(1, [3, 6, 2])
    ids, mask = batch["input_ids"], batch["attention_mask"]
    feature = model.encode_text(ids, mask)[1]
    more = nn.functional.pad(ids, (0, 4), value=7), nn.functional.pad(mask, (0, 4))
    other = torch.where(mask.bool(), ids, torch.full_like(ids, 9)), mask
    for changed in (more, other):
        torch.testing.assert_close(model.encode_text(*changed)[1], feature)
    torch.testing.assert_close(model.encode_text(ids[2:, :2], mask[2:, :2])[1], feature[2:])


def test_features_and_loss_leave_half_precision():
    """Under autocast the features, what they are pooled from and their products are float32."""
    model, batch = model_of().float().eval(), batch_of(2, [3, 5, 2])
    batch["pixels"] = batch["pixels"].float()
    inputs = {name: part for name, part in batch.items() if name != "media_ids"}
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(**inputs)
        loss = model(**batch, mode="loss")["loss_itc"]
    assert {x.dtype for x in (*features, loss)} == {torch.float32}
    for x in features:
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(loss, looped(*features, 0.2, hardest=True))


def test_counts_of_the_published_model():
    """Spelled out: two side networks and two poolings; nothing else is trained."""
    cfg = config(visual={"type": "ResNetVisual"}, text={"type": "BertText"}, embed_dim=1024)
    with torch.device("meta"):
        model = build_model(cfg)
    counts = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in (
            *model.adapter.sides.items(),
            ("pools", nn.ModuleList([model.visual_pool, model.text_pool])),
            ("trained", nn.ParameterList([p for p in model.parameters() if p.requires_grad])),
        )
    }
    assert counts == {
        "visual": 6_433_537,
        "text": 5_921_281,
        "pools": 25_408,
        "trained": 12_380_226,
    }


def test_tokens_that_training_drops():
    """A share of the tokens, at least one; none in evaluation."""
    model = model_of(token_drop=0.2).train()
    kept = model.kept_tokens(torch.zeros(200, 100, 1))
    assert 0.78 < float(kept.double().mean()) < 0.82
    model.token_drop = 0.999
    assert model.kept_tokens(torch.zeros(50, 4, 1)).any(1).all()
    batch = batch_of(0, [3, 4], side=96)
    torch.manual_seed(0)
    dropped = model.encode_visual(batch["pixels"])[1]
    model.eval()
    assert model.kept_tokens(torch.zeros(2, 4, 1)) is None
    tokens, feature, frames = model.encode_visual(batch["pixels"])
    assert tokens.shape == (2, 1, 9, 8)
    assert torch.equal(frames[:, 0], feature)
    assert not torch.allclose(dropped, feature)


@pytest.mark.parametrize("trained", [False, True])
def test_projections_without_an_adapter(trained):
    """Linear projections on frozen tokens, and full fine-tuning of the same model."""
    model = model_of(adapter=None, train_backbone=trained, token_drop=0.0).train()
    batch = batch_of(2, [3, 5, 2])
    loss = model(**batch, mode="loss")["loss_itc"]
    loss.backward()
    state = dict(model.named_parameters())
    graded = {n for n, p in state.items() if p.grad is not None and p.grad.any()}
    assert any(n.startswith("visual.") for n in graded) == trained
    assert {"vision_proj.weight", "text_proj.weight", "visual_pool.linear.weight"} <= graded
    model.eval()
    feature = model.encode_visual(batch["pixels"])[1]
    tokens = stages_of(model, batch["pixels"][:, 0])[-1].flatten(2).transpose(1, 2)
    tokens = tokens @ state["vision_proj.weight"].T + state["vision_proj.bias"]
    weights = reference.part(state, "visual_pool.")
    expected = torch.stack([reference.feature(weights, row) for row in tokens])
    torch.testing.assert_close(feature, expected, rtol=1e-5, atol=1e-6)


def test_other_methods_train_in_it():
    """Terms inside the layers of a text tower beside a convolution network."""
    adapter = {"type": "UniAdapter", "bottleneck": 2, "towers": ["text"]}
    model = model_of(adapter=adapter).train()
    model(**batch_of(2, [3, 5, 2]), mode="loss")["loss_itc"].backward()
    assert any(p.grad is not None and p.grad.any() for p in model.adapter.parameters())


def test_the_bare_towers_come_back():
    model, batch = model_of().eval(), batch_of(3, [3, 5])
    with model.adapter_disabled():
        tokens = model.encode_frames(batch["pixels"])
        bare = stages_of(model, batch["pixels"][:, 0])[-1].flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens[:, 0], bare)
        for encode in (
            lambda: model.encode_visual(batch["pixels"]),
            lambda: model.encode_text(batch["input_ids"], batch["attention_mask"]),
        ):
            with pytest.raises(
                ValueError, match="Without UniPT, which is disabled, nothing brings"
            ):
                encode()


def test_none_of_a_base_config_is_nothing():
    model = build_model(config(pfa=None, matching=None, pooling=None))
    assert set(model.heads()) == {"visual_pool", "text_pool"}


def test_wrong_options_are_named():
    wrong = {
        r"model.token_drop=1 must be in \[0, 1\)": {"token_drop": 1},
        "model.pfa is nothing that a VseModel has": {"pfa": {"type": "FrameAwareAttention"}},
        "model.matching is nothing that a VseModel has": {"matching": {"type": "MatchingHead"}},
        "of a VseModel must pool tokens": {"contrast": {"type": "HingeContrastHead"}},
        "adapter.taps='0,1' names a|layers \\[0\\] do not exist, choose from 1..4": {
            "adapter": {"type": "UniPT", "taps": "0,1"}
        },
        "the roles that are read are": {"adapter": {"type": "UniPT", "taps": {"fusion": "1"}}},
        "adapter.start='frozen' adds to the frozen states of visual, 512 wide": {
            "adapter": {"type": "UniPT", "start": "frozen"}
        },
        "adapter.reduction=3 does not divide the width 8": {
            "adapter": {"type": "UniPT", "reduction": 3}
        },
        "ResNetVisual has no token that stands for an image": {
            "type": "RetrievalModel",
            "contrast": {"type": "BatchContrastHead"},
            "matching": None,
        },
    }
    for message, overrides in wrong.items():
        with pytest.raises(ValueError, match=message):
            build_model(config(**overrides))
    with pytest.raises(ValueError, match=r"ranks images, pixels \(B, 1, 3, H, W\)"):
        model_of().encode_visual(torch.zeros(1, 2, 3, 64, 64).double())


def test_what_was_trained_comes_back(tmp_path):
    """Statistics of the side network's batch norms are in an adapter's folder as well."""
    model, batch = model_of().train(), batch_of(5, [3, 5, 4])
    for _ in range(3):
        model(**batch, mode="loss")
    model.float()
    save_adapter(model, tmp_path)
    other = model_of().float()
    load_adapter(other, tmp_path)
    saved = trained_state_dict(model)
    assert any(name.endswith("running_var") for name in saved)
    assert not any(name.startswith("visual.") for name in saved)
    for name, tensor in trained_state_dict(other).items():
        assert torch.equal(tensor, saved[name]), name
    pixels = batch["pixels"].float()
    features = [m.eval().encode_visual(pixels)[1] for m in (model, other)]
    assert torch.equal(*features)


def test_taps_by_role():
    """The ablation of taps: some stages, some layers."""
    model = model_of(adapter={"type": "UniPT", "taps": {"visual": "2-3", "text": [1]}}).eval()
    sides = model.adapter.sides
    assert (sides["visual"].chosen, sides["text"].chosen) == ([2, 3], [1])
    assert model.encode_visual(batch_of(0, [3, 4])["pixels"])[0].shape == (2, 1, 4, 8)
    adapter = model.adapter
    same = [{"text": "1", "visual": [3, 2]}, {"visual": "2,3", "text": "1"}]
    assert adapter.normalise("taps", same[0]) == adapter.normalise("taps", same[1]) == [[2, 3], [1]]
