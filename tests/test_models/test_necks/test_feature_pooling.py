from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.models import FeaturePooling


def naive(features, mask):
    """Number by number."""
    pooled = []
    for frames, real in zip(features.tolist(), mask.tolist(), strict=True):
        kept = [frame for frame, one in zip(frames, real, strict=True) if one]
        count = max(len(kept), 1)
        mean = [sum(frame[e] for frame in kept) / count for e in range(len(frames[0]))]
        norm = max(math.sqrt(sum(x * x for x in mean)), 1e-6)
        pooled.append([x / norm for x in mean])
    return torch.tensor(pooled, dtype=torch.float64)


@settings(max_examples=draws(10), deadline=None)
@given(seed=st.integers(0, 2**20), rows=st.integers(1, 4), frames=st.integers(1, 5))
def test_it_is_the_mean_of_real_frames(seed, rows, frames):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, frames, 6, generator=generator, dtype=torch.float64)
    mask = torch.randint(0, 2, (rows, frames), generator=generator)
    features = features.masked_fill(mask[..., None] == 0, float("nan"))
    found = FeaturePooling()(features, mask)
    torch.testing.assert_close(found, naive(features, mask))


def test_no_mask_is_all_frames_and_no_frame_is_zero():
    features = torch.randn(2, 3, 4)
    pool = FeaturePooling()
    torch.testing.assert_close(pool(features), pool(features, torch.ones(2, 3)))
    assert not pool(features, torch.zeros(2, 3)).any()
    # Frames that cancel each other out have no direction.
    assert not pool(torch.stack((features[0], -features[0]))[None, :, 0]).any()


def test_bad_input():
    with pytest.raises(ValueError, match="frame_mask"):
        FeaturePooling()(torch.randn(2, 3, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="eps"):
        FeaturePooling(eps=0)
