"""Bytes of tensors of any layout; the precision of losses and scores."""

from __future__ import annotations

import pytest
import torch

from uniadapter.utils.tensors import as_bytes, at_least_float32

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_of_any_layout(dtype: torch.dtype) -> None:
    base = torch.arange(24).reshape(4, 6).to(dtype)
    views = [base, base.t(), base[1:2, ::4], base[:1, ::7], base[2:3, 5:], base[:0], base[2][::5]]
    # A single number with a stride, which is contiguous to PyTorch.
    views += [base[3, ::6], base[:1, :1].t(), base[0, 0], base[1:2, 3:4].expand(1, 1)]
    for view in views:
        found = as_bytes(view)
        assert found.dtype == torch.uint8
        assert found.view(dtype).tolist() == view.flatten().tolist()


def test_bytes_of_a_contiguous_tensor_are_its_memory() -> None:
    tensor = torch.zeros(2, 3, requires_grad=True)
    assert as_bytes(tensor).data_ptr() == tensor.data_ptr()


def test_half_precision_is_widened_and_nothing_is_narrowed() -> None:
    for given, wanted in {
        torch.float16: torch.float32,
        torch.bfloat16: torch.float32,
        torch.float32: torch.float32,
        torch.float64: torch.float64,
    }.items():
        assert at_least_float32(torch.ones(1, dtype=given)).dtype == wanted
