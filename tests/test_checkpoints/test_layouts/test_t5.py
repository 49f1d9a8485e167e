"""T5 folders of transformers: every key has a place, and the model is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from tests.t5_helpers import original, seq2seq, seq2seq_cfg, sources
from uniadapter.apis import convert_checkpoint
from uniadapter.apis.model import build_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    original(seq2seq(seed=3)).save_pretrained(tmp_path / "t5")
    return tmp_path / "t5"


def convert(folder: Path, out: Path, **options: Any) -> Any:
    config = Config({"model": seq2seq_cfg(**options)})
    return convert_checkpoint(folder, out, config, source="t5-hf")


def test_a_folder_becomes_the_same_model(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "model.safetensors")
    report = convert(folder, tmp_path / "t5.safetensors")
    assert set(report.used) == set(state)
    assert not report.left
    adapter = {"type": "UniPT", "decoder": "side", "reduction": 2}
    model = build_model(seq2seq_cfg(adapter, pretrained=str(tmp_path / "t5.safetensors")))
    model.init_weights()
    ids, mask = sources([3, 6])
    with torch.no_grad():
        want = original(seq2seq(seed=3))(input_ids=ids, attention_mask=mask, decoder_input_ids=ids)
        got, _ = model.eval().encode(ids, mask)
    assert torch.equal(got[..., :16], want.encoder_last_hidden_state)


def test_files_with_every_name_of_the_table(folder: Path, tmp_path: Path) -> None:
    """Older files name the table four times, and a bias that nothing reads."""
    file = folder / "model.safetensors"
    state = load_file(file)
    odd = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    more = {
        **{
            f"{name}.embed_tokens.weight": state["shared.weight"].clone()
            for name in ("encoder", "decoder")
        },
        "lm_head.weight": state["shared.weight"].clone(),
        odd: torch.zeros(32, 2),
    }
    save_file({**state, **more}, file)
    report = convert(folder, tmp_path / "a.safetensors")
    assert list(report.left) == [odd]
    assert report.used["lm_head.weight"] == "text.shared.weight"
    for name, tensor in load_file(tmp_path / "a.safetensors").items():
        assert torch.equal(tensor, state[name.removeprefix("text.")])
    # A head of its own is that of another version.
    save_file({**state, "lm_head.weight": state["shared.weight"] + 1}, file)
    with pytest.raises(ValueError, match="two names of one tensor but hold different values"):
        convert(folder, tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "bart"}, "says model_type='bart': --from t5-hf reads 't5'"),
        ({"feed_forward_proj": "gated-gelu"}, "='gated-gelu', T5 v1.0 has 'relu'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False, T5 v1.0 has True"),
        (
            {"relative_attention_max_distance": 64},
            "max_distance=64, T5 v1.0 has",
        ),
    ],
)
def test_another_model_is_refused(changes, match, folder: Path, tmp_path: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=match):
        convert(folder, tmp_path / "t5.safetensors")
    assert not (tmp_path / "t5.safetensors").exists()


def test_files_that_are_missing_or_of_other_sizes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "t5.safetensors"
    with pytest.raises(ValueError, match="does not fit the model"):
        convert(folder, out, text={"vocab_size": 100})
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        convert(folder, out)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="is the folder of a transformers model"):
        convert(folder, out)
