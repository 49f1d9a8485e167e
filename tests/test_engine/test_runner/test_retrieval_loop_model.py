"""The loops with the real model, against a plain loop over pairs with ``model.match``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers import COLORS, IMAGE_SIZE, SHAPES, tiny_retrieval_cfg
from tests.test_engine.test_runner.retrieval_stubs import FakeRunner, Recorder, Split, loader
from uniadapter.engine.runner import RetrievalTestLoop, RetrievalValLoop
from uniadapter.models.tasks.retrieval import RetrievalModel
from uniadapter.registry import MODELS
from uniadapter.structures import MultimodalSample

K_TEST = 3


class WordSplit(Split):
    """Noise videos of three frames with one to three captions of the tiny vocabulary.

    No caption comes twice: the reference knows no copies.
    """

    def texts(self, index: int) -> list[str]:
        color, shape = list(COLORS)[index % 4], SHAPES[index % 3]
        texts = [f"a {color} {shape}", f"{shape} moves", f"a {shape} a {color} {shape} moves a"]
        texts = [text + " moves" * index for text in texts]
        return texts[: 1 + index % 3]

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        shape = (3, 3, IMAGE_SIZE, IMAGE_SIZE)
        item = super().__getitem__(index)
        sample: MultimodalSample = item["data_samples"]
        pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return {"inputs": pixels, "data_samples": sample}


def _model(vocab: Path, pfa: dict | None) -> RetrievalModel:
    torch.manual_seed(3)
    model = MODELS.build(tiny_retrieval_cfg(vocab, pfa=pfa))
    with torch.no_grad():
        # Zero-started adapters and small random weights would make all pairs alike.
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def _expected(split: WordSplit, model: RetrievalModel, weight: float) -> list[Tensor]:
    sims, logits = [], []
    media = []
    for v in range(len(split)):
        media.append(model.encode_visual(model.data_preprocessor(_batch(split[v]))["pixels"]))
    for v in range(len(split)):
        for text in split.texts(v):
            ids, mask = model.data_preprocessor.tokenizer([text])
            states, feature = model.encode_text(ids, mask)
            sims.append(torch.stack([(feature * m[1]).sum() for m in media]))
            row = []
            for tokens, _, frames in media:
                frame_sims = None
                if model.pfa is not None and model.pfa.variant == "paper":
                    frame_sims = (tokens[:, :, 0] * states[:, :1]).sum(-1)
                elif model.pfa is not None:
                    frame_sims = (frames * feature[:, None]).sum(-1)
                row.append(model.match(ids, mask, tokens, frame_sims)[0, 1])
            logits.append(torch.stack(row))
    return [
        _shortlisted(torch.stack(logits), torch.stack(sims), weight),
        _shortlisted(torch.stack(logits).t(), torch.stack(sims).t(), weight),
    ]


def _batch(item: dict) -> dict:
    return {key: [value] for key, value in item.items()}


def _shortlisted(logits: Tensor, sims: Tensor, weight: float) -> Tensor:
    scores = torch.full_like(logits, -100.0)
    for row, best in enumerate(sims.topk(K_TEST, dim=1).indices.tolist()):
        for column in best:
            scores[row, column] = logits[row, column] + weight * sims[row, column]
    return scores


@pytest.mark.parametrize("variant", ["released", "paper", None])
def test_scores_equal_match_pair_by_pair(variant: str | None, tiny_vocab: Path) -> None:
    split = WordSplit(6)
    pfa = None if variant is None else {"type": "FrameAwareAttention", "variant": variant}
    model = _model(tiny_vocab, pfa)
    loop = RetrievalTestLoop(
        FakeRunner(model), loader(split), Recorder(), k_test=K_TEST, itc_weight=1.0, text_batch=4
    )
    loop.run()
    for rows, expected in zip(loop.evaluator.rows, _expected(split, model, 1.0), strict=True):
        assert expected[expected > -100].std() > 0.01
        torch.testing.assert_close(torch.cat(rows), expected, rtol=1e-4, atol=1e-4)


def test_the_frames_weights_matter(tiny_vocab: Path) -> None:
    rows = []
    for pfa in (None, {"type": "FrameAwareAttention"}):
        recorder = Recorder()
        loop = RetrievalTestLoop(
            FakeRunner(_model(tiny_vocab, pfa)), loader(WordSplit(6)), recorder, k_test=6
        )
        loop.run()
        rows.append(torch.cat(recorder.rows[0]))
    assert (rows[0] - rows[1]).abs().max() > 1e-3


def test_texts_of_the_gallery_need_their_first_tokens_alone(tiny_vocab: Path) -> None:
    model, rows = _model(tiny_vocab, None), []
    # Of the last layer, whether texts run padded or packed.
    network = model.text.encoder.layer[-1].output.dense
    network.register_forward_hook(lambda _, __, out: rows.append(out[..., 0].numel()))
    RetrievalTestLoop(FakeRunner(model), loader(WordSplit(3)), Recorder(), k_test=0).run()
    assert sum(rows) == sum(len(WordSplit(3).texts(index)) for index in range(3))


def test_a_model_that_cannot_match_ranks_by_similarity_alone(tiny_vocab: Path) -> None:
    torch.manual_seed(3)
    heads = {"contrast": {"type": "BatchContrastHead"}, "matching": None, "queue_size": None}
    model = MODELS.build(tiny_retrieval_cfg(tiny_vocab, adapter=None, pfa=None, **heads)).eval()
    arguments = (FakeRunner(model), loader(WordSplit(6)), Recorder())
    loop = RetrievalTestLoop(*arguments, k_test=0)
    loop.run()
    assert torch.cat(loop.evaluator.rows[0]).abs().max() <= 1 + 1e-6
    for kind, key in ((RetrievalTestLoop, "test_cfg"), (RetrievalValLoop, "val_cfg")):
        with pytest.raises(ValueError, match=f"model.matching=None: set {key}.k_test=0"):
            kind(*arguments, k_test=4)
