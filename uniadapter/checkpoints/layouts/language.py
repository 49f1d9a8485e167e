"""What folders of transformers' language models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniadapter.utils.json_files import parse_json

from .keys import Layout, State
from .shards import find_weights, read_weights

_TYPES = {"t5": "T5", "bart": "Bart"}


def read_language(
    path: str | Path, model: Any, layout: Layout, kind: str, options: Mapping[str, Any], what: str
) -> tuple[State, list[str]]:
    """Read a folder of a language model, or a weight file in one.

    Args:
        path (str | Path): With ``config.json`` and the weights, see :func:`find_weights`.
        model (Seq2SeqModel): The model of the config, to compare what shapes do not tell.
        layout (Layout): The layout, for errors.
        kind (str): transformers' name of the family, ``model_type``.
        options (Mapping): Options that shapes do not tell, with transformers' values where
            config.json leaves them out.
        what (str): The family in words, such as ``'T5 v1.0'``.

    Returns:
        tuple: Tensors by transformers' name, and notes for the user.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If it is another family's, is damaged, or another model than the config's.
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    config = _read_config(folder / "config.json", layout.name)
    if config.get("model_type", kind) != kind:
        raise ValueError(
            f"{folder / 'config.json'} says model_type={config.get('model_type')!r}: --from "
            f"{layout.name} reads {kind!r}."
        )
    own = getattr(getattr(getattr(model, "text", None), "encoder", None), "config", None)
    if own is None or getattr(own, "model_type", None) != kind:
        raise ValueError(
            f"--from {layout.name} needs --config of a model with text=dict(type={_TYPES[kind]!r})."
        )
    for option, default in options.items():
        said, wanted = config.get(option, default), getattr(own, option)
        if said != wanted:
            raise ValueError(
                f"{folder / 'config.json'}: {option}={said!r}, {what} has {wanted!r}: choose a "
                "checkpoint of that version."
            )
    file, notes = (path, []) if path.is_file() else find_weights(folder)
    return read_weights(file), notes


def _read_config(path: Path, layout: str) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: SRC with --from {layout} is the folder of a transformers "
            "model (config.json and model.safetensors)."
        )
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the folder again.") from error
    return config if isinstance(config, dict) else {"model_type": config}
