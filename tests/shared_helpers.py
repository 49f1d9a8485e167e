"""Small shared folders, and what spoils them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tiny_retrieval_cfg, write_vocab
from tests.model_helpers import randomize, seeded_model
from uniadapter.apis import AutoAdapterModel
from uniadapter.checkpoints.files import CONFIG_NAME


def shared_model(folder: Path, **options: Any) -> Any:
    """A small model whose vocabulary lies in the folder."""
    vocab = write_vocab(folder / "vocab.txt")
    return randomize(seeded_model(tiny_retrieval_cfg(vocab, **options))).eval()


def copied(folder: Path, to: Path) -> Path:
    """A copy of a shared folder."""
    return shutil.copytree(folder, to / "adapter")


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the JSON of a folder."""
    config = json.loads((folder / CONFIG_NAME).read_text())
    change(config)
    (folder / CONFIG_NAME).write_text(json.dumps(config))


def put(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value, by the keys that lead there."""

    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = to

    return change


def refused(folder: Path, error: type[Exception] = ValueError) -> str:
    """The error of a folder that must not load, which names it."""
    with pytest.raises(error) as raised:
        AutoAdapterModel.from_pretrained(folder)
    assert str(folder) in str(raised.value)
    return str(raised.value)
