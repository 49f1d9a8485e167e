"""Whatever the task and the options: what an adapter creates, a training step runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import VOCAB_SIZE, draws, write_vocab
from tests.model_helpers import adapter_cfg, randomize, tiny_batch
from uniadapter.apis.model import build_model
from uniadapter.models.adapters.uniadapter_options import SHARING, TOWERS
from uniadapter.structures import MultimodalSample

TASKS = ("RetrievalModel", "BlipPretrainModel", "VQAModel", "CaptionModel")
OPTIONS = st.fixed_dictionaries(
    {
        "towers": st.lists(st.sampled_from(TOWERS), min_size=1, max_size=3, unique=True),
        "sharing": st.sampled_from(SHARING),
        "query_residual": st.sampled_from(["off", "shared", "own"]),
        "textual_branch": st.booleans(),
        "decoder": st.sampled_from(["shared", "own"]),
        "variant": st.sampled_from(["paper", "released"]),
        "kv_rank": st.sampled_from([0, 3]),
        "learnable_scale": st.booleans(),
        "layers": st.sampled_from([None, "1", [2]]),
        "shared_layers": st.sampled_from([None, [2]]),
    }
)
# Layers and width of the visual, the text and the decoder tower.
TOWER_SIZES = st.tuples(*[st.tuples(st.integers(1, 3), st.sampled_from([32, 32, 24]))] * 3)
# Errors that say which option to change.
REMEDIES = "|".join(
    [
        r"adapter\.query_residual='shared' uses",
        r"adapter\.textual_branch=True uses",
        r"adapter\.towers=.* names 'text'",
        r"adapter\.decoder='shared' gives",
        r"adapter\.\w+=.* would do nothing",
        r"adapter\.(shared_)?layers=.* do not exist",
    ]
)


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt"))


def build(
    task: str, vocab: str, options: dict[str, Any], sizes: tuple[tuple[int, int], ...]
) -> Any:
    (layers, visual), (text_layers, text), (decoder_layers, decoder) = sizes
    arch = {"embed_dims": visual, "num_layers": layers, "num_heads": 2, "feedforward_channels": 32}
    words = {"vocab_size": VOCAB_SIZE, "num_heads": 2, "intermediate_size": 48}
    words = {**words, "dropout": 0.0, "attention_dropout": 0.0, "encoder_width": visual}
    config: dict[str, Any] = {
        "type": task,
        "visual": {"type": "BlipViT", "arch": arch, "img_size": 32, "patch_size": 16},
        "adapter": adapter_cfg(**options),
        "data_preprocessor": {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {"vocab_file": vocab},
        },
    }
    if task != "CaptionModel":
        shape = {"num_layers": text_layers, "hidden_size": text}
        config["text"] = {**words, "type": "BertModel", **shape}
    if task != "RetrievalModel":
        shape = {"num_layers": decoder_layers, "hidden_size": decoder}
        if task == "VQAModel":
            shape["encoder_width"] = text
        config["decoder"] = {**words, "type": "BertDecoder", **shape}
    if task in ("RetrievalModel", "BlipPretrainModel"):
        config |= {"embed_dim": 8, "queue_size": 8, "pfa": {"type": "FrameAwareAttention"}}
    if task == "BlipPretrainModel":
        config["train_backbone"] = False
    torch.manual_seed(0)
    return randomize(build_model(config))


def step(model: Any, task: str) -> None:
    samples = [
        MultimodalSample(metainfo={"text": "a red dot", "answers": ["red"], "answer_weights": [1]})
        for _ in range(3)
    ]
    batch = tiny_batch(length=4)
    if task in ("VQAModel", "CaptionModel"):
        batch["data_samples"] = samples
    sum(model.train()(**batch, mode="loss").values()).backward()


@settings(max_examples=draws(12, deep=600), deadline=None)
@given(task=st.sampled_from(TASKS), options=OPTIONS, sizes=TOWER_SIZES)
def test_every_parameter_of_the_adapter_gets_a_gradient(vocab, task, options, sizes):
    try:
        model = build(task, vocab, options, sizes)
    except ValueError as error:
        if re.search(REMEDIES, str(error)):
            return
        raise
    with torch.no_grad():
        # A rectified unit that happens to be off for all tokens has no gradient.
        for name, parameter in model.adapter.named_parameters():
            if ".down." in name and name.endswith("bias"):
                parameter.add_(2)
    step(model, task)
    for name, parameter in model.adapter.named_parameters():
        assert parameter.grad is not None, name
        # A term that is the same for all keys drops out of the softmax.
        assert parameter.grad.abs().sum() > 0 or "key.up.bias" in name, name


SAME = ((2, 32),) * 3


@pytest.mark.parametrize("task", ["VQAModel", "CaptionModel"])
@pytest.mark.parametrize(
    "options",
    [
        {"towers": ["text"]},
        {"towers": ["visual", "text"]},
        {"query_residual": "off", "textual_branch": False},
        {"query_residual": "own", "textual_branch": False},
    ],
)
def test_a_textual_adapter_that_nothing_runs_is_refused(vocab, task, options):
    with pytest.raises(ValueError, match=r"adapter.towers=.* names 'text', but nothing would run"):
        build(task, vocab, options, SAME)


def test_a_decoder_deeper_or_wider_than_the_text_tower_has_adapters_of_its_own(vocab):
    # Whether or not the visual tower has a layer of that number.
    for visual in (2, 3):
        sizes = ((visual, 32), (2, 32), (3, 32))
        for layers in (None, [2, 3]):
            with pytest.raises(ValueError, match=r"its layers \[3\]"):
                build("VQAModel", vocab, {"layers": layers}, sizes)
        chosen = build("VQAModel", vocab, {"layers": "1-2"}, sizes)
        assert set(chosen.adapter.layers) == {"0", "1"}
        own = build("VQAModel", vocab, {"decoder": "own"}, sizes)
        assert set(own.adapter.decoder_layers) == {"0", "1", "2"}
    with pytest.raises(ValueError, match="that width.*adapter.decoder='own'"):
        build("VQAModel", vocab, {}, ((2, 32), (2, 32), (2, 24)))


def test_a_shallower_decoder_has_no_adapters_of_its_own_too_many(vocab):
    model = build("VQAModel", vocab, {"decoder": "own"}, ((2, 32), (3, 32), (1, 32)))
    assert set(model.adapter.layers) == {"0", "1", "2"}
    assert set(model.adapter.decoder_layers) == {"0"}


def test_a_captioners_own_adapters_are_apart_from_those_of_its_visual_tower(vocab):
    model = build("CaptionModel", vocab, {"decoder": "own"}, SAME)
    assert set(model.adapter.layers["0"].up) == {"visual"}
    assert set(model.adapter.decoder_layers["0"].up) == {"text", "cross"}
