"""From a part to a file: traced once by torch.export, for both formats."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .libraries import import_library
from .parts import AXES, Axis, Part

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
#: The oldest set of operators with all that parts are made of.
OPSET = 18


def trace(part: Part, sample: Mapping[str, Tensor]) -> ExportedProgram:
    """A part as a graph in which every axis of :data:`AXES` may have any length.

    Args:
        part: Of a model that computes the plain way.
        sample: Inputs whose such axes are longer than 1 and all of another length.

    Raises:
        ValueError: If the part can't be traced, or only for one length of an axis.
    """
    free = {
        name: {
            number: Dim.DYNAMIC for number, axis in enumerate(value.shape) if axis in AXES
        }
        for name, value in part.inputs.items()
    }
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                part, (), dict(sample), dynamic_shapes=free, strict=False
            )
    except Exception as error:
        adapter = getattr(part.model.adapter, "method", None)
        raise ValueError(
            f"The part {part.name!r} of this {type(part.model).__name__} with the adapter "
            f"{adapter} can't be exported: {str(error).strip().splitlines()[0]}"
        ) from error
    _drop_unused(program)
    return program


def _drop_unused(program: ExportedProgram) -> None:
    """Leave out weights of other parts, the sample, and where on this machine the code lies."""
    signature, graph = program.graph_signature, program.graph
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    unused = set()
    for node in graph.nodes:
        node.meta.pop("stack_trace", None)
        if node.op == "placeholder" and node.name in weights and not node.users:
            unused.add(node.name)
    for node in [node for node in graph.nodes if node.name in unused]:
        graph.erase_node(node)
    signature.input_specs[:] = [
        spec for spec in signature.input_specs if getattr(spec.arg, "name", None) not in unused
    ]
    program.graph_module.recompile()
    used = {weights[name] for name in weights if name not in unused}
    for name in set(program.state_dict) - used:
        del program.state_dict[name]
    program.example_inputs = None  # type: ignore[assignment]


class Shapes:
    """What a traced part says of its axes.

    Args:
        part: The part.
        program: What :func:`trace` made of it.
    """

    def __init__(self, part: Part, program: ExportedProgram) -> None:
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        signature = program.graph_signature
        given = [values[str(name)] for name in signature.user_inputs]
        self._limits = program.range_constraints
        self.symbols: dict[str, Any] = {}
        for value, tensor in zip(part.inputs.values(), given, strict=True):
            for axis, length in zip(value.shape, tensor.shape, strict=True):
                if isinstance(axis, str):
                    self.symbols.setdefault(axis, length.node.expr)
        self._names = {str(symbol): axis for axis, symbol in self.symbols.items()}
        found = [values[str(name)].shape for name in signature.user_outputs]
        #: Shapes of what comes out, by name.
        self.outputs = {
            name: self.named(shape) for name, shape in zip(part.outputs, found, strict=True)
        }

    def named(self, shape: Any) -> tuple[Axis, ...]:
        """A shape with the names of free axes in place of symbols."""
        whole = (n if isinstance(n, int) else str(n) for n in shape)
        return tuple(self._names.get(n, n) if isinstance(n, str) else n for n in whole)

    def longest(self) -> dict[str, int]:
        """The greatest length of the free axes that have one."""
        bounds = {axis: self._limits.get(symbol) for axis, symbol in self.symbols.items()}
        return {
            axis: int(bound.upper)
            for axis, bound in bounds.items()
            if bound is not None and bound.upper.is_Integer
        }


def save_program(
    part: Part, program: ExportedProgram, path: Path, kind: str, opset: int | None
) -> None:
    """Write a traced part.

    Args:
        part: The part.
        program: What :func:`trace` made of it.
        path: The file; large weights of ONNX are in a second one beside it, ``.data`` behind its
            name.
        kind: One of :data:`FORMATS`.
        opset: ONNX's set of operators. None: :data:`OPSET`.

    Raises:
        ImportError: If ONNX's packages are missing.
        ValueError: If an operator has no counterpart in ONNX.
    """
    if kind == "torch":
        torch.export.save(program, path)
        return
    for name in ("onnx", "onnxscript"):
        import_library(name)
    shapes = Shapes(part, program)
    try:
        # What it reports of its progress is nothing that one would want to read.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            written = torch.onnx.export(
                program,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                opset_version=OPSET if opset is None else opset,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(
            f"The part {part.name!r} has no counterpart in ONNX: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    assert written is not None
    for value in (*written.model.graph.inputs, *written.model.graph.outputs):
        value.shape = type(value.shape)(shapes.named(value.shape))  # type: ignore[arg-type]
    written.save(str(path), external_data=True)
