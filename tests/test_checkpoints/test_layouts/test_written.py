"""BLIP's models as transformers and mmpretrain have them, written of ours and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from safetensors.torch import load_file

from tests.helpers import draws, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import randomize, seeded_model
from tests.test_checkpoints.test_layouts.states import tiny_state
from tests.test_checkpoints.test_layouts.test_mmpretrain import retrieval_shapes
from tests.test_models.test_parity_hf.twins import bert_cfg, images, pad, visual_cfg, words
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.checkpoints import write
from uniadapter.checkpoints.layouts import export_state

KINDS = ("retrieval", "vqa", "caption")
LORA = {"type": "LoRA", "rank": 2}
# Of transformers, the decoder of VQA reads states as wide as the visual tower's.
SIZE = {"vision": 32, "text": 32, "layers": 2, "heads": 4, "image": 32, "vocab": 40}


def config_of(kind: str, size: dict[str, int] = SIZE, **options: Any) -> Config:
    """A model of each kind, small."""
    visual, text = visual_cfg(size), bert_cfg(size)
    reads = size["text" if kind == "vqa" else "vision"]
    decoder = {**bert_cfg(size, "BertDecoder"), "encoder_width": reads}
    parts = {
        "retrieval": {"text": text, "embed_dim": 16, "queue_size": 6},
        "vqa": {"text": text, "decoder": decoder},
        "caption": {"decoder": decoder},
    }[kind]
    name = {"retrieval": "RetrievalModel", "vqa": "VQAModel", "caption": "CaptionModel"}[kind]
    return Config({"model": {"type": name, "visual": visual, "adapter": None, **parts, **options}})


def saved(config: Config, folder: Path, seed: int = 0) -> tuple[Any, Path]:
    """A model of random weights, and its file."""
    model = randomize(seeded_model(config.model.to_dict(), seed), std=0.1).eval()
    write(folder / "ours.safetensors", tiny_state(model))
    return model, folder / "ours.safetensors"


@pytest.mark.parametrize("target", ["hf", "mmpretrain"])
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, target: str, tmp_path: Path) -> None:
    config = config_of(kind)
    model, source = saved(config, tmp_path)
    there = tmp_path / ("there" if target == "hf" else "there.pth")
    report = convert_checkpoint(source, there, config, target=target)
    assert set(report.left) <= ({"temp"} if target == "hf" else set())
    back = tmp_path / "back.safetensors"
    convert_checkpoint(there, back, config, target)
    own, found = tiny_state(model), load_file(back)
    assert set(own) - set(found) <= {"temp"}
    assert [name for name in found if not torch.equal(found[name], own[name])] == []


def shapes() -> st.SearchStrategy[dict[str, int]]:
    heads, sides = st.integers(1, 3), st.integers(1, 3)
    return st.builds(
        lambda heads, width, text, layers, side, vocab: {
            "vision": 8 * heads * width,
            "text": 8 * heads * text,
            "layers": layers,
            "heads": heads,
            "image": 16 * side,
            "vocab": vocab,
        },
        heads,
        sides,
        sides,
        st.integers(1, 3),
        sides,
        st.integers(20, 60),
    )


@settings(max_examples=draws(4), deadline=None)
@given(size=shapes(), kind=st.sampled_from(KINDS), adapter=st.sampled_from([None, LORA]))
def test_transformers_computes_the_same(
    size: dict[str, int], kind: str, adapter: dict[str, Any] | None, tmp_path_factory: Any
) -> None:
    """Its own model on what was written gives our outputs, those of a merged adapter too."""
    import transformers

    if kind == "vqa":
        size = {**size, "vision": size["text"]}
    folder = tmp_path_factory.mktemp("written")
    config = config_of(kind, size, adapter=adapter)
    ours, source = saved(config, folder)
    report = convert_checkpoint(source, folder / "hf", config, target="hf")
    assert any("is merged into" in note for note in report.notes) == (adapter is not None)
    name = json.loads((folder / "hf/config.json").read_text())["architectures"][0]
    theirs, said = getattr(transformers, name).from_pretrained(
        folder / "hf", output_loading_info=True, attn_implementation="eager"
    )
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    # Ours puts [ENC] in front of a text that reads a picture; transformers is given it.
    pixels, ids = images(size), words(size, size["vocab"] - 1)
    with torch.no_grad():
        found = _outputs(kind, ours, theirs.eval(), pixels, ids)
    for own, other in found:
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


def _outputs(kind: str, ours: Any, theirs: Any, pixels: torch.Tensor, ids: torch.Tensor) -> Any:
    """Pairs of what both compute."""
    seen = theirs.vision_model(pixels).last_hidden_state
    found = [(ours.role("visual").tokens(pixels), seen)]
    mask = torch.ones_like(ids)
    if kind == "retrieval":
        tokens = ours.encode_visual(pixels[:, None])[0]
        short, kept = pad(ids, [9, 6])
        logits = theirs(pixel_values=pixels, input_ids=short, attention_mask=kept).itm_score
        own = ours.match(short, kept, tokens)
        cosines = theirs(pixel_values=pixels, input_ids=ids, use_itm_head=False)
        text = ours.encode_text(ids, mask)[1]
        image = ours.encode_visual(pixels[:, None])[1]
        return [*found, (own, logits), (image @ text.T, cosines.itm_score)]
    if kind == "vqa":
        question = theirs.text_encoder(input_ids=ids, encoder_hidden_states=seen).last_hidden_state
        logits = theirs.text_decoder(input_ids=ids, encoder_hidden_states=question).logits
        states = ours.text(ids, mask, ours.text.memory(found[0][0]))
        own = ours.decoder(ids, None, ours.decoder.memory(states, mask))[0]
        return [*found, (states, question), (own, logits)]
    logits = theirs(pixel_values=pixels, input_ids=ids).logits
    own, _ = ours.decoder(ids, mask, ours.decoder.memory(found[0][0]))
    return [*found, (own, logits)]


def test_an_adapter_that_weights_can_hold_is_merged(tmp_path: Path) -> None:
    """The written model is the adapted one, and ours reads it as one without an adapter."""
    config = config_of("retrieval", adapter={"type": "LoRA", "rank": 3, "targets": ["q", "fc1"]})
    model, source = saved(config, tmp_path)
    convert_checkpoint(source, tmp_path / "m.pth", config, target="mmpretrain")
    plain = config_of("retrieval")
    convert_checkpoint(tmp_path / "m.pth", tmp_path / "b.safetensors", plain, "mmpretrain")
    found = init_model(plain, tmp_path / "b.safetensors")
    pixels = torch.randn(2, 1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            found.encode_visual(pixels)[1], model.encode_visual(pixels)[1], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("target", ["hf", "mmpretrain"])
@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "UniAdapter", "bottleneck": 4},
        {"type": "BottleneckAdapter", "preset": "houlsby", "bottleneck": 4},
        {"type": "Prompt", "text": 2},
        {"type": "UniPT", "reduction": 4},
    ],
    ids=lambda adapter: adapter["type"],
)
def test_other_adapters_are_refused(adapter: Any, target: str, tmp_path: Path) -> None:
    config = config_of("retrieval", adapter=adapter)
    _, source = saved(config, tmp_path)
    dst = tmp_path / ("x" if target == "hf" else "x.pth")
    with pytest.raises(ValueError, match=f"--to {target} has no place for an adapter, and weights"):
        convert_checkpoint(source, dst, config, target=target)
    assert not dst.exists()


@pytest.mark.parametrize("target", ["hf", "mmpretrain"])
def test_a_backbone_is_written_with_the_config_of_any_adapter(target: str, tmp_path: Path) -> None:
    dst = tmp_path / ("x" if target == "hf" else "x.pth")
    _, source = saved(config_of("caption"), tmp_path)
    config = config_of("caption", adapter={"type": "UniAdapter", "bottleneck": 4})
    report = convert_checkpoint(source, dst, config, target=target)
    assert not any("merged" in note for note in report.notes)
    with pytest.raises(ValueError, match="must end in .safetensors, or be a folder"):
        convert_checkpoint(source, tmp_path / "x.y", config, target="hf")


@pytest.mark.parametrize("target", ["hf", "mmpretrain"])
def test_other_models_are_refused(target: str, tmp_path: Path) -> None:
    dst = tmp_path / ("x" if target == "hf" else "x.pth")
    config = config_of("retrieval", matching=None)
    _, source = saved(config, tmp_path)
    with pytest.raises(ValueError, match=r"none of them consists of \['text', 'text_proj'"):
        convert_checkpoint(source, dst, config, target=target)


def test_transformers_has_no_such_sizes(tmp_path: Path) -> None:
    config = config_of("vqa", {**SIZE, "vision": 48})
    _, source = saved(config, tmp_path)
    with pytest.raises(ValueError, match="has one size for all towers of texts"):
        convert_checkpoint(source, tmp_path / "x", config, target="hf")
    assert not (tmp_path / "x").exists()


def test_mmpretrain_gets_all_its_keys() -> None:
    """At full width the names and shapes are those of mmpretrain's own modules."""
    from tests.test_checkpoints.test_layouts.states import meta_model, pool_state, weight_shapes

    state = pool_state(weight_shapes(meta_model()))
    written, report = export_state(state, "mmpretrain", queue_size=64)
    assert report.left == {}
    wanted = {**retrieval_shapes(), "head.temp": ()}
    assert {name: tuple(t.shape) for name, t in written.items()} == wanted


