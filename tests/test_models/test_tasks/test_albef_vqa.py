"""Question answering on ALBEF: a decoder that is the encoder's upper layers once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.helpers import VOCAB_SIZE, load_tool, write_vocab
from tests.model_helpers import randomize
from tests.test_models import albef_reference as reference
from tests.test_models.test_tasks.test_albef_retrieval import (
    FUSION,
    HEADS,
    LAYERS,
    POSITIONS,
    SIDE,
    WIDTH,
    adapters_of,
    albef_cfg,
    batch_of,
)
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.checkpoints import load_adapter, save_adapter
from uniadapter.models.build import build_model
from uniadapter.structures import MultimodalSample

WORDS = VOCAB_SIZE - 2
ANSWERS = ["red", "a blue dot", "green square moves", "dot"]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt"))


def vqa_cfg(vocab: str, **overrides: Any) -> dict[str, Any]:
    """Config of a tiny ALBEF for questions, with the options of the published one."""
    cfg = albef_cfg()
    text = {**cfg["text"], "vocab_size": WORDS}
    decoder = {k: v for k, v in text.items() if k != "fusion_layer"}
    tokenizer = {"vocab_file": vocab, "extra_tokens": []}
    return {
        "type": "VQAModel",
        "visual": cfg["visual"],
        "text": text,
        "decoder": {
            **decoder,
            "type": "BertDecoder",
            "num_layers": LAYERS - FUSION,
            "layer_offset": FUSION,
        },
        "adapter": cfg["adapter"],
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": tokenizer,
            "max_text_len": POSITIONS,
        },
        "label_smoothing": 0.0,
        "end_marks": 2,
        **overrides,
    }


def published(seed: int) -> reference.State:
    generator = torch.Generator().manual_seed(seed)
    shapes = reference.key_list(WIDTH, LAYERS, SIDE**2, WORDS, FUSION, POSITIONS, None)
    return {name: torch.randn(s, generator=generator) * 0.3 for name, s in shapes.items()}


def questions(seed: int) -> tuple[torch.Tensor, ...]:
    pixels, ids, mask = batch_of(seed)
    return pixels, ids % WORDS, mask


def likelihoods(
    state: reference.State, batch: tuple[torch.Tensor, ...], rows: list[list[int]], adapters: Any
) -> torch.Tensor:
    """(B, A) log-likelihoods of answers."""
    found = []
    for pixels, ids, mask in zip(*batch, strict=True):
        image = reference.image(pixels[0], state, HEADS, adapters)
        text = reference.text(ids[: int(mask.sum())].tolist(), state, HEADS, FUSION, adapters)
        seen = reference.fuse(text, image, state, HEADS, FUSION, adapters)
        found.append(
            torch.stack(
                [reference.answer(row, seen, state, HEADS, FUSION, adapters) for row in rows]
            )
        )
    return torch.stack(found)


@pytest.mark.parametrize("fast", [True, False])
def test_a_published_file_ranks_and_trains_as_the_formulas(
    tmp_path: Path, vocab: str, fast: bool
) -> None:
    state, batch = published(0), questions(1)
    torch.save({"model": state}, tmp_path / "published.pth")
    config = Config({"model": vqa_cfg(vocab, fast=fast)})
    ours = tmp_path / "ours.safetensors"
    report = convert_checkpoint(tmp_path / "published.pth", ours, config, "albef")
    assert set(report.used) == set(state)
    model = init_model(config, ours)
    tokenizer = model.tokenizer
    # [CLS] first, and two [SEP] behind.
    rows = [[*tokenizer.encode(answer), tokenizer.sep_token_id] for answer in ANSWERS]
    assert all(row[0] == tokenizer.cls_token_id for row in rows)
    samples = [
        MultimodalSample(metainfo={"answers": ANSWERS[:2], "answer_weights": [0.7, 0.3]})
        for _ in range(3)
    ]
    for seed in (None, 2):
        adapters = None if seed is None else adapters_of(model, seed)
        want = likelihoods(state, batch, rows, adapters)
        with torch.no_grad():
            states = model.encode_question(*batch)
            found = model.rank_answers(states, batch[2], ANSWERS)
            loss = model(*batch, data_samples=samples, mode="loss")["loss_lm"]
        torch.testing.assert_close(found, want, atol=2e-4, rtol=1e-4)
        mean = -(want[:, :2] @ torch.tensor([0.7, 0.3])).mean()
        torch.testing.assert_close(loss, mean, atol=2e-4, rtol=1e-4)
    back = tmp_path / "back.pth"
    convert_checkpoint(ours, back, config, target="albef")
    written = torch.load(back, weights_only=True)["model"]
    for name, tensor in state.items():
        assert torch.equal(written[name], tensor)


def test_the_decoder_has_the_adapters_of_the_layers_that_it_came_from(vocab: str) -> None:
    model = build_model(vqa_cfg(vocab))
    places = model.places().slots
    assert set(places["text.after_self"]) == {0, 1}
    assert set(places["fusion.after_cross"]) == set(places["decoder.after_cross"]) == {2, 3}
    assert set(model.adapter.layers) == {"0", "1", "2", "3"}
    own = build_model(vqa_cfg(vocab, adapter={**vqa_cfg(vocab)["adapter"], "decoder": "own"}))
    assert set(own.adapter.decoder_layers) == {"2", "3"}


def test_answers_are_written_and_end_at_the_first_mark(vocab: str) -> None:
    model = build_model(vqa_cfg(vocab, inference="generate")).eval()
    found = model.forward(
        *questions(3),
        data_samples=[MultimodalSample() for _ in range(3)],
        mode="predict",
    )
    assert all("[SEP]" not in sample.pred_answer for sample in found)


def test_marks_and_lengths(vocab: str) -> None:
    model = build_model(vqa_cfg(vocab))
    assert model.dec_token_id == model.tokenizer.cls_token_id
    ids, mask, labels = model.decoder_words(["red", "a blue dot"], 6, torch.device("cpu"), (), 2)
    sep, cls = model.tokenizer.sep_token_id, model.tokenizer.cls_token_id
    words = [model.tokenizer.encode(text)[1:-1] for text in ("red", "a blue dot")]
    assert ids.tolist() == [[cls, *words[0], sep, sep, 0, 0], [cls, *words[1], sep, sep]]
    assert mask.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert labels[:, 0].tolist() == [-100, -100]
    assert labels[0].tolist()[1:] == [*words[0], sep, sep, -100, -100]
    cut = model.decoder_words(["a blue dot"], 5, torch.device("cpu"), (), 2)[0]
    assert cut.tolist() == [[cls, *words[1][:2], sep, sep]]
    with pytest.raises(ValueError, match="max_answer_len=3 leaves no room .* 2 .SEP.* at least 4"):
        build_model(vqa_cfg(vocab, max_answer_len=3))
    with pytest.raises(ValueError, match="end_marks=0 must be at least 1"):
        build_model(vqa_cfg(vocab, end_marks=0))
    for part, role in (("text", "fusion"), ("decoder", "decoder")):
        with pytest.raises(
            ValueError, match=rf"VQAModel needs .* \(the role '{role}'\), and there"
        ):
            build_model(vqa_cfg(vocab, **{part: None}))
    decoder = {**vqa_cfg(vocab)["decoder"], "fusion_layer": 1}
    with pytest.raises(ValueError, match="decoder.fusion_layer=1: every layer of a decoder reads"):
        build_model(vqa_cfg(vocab, decoder=decoder))


def test_a_pretrained_file_becomes_a_model_for_questions(
    tmp_path: Path, vocab: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command: positions of another image size, and a decoder from the upper layers."""
    generator = torch.Generator().manual_seed(4)
    shapes = reference.key_list(WIDTH, LAYERS, 9, WORDS, FUSION, POSITIONS, 8)
    state = {n: torch.randn(s, generator=generator) * 0.3 for n, s in shapes.items()}
    head = reference.key_list(WIDTH, LAYERS, 9, WORDS, FUSION, POSITIONS, None)
    names = [name for name in head if name.startswith("text_decoder.cls.")]
    state.update({n: torch.randn(head[n], generator=generator) for n in names})
    body = "text_encoder.bert."
    pretrained = {
        name.replace("text_encoder.", body).replace("text_decoder.cls.", "text_encoder.cls."): t
        for name, t in state.items()
    }
    torch.save({"model": pretrained}, tmp_path / "ALBEF.pth")
    config = tmp_path / "config.py"
    config.write_text(f"model = {vqa_cfg(vocab)!r}\n")
    tool, ours = load_tool("model_converters/convert_checkpoint.py"), tmp_path / "ours.safetensors"
    arguments = [str(tmp_path / "ALBEF.pth"), str(ours), "--config", str(config), "--init-decoder"]
    with pytest.raises(SystemExit, match="--init-decoder .* needs --from"):
        tool.main([arguments[0], str(tmp_path / "x.pth"), *arguments[2:], "--to", "albef"])
    tool.main([*arguments, "--from", "albef"])
    said = capsys.readouterr().out
    assert "note: the decoder starts from the last 2 layers" in said
    assert "keeps the source's 3 x 3 patches" in said
    model = init_model(str(config), ours)
    assert model.visual.pos_embed.shape == (1, 1 + SIDE**2, WIDTH)
    upper = model.text.encoder.layer[FUSION:]
    for layer, start in zip(model.decoder.bert.encoder.layer, upper, strict=True):
        for name, tensor in start.state_dict().items():
            assert torch.equal(layer.state_dict()[name], tensor)
    for name, tensor in model.text.embeddings.state_dict().items():
        assert torch.equal(model.decoder.bert.embeddings.state_dict()[name], tensor)
    bias = pretrained["text_encoder.cls.predictions.bias"]
    assert torch.equal(model.decoder.cls.predictions.bias, bias)


@pytest.mark.parametrize("layers", [None, [1]])
def test_the_text_alone_is_adapted_below_the_fusion(vocab, layers, tmp_path):
    """Above it no text runs by itself; all layers and those that are left are not one choice."""
    adapter = {"type": "UniAdapter", "bottleneck": 2, "towers": ["text"], "query_residual": "off"}
    adapter |= {"textual_branch": False, "sharing": "none"}
    model = build_model(vqa_cfg(vocab, adapter={**adapter, "layers": layers}))
    assert len(model.adapter.layers) == (FUSION if layers is None else 1)
    randomize(model)
    save_adapter(model, tmp_path)
    other = build_model(vqa_cfg(vocab, adapter={**adapter, "layers": layers}))
    other.load_state_dict(
        {n: t for n, t in model.state_dict().items() if "adapter" not in n}, strict=False
    )
    load_adapter(other, tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    wrong = {**adapter, "layers": [LAYERS]}
    with pytest.raises(ValueError, match=rf"adapter.layers=\[{LAYERS}\] would do nothing, since"):
        build_model(vqa_cfg(vocab, adapter=wrong))
