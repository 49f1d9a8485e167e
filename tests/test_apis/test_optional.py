"""What needs a package that is not installed says so."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_without_sentence_transformers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.delitem(sys.modules, "uniadapter.apis.sentence_transformers", raising=False)
    with pytest.raises(ImportError, match="pip install 'sentence-transformers>=6'"):
        importlib.import_module("uniadapter.apis.sentence_transformers")
