"""Retrieval on ALBEF: a text tower whose upper layers continue where the lower ones end."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from safetensors.torch import save_file
from transformers import BertConfig
from transformers import BertModel as ReferenceBert

from tests.helpers import IMAGE_SIZE, VOCAB_SIZE, draws, load_tool, tiny_run_cfg, write_run_cfg
from tests.test_models import albef_reference as reference
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.checkpoints import load_pretrained
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.build import build_model
from uniadapter.models.execution import Words

WIDTH, HEADS, LAYERS, FUSION, WORDS, POSITIONS, EMBED, SIDE = 16, 2, 4, 2, 40, 12, 8, 2
ARCH = {
    "embed_dims": WIDTH,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "feedforward_channels": 4 * WIDTH,
}


def albef_cfg(**overrides: Any) -> dict[str, Any]:
    """Config of a tiny ALBEF: what it differs in from BLIP's is said in two options of the text."""
    cfg: dict[str, Any] = {
        "type": "RetrievalModel",
        "visual": {"type": "BlipViT", "arch": ARCH, "img_size": 16 * SIDE, "patch_size": 16},
        "text": {
            "type": "BertModel",
            "vocab_size": WORDS,
            "hidden_size": WIDTH,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "intermediate_size": 4 * WIDTH,
            "encoder_width": WIDTH,
            "max_positions": POSITIONS,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "type_vocab_size": 2,
            "fusion_layer": FUSION,
        },
        "adapter": {"type": "UniAdapter", "bottleneck": 3},
        "matching": {"type": "MatchingHead", "negatives": "own", "candidates": "momentum"},
        "embed_dim": EMBED,
        "queue_size": 16,
    }
    return {**cfg, **overrides}


def blip_text() -> dict[str, Any]:
    """The text tower at these sizes as BLIP has it."""
    return {**albef_cfg()["text"], "fusion_layer": 0, "type_vocab_size": 0}


def published(seed: int) -> reference.State:
    """A retrieval file's towers and heads of random weights."""
    generator = torch.Generator().manual_seed(seed)
    shapes = reference.key_list(WIDTH, LAYERS, SIDE**2, WORDS, FUSION, POSITIONS, EMBED)
    state = {name: torch.randn(s, generator=generator) * 0.3 for name, s in shapes.items()}
    return {**state, "temp": torch.tensor(0.07)}


