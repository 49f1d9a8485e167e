"""``export.json``: all that running exported files needs beside them, as data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from uniadapter.checkpoints.plain_config import OF_MODELS, check_data, is_plain_name
from uniadapter.registry import TRANSFORMS
from uniadapter.utils.download import sha256_of
from uniadapter.utils.json_files import brief, parse_json
from uniadapter.utils.safe_io import atomic_write
from uniadapter.version import __version__

FACTS_NAME = "export.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ExportFacts:
    """What an exported folder says of itself.

    Attributes:
        format: ``'onnx'`` or ``'torch'``.
        model: ``type`` of the model, and ``adapter``, its method or None.
        parts: For each part its ``file``; ``inputs`` and ``outputs``, whose values have a
            ``shape``, free axes by name, and a ``dtype``; ``longest``, the greatest length of free
            axes that have one.
        frames: N, the most frames that are taken of a medium.
        image_size: Height and width of a frame in pixels.
        feature_size: E.
        token_shape: M and D.
        mean: Of the three channels, in units of 0..255.
        std: The same.
        text_length: Most words kept of a text, marks included.
        data_preprocessor: Config of what normalises frames and makes words of texts; files that it
            names are in the folder.
        pipeline: Configs of the transforms of media and texts, in order.
        ranking: Options of :class:`~uniadapter.retrieval.RetrievalOptions` of the config's test.
        itc_weight: Of the cosine beside the matching logit.
        temperature: That training divided similarities by.
        binding: Digests of what features depend on, by whether shortlists are ``'reranked'`` or
            ranked as ``'similar'`` alone.
        files: SHA-256 of the folder's other files by name.
        opset: ONNX's set of operators; None of another format.
        difference: The largest that was found between these files and the model; None if nobody
            looked.
        torch_version: Of the torch that wrote it.
        uniadapter_version: Of the package that wrote it.
        format_version: Of this file.
    """

    format: str
    model: dict[str, Any]
    parts: dict[str, dict[str, Any]]
    frames: int
    image_size: list[int]
    feature_size: int
    token_shape: list[int]
    mean: list[float]
    std: list[float]
    text_length: int
    data_preprocessor: dict[str, Any]
    pipeline: list[dict[str, Any]]
    ranking: dict[str, Any]
    itc_weight: float
    temperature: float
    binding: dict[str, dict[str, str]]
    files: dict[str, str] = field(default_factory=dict)
    opset: int | None = None
    difference: float | None = None
    torch_version: str = ""
    uniadapter_version: str = __version__
    format_version: int = FORMAT_VERSION

    @property
    def matches(self) -> bool:
        """Whether there is a matcher."""
        return "matcher" in self.parts

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        text = json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"
        atomic_write(folder / FACTS_NAME, text.encode())


def read_facts(folder: Path) -> ExportFacts:
    """Read what a folder says of itself, and see that its files are those that were written.

    Nothing of it is trusted: it names registered types and files of the folder alone.

    Raises:
        FileNotFoundError: If the folder or a file is missing.
        ValueError: If a file is damaged, or a newer version wrote it.
    """
    path = folder / FACTS_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {FACTS_NAME}, so it is no folder that `uniadapter export` wrote."
        )
    facts = _checked(path, _json(path))
    check_data(facts.data_preprocessor, "data_preprocessor", OF_MODELS, path)
    for index, step in enumerate(facts.pipeline):
        if not (isinstance(step, dict) and "type" in step):
            raise ValueError(f"{path}: pipeline.{index} has no type, and a transform has one.")
    check_data(facts.pipeline, "pipeline", (TRANSFORMS,), path)
    for name, digest in facts.files.items():
        if not is_plain_name(name):
            raise ValueError(f"{path}: files has {name!r:.80}, which is no name of a file in it.")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: copy the whole folder.")
        if sha256_of(folder / name) != digest:
            raise ValueError(
                f"{folder / name} is not the file that was exported ({FACTS_NAME} has another "
                "SHA-256): copy the folder again."
            )
    missing = [part["file"] for part in facts.parts.values() if part["file"] not in facts.files]
    if missing:
        raise ValueError(f"{path}: parts name {missing[0]!r:.80}, which files does not have.")
    return facts


@contextmanager
def of_facts(folder: Path, key: str) -> Iterator[None]:
    """Let errors of what is made of a value name the file that has the value.

    Args:
        folder: The folder.
        key: Of :class:`ExportFacts`.

    Raises:
        ValueError: Instead of what constructors say of an option.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"{folder / FACTS_NAME}: {key}: {said:.300}: export or copy it again."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): export or copy it again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (no object): export or copy it again.")
    return found


