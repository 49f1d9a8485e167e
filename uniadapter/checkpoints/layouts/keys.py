"""Key maps of checkpoint layouts: pairs of templates that can be read in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch

State = dict[str, torch.Tensor]

_SHOWN = 8
_AFFINE = "weight|bias"
# What stands behind the braces of a template.
_FIELDS = {
    "i": r"\d+",
    "p": _AFFINE,
    # The name of a task.
    "task": r"[^.]+",
    # A tensor of a batch norm.
    "bn": rf"{_AFFINE}|running_mean|running_var",
    # A parameter of BLIP's BERT; its names are the same in every layout.
    "bert": (
        r"embeddings\.(?:word|position)_embeddings\.weight"
        rf"|embeddings\.LayerNorm\.(?:{_AFFINE})"
        r"|encoder\.layer\.\d+\.(?:(?:cross)?attention\.(?:self\.(?:query|key|value)"
        rf"|output\.(?:dense|LayerNorm))|intermediate\.dense|output\.(?:dense|LayerNorm))"
        rf"\.(?:{_AFFINE})"
    ),
    # A parameter of transformers' RoBERTa without its pooling layer.
    "roberta": (
        r"embeddings\.(?:word|position|token_type)_embeddings\.weight"
        rf"|embeddings\.LayerNorm\.(?:{_AFFINE})"
        r"|encoder\.layer\.\d+\.(?:attention\.(?:self\.(?:query|key|value)"
        rf"|output\.(?:dense|LayerNorm))|intermediate\.dense|output\.(?:dense|LayerNorm))"
        rf"\.(?:{_AFFINE})"
    ),
    # A tensor of torchvision's ResNet whose batch norms are constants.
    "resnet": (
        rf"conv1\.weight|bn1\.(?:{_AFFINE}|running_mean|running_var)"
        r"|layer[1-4]\.\d+\.(?:(?:conv[123]|downsample\.0)\.weight"
        rf"|(?:bn[123]|downsample\.1)\.(?:{_AFFINE}|running_mean|running_var))"
    ),
    "lm": rf"cls\.predictions\.(?:bias|transform\.(?:dense|LayerNorm)\.(?:{_AFFINE}))",
    # A parameter of transformers' BertModel.
    "plain_bert": (
        r"embeddings\.(?:word|position|token_type)_embeddings\.weight"
        rf"|embeddings\.LayerNorm\.(?:{_AFFINE})|pooler\.dense\.(?:{_AFFINE})"
        r"|encoder\.layer\.\d+\.(?:attention\.(?:self\.(?:query|key|value)"
        rf"|output\.(?:dense|LayerNorm))|intermediate\.dense|output\.(?:dense|LayerNorm))"
        rf"\.(?:{_AFFINE})"
    ),
    # A tensor of CLIP's modified ResNet without its attention pool.
    "clip_resnet": (
        r"(?:layer[1-4]\.\d+\.)?(?:conv[1-3]\.weight|bn[1-3]\.(?:weight|bias|running_mean"
        r"|running_var|num_batches_tracked))|layer[1-4]\.\d+\.downsample\.(?:0\.weight"
        r"|1\.(?:weight|bias|running_mean|running_var|num_batches_tracked))"
    ),
    # A tensor of a batch norm.
    "norm": rf"{_AFFINE}|running_mean|running_var|num_batches_tracked",
    # A tensor of a residual network's stage.
    "block": (
        r"\d+\.(?:conv[1-3]\.weight|downsample\.0\.weight|(?:bn[1-3]|downsample\.1)\."
        r"(?:weight|bias|running_mean|running_var|num_batches_tracked))"
    ),
    # A parameter of VSE-infinity's pooling.
    "gpo": r"gru\.(?:weight|bias)_(?:ih|hh)_l0(?:_reverse)?|linear\.weight",
    # A parameter of mmpretrain's VisionTransformer, whose names are ours.
    "vit": (
        rf"cls_token|pos_embed|patch_embed\.projection\.(?:{_AFFINE})|ln1\.(?:{_AFFINE})"
        r"|layers\.\d+\.(?:ln1|ln2|attn\.qkv|attn\.proj|ffn\.layers\.0\.0|ffn\.layers\.1)"
        rf"\.(?:{_AFFINE})"
    ),
}


def _compile(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile(
        "".join(
            f"(?P<{part}>{_FIELDS[part]})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )


@dataclass(frozen=True)
class Pair:
    """A name in a foreign layout and the same tensor's name here.

    Attributes:
        theirs (str): Template such as ``'visual_encoder.blocks.{i}.norm1.{p}'``.
        ours (str): Template with the same fields.
        wins (bool): The layout's own loader fills the tied tensor from this name last: where its
            names disagree this one holds what the model computes with.
        read (Callable, optional): Makes our tensor of theirs; None where they are the same.
        note (str): What the user should know where this pair is used.
    """

    theirs: str
    ours: str
    wins: bool = False
    read: Callable[[torch.Tensor], torch.Tensor] | None = None
    note: str = ""

    @cached_property
    def _theirs_pattern(self) -> re.Pattern[str]:
        return _compile(self.theirs)

    @cached_property
    def _ours_pattern(self) -> re.Pattern[str]:
        return _compile(self.ours)

    def to_ours(self, name: str) -> str | None:
        """Our name of a foreign one, or None if the pair is about other tensors."""
        match = self._theirs_pattern.fullmatch(name)
        return None if match is None else self.ours.format(**match.groupdict())

    def to_theirs(self, name: str) -> str | None:
        """The foreign name of one of ours, or None if the pair is about other tensors."""
        match = self._ours_pattern.fullmatch(name)
        return None if match is None else self.theirs.format(**match.groupdict())

    def read_from(self, tensor: torch.Tensor, name: str, path: object) -> torch.Tensor:
        """Our tensor of a foreign one.

        Args:
            tensor (Tensor): The foreign one.
            name (str): Its name, for the error.
            path (str | Path): Its file, for the error.

        Raises:
            ValueError: If ours can't be made of one of its shape.
        """
        if self.read is None:
            return tensor
        try:
            return self.read(tensor)
        except (IndexError, RuntimeError) as error:
            raise ValueError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}, which no file of the layout "
                "has there: the file is damaged or another model's."
            ) from error


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints names its tensors.

    Attributes:
        name (str): Its name on the command line.
        pairs (tuple[Pair]): Tensors that are used.
        left (tuple[tuple[str, str]]): (regular expression, reason) of keys deliberately left.
    """

    name: str
    pairs: tuple[Pair, ...]
    left: tuple[tuple[str, str], ...] = ()

    def to_ours(self, name: str) -> tuple[str, Pair] | None:
        """Our name of a foreign one with the pair that says so; None if there is none."""
        for pair in self.pairs:
            ours = pair.to_ours(name)
            if ours is not None:
                return ours, pair
        return None

    def to_theirs(self, name: str) -> list[str]:
        """All names under which the layout keeps the tensor that we call ``name``."""
        names = (pair.to_theirs(name) for pair in self.pairs)
        return list(dict.fromkeys(found for found in names if found is not None))

    def knows(self, name: str) -> bool:
        """Whether a key is one of this layout's, used or left."""
        return self.to_ours(name) is not None or self.why_left(name) is not None

    def why_left(self, name: str) -> str | None:
        """Why a foreign key is deliberately left, or None if it is not."""
        for pattern, reason in self.left:
            if re.fullmatch(pattern, name):
                return reason
        return None


