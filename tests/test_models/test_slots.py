from __future__ import annotations

import pytest
import torch

from uniadapter.models.slots import Slot, disabled


def test_empty_slot_returns_the_very_tensor():
    out, x = torch.randn(2, 4), torch.randn(2, 4)
    assert Slot(4).add(out, x) is out
    assert Slot(4)(x) is None


def test_filled_slot_adds_its_term():
    slot = Slot(4)
    slot.fill(lambda x: 2 * x)
    out, x = torch.randn(2, 4), torch.randn(2, 4)
    assert slot.filled
    torch.testing.assert_close(slot.add(out, x), out + 2 * x)


def test_a_slot_is_filled_once():
    slot = Slot(4)
    slot.fill(lambda x: x)
    with pytest.raises(ValueError, match="filled already"):
        slot.fill(lambda x: x)
    slot.clear()
    slot.fill(lambda x: -x)
    assert slot(torch.ones(1)) == -1


def test_output_width_defaults_to_the_input_width():
    assert Slot(4).out_dim == 4
    assert Slot(4, 6).out_dim == 6


def test_disabled_restores_what_was_off_before():
    first, second = Slot(4), Slot(4)
    for slot in (first, second):
        slot.fill(lambda x: x)
    second.enabled = False

    def fails() -> None:
        with disabled({"a": [first], "b": [second]}):
            assert first(torch.ones(1)) is None
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert first.enabled
    assert not second.enabled
