"""Devices by the names that users give."""

from __future__ import annotations

import torch


def device_of(name: str | torch.device) -> torch.device:
    """A device, whether or not it is here.

    Raises:
        ValueError: If there is none of that name.
    """
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"There is no device {str(name)!r}: name cpu, cuda or cuda:1.") from error


def check_device(name: str | torch.device) -> None:
    """Refuse a device that is not here.

    Raises:
        ValueError: If nothing can be put there.
    """
    device = device_of(name)
    try:
        torch.empty(0, device=device)
    # A build without CUDA asserts; what drivers and torch do not know are errors at run time.
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"The device {str(name)!r} can't be used here: {said}.") from error
