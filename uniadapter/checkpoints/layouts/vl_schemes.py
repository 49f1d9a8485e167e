"""Which method a file of VL-Adapter's holds, and what its tasks share: by names and by values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .keys import State, same_tensors

#: Names of what is kept by task, with the fields ``group``, ``task`` and ``leaf``.
_BY_TASK = {
    "down": r"(?P<group>.+_adapter)\.adapters\.(?P<task>[^.]+)\.down_sampler\.(?P<leaf>.+)",
    "up": r"(?P<group>.+_adapter)\.adapters\.(?P<task>[^.]+)\.up_sampler\.(?P<leaf>.+)",
    "hyper": r"(?P<group>.*)task_to_embeddings\.(?P<task>[^.]+)(?P<leaf>)",
    "lora": r"(?P<group>.+)\.lora_(?P<leaf>[AB])s\.(?P<task>[^.]+)",
    "prompt": (
        r"(?P<group>.*)prompt_modules\.prompts\.(?P<task>[^.]+)\.prefix_embedding\.(?P<leaf>.+)"
    ),
}
#: What of it belongs to which method.
_PARTS = {
    "VLAdapter": ("down", "up"),
    "Hyperformer": ("hyper",),
    "LoRA": ("lora",),
    "PromptTuning": ("prompt",),
}
_RULE = "phm_rule"


@dataclass(frozen=True)
class Scheme:
    """What the names of a file mean.

    Attributes:
        tasks (tuple[str, ...]): Names of the tasks.
        begin (Mapping[str, str]): What our names of each method begin with.
        shared (frozenset[str]): What tasks share, of the keys of :data:`_BY_TASK`.
        rule (str): Whose a PHM's matrices are: ``'own'``, ``'position'`` or ``'model'``.
    """

    tasks: tuple[str, ...]
    begin: Mapping[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    rule: str = "own"

    def suffix(self, part: str, task: str) -> str:
        """What our name of a part ends with: nothing where tasks share it."""
        return "" if part in self.shared else f"_{task}"


def _methods(adapter: Any, begin: str = "adapter.") -> dict[str, tuple[str, Any]]:
    """The methods of a model by name, with the beginning of their names."""
    if adapter is None:
        return {}
    parts = getattr(adapter, "methods", None)
    if parts is None:
        return {adapter.method: (begin, adapter)}
    found: dict[str, tuple[str, Any]] = {}
    for number, part in enumerate(parts):
        found.update(_methods(part, f"{begin}methods.{number}."))
    return found


def _values(source: State, part: str) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Tensors of a part by task, of every group and leaf."""
    found: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in source.items():
        match = re.fullmatch(_BY_TASK[part], name)
        if match is not None:
            by_task = found.setdefault((match["group"], match["leaf"]), {})
            by_task[match["task"]] = tensor
    return found


def _same(tensors: Iterable[torch.Tensor]) -> bool:
    first, *others = tensors
    return all(same_tensors(x, first) for x in others)


def _apart(source: State, part: str) -> str:
    """Names of two tasks' tensors that differ, of the first such pair; empty where all agree."""
    first: dict[tuple[str, str], str] = {}
    for name, tensor in source.items():
        match = re.fullmatch(_BY_TASK[part], name)
        if match is not None and match["leaf"] != _RULE:
            one = first.setdefault((match["group"], match["leaf"]), name)
            if not _same((source[one], tensor)):
                return f"{one} and {name}"
    return ""


def find_scheme(source: State, model: Any, path: object) -> Scheme:
    """The scheme of a file; the model's method must be that of the file.

    Args:
        source (dict[str, Tensor]): Tensors by released name, without ``module.``.
        model (VLSeq2Seq): The model of the config.
        path (str | Path): The file, for errors.

    Raises:
        ValueError: If the config's method is another one, or shares other things.
    """
    values = {part: _values(source, part) for part in _BY_TASK}
    tasks = list(dict.fromkeys(t for part in values.values() for one in part.values() for t in one))
    own = _methods(model.adapter)
    apart: dict[str, str] = {}
    if len(tasks) == 1:
        # One task shares all with itself: the config says how it is called.
        shared = {part for name in own for part in _own_shared(name, own[name][1])}
    else:
        apart = {part: _apart(source, part) for part in _BY_TASK}
        shared = {part for part, names in apart.items() if values[part] and not names}
    rule = _rule_of(source, values, shared, model.adapter)
    said = {
        name: _describe(name, parts, values, shared, rule, len(tasks))
        for name, parts in _PARTS.items()
        if any(values[part] for part in parts)
    }
    ours = {name: _own_options(name, part, len(tasks)) for name, (_, part) in own.items()}
    if said != ours:
        need = [dict(type=name, **options) for name, options in said.items()]
        wanted = {part for name in own for part in _own_shared(name, own[name][1])}
        unlike = [f"{names} differ" for part, names in apart.items() if part in wanted and names]
        raise ValueError(
            f"{path} holds {need or 'no method'}, and the config's model has "
            f"{[dict(type=name, **options) for name, options in ours.items()] or 'none'}: set "
            f"model.adapter (several methods are type='Stack').{' '.join(['', *unlike])}"
        )
    # The tasks of a file without a method: none of its names depends on them.
    begin = {name: own[name][0] for name in said}
    return Scheme(tuple(tasks), begin, frozenset(shared), rule)


