"""The words of the small models that answer and describe."""

from __future__ import annotations

import pytest

WORDS = ["red", "green", "a", "picture", "of", "ball", "what", "is", "it", "two", "big"]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return str(path)
