"""The model card of a shared folder: a README.md that the Hugging Face Hub reads as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_TASKS = {
    "RetrievalModel": "Retrieval",
    "VseModel": "Retrieval",
    "VQAModel": "Visual Question Answering",
    "AnswerClassModel": "Visual Question Answering",
    "CaptionModel": "Captioning",
    "GroundingModel": "Grounding",
    "Seq2SeqModel": "Text to Text",
    "VLSeq2Seq": "Text to Text",
}


@dataclass(frozen=True)
class About:
    """What the folder does not say itself.

    Attributes:
        metrics (Mapping[str, float]): By name.
        data (str, optional): What it was trained and tested on.
        command (str, optional): What trained it.
        licence (str, optional): Of the adapter, such as ``'apache-2.0'``.
        base_model (str, optional): The backbone's name on the Hub.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    data: str | None = None
    command: str | None = None
    licence: str | None = None
    base_model: str | None = None


def task_name(meta: Mapping[str, Any]) -> str:
    """What the task of a folder is called in tables."""
    return _TASKS.get(meta["task"], meta["task"])


def write_card(name: str, meta: Mapping[str, Any], about: About) -> str:
    """Write the card.

    Args:
        name (str): Of the model.
        meta (Mapping): The folder's JSON.
        about (About): What it does not say.

    Returns:
        str: Markdown behind a YAML header.
    """
    header: dict[str, Any] = {"library_name": "uniadapter"}
    header.update({"license": about.licence} if about.licence else {})
    header.update({"base_model": about.base_model} if about.base_model else {})
    header["tags"] = list(dict.fromkeys(("uniadapter", "adapter", str(meta["method"]).lower())))
    if about.metrics:
        metrics = [
            {"type": key, "name": key, "value": value} for key, value in about.metrics.items()
        ]
        task, data = task_name(meta), about.data or "not stated"
        header["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": task.lower().replace(" ", "-"), "name": task},
                        "dataset": {"type": data, "name": data},
                        "metrics": metrics,
                    }
                ],
            }
        ]
    backbone = meta.get("backbone")
    towers = "none, all weights are here" if backbone is None else _backbone(backbone)
    rows = {
        "Task": f"{task_name(meta)} (`{meta['task']}`)",
        "Method": f"{meta['method']}, {meta['parameters']:,} trained parameters",
        "Backbone": towers,
        "Data": about.data or "not stated",
        "Trained by": f"`{about.command}`" if about.command else "not stated",
        "Licence": about.licence or "not stated",
    }
    # A repository of the Hub is fetched when that is asked for.
    call = f"{name!r}, download=True" if "/" in name else repr(name)
    lines = [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    results = [f"| {_cell(key)} | {value:g} |" for key, value in about.metrics.items()]
    table = ["", "| metric | value |", "| --- | ---: |", *results] if results else []
    return "\n".join(
        [
            "---",
            yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# {name}",
            "",
            "| | |",
            "| --- | --- |",
            *lines,
            *table,
            "",
            "```python",
            "from uniadapter.apis import AutoAdapterModel",
            "",
            f"model = AutoAdapterModel.from_pretrained({call})",
            "```",
            "",
        ]
    )


def _backbone(entry: Mapping[str, Any]) -> str:
    digest = f", sha256 `{entry['sha256']}`" if entry["sha256"] else ""
    url = f", {entry['url']}" if entry["url"] else ""
    return f"`{entry['file']}`{digest}{url}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
