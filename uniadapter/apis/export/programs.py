"""Running files of parts: by onnxruntime, or by torch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from uniadapter.utils.devices import check_device, device_of
from uniadapter.utils.extras import import_extra
from uniadapter.utils.json_files import brief, parse_json

from .facts import FACTS_NAME, ExportFacts
from .parts import ONNX_FILES
from .scoring import Program

_REFUSED = "holds objects that only running its code could rebuild, which is refused."
_CODE = ("data/aotinductor/", "custom_obj", "opaque_obj")
# What of an archive is looked at before its reader does.
_SAMPLES = "/sample_inputs/model.pt"
_READ = ("_config.json", _SAMPLES)


class OnnxProgram:
    """A part that onnxruntime runs.

    Args:
        path: The ``.onnx`` file.
        outputs: Names of what it gives.
        device: ``'cpu'`` or ``'cuda'``.

    Raises:
        ImportError: If onnxruntime is not installed.
        ValueError: If the file is damaged, or onnxruntime does not run on the device.
    """

    def __init__(
        self,
        path: Path,
        outputs: list[str],
        device: str | torch.device = "cpu",
    ) -> None:
        runtime = import_extra("onnxruntime", "export", ONNX_FILES)
        provider = "CUDAExecutionProvider" if device_of(device).type == "cuda" else None
        if provider is not None and provider not in runtime.get_available_providers():
            raise ValueError(f"onnxruntime has no {provider} here: take device='cpu'.")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        providers = [*([provider] if provider else []), "CPUExecutionProvider"]
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            # Its errors have no common type of their own.
            raise ValueError(
                f"{path} can't be run by onnxruntime: {str(error).splitlines()[0]}"
            ) from error
        _check_outputs(path, outputs, [value.name for value in self._session.get_outputs()])
        self.outputs = outputs

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the part makes of inputs, by name; on the CPU."""
        given = {name: tensor.detach().cpu().numpy() for name, tensor in inputs.items()}
        found = self._session.run(self.outputs, given)
        return {
            name: torch.from_numpy(array) for name, array in zip(self.outputs, found, strict=True)
        }


class TorchProgram:
    """A part that torch runs, by the graph in the file alone.

    Args:
        path: The ``.pt2`` file.
        outputs: Names of what it gives.
        device: Where it runs.

    Raises:
        ValueError: If the file is damaged, or holds anything but a graph and tensors.
    """

    def __init__(self, path: Path, outputs: list[str], device: str | torch.device = "cpu") -> None:
        _refuse_code(path)
        check_device(device)
        try:
            program = torch.export.load(path)
        except Exception as error:
            # Random bytes make it fail in any way.
            reason = str(error).strip().splitlines()
            raise ValueError(
                f"{path} is damaged, or of another version of torch than {torch.__version__}: "
                f"{reason[0] if reason else type(error).__name__}"
            ) from error
        made = [value or "" for value in program.graph_signature.user_outputs]
        # The graph has names of its own.
        _check_outputs(path, outputs, outputs if len(made) == len(outputs) else list(made))
        self.device = torch.device(device)
        if self.device.type != "cpu":
            program = move_to_device_pass(program, self.device)
        # Guards are code, and say what sizes are good, which whoever calls has looked at.
        self._module: Any = program.module(check_guards=False)
        self.outputs = outputs

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the part makes of inputs, by name; on the CPU."""
        given = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        found = self._module(**given)
        return {
            name: tensor.detach().cpu() for name, tensor in zip(self.outputs, found, strict=True)
        }


def _check_outputs(path: Path, wanted: list[str], found: list[str]) -> None:
    if sorted(wanted) != sorted(found):
        raise ValueError(
            f"{path} gives {found}, and {FACTS_NAME} beside it names {brief(wanted)}: export or "
            "copy the folder again."
        )


def _refuse_code(path: Path) -> None:
    """Refuse an archive whose reader would run pickled or compiled code.

    Raises:
        ValueError: If it holds some, or is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            read = {name: archive.read(name) for name in names if name.endswith(_READ)}
        payloads = [
            payload
            for name, content in read.items()
            if name.endswith("_config.json")
            for payload in parse_json(content).get("config", {}).values()
        ]
        pickled = any(payload.get("use_pickle") for payload in payloads)
        samples = {name: content for name, content in read.items() if name.endswith(_SAMPLES)}
    # Damaged archives fail in many ways, of an unknown compression for one.
    except Exception as error:
        raise ValueError(f"{path} is damaged ({error}): copy or export it again.") from error
    for sample in filter(None, samples.values()):
        try:
            torch.load(io.BytesIO(sample), weights_only=True)
        except Exception as error:
            raise ValueError(f"{path} {_REFUSED}") from error
    other = [name for name in names if name.endswith(".pt") and name not in samples]
    if pickled or other or any(sign in name for name in names for sign in _CODE):
        raise ValueError(f"{path} {_REFUSED}")


def open_program(
    folder: Path, facts: ExportFacts, name: str, device: str | torch.device = "cpu"
) -> Program:
    """What runs a part of a folder.

    Args:
        folder: The folder.
        facts: What it says of itself.
        name: Of the part.
        device: Where it runs.

    Raises:
        ImportError: If onnxruntime is needed and missing.
        ValueError: If a file is damaged.
    """
    part = facts.parts[name]
    kind = OnnxProgram if facts.format == "onnx" else TorchProgram
    return kind(folder / part["file"], list(part["outputs"]), device)


class OpenedInTurn(Mapping[str, Program]):
    """The parts of a folder, of which the one that was asked for last is in memory.

    Args:
        folder: The folder.
        facts: What it says of itself.
        device: Where they run.
    """

    def __init__(self, folder: Path, facts: ExportFacts, device: str | torch.device) -> None:
        self.folder, self.facts, self.device = folder, facts, device
        self._open: tuple[str, Program] | None = None

    def __getitem__(self, name: str) -> Program:
        if self._open is None or self._open[0] != name:
            # The former one goes first.
            self._open = None
            self._open = name, open_program(self.folder, self.facts, name, self.device)
        return self._open[1]

    def __contains__(self, name: object) -> bool:
        return name in self.facts.parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts.parts)

    def __len__(self) -> int:
        return len(self.facts.parts)
