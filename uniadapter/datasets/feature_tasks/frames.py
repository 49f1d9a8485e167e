"""Features of the frames of a video, brought to one number of them."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def fit_frames(features: np.ndarray, number: int) -> np.ndarray:
    """Pad fewer frames with zeros at the end, and pool more of them.

    Of L frames, more than ``number``, the i-th that is left is the maximum of the frames from
    floor(i L / number) to ceil((i + 1) L / number), as in adaptive pooling over time. The zeros are
    features like any other to the model: VL-Adapter's doesn't mask them.

    Args:
        features: (L, D) float32, L at least 1.
        number: Frames wanted.

    Returns:
        (number, D) float32.
    """
    length = len(features)
    if length <= number:
        return np.pad(features, ((0, number - length), (0, 0)))
    pooled = F.adaptive_max_pool1d(torch.from_numpy(features).t()[None], number)
    return pooled[0].t().contiguous().numpy()