@dataclass
class Report:
    """What a conversion did with every source key.

    Attributes:
        used (dict[str, str]): Source key to target key.
        left (dict[str, str]): Source key to the reason it was left.
        notes (list[str]): What else the user should know.
    """

    used: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Human-readable summary; keys that differ in numbers only are one pattern.

        A reason is followed by its first patterns; :attr:`left` has all keys.
        """
        lines = [f"{len(self.used)} source keys used, {len(self.left)} left."]
        groups: dict[str, list[str]] = {}
        for key, reason in self.left.items():
            groups.setdefault(reason, []).append(key)
        for reason, keys in groups.items():
            lines.append(f"left: {reason} ({len(keys)})")
            patterns = _collapse(keys)
            lines += [f"  {pattern}" for pattern in patterns[:_SHOWN]]
            if len(patterns) > _SHOWN:
                lines.append(f"  ... and {len(patterns) - _SHOWN} more patterns")
        return lines + [f"note: {note}" for note in self.notes]


def _collapse(keys: Iterable[str]) -> list[str]:
    """Replace numbers between dots by ``*`` and drop repetitions."""
    return list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", key) for key in keys))


def map_keys(source: State, layout: Layout, path: str) -> tuple[State, Report]:
    """Rename the tensors of a foreign state dict.

    A tensor that stands under several names must be the same under all of them.

    Args:
        source (dict[str, Tensor]): Tensors by foreign name.
        layout (Layout): The layout.
        path (str): Where the tensors come from, for errors.

    Returns:
        tuple: Tensors by our name, and what became of every source key.

    Raises:
        ValueError: If a key is unknown, or two names of one tensor disagree.
    """
    state: State = {}
    report = Report()
    first: dict[str, tuple[str, Pair]] = {}
    unknown = []
    for key, tensor in source.items():
        found = layout.to_ours(key)
        if found is None:
            reason = layout.why_left(key)
            if reason is None:
                unknown.append(key)
            else:
                report.left[key] = reason
            continue
        ours, pair = found
        tensor = pair.read_from(tensor, key, path)
        if pair.note and pair.note not in report.notes:
            report.notes.append(pair.note)
        if ours in state and not same_tensors(state[ours], tensor):
            earlier, earlier_pair = first[ours]
            winner, loser = _settle((earlier, earlier_pair), (key, pair), path)
            del report.used[earlier]
            report.left[loser] = f"differs from {winner}, which overwrites it in the tied model"
            report.used[winner] = ours
            if winner == key:
                state[ours], first[ours] = tensor, (key, pair)
            continue
        report.used[key] = ours
        state.setdefault(ours, tensor)
        # A name that decides has to be the one compared with.
        if ours not in first or pair.wins:
            first[ours] = (key, pair)
    if unknown:
        raise ValueError(
            f"{path} has {len(unknown)} keys that are no part of the layout {layout.name!r}, such "
            f"as {_collapse(unknown)[:5]}: check --from, or whether the file is another model's."
        )
    return state, report


def same_tensors(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same, of whatever shapes and types."""
    if one.shape != other.shape:
        return False
    try:
        return torch.equal(one, other)
    except RuntimeError:
        # Of two types, or of eight bits: whether they fit the model is asked later.
        return False


def _settle(one: tuple[str, Pair], other: tuple[str, Pair], path: str) -> tuple[str, str]:
    """Winner and loser of two names of one tensor that disagree."""
    if one[1].wins != other[1].wins:
        return (one[0], other[0]) if one[1].wins else (other[0], one[0])
    raise ValueError(
        f"{path}: {one[0]} and {other[0]} are two names of one tensor but hold different values: "
        "the file is damaged or was edited."
    )
