"""Devices by their names."""

from __future__ import annotations

import pytest
import torch

from uniadapter.apis import get_model
from uniadapter.apis.export.exporting import ExportOptions
from uniadapter.apis.inferencers.base import model_of
from uniadapter.utils.devices import check_device, device_of


def test_devices_that_are_here_or_not() -> None:
    assert device_of("cuda:1").index == 1
    check_device("cpu")
    check_device(torch.device("cpu"))
    with pytest.raises(ValueError, match="no device 'foo'"):
        check_device("foo")
    with pytest.raises(ValueError, match="'cuda:99' can't be used here"):
        check_device("cuda:99")


def test_whoever_builds_a_model_refuses_them() -> None:
    with pytest.raises(ValueError, match="no device 'foo'"):
        model_of("tiny_zero_shot", True, "foo", None)
    with pytest.raises(ValueError, match="no device 'foo'"):
        get_model("tiny_zero_shot", device="foo")
    with pytest.raises(ValueError, match="no device 'foo'"):
        ExportOptions(format="torch", device="foo")
