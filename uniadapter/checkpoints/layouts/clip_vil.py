"""UniPT's checkpoints on CLIP-ViL, the start they are trained from, and CLIP's ResNets alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.json_files import parse_json

from ..files import read
from .clip import read_original
from .keys import Layout, Pair, State, map_keys

_DEPTH = 12
_SIDE = "adapter.sides.fusion"
_COUNTER = "num_batches_tracked"
_UNUSED = "a part of CLIP or LXMERT that CLIP-ViL does not run"
# Where BERT stands in both files.
_BEST, _START = "lxrt_encoder.model.bert.", "bert."


def _towers(bert: str) -> tuple[Pair, ...]:
    """Names of what is frozen; ``bert`` stands in front of them."""
    encoder = f"{bert}encoder."
    return (
        Pair(f"{bert}{{plain_bert}}", "text.model.{plain_bert}"),
        Pair(f"{encoder}visn_fc.visn_fc.{{p}}", "text.grid_proj.{p}"),
        Pair(f"{encoder}visn_fc.visn_layer_norm.{{p}}", "text.grid_norm.{p}"),
        # The table called x is asked for rows.
        Pair(f"{encoder}visual_pos.x_position_embedding.weight", "visual.row_embed.weight"),
        Pair(f"{encoder}visual_pos.y_position_embedding.weight", "visual.column_embed.weight"),
        Pair(f"{encoder}visual_model.visual.{{clip_resnet}}", "visual.model.{clip_resnet}"),
    )


def _side() -> tuple[Pair, ...]:
    """Names of the side network: one projection down for tap 0, a list for the layers behind."""
    encoder = f"{_BEST}encoder."
    downs = {f"{encoder}side_first_downsample_l": f"{_SIDE}.down.0"}
    for layer in range(1, _DEPTH):
        downs[f"{encoder}side_downsamples_l.{layer - 1}"] = f"{_SIDE}.down.{layer}"
    downs[f"{encoder}side_downsamples_l.{_DEPTH - 1}"] = f"{_SIDE}.down_guide"
    parts = {f"{a}.0": f"{b}.linear" for a, b in downs.items()}
    parts.update({f"{a}.1": f"{b}.norm" for a, b in downs.items()})
    projection = f"{encoder}side_projection_l"
    parts.update({f"{projection}.{n}": f"{_SIDE}.projection.{n}" for n in (0, 2, 3)})
    parts[f"{encoder}side_final_upsample_l.0"] = f"{_SIDE}.up.linear"
    parts[f"{encoder}side_gate_layer_l"] = f"{_SIDE}.gate"
    return tuple(Pair(f"{a}.{{p}}", f"{b}.{{p}}") for a, b in parts.items())


def _left(bert: str) -> tuple[tuple[str, str], ...]:
    bert = re.escape(bert)
    encoder = rf"{bert}encoder\."
    return (
        (rf"{encoder}visn_fc\.box_(?:fc|layer_norm)\.(?:weight|bias)", "boxes, which a grid lacks"),
        (rf"{encoder}visual_model\.visual\.attnpool\..+", "the attention pool behind the grid"),
        (rf"{encoder}visual_model\.(?!visual\.).+", _UNUSED),
        (rf"{bert}embeddings\.position_ids", "the numbers 0, 1, 2 ..."),
    )


_HEAD = tuple(Pair(f"logit_fc.{n}.{{p}}", f"logit_fc.{n}.{{p}}") for n in (0, 2, 3))

CLIP_VIL = Layout("clip-vil", (*_side(), *_towers(_BEST), *_HEAD), _left(_BEST))
CLIP_VIL_START = Layout(
    "clip-vil-start",
    (
        *_towers(_START),
        *(Pair(f"answer_head.{pair.theirs}", pair.ours) for pair in _HEAD),
    ),
    (
        *_left(_START),
        (r"cls\..+", "the head of masked words, of pre-training"),
        (r"obj_predict_head\..+", "the head of masked objects, of pre-training"),
    ),
)
CLIP_RESNET = Layout(
    "clip-resnet",
    (Pair("visual.{clip_resnet}", "{clip_resnet}"),),
    (
        (r"visual\.attnpool\..+", "the attention pool behind the grid"),
        (r"(?!visual\.).+", "CLIP's text tower, projection and sizes"),
    ),
)

_SAME = {"a man": "man", "the man": "man", "a woman": "woman", "the woman": "woman", "grey": "gray"}
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SAME.update({word: str(number) for number, word in enumerate(_NUMBERS, 1)})


def normalise_answer(answer: str) -> str:
    """An answer as the pre-training's table writes it.

    Small letters; one dot at the end, then ``a``, ``an`` and ``the`` in front are taken off, each
    once and in this order; of what is left ``one`` to ``ten`` become digits and ``grey`` ``gray``.

    Args:
        answer (str): As the data set has it.
    """
    if not answer:
        return ""
    answer = answer.lower()
    if answer.endswith("."):
        answer = answer[:-1].strip()
    for article in ("a ", "an ", "the "):
        if answer.startswith(article):
            answer = answer[len(article) :].strip()
    return _SAME.get(answer, answer)


def read_pretraining_answers(path: str | Path) -> list[str]:
    """The answers of the pre-training's head in the order of its rows.

    Args:
        path (str | Path): LXMERT's ``all_ans.json``, a list of ``{"ans": answer, "dsets": [...]}``.

    Returns:
        list[str]: Different answers.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, or an answer stands in it twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: it is LXMERT's data/lxmert/all_ans.json.")
    try:
        rows = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy it again.") from error
    good = isinstance(rows, list) and rows
    found = [row.get("ans") if isinstance(row, dict) else None for row in rows] if good else []
    answers = [answer for answer in found if isinstance(answer, str)]
    if not answers or len(answers) < len(found):
        raise ValueError(f'{path}: a list of objects with a text under "ans" is expected.')
    if len(set(answers)) < len(answers):
        twice = next(answer for answer in answers if answers.count(answer) > 1)
        raise ValueError(f"{path}: the answer {twice!r} stands in it twice; copy the file again.")
    return answers


