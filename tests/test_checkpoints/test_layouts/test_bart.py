"""BART folders of transformers: every key has a place, and the model is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from tests.t5_helpers import sources
from tests.test_models.test_backbones.test_bart import SIZES, VOCAB, bart, original
from tests.vl_helpers import inputs, vl_cfg
from uniadapter.apis import convert_checkpoint
from uniadapter.apis.model import build_model
from uniadapter.checkpoints import (
    backbone_fingerprint,
    load_adapter,
    load_pretrained,
    load_weights,
    save_adapter,
)
from uniadapter.engine.runner.checkpoint_content import restored_by_pretrained

TEXT = {"type": "Bart", "arch": SIZES, "vocab_size": VOCAB, "dropout": 0.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    original(bart(seed=3)).save_pretrained(tmp_path / "bart")
    return tmp_path / "bart"


def convert(folder: Path, out: Path, **text: Any) -> Any:
    config = Config({"model": {"type": "Seq2SeqModel", "text": {**TEXT, **text}}})
    return convert_checkpoint(folder, out, config, source="bart-hf")


def test_a_folder_becomes_the_same_model(folder: Path, tmp_path: Path) -> None:
    state, out = load_file(folder / "model.safetensors"), tmp_path / "bart.safetensors"
    report = convert(folder, out)
    assert set(report.used) == set(state)
    model = build_model({"type": "Seq2SeqModel", "text": TEXT, "pretrained": str(out)})
    model.init_weights()
    ids, mask = sources([3, 6], vocab_size=VOCAB)
    want = original(bart(seed=3))
    with torch.no_grad():
        found = model.eval().encode(ids, mask)[0]
        assert torch.equal(found, want.model.encoder(input_ids=ids, attention_mask=mask)[0])


def test_a_file_of_the_model_without_its_head(folder: Path, tmp_path: Path) -> None:
    file = folder / "model.safetensors"
    state = {name.removeprefix("model."): tensor for name, tensor in load_file(file).items()}
    state.pop("final_logits_bias", None)
    state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()
    save_file(state, file)
    report = convert(folder, tmp_path / "bart.safetensors")
    found = load_file(tmp_path / "bart.safetensors")
    assert not found["text.final_logits_bias"].any()
    assert any("no final_logits_bias in the source" in note for note in report.notes)
    assert torch.equal(found["text.shared.weight"], state["shared.weight"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "t5"}, "says model_type='t5': --from bart-hf reads 'bart'"),
        ({"scale_embedding": True}, "scale_embedding=True, BART has False"),
        ({"activation_function": "relu"}, "activation_function='relu', BART has 'gelu'"),
    ],
)
def test_another_model_is_refused(changes, match, folder: Path, tmp_path: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=match):
        convert(folder, tmp_path / "bart.safetensors")


def test_new_rows_and_the_visual_embedding_are_in_no_such_file(
    folder: Path, tmp_path: Path
) -> None:
    """They are drawn, and an adapter's file keeps what it was trained beside."""
    text = {"arch": SIZES, "vocab_size": VOCAB}
    adapter = {"type": "BottleneckAdapter", "preset": "houlsby", "bottleneck": 3}
    cfg = vl_cfg("Bart", text=text, adapter=adapter)
    out = tmp_path / "bart.safetensors"
    report = convert_checkpoint(folder, out, Config({"model": cfg}), source="bart-hf")
    assert not report.left
    assert "text.new_words.weight" not in load_file(out)
    models = [build_model(cfg).eval() for _ in range(2)]
    assert not torch.equal(*(model.text.new_words.weight for model in models))
    for model in models:
        load_pretrained(model, out)
    with torch.no_grad():
        for parameter in models[0].parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    saved = save_adapter(models[0], tmp_path / "adapter")
    kept = load_file(saved / "adapter_model.safetensors")
    assert torch.equal(kept["text.new_words.weight"], models[0].text.new_words.weight)
    assert not any(name.startswith(("text.shared", "text.encoder")) for name in kept)
    load_adapter(models[1], saved)
    given = inputs([2, 3], words=VOCAB)
    states = [model.encode(**given)[0] for model in models]
    assert torch.equal(*states)
    # So does a file of training that leaves the backbone to the pretrained one.
    models[0].pretrained = models[1].pretrained = str(out)
    left_out = set(restored_by_pretrained(models[0]))
    state = {n: t for n, t in models[0].state_dict().items() if n not in left_out}
    assert "text.new_words.weight" in state
    assert "text.shared.weight" in left_out
    meta = {"backbone_sha256": backbone_fingerprint(models[0])}
    torch.save({"state_dict": state, "meta": meta}, tmp_path / "epoch_1.pth")
    models.append(build_model({**cfg, "pretrained": str(out)}).eval())
    load_weights(models[2], tmp_path / "epoch_1.pth")
    assert torch.equal(models[2].encode(**given)[0], states[0])
    # A file without them is not the whole of what was trained.
    del kept["text.new_words.weight"]
    save_file(kept, saved / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"missing in the file: text\.new_words\.weight"):
        load_adapter(models[1], saved)
    # Another backbone is still told apart.
    with torch.no_grad():
        models[0].text.shared.weight[0] += 1
    save_adapter(models[0], saved)
    with pytest.raises(ValueError, match="was trained on a backbone with other weights"):
        load_adapter(models[1], saved)