def test_the_marks_of_generation_are_the_tokenizers(tmp_path: Path) -> None:
    vocab = write_vocab(tmp_path / "vocab.txt")
    cfg = tiny_retrieval_cfg(vocab, adapter=None, pfa=None)
    decoder = {**cfg["text"], "type": "BertDecoder"}
    model = {key: cfg[key] for key in ("visual", "data_preprocessor")}
    config = Config({"model": {"type": "CaptionModel", **model, "decoder": decoder}})
    _, source = saved(config, tmp_path)
    convert_checkpoint(source, tmp_path / "hf" / "model.safetensors", config, target="hf")
    text = json.loads((tmp_path / "hf/config.json").read_text())["text_config"]
    found = init_model(config, source).tokenizer
    assert text["bos_token_id"] == found.dec_token_id
    assert text["sep_token_id"] == found.sep_token_id


def test_another_image_size(tmp_path: Path) -> None:
    """transformers gets the position embeddings that the model computes with."""
    small, large = config_of("caption"), config_of("caption", {**SIZE, "image": 64})
    _, source = saved(small, tmp_path)
    convert_checkpoint(source, tmp_path / "hf", large, target="hf")
    assert json.loads((tmp_path / "hf/config.json").read_text())["vision_config"]["image_size"] == (
        64
    )
    own = init_model(large, source).visual.pos_embed
    written = load_file(tmp_path / "hf/model.safetensors")
    assert torch.equal(written["vision_model.embeddings.position_embedding"], own)
    convert_checkpoint(source, tmp_path / "m.pth", small, target="mmpretrain")
    # mmpretrain interpolates itself, and gets those of the source.
    convert_checkpoint(source, tmp_path / "n.pth", large, target="mmpretrain")
    first, other = (torch.load(tmp_path / f"{x}.pth", weights_only=True) for x in "mn")
    grid = "visual_encoder.pos_embed"
    assert torch.equal(first["state_dict"][grid], other["state_dict"][grid])
    with pytest.raises(ValueError, match=r"those of 32 pixels and model.visual.img_size=64"):
        convert_checkpoint(tmp_path / "m.pth", tmp_path / "y", large, "mmpretrain", "hf")