def _rule_of(source: State, values: Mapping[str, Any], shared: set[str], adapter: Any) -> str:
    """Whose a PHM's matrices are; where no two tasks could differ, the config says it."""
    if _RULE in source:
        return "model"
    apart = [
        by_task.values()
        for part in ("down", "up")
        for (_, leaf), by_task in values[part].items()
        if leaf == _RULE and part not in shared and len(by_task) > 1
    ]
    if apart:
        return "position" if all(map(_same, apart)) else "own"
    for name, (_, method) in _methods(adapter).items():
        if name == "VLAdapter" and method.options["projection"].get("rule") == "position":
            return "position"
    return "own"


def _share(axes: bool) -> list[str]:
    return ["task"] if axes else []


def _describe(
    name: str,
    parts: Iterable[str],
    values: Mapping[str, Any],
    shared: set[str],
    rule: str,
    tasks: int,
) -> dict[str, Any]:
    """Options of a method that its tensors show."""
    shares = {part: _share(part in shared) for part in parts}
    if name == "Hyperformer":
        return {"share": shares["hyper"]} if tasks > 1 else {}
    if name != "VLAdapter":
        one = next(iter(shares.values()))
        return {"share": one} if tasks > 1 else {}
    leaves: dict[str, torch.Tensor] = {
        leaf: next(iter(by_task.values())) for (_, leaf), by_task in values["down"].items()
    }
    found: dict[str, Any] = {"share": shares} if tasks > 1 else {}
    if "weight" in leaves:
        sizes = {"bottleneck": _size(leaves, "weight", 0), "projection": {"type": "linear"}}
        return {**found, **sizes}
    rank = _size(leaves, "W_left", -1)
    found["bottleneck"] = _size(leaves, "b", 0)
    if _RULE not in leaves:
        return {**found, "projection": {"type": "low_rank", "rank": rank}}
    k = _size(leaves, _RULE, 0)
    return {**found, "projection": {"type": "phm", "k": k, "rank": rank, "rule": rule}}


def _size(leaves: Mapping[str, torch.Tensor], name: str, axis: int) -> int | None:
    """Length of a tensor's axis; None where there is no such tensor, or it is a number."""
    return leaves[name].shape[axis] if name in leaves and leaves[name].dim() else None


def _own_shared(name: str, method: Any) -> set[str]:
    """Which parts the tasks of a model's method share."""
    share = method.options.get("share")
    if isinstance(share, Mapping):
        return {part for part in _PARTS.get(name, ()) if "task" in share[part]}
    return set(_PARTS.get(name, ())) if "task" in (share or ()) else set()


def _own_options(name: str, method: Any, tasks: int) -> dict[str, Any]:
    """The same options of a model's method, as :func:`_describe` says those of a file."""
    options = method.options
    found: dict[str, Any] = {"share": options.get("share")} if tasks > 1 else {}
    if name == "VLAdapter":
        found.update(bottleneck=options["bottleneck"], projection=options["projection"])
    return found


def own_scheme(state: State, tasks: tuple[str, ...]) -> Scheme:
    """The scheme of our own names.

    Args:
        state (dict[str, Tensor]): Tensors by our name.
        tasks (tuple[str, ...]): Tasks of the model.
    """
    marks = {
        "VLAdapter": r"(?:down|up|pre_norm|post_norm|common)\..+",
        "Hyperformer": r"(?:networks|tasks)\..+",
        "LoRA": r"layers\..+\.[AB]",
        "PromptTuning": r"prompts\..+",
    }
    begin, names = {}, list(state)
    for method, mark in marks.items():
        pattern = re.compile(rf"(adapter\.(?:methods\.\d+\.)?){mark}")
        found = {match[1] for name in names if (match := pattern.fullmatch(name))}
        if found:
            begin[method] = found.pop()
    one = {
        "down": r"down\.\d+_[a-z]+_[a-z]+\..+",
        "up": r"up\.\d+_[a-z]+_[a-z]+\..+",
        "hyper": r"tasks\.shared",
        "lora": r"layers\.\w+\.[AB]",
        "prompt": r"prompts\.\w+\.(?:embedding|inner|outer)\..+",
    }
    shared = {
        part
        for part, mark in one.items()
        if any(re.fullmatch(rf"adapter\.(?:methods\.\d+\.)?{mark}", name) for name in names)
    }
    rule = "own"
    if any(re.search(r"adapter\.(?:methods\.\d+\.)?common\.", name) for name in names):
        rule = "model" if any(name.endswith("common.rule.A") for name in names) else "position"
    return Scheme(tasks, begin, frozenset(shared), rule)
