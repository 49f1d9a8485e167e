"""From a model to a folder that runs without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniadapter.checkpoints.plain_config import to_json
from uniadapter.checkpoints.shared import copy_files, data_pipeline, preprocessor_of
from uniadapter.models.tasks import RetrievalModel, VseModel
from uniadapter.utils.devices import check_device
from uniadapter.utils.download import sha256_of
from uniadapter.utils.extras import import_extra
from uniadapter.utils.safe_folders import check_place, new_folder

from ..encoding import check_one_adapter
from ..inferencers.cache import binding_of
from ..inferencers.retrieval import ranking_of
from ..inputs import InputReader, config_of
from .checking import TOLERANCE, Draws, PartProgram, largest_difference
from .facts import FACTS_NAME, ExportFacts
from .parts import ONNX_FILES, Part, parts_of
from .programs import OpenedInTurn
from .scoring import Programs
from .tracing import Shapes, trace
from .twin import float32_twin, plain
from .writing import FORMATS, OPSET, ProgramWriter


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Args:
        format: ``'onnx'``, or ``'torch'`` for programs of ``torch.export``.
        opset: ONNX's set of operators. None: 18.
        check: Compare what was written with the model, and refuse a difference above 1e-4.
        device: Where the model is traced, and where programs of torch will run.
    """

    format: str = "onnx"
    opset: int | None = None
    check: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r} is unknown: choose from {list(FORMATS)}.")
        if self.opset is not None and self.format != "onnx":
            raise ValueError("opset is ONNX's set of operators: leave it out, or take format=onnx.")
        if self.opset is not None and self.opset < OPSET:
            raise ValueError(
                f"opset={self.opset} lacks operators that are needed: {OPSET} or more."
            )
        check_device(self.device)
        if self.format == "onnx":
            for name in ("onnx", "onnxscript", "onnxruntime"):
                import_extra(name, "export", ONNX_FILES)


def export_model(model: Any, folder: str | Path, **options: Any) -> ExportFacts:
    """Write the parts of a retrieval model, its adapter in them, to files that run without it.

    The model stays as it is. Weights are written as float32, whatever they are stored as.

    Args:
        model: A model of :func:`uniadapter.apis.get_model` or :func:`uniadapter.apis.init_model`.
        folder: Where; made if missing. It is there whole or not at all.
        **options: Those of :class:`ExportOptions`.

    Returns:
        What the folder says of itself.

    Raises:
        ImportError: If a package is missing.
        ValueError: If the model is of another task, a part can't be exported, an option is wrong,
            the folder is not empty, or files and model differ.
    """
    chosen = ExportOptions(**options)
    _check_model(model)
    with whole_folder(folder) as inside:
        facts = _export(float32_twin(model, chosen.device), inside, chosen)
        facts.write(inside)
    return facts


def _check_model(model: Any) -> None:
    """Refuse what has no parts to be exported."""
    kind = type(model).__name__
    if not isinstance(model, RetrievalModel):
        raise ValueError(
            f"A {kind} can't be exported: retrieval models can, such as `uniadapter list --task "
            "Retrieval` names. Answers and captions are written word by word, which no single "
            "graph does."
        )
    if isinstance(model, VseModel):
        raise ValueError(
            f"A {kind} can't be exported: how its pooling weighs tokens depends on how many "
            "different lengths a batch has, which no graph says."
        )
    check_one_adapter(model)


def check_folder(folder: str | Path) -> None:
    """Refuse a folder that has something in it, or can't be made.

    Raises:
        ValueError: If it has, or is a file.
        WriteError: If nothing can be written around it.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(
            f"{target} exists already and is not empty: name another folder, or remove it."
        )
    check_place(target)


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder beside the one that is wanted, which takes its place at the end of the context.

    Raises:
        ValueError: If the wanted one exists and is not empty.
        WriteError: If the disk is full, read-only or the like; nothing is left.
    """
    check_folder(folder)
    with new_folder(folder) as inside:
        yield inside


