"""From a part to a graph, traced by torch.export."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .parts import AXES, Axis, Part


def trace(part: Part, sample: Mapping[str, Tensor]) -> ExportedProgram:
    """A part as a graph in which every axis of :data:`AXES` may have any length.

    Args:
        part: Of a model that computes the plain way.
        sample: Inputs whose such axes are longer than 1 and all of another length.

    Raises:
        ValueError: If the part can't be traced, or only for one length of an axis.
    """
    free = {
        name: {number: Dim.DYNAMIC for number, axis in enumerate(value.shape) if axis in AXES}
        for name, value in part.inputs.items()
    }
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(part, (), dict(sample), dynamic_shapes=free, strict=False)
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
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", graph).nodes:
            node.meta.pop("stack_trace", None)
    held = [node for node in graph.nodes if node.op == "placeholder" and not node.users]
    unused = {node.name for node in held if node.name in weights}
    for node in held:
        if node.name in unused:
            graph.erase_node(node)
    signature.input_specs[:] = [
        spec for spec in signature.input_specs if getattr(spec.arg, "name", None) not in unused
    ]
    program.graph_module.recompile()
    used = {weights[name] for name in weights if name not in unused}
    for name in set(program.state_dict) - used:
        del program.state_dict[name]
    for name in set(program.constants) & set(weights.values()) - used:
        del program.constants[name]
    program.example_inputs = None


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
        # Axes of one name are of one length, which the program says of some by another symbol.
        self._axes: list[tuple[str, Any]] = [
            (axis, length.node.expr)
            for value, tensor in zip(part.inputs.values(), given, strict=True)
            for axis, length in zip(value.shape, tensor.shape, strict=True)
            if isinstance(axis, str)
        ]
        self._names = {str(symbol): axis for axis, symbol in self._axes}
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
        found: dict[str, int] = {}
        for axis, symbol in self._axes:
            bound = self._limits.get(symbol)
            if bound is not None and bound.upper.is_Integer:
                found[axis] = min(int(bound.upper), found.get(axis, int(bound.upper)))
        return found
