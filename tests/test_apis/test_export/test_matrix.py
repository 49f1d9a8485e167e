"""Every method on every kind of tower gives a graph of any size that scores as the model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_models.test_adapters.contract import METHODS, MODELS
from tests.test_models.test_adapters.contract_models import spread, write_files
from uniadapter.apis.export.checking import PartProgram
from uniadapter.apis.export.parts import AXES, Part, parts_of
from uniadapter.apis.export.programs import OnnxProgram
from uniadapter.apis.export.tracing import Shapes, trace
from uniadapter.apis.export.twin import float32_twin, plain
from uniadapter.apis.export.writing import ProgramWriter

SIDE = 32
RANKING = ("blip_video", "blip_image", "blip_two_widths", "albef", "pretrain", "clip", "beit3")
PAIRS = [
    (method, model)
    for method in METHODS
    for model in RANKING
    if model not in METHODS[method].refuses
]
# Lengths of the axes: those that a part is traced with, all 1, and others.
TRACED = {"media": 2, "frames": 3, "texts": 4, "pairs": 2, "words": 6}
OTHERS = {"media": 3, "frames": 2, "texts": 2, "pairs": 5, "words": 9}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("matrix"))


def drawn(part: Part, lengths: dict[str, int]) -> dict[str, torch.Tensor]:
    """Inputs of these lengths; the last word of a vocabulary ends a text, padding is behind it."""
    found = {}
    for name, value in part.inputs.items():
        shape = [axis if isinstance(axis, int) else lengths[axis] for axis in value.shape]
        found[name] = torch.randn(shape)
        if value.dtype == "int64":
            found[name] = torch.randint(5, part.model.text.vocab_size - 2, shape)
    if "input_ids" in found:
        ids = found["input_ids"]
        mask = torch.ones_like(ids)
        for row in range(len(ids)):
            end = max(1, ids.shape[1] - row % 3)
            ids[row, end - 1] = part.model.text.vocab_size - 1
            mask[row, end:] = 0
        found["attention_mask"] = mask
    return found


def traced_parts(method: str, kind: str, files: Path) -> Iterator[tuple[Part, Any]]:
    """The parts of a twin that computes the plain way, and the program of each."""
    entry = MODELS[kind]
    torch.manual_seed(0)
    model = spread(entry.build(METHODS[method].config_for(entry), files)).eval()
    for part in parts_of(plain(float32_twin(model)), (SIDE, SIDE)).values():
        yield part, trace(part, drawn(part, TRACED))


def assert_alike(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    for name, value in wanted.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4 * scale)


# Half of the pairs, every method and every tower among them; another TEST_SEED has the others.
HALF = [
    (method, kind)
    for number, method in enumerate(METHODS)
    for kind in RANKING
    if (method, kind) in PAIRS
    and (number + RANKING.index(kind) + int(os.environ.get("TEST_SEED", 0))) % 2 == 0
]


@pytest.mark.deep
@pytest.mark.parametrize(("method", "kind"), HALF)
def test_traced(method, kind, files):
    for part, program in traced_parts(method, kind, files):
        named = {axis for shape in Shapes(part, program).outputs.values() for axis in shape}
        assert named <= {*AXES, *(axis for axis in named if isinstance(axis, int))}
        module = program.module(check_guards=False)
        for lengths in (TRACED, dict.fromkeys(TRACED, 1), OTHERS):
            inputs = drawn(part, lengths)
            with torch.no_grad():
                found = dict(zip(part.outputs, module(**inputs), strict=True))
            assert_alike(found, PartProgram(part)(inputs))


@pytest.mark.deep
@pytest.mark.parametrize(
    ("method", "kind"),
    # Each method on the first that it serves, and one of them on all.
    [*dict(reversed(PAIRS)).items(), *(("uniadapter", kind) for kind in RANKING[1:])],
)
def test_onnx(method, kind, files, tmp_path):
    pytest.importorskip("onnxscript")
    writer = ProgramWriter(tmp_path, "onnx", 18)
    for part, program in traced_parts(method, kind, files):
        file = writer.save(part, program)
        session = OnnxProgram(tmp_path / file, list(part.outputs))
        for lengths in (TRACED, dict.fromkeys(TRACED, 1), OTHERS):
            inputs = drawn(part, lengths)
            assert_alike(session(inputs), PartProgram(part)(inputs))
