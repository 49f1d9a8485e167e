"""Shapes that broadcasting would make something of are refused where they are relied on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import WORDS, randomize, tiny_batch, tiny_model
from uniadapter.models.execution import Factor, Words
from uniadapter.models.generation import GenerationConfig, generate
from uniadapter.registry import MODELS
from uniadapter.retrieval import GalleryScorer


@pytest.fixture(scope="module")
def model() -> Any:
    return randomize(tiny_model(pfa={"type": "FrameAwareAttention"}), std=0.1).eval()


def texts(count: int = 3, length: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, WORDS, (count, length), generator=generator)
    return ids, torch.ones_like(ids)


def states(media: int = 3) -> torch.Tensor:
    return torch.randn(media, 10, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("shape", [(3, 6), (3, 4), (1, 5), (3, 1), (2, 5)])
def test_masks_of_other_shapes(model: Any, shape: tuple[int, int], padding: bool) -> None:
    with pytest.raises(ValueError, match=r"attention_mask .* must be \(3, 5\)"):
        model.text(texts()[0], torch.ones(shape), padding=padding)


def test_a_cached_run_needs_the_mask_of_all_tokens() -> None:
    decoder = MODELS.build({**tiny_retrieval_cfg()["text"], "type": "BertDecoder"}).eval()
    ids, mask = texts()
    _, past = decoder(ids[:, :3], mask[:, :3])
    whole, _ = decoder(ids, mask)
    rest, _ = decoder(ids[:, 3:], mask, past=past)
    assert_close(rest, whole[:, 3:], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"must be \(3, 5\), got \(3, 2\)"):
        decoder(ids[:, 3:], mask[:, 3:], past=past)


@pytest.mark.parametrize("shape", [(3, 0), (3,), (3, 5, 1)])
def test_ids_of_other_shapes(model: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_ids must be \(B, L\)"):
        model.text(torch.ones(shape, dtype=torch.long), None)


@pytest.mark.parametrize("padding", [False, True])
def test_texts_beyond_the_positions_are_refused_packed_as_well(model: Any, padding: bool) -> None:
    ids, mask = texts(2, 41)
    mask[:, 4:] = 0
    with pytest.raises(ValueError, match="41 tokens exceeds the 40 positions"):
        model.text(ids, mask, padding=padding)
    with pytest.raises(ValueError, match="41 tokens exceeds the 40 positions"):
        model.role("fusion").begin(Words(ids, mask))


@pytest.fixture(params=[False, True], ids=["plain", "fast"])
def fusion(request: Any) -> Any:
    return randomize(tiny_model(fast=request.param), std=0.1).eval().role("fusion")


def test_other_numbers_of_media(fusion: Any) -> None:
    for media in (2, 4):
        for memory in (fusion.memory(states(media)), fusion.memory(states(media)).kept()):
            with pytest.raises(ValueError, match=f"3 texts read {media} media"):
                fusion.fuse(Words(*texts()), memory)
            with pytest.raises(ValueError, match="1 texts read"):
                fusion.fuse(Words(*texts(1)), memory)
            with pytest.raises(ValueError, match=f"3 texts read {media} media"):
                fusion.finish(fusion.begin(Words(*texts())), memory)


@pytest.mark.parametrize("owner", [[0, 1], [0, 1, 2, 0]])
def test_other_numbers_of_owners(fusion: Any, owner: list[int]) -> None:
    memory = fusion.memory(states(), owner=torch.tensor(owner))
    with pytest.raises(ValueError, match=f"3 texts read {len(owner)} media"):
        fusion.fuse(Words(*texts()), memory)
    with pytest.raises(ValueError, match=r"owner is \(P,\)"):
        fusion.memory(states(), owner=torch.tensor([owner]))


@pytest.mark.parametrize("owner", [None, torch.tensor([2, 0, 1])])
@pytest.mark.parametrize("shape", [(1, 10), (3, 1), (3, 9), (2, 10)])
def test_frame_weights_of_other_shapes(fusion: Any, shape: tuple[int, int], owner: Any) -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(3, 10\)"):
        fusion.memory(states(), owner=owner, factor=Factor(torch.ones(shape), True))


def test_states_and_their_mask(fusion: Any) -> None:
    with pytest.raises(ValueError, match=r"\(V, S, 32\).*got \(10, 32\)"):
        fusion.memory(states()[0])
    for shape in ((3, 9), (1, 10)):
        with pytest.raises(ValueError, match=r"must be \(3, 10\), got"):
            fusion.memory(states(), torch.ones(shape))


def test_owners_outside_the_media(fusion: Any) -> None:
    for media in (1, 2):
        with pytest.raises((IndexError, RuntimeError)):
            fusion.memory(states(media), owner=torch.tensor([0, 0, 2]))


@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (3, 3), (2, 2)])
def test_similarities_of_other_shapes(model: Any, shape: tuple[int, int]) -> None:
    tokens = torch.randn(3, 2, 5, 32)
    with pytest.raises(ValueError, match="frame_sims|weights"):
        model.match(*texts(), tokens, torch.zeros(shape))
    with pytest.raises(ValueError, match=r"frame_sims .* must be \(3, 2\)"):
        model.score_texts(tokens[0], *texts(), torch.zeros(shape))


def test_training_needs_one_text_and_one_id_a_medium(model: Any) -> None:
    batch = tiny_batch()
    for name in ("pixels", "media_ids", "input_ids"):
        part = {**batch, name: batch[name][:1]}
        with pytest.raises(ValueError, match="one text a medium"):
            model(**part, mode="loss")


def test_a_batch_of_skipped_media_alone_predicts_nothing(model: Any) -> None:
    nothing = torch.zeros(0, 0, dtype=torch.long)
    skipped = [SimpleNamespace(skipped=True)]
    pixels = torch.zeros(0, 0, 3, 0, 0)
    assert model(pixels, nothing, nothing, data_samples=skipped, mode="predict") == []


def test_a_prompt_and_a_medium_each() -> None:
    decoder = MODELS.build({**tiny_retrieval_cfg()["text"], "type": "BertDecoder"}).eval()
    config = GenerationConfig(num_beams=2, max_length=4, min_length=1)
    prompt = torch.full((2, 1), 5)
    for memory in (
        decoder.memory(states(1)),
        decoder.memory(states(3)),
        decoder.memory(states(2), owner=torch.tensor([1, 0, 1])),
    ):
        with pytest.raises(ValueError, match="2 prompts need as many media"):
            generate(decoder, prompt, memory, config, eos_token_id=3)
    swapped = decoder.memory(states(2), owner=torch.tensor([1, 0]))
    got = generate(decoder, prompt, swapped, config, eos_token_id=3)
    want = generate(decoder, prompt, decoder.memory(states(2).flip(0)), config, eos_token_id=3)
    assert torch.equal(got, want)


def test_the_gallery_scores_texts_with_padding_anywhere(model: Any) -> None:
    """Cut to the widest of the texts at hand, not to the number of their tokens."""
    ids, mask = texts(4, 7)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0], [1] * 6 + [0], [1] * 7])
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(2, 5, 32, generator=generator)
    features = torch.randn(2, 16, generator=generator)
    gallery: Any = SimpleNamespace(
        input_ids=ids,
        attention_mask=mask,
        text_cls=torch.randn(4, 32, generator=generator),
        text_features=torch.randn(4, 16, generator=generator),
        own_tokens=[tokens],
        own_frame_cls=tokens[None, :, 0],
        own_frame_features=features[None],
    )
    with torch.no_grad():
        scorer = GalleryScorer(model, gallery, torch.no_grad, text_batch=2)
        for chosen in ([0, 1], [1], [0, 3], [0, 1, 2, 3]):
            rows = torch.tensor(chosen)
            sims = gallery.text_features[rows] @ features.t()
            copies = tokens.expand(len(rows), -1, -1, -1)
            want = model.match(ids[rows], mask[rows], copies, sims)[:, 1]
            assert_close(scorer.score(0, rows), want, atol=1e-5, rtol=1e-4)