def _export(model: Any, folder: Path, options: ExportOptions) -> ExportFacts:
    """Write the parts of a twin, which is changed, into a folder, and look at them."""
    model.prefix_cache = None
    reader = InputReader(model)
    blank = reader.image_frames(np.zeros((64, 64, 3), np.uint8))
    size = (blank.shape[-2], blank.shape[-1])
    switches = model.fast
    facts = _facts(model, reader, size, folder, options)
    draws = Draws(model, size)
    parts = parts_of(plain(model), size)
    writer, written = ProgramWriter(folder, options.format, facts.opset), {}
    for name, part in parts.items():
        program = trace(part, _sample(part, draws, reader.max_frames))
        file = writer.save(part, program)
        written[name] = _described(part, Shapes(part, program), file)
    tokens = written["visual"]["outputs"]["tokens"]["shape"]
    facts = replace(facts, parts=written, token_shape=tokens[2:])
    if options.check:
        # As the model runs otherwise.
        model.fast = switches
        own = Programs({name: PartProgram(part) for name, part in parts.items()})
        exported = Programs(OpenedInTurn(folder, facts, options.device))
        apart = largest_difference(own, exported, draws, reader.max_frames)
        if not apart <= TOLERANCE:
            raise ValueError(
                f"The exported files differ from the model by {apart:.1e}, more than "
                f"{TOLERANCE:.0e}, and are not kept. check=False (--no-check) keeps them."
            )
        facts = replace(facts, difference=apart)
    files = {p.name: sha256_of(p) for p in sorted(folder.iterdir()) if p.name != FACTS_NAME}
    return replace(facts, files=files)


def _sample(part: Part, draws: Draws, frames: int) -> Mapping[str, Tensor]:
    """Inputs to trace a part with, free axes longer than 1."""
    lengths = {"media": 2, "frames": max(2, min(3, frames)), "texts": 4, "pairs": 2}
    longest = int(draws.preprocessor.max_text_len)
    words = draws.words([longest] * 4, longest)
    found = {}
    for name, value in part.inputs.items():
        shape = [n if isinstance(n, int) else lengths.get(n, longest) for n in value.shape]
        drawn = torch.randn(shape, generator=draws.generator)
        ones = torch.ones(shape, dtype=torch.long)
        if value.dtype == "int64":
            drawn = words[name][: shape[0]] if name in words else ones
        found[name] = drawn.to(next(part.model.parameters()).device)
    return found


def _described(part: Part, shapes: Shapes, file: str) -> dict[str, Any]:
    """What the JSON says of a part."""
    return {
        "file": file,
        "inputs": {
            name: {"shape": list(value.shape), "dtype": value.dtype}
            for name, value in part.inputs.items()
        },
        "outputs": {
            name: {"shape": list(shape), "dtype": "float32"}
            for name, shape in shapes.outputs.items()
        },
        "longest": shapes.longest(),
    }


def _facts(
    model: Any, reader: InputReader, size: tuple[int, int], folder: Path, options: ExportOptions
) -> ExportFacts:
    """All that is known before the parts are; the tokenizer's files are copied."""
    cfg = config_of(model)
    described = preprocessor_of(model, cfg["model"])
    for option, path in getattr(model.tokenizer, "packaged_files", {}).items():
        if described["tokenizer"].get(option) is None:
            described["tokenizer"][option] = str(path)
    ranking = ranking_of(model, {})
    return ExportFacts(
        format=options.format,
        model={
            "type": type(model).__name__,
            "adapter": None if model.adapter is None else model.adapter.method,
        },
        parts={},
        frames=reader.max_frames,
        image_size=list(size),
        feature_size=int(model.embed_dim),
        token_shape=[],
        mean=_numbers(model.data_preprocessor.mean),
        std=_numbers(model.data_preprocessor.std),
        text_length=int(model.data_preprocessor.max_text_len),
        data_preprocessor=copy_files(described, "model.data_preprocessor", folder, {}),
        pipeline=data_pipeline(cfg) or [],
        ranking=to_json(asdict(ranking), "ranking"),
        itc_weight=float(ranking.itc_weight),
        temperature=model.contrast.temperature.item(),
        binding=_bindings(model, reader),
        opset=None if options.format != "onnx" else options.opset or OPSET,
        torch_version=str(torch.__version__),
    )


def _numbers(values: Tensor) -> list[float]:
    return [float(str(number)) for number in values.flatten().cpu().numpy()]


def _bindings(model: Any, reader: InputReader) -> dict[str, dict[str, str]]:
    """Digests of what features depend on, as a search by the model itself has them."""
    # The files compute in float32, and tokens are kept as an index keeps them.
    options = replace(ranking_of(model, {}), amp_dtype=None, gallery_dtype="float16")
    steps = [repr(step) for step in reader.transforms]
    found = {}
    for name, k_test in (("similar", 0), *((("reranked", 1),) if model.matches else ())):
        binding = binding_of(model, replace(options, k_test=k_test), steps, None)
        found[name] = {key: digest for key, digest in binding.items() if key != "items"}
    return found