def match_head(
    state: State, known: Sequence[str], wanted: Sequence[str], path: str
) -> tuple[State, int]:
    """Give a pre-training's head the classes of a data set.

    Args:
        state (dict[str, Tensor]): Tensors by the start file's name.
        known (Sequence[str]): Answers of the file's rows.
        wanted (Sequence[str]): Answers of the data set, in the order of its classes.
        path (str): The file, for errors.

    Returns:
        tuple: The same tensors, the last layer with a row a class: that of the same answer, or
        zeros; and how many answers were matched.

    Raises:
        ValueError: If the file has no such layer, or another number of rows than ``known``.
    """
    names = [f"answer_head.logit_fc.3.{kind}" for kind in ("weight", "bias")]
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"{path} lacks {missing[0]}: it is no CLIP-ViL start with an answer head.")
    rows = {answer: row for row, answer in enumerate(known)}
    pairs = [
        (index, rows[found])
        for index, answer in enumerate(wanted)
        if (found := normalise_answer(answer)) in rows
    ]
    to, of = [[pair[side] for pair in pairs] for side in (0, 1)]
    state = dict(state)
    for name in names:
        tensor = state[name]
        if not tensor.dim() or len(tensor) != len(known):
            raise ValueError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, and the table of its answers "
                f"{len(known)} entries: name the all_ans.json it was trained with."
            )
        fresh = tensor.new_zeros(len(wanted), *tensor.shape[1:])
        fresh[to] = tensor[of]
        state[name] = fresh
    return state, len(pairs)


def _counted(state: State) -> State:
    """The same with counters of batch normalisation, which old files lack and nothing reads."""
    missing = {
        f"{name.removesuffix('running_mean')}{_COUNTER}": torch.tensor(0)
        for name in state
        if name.endswith(".running_mean")
    }
    return {**missing, **state}


def read_clip_vil(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read ``BEST.pth`` of UniPT on CLIP-ViL.

    Args:
        path (str | Path): The file.
        model (VisionLanguageModel): Not used.

    Returns:
        tuple: Tensors by the file's name, without ``module.``; and notes for the user.
    """
    content = read(path)
    notes = [f"beside the weights, not used: {k} ({what})" for k, what in content.left.items()]
    state = _counted(content.tensors)
    if len(state) > len(content.tensors):
        notes.append("the counters of batch normalisation, which the file lacks, start at 0")
    return state, notes


def read_clip_vil_start(
    path: str | Path, model: Any, answers: str | Path | None
) -> tuple[State, list[str]]:
    """Read ``Epoch11_LXRT.pth``, CLIP-ViL's pre-training, its head with the model's classes.

    Args:
        path (str | Path): The file.
        model (AnswerClassModel): Whose ``answer_list`` the classes are of.
        answers (str | Path, optional): LXMERT's ``all_ans.json``.

    Returns:
        tuple: Tensors by the file's name, without ``module.``; and notes for the user.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there is no table of answers, or it is another head's.
    """
    if answers is None:
        raise ValueError(
            "--from clip-vil-start needs --answers, LXMERT's data/lxmert/all_ans.json: the file's "
            "head has a row for each of its answers."
        )
    state, notes = read_clip_vil(path, model)
    wanted = model.answer_list
    state, found = match_head(state, read_pretraining_answers(answers), wanted, str(path))
    notes.append(f"{found} of {len(wanted)} answers have a row in the head; the others start at 0")
    return state, notes


def read_clip_resnet(path: str | Path) -> State:
    """Read the modified ResNet of one of CLIP's published files, for ``ClipResNet``.

    Args:
        path (str | Path): The TorchScript archive, no part of which is run, or a state dict.

    Returns:
        dict[str, Tensor]: Tensors of the network without its attention pool, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or the CLIP in it has a ViT.
    """
    state, _ = map_keys(_counted(read_original(path)[0]), CLIP_RESNET, str(path))
    return state


def export_clip_vil(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the names of ``BEST.pth``.

    Args:
        state (dict[str, Tensor]): Towers, head and side network by our name.

    Returns:
        tuple: Tensors by the file's name, and our names to those.
    """
    used = {ours: f"module.{name}" for ours in state for name in CLIP_VIL.to_theirs(ours)}
    return {name: state[ours] for ours, name in used.items()}, used