def batch_of(seed: int, size: int = 3, length: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(size, 1, 3, 16 * SIDE, 16 * SIDE, generator=generator)
    ids = torch.randint(1, WORDS, (size, length), generator=generator)
    lengths = torch.randint(1, length + 1, (size,), generator=generator)
    lengths[0] = length
    mask = (torch.arange(length) < lengths[:, None]).long()
    return pixels, ids * mask, mask


def adapters_of(model: Any, seed: int) -> dict[int, dict[str, Any]]:
    """Give the adapter random weights and return them as the reference takes them."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for index, layer in model.adapter.layers.items():
        parts = {"down": layer.down["shared"], **layer.up}
        for part in parts.values():
            torch.nn.init.normal_(part.weight, std=0.5, generator=generator)
            torch.nn.init.normal_(part.bias, std=0.5, generator=generator)
        found[int(index)] = {n: (p.weight.detach(), p.bias.detach()) for n, p in parts.items()}
    return found


def expected(
    state: reference.State, batch: tuple[torch.Tensor, ...], adapters: Any = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of media and texts, and matching logits (T, V, 2) of all pairs."""
    pixels, ids, mask = batch
    images = [reference.image(p[0], state, HEADS, adapters) for p in pixels]
    rows = [row[: int(m.sum())].tolist() for row, m in zip(ids, mask, strict=True)]
    texts = [reference.text(row, state, HEADS, FUSION, adapters) for row in rows]
    logits = [
        torch.stack(
            [
                reference.matching(
                    reference.fuse(text, image, state, HEADS, FUSION, adapters), state
                )
                for image in images
            ]
        )
        for text in texts
    ]
    visual = torch.stack([reference.features(x, state, "vision_proj") for x in images])
    text = torch.stack([reference.features(x, state, "text_proj") for x in texts])
    return visual, text, torch.stack(logits)


@torch.no_grad()
def scores(model: Any, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Re-ranking's scores (T, V) of all pairs."""
    pixels, *texts = batch
    tokens = model.encode_visual(pixels)[0]
    scorer = model.scorer(*texts)
    scorer.prepare(2)
    return torch.stack([scorer.score(x) for x in tokens], 1)


@pytest.mark.parametrize("fast", [True, False])
def test_a_published_file_gives_its_features_and_scores_and_goes_back(
    tmp_path: Path, fast: bool
) -> None:
    state, batch = published(0), batch_of(1)
    torch.save({"model": state}, tmp_path / "published.pth")
    config = Config({"model": albef_cfg(fast=fast)})
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    report = convert_checkpoint(tmp_path / "published.pth", ours, config, "albef")
    assert set(report.used) == set(state)
    model = init_model(config, ours)
    for seed in (None, 2):
        adapters = None if seed is None else adapters_of(model, seed)
        visual, text, logits = expected(state, batch, adapters)
        with torch.no_grad():
            found = model.features(*batch)
            pairs = model.match(*batch[1:], model.encode_visual(batch[0])[0])
        torch.testing.assert_close(found[0], visual, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found[1], text, atol=2e-5, rtol=1e-4)
        rows = torch.arange(3)
        torch.testing.assert_close(pairs, logits[rows, rows], atol=5e-5, rtol=1e-4)
        torch.testing.assert_close(scores(model, batch), logits[..., 1], atol=5e-5, rtol=1e-4)
    convert_checkpoint(ours, back, config, target="albef")
    written = torch.load(back, weights_only=True)["model"]
    for name, tensor in state.items():
        assert torch.equal(written[name], tensor)


@settings(max_examples=draws(8), deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, POSITIONS))
def test_text_layers_are_berts(seed: int, size: int, length: int) -> None:
    """Token types, positions and layers, against transformers' BertModel with copied weights."""
    torch.manual_seed(seed)
    theirs = ReferenceBert(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=WIDTH,
            num_hidden_layers=FUSION,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=POSITIONS,
            initializer_range=0.4,
        ),
        add_pooling_layer=False,
    ).eval()
    text = build_model(albef_cfg(adapter=None)).text.eval()
    own = text.state_dict()
    text.load_state_dict({**own, **{n: t for n, t in theirs.state_dict().items() if n in own}})
    assert {n for n in theirs.state_dict() if "position_ids" not in n} <= set(own)
    _, ids, mask = batch_of(seed, size, length)
    with torch.no_grad():
        want = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        found = text(ids, mask)
    seen = mask.bool()
    torch.testing.assert_close(found[seen], want[seen], atol=1e-5, rtol=1e-4)


def test_lower_layers_have_no_cross_attention_and_upper_ones_no_run_of_their_own() -> None:
    model = build_model(albef_cfg())
    reading = {n.split(".")[2] for n, _ in model.text.named_parameters() if "crossatt" in n}
    assert reading == {"2", "3"}
    places = model.places().slots
    assert set(places["text.after_self"]) == {0, 1}
    assert set(places["fusion.after_self"]) == set(places["fusion.after_cross"]) == {2, 3}


def test_bad_options_are_named() -> None:
    cfg = albef_cfg()
    with pytest.raises(ValueError, match="text.fusion_layer=4 must be one of the layers, 0 to 3"):
        build_model(albef_cfg(text={**cfg["text"], "fusion_layer": LAYERS}))
    with pytest.raises(ValueError, match="visual.img_size=40 is no multiple of visual.patch_size"):
        build_model(albef_cfg(visual={**cfg["visual"], "img_size": 40}))
    with pytest.raises(ValueError, match=r"RetrievalModel needs .* \(the role 'text'\), and there"):
        build_model(albef_cfg(text=None))
    blip = {"type": "MultimodalDataPreprocessor", "max_text_len": POSITIONS}
    with pytest.raises(ValueError, match=r"text.vocab_size=40, .* has 30524 words .* agree"):
        build_model(albef_cfg(data_preprocessor=blip))