_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "dict": dict,
    "list": list,
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
}


def _checked(path: Path, found: dict[str, Any]) -> ExportFacts:
    """The facts, if each is there and of its kind.

    Raises:
        ValueError: If not, or a newer version wrote the file.
    """
    version = found.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ValueError(
            f"{path} is of format {version}, written by uniadapter "
            f"{found.get('uniadapter_version')}; this is {__version__}, which knows "
            f"{FORMAT_VERSION}: install that version or export again."
        )
    known = {entry.name: str(entry.type) for entry in fields(ExportFacts)}
    wrong = sorted(set(known) ^ set(found))
    if wrong:
        word = "lacks the key" if wrong[0] in known else "has the unknown key"
        raise ValueError(f"{path} {word} {wrong[0]!r}: export it again.")
    for name, kind in known.items():
        expected = _KINDS[kind.partition("[")[0]]
        value = found[name]
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ValueError(f"{path}: {name}={value!r:.80} is no {kind}: export it again.")
    if found["format"] not in ("onnx", "torch"):
        raise ValueError(f"{path}: format={found['format']!r:.80} is neither 'onnx' nor 'torch'.")
    for name in ("visual", "text"):
        if not isinstance(found["parts"].get(name), dict):
            raise ValueError(f"{path}: parts lacks {name!r}: export it again.")
    facts = ExportFacts(**found)
    wrong = [key for key, right in _values(facts).items() if not right]
    if wrong:
        value = getattr(facts, wrong[0].partition(".")[0])
        raise ValueError(f"{path}: {wrong[0]}={brief(value)} is damaged: export or copy it again.")
    return facts


def _values(facts: ExportFacts) -> dict[str, bool]:
    """Whether values are what whoever runs the parts takes them for, by key."""
    parts = {name: _is_part(part) for name, part in facts.parts.items()}
    right = {f"parts.{name}": fine for name, fine in parts.items()}
    if all(parts.values()):
        made = {name: facts.parts[name]["outputs"] for name in ("visual", "text")}
        right["feature_size"] = all(
            _shape(made[name], "features")[-1:] == [facts.feature_size] for name in made
        )
        matched = facts.parts.get("matcher", {"inputs": {}})["inputs"]
        right["parts"] = "frame_sims" not in matched or "frames" in facts.parts
        right["token_shape"] = _shape(made["visual"], "tokens")[2:] == facts.token_shape
    for key in ("frames", "text_length"):
        right[key] = getattr(facts, key) > 0
    right["image_size"] = len(facts.image_size) == 2 and all(
        type(side) is int and side > 0 for side in facts.image_size
    )
    right["binding"] = all(
        isinstance(facts.binding.get(kind), dict) for kind in ("similar", "reranked")
    )
    right["files"] = all(isinstance(digest, str) for digest in facts.files.values())
    return right


def _is_part(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and is_plain_name(part.get("file"))
        and all(isinstance(part.get(key), dict) for key in ("inputs", "outputs"))
    )


def _shape(values: dict[str, Any], name: str) -> list[Any]:
    """The shape of an output; empty where there is none."""
    value = values.get(name)
    shape = value.get("shape") if isinstance(value, dict) else None
    return shape if isinstance(shape, list) else []
