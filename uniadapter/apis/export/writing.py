"""Files of traced parts, in one format or the other."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from uniadapter.utils.extras import import_extra

from .parts import ONNX_FILES, Part
from .tracing import Shapes

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
#: The oldest set of operators with all that parts are made of.
OPSET = 18
#: Weights of all ONNX files of a folder: texts are encoded and matched by the same.
WEIGHTS_NAME = "weights.data"
#: Smaller ones, in bytes, stay in the files.
_SMALL = 1024
#: Of what a place in the file is a multiple, so that it can be mapped.
_ALIGNED = 4096


class ProgramWriter:
    """Writes the traced parts of a model into a folder.

    Args:
        folder: The folder.
        kind: One of :data:`FORMATS`.
        opset: ONNX's set of operators.
    """

    def __init__(self, folder: Path, kind: str, opset: int | None) -> None:
        self.folder, self.kind, self.opset = folder, kind, opset
        # Where the weights of a digest are.
        self._held: dict[bytes, tuple[int, int]] = {}

    def save(self, part: Part, program: ExportedProgram) -> str:
        """Write a part.

        Returns:
            Name of the file.

        Raises:
            ImportError: If ONNX's packages are missing.
            ValueError: If an operator has no counterpart in ONNX.
        """
        path = self.folder / f"{part.name}{FORMATS[self.kind]}"
        if self.kind == "torch":
            torch.export.save(program, path)
        else:
            self._save_onnx(part, program, path)
        return path.name

    def _save_onnx(self, part: Part, program: ExportedProgram, path: Path) -> None:
        ir = import_extra("onnx_ir", "export", ONNX_FILES)
        shapes = Shapes(part, program)
        try:
            # What it prints of its progress is for those who develop it.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                written = torch.onnx.export(
                    program,
                    input_names=list(part.inputs),
                    output_names=list(part.outputs),
                    opset_version=self.opset,
                    dynamo=True,
                    verbose=False,
                )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ValueError(
                f"The part {part.name!r} has no counterpart in ONNX: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        model: Any = written.model  # type: ignore[union-attr]
        for value in (*model.graph.inputs, *model.graph.outputs):
            value.shape = ir.Shape(shapes.named(value.shape))
        with open(self.folder / WEIGHTS_NAME, "ab") as file:
            for value in model.graph.initializers.values():
                if value.const_value.nbytes >= _SMALL:
                    value.const_value = self._put(file, value, ir)
        ir.save(model, path)

    def _put(self, file: Any, value: Any, ir: Any) -> Any:
        """Weights in the common file, where they are once."""
        tensor = value.const_value
        content = tensor.tobytes()
        digest = hashlib.sha256(content).digest()
        if digest not in self._held:
            file.write(bytes(-file.tell() % _ALIGNED))
            self._held[digest] = file.tell(), len(content)
            file.write(content)
        return ir.ExternalTensor(
            WEIGHTS_NAME,
            *self._held[digest],
            tensor.dtype,
            shape=tensor.shape,
            name=value.name,
            base_dir=self.folder,
        )