USES = {
    "all": ({}, {"visual", "text"}, {"visual", "text", "cross"}),
    "branch": ({"query_residual": "off"}, {"visual", "text"}, {"visual", "text", "cross"}),
    "residual": ({"textual_branch": False}, {"visual", "text"}, {"visual", "text", "cross"}),
    "neither": (
        {"query_residual": "off", "textual_branch": False},
        {"visual", "text"},
        {"visual", "cross"},
    ),
    "no-cross": ({"towers": ["visual", "text"]}, {"visual", "text"}, {"visual"}),
}


@pytest.mark.parametrize("name", USES)
def test_a_layer_number_has_one_adapter_for_what_runs_there(name: str) -> None:
    options, lower, upper = USES[name]
    model = build_model(albef_cfg(adapter={"type": "UniAdapter", "bottleneck": 3, **options}))
    ups = {index: set(layer.up) for index, layer in model.adapter.layers.items()}
    assert ups == {"0": lower, "1": lower, "2": upper, "3": upper}
    assert all(set(layer.down) == {"shared"} for layer in model.adapter.layers.values())


def test_every_module_is_trained_and_disabled_is_the_bare_model() -> None:
    torch.manual_seed(0)
    model = build_model(albef_cfg())
    bare = build_model(albef_cfg(adapter=None))
    bare.load_state_dict(
        {n: t for n, t in model.state_dict().items() if "adapter" not in n}, strict=False
    )
    batch = batch_of(3)
    assert torch.equal(scores(model.eval(), batch), scores(bare.eval(), batch))
    adapters_of(model, 4)
    assert not torch.allclose(scores(model, batch), scores(bare, batch))
    with model.adapter_disabled():
        assert torch.equal(scores(model, batch), scores(bare, batch))
    copied = copy.deepcopy(model).train()
    losses = copied(*batch, media_ids=torch.arange(3), mode="loss")
    sum(losses.values()).backward()
    for name, parameter in copied.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def both(**overrides: Any) -> list[Any]:
    """The model with its fast paths and the same one without, with an adapter that acts."""
    found = []
    for fast in (True, False):
        torch.manual_seed(0)
        model = build_model(albef_cfg(fast=fast, **overrides))
        with torch.no_grad():
            for module in model.text.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.mul_(8)
        adapters_of(model, 1)
        found.append(model)
    return found


