"""The metafiles as entries."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.helpers import ROOT
from uniadapter.utils.model_index import read_models


def test_every_entry_of_every_metafile_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = read_models()
    text = "".join(file.read_text() for file in ROOT.glob("configs/*/metafile.yml"))
    assert len(models) == text.count("    Config: ")
    assert len({model.name for model in models}) == len(models)
    assert all((ROOT / model.config).is_file() for model in models)


def test_an_entry(tmp_path: Path) -> None:
    model = next(model for model in read_models() if model.name == "blip_tiny")
    assert model.config == "configs/pretrain/blip_tiny.py"
    assert model.tasks == ("Text-to-Image Retrieval",)
    assert model.weights == "configs/pretrain/blip_tiny.safetensors"
    whole = yaml.safe_load((ROOT / "configs/pretrain/metafile.yml").read_text())["Models"]
    assert model.meta in whole