def losses_and_gradients(
    model: Any, batch: tuple[torch.Tensor, ...], ids: torch.Tensor, names: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """Losses of a step, and the gradients of what is trained by some of them."""
    model = copy.deepcopy(model).train()
    losses = model(*batch, media_ids=ids, mode="loss")
    sum(losses[name] for name in names).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {**{n: loss.detach() for n, loss in losses.items()}, **grads}


@settings(max_examples=draws(6), deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.integers(1, POSITIONS),
    st.sampled_from(["own", "all"]),
)
def test_fast_training_is_plain_training(seed: int, size: int, length: int, negatives: str) -> None:
    matching = {"type": "MatchingHead", "negatives": negatives, "candidates": "momentum"}
    batch = batch_of(seed, size, length)
    ids = torch.randint(0, size, (size,), generator=torch.Generator().manual_seed(seed))
    found = [
        losses_and_gradients(model, batch, ids, ("loss_itc", "loss_itm"))
        for model in both(matching=matching)
    ]
    assert set(found[0]) == set(found[1])
    for name, value in found[1].items():
        scale = value.abs().max().clamp(min=1e-2)
        torch.testing.assert_close(found[0][name] / scale, value / scale, atol=2e-4, rtol=0)


@pytest.mark.parametrize("fast", [0, 1])
def test_matching_trains_the_text_layers_through_their_states(fast: int) -> None:
    model, batch = both()[fast], batch_of(5)
    found = losses_and_gradients(model, batch, torch.arange(3), ("loss_itm",))
    moved = {name for name, grad in found.items() if grad.dim() and grad.abs().sum() > 0}
    for index in range(LAYERS):
        assert f"adapter.layers.{index}.up.text.weight" in moved
        assert f"adapter.layers.{index}.up.visual.weight" in moved
    contrast = losses_and_gradients(model, batch, torch.arange(3), ("loss_itc",))
    for index in range(LAYERS):
        own = contrast.get(f"adapter.layers.{index}.up.text.weight")
        assert (own is not None and bool(own.any())) == (index < FUSION)


@pytest.mark.parametrize("fast", [0, 1])
def test_a_pairs_states_are_those_of_its_text(fast: int) -> None:
    """Fusing stored states is the whole run, for any rows of them; so is beginning from them."""
    model, batch = both()[fast].eval(), batch_of(6)
    text, fusion = model.role("text"), model.role("fusion")
    words, rows = Words(*batch[1:]), torch.tensor([2, 0, 0, 1])
    chosen = Words(*(tensor[rows] for tensor in words))
    with torch.no_grad():
        tokens = model.encode_visual(batch[0])[0].flatten(1, 2)
        memory = fusion.memory(tokens, owner=torch.tensor([0, 1, 2, 0]))
        whole = fusion.fuse(chosen, memory)
        states = text.states(words)[rows]
        seen = chosen.mask.bool()
        torch.testing.assert_close(fusion.fuse(chosen, memory, states=states)[seen], whole[seen])
        first = fusion.fuse(chosen, memory, "first", states)
        torch.testing.assert_close(first, whole[:, :1])
        for given in (None, states):
            begun = fusion.begin(chosen, given)
            plain = fusion.memory(tokens[torch.tensor([0, 1, 2, 0])])
            torch.testing.assert_close(fusion.finish(begun, plain)[seen], whole[seen])
    with pytest.raises(ValueError, match=r"text states of input_ids of shape \(4, 6\) must be"):
        fusion.fuse(chosen, memory, states=states[:, :2])
    blip = build_model(albef_cfg(text=blip_text()))
    with pytest.raises(ValueError, match="takes no text states"):
        blip.role("fusion").fuse(chosen, memory, states=states)


def test_files_of_blip_are_refused_and_the_reverse(tmp_path: Path) -> None:
    """Backbones in this package's names, and adapters."""
    models = {
        "albef": build_model(albef_cfg()),
        "blip": build_model(albef_cfg(text=blip_text())),
    }
    for name, model in models.items():
        weights = {n: t for n, t in model.state_dict().items() if not n.startswith("adapter.")}
        save_file(weights, tmp_path / f"{name}.safetensors")
        save_adapter(model, tmp_path / name)
    missing = {
        "albef": r"text\.embeddings\.token_type_embeddings\.weight",
        "blip": r"text\.encoder\.layer\.0\.crossattention",
    }
    for name, other in (("albef", "blip"), ("blip", "albef")):
        with pytest.raises(ValueError, match=rf"(?s)missing in the file: {missing[name]}.*convert"):
            load_pretrained(models[name], tmp_path / f"{other}.safetensors")
        with pytest.raises(ValueError, match=rf"(?s){other}.* does not fit|other weights"):
            load_adapter(models[name], tmp_path / other)


def test_a_run_trains_saves_and_ranks_again(tmp_path: Path, tiny_world: Path) -> None:
    """Training and the two-stage test by the commands, with ALBEF's tokenizer and cleaning."""
    cfg, model = tiny_run_cfg(tiny_world, epochs=1), albef_cfg()
    model["visual"]["img_size"] = IMAGE_SIZE
    model["text"]["vocab_size"] = VOCAB_SIZE - 2
    model["data_preprocessor"] = {
        "type": "MultimodalDataPreprocessor",
        "tokenizer": {"vocab_file": str(tiny_world / "vocab.txt"), "extra_tokens": []},
        "max_text_len": POSITIONS,
    }
    cfg["model"] = model
    for split in ("train", "val", "test"):
        for step in cfg[f"{split}_dataloader"]["dataset"]["pipeline"]:
            if step["type"] == "CleanCaption":
                step["style"] = "albef"
    file = write_run_cfg(tmp_path / "run.py", cfg)
    folder = ["--work-dir", str(tmp_path)]
    load_tool("train.py").main([str(file), *folder])
    load_tool("test.py").main([str(file), str(tmp_path / "epoch_1.pth"), *folder])
    logs = [json.loads(line) for path in tmp_path.rglob("scalars.json") for line in path.open()]
    assert any("loss_itc" in line and "loss_itm" in line for line in logs)
    validated = next(line["t2v/R1"] for line in logs if "t2v/R1" in line)
    tested = [json.loads(path.read_text()) for path in tmp_path.glob("*/2*.json")]
    # Behind the epoch, and again from its file.
    assert [found["t2v/R1"] for found in tested] == [validated]
