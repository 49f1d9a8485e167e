"""VL-Adapter's training files (LAST.pth): a whole VL-BART or VL-T5 with what was trained.

Every tensor stands there under all the names that it has in the released model, behind ``module.``:
the table of words under five, an adapter that tasks share under the name of every task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..files import read
from .bart import BART_NAMES
from .keys import Layout, Pair, State
from .t5 import UNREAD, t5_names
from .vl_schemes import Scheme, find_scheme, own_scheme

#: What all names of a file begin with; readers of files leave it out.
PREFIX = "module."
#: The parts in which the table of words stands here, in order.
PARTS = ("text.shared.weight", "text.new_words.weight")
_BIAS = "final_logits_bias"


@dataclass(frozen=True)
class Family:
    """How the released code names one of its two language models.

    Attributes:
        begin (str): What stands in front of both stacks.
        language (tuple[str, ...]): Names of the language model, ours behind ``text.``.
        positions (Mapping[str, str]): Modules behind sub-layers, and what we call the position.
        attentions (Mapping[str, str]): Matrices of queries and values, and what we call them.
    """

    begin: str
    language: tuple[str, ...]
    positions: Mapping[str, str]
    attentions: Mapping[str, str]

    def tables(self) -> list[str]:
        """All names of the table of words."""
        own = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
        things = "encoder.visual_embedding.obj_order_embedding"
        named = [*(f"{self.begin}{name}" for name in (*own, things)), "lm_head"]
        return [f"{name}.weight" for name in named]


_SUB_LAYERS = {
    "encoder": (("attn_adapter", "text_attn"), ("ff_adapter", "text_ffn")),
    "decoder": (
        ("self_attn_adapter", "decoder_attn"),
        ("enc_attn_adapter", "decoder_cross"),
        ("ff_adapter", "decoder_ffn"),
    ),
}
BART = Family(
    "model.",
    BART_NAMES,
    {
        f"model.{stack}.layers.{{i}}.{theirs}": f"{{i}}_{ours}"
        for stack, pairs in _SUB_LAYERS.items()
        for theirs, ours in pairs
    },
    {
        f"model.{stack}.layers.{{i}}.{attention}.{m}_proj": f"{{i}}_{role}_{cross}{m}"
        for stack, role, attention, cross in (
            ("encoder", "text", "self_attn", ""),
            ("decoder", "decoder", "self_attn", ""),
            ("decoder", "decoder", "encoder_attn", "cross_"),
        )
        for m in "qv"
    },
)
T5 = Family(
    "",
    t5_names(),
    {
        f"{stack}.block.{{i}}.layer.{number}.{theirs.removeprefix('self_')}": f"{{i}}_{ours}"
        for stack, pairs in _SUB_LAYERS.items()
        for number, (theirs, ours) in enumerate(pairs)
    },
    {
        f"{stack}.block.{{i}}.layer.{number}.{attention}.{m}": f"{{i}}_{role}_{cross}{m}"
        for stack, role, number, attention, cross in (
            ("encoder", "text", 0, "SelfAttention", ""),
            ("decoder", "decoder", 0, "SelfAttention", ""),
            ("decoder", "decoder", 1, "EncDecAttention", "cross_"),
        )
        for m in "qv"
    },
)
_VISUAL = (
    *(
        f"{part}.{n}.{{p}}"
        for part in ("feat_embedding", "absolute_vis_pos_embedding")
        for n in (0, 1)
    ),
    "img_order_embedding.weight",
)
# Parts of a projection by what it is made of: their names and ours.
_LINEAR = (("{p}", "{p}"),)
_FACTORS = (("W", "W"), ("W_left", "L"), ("W_right", "R"), ("b", "b"))
_BLOCKS = {"feed_forward": "ffn", "self_attention": "attn", "cross_attention": "cross"}
_PERCEPTRON = {"0.weight": "embedding.weight", "1.{p}": "inner.{p}", "3.{p}": "outer.{p}"}


def _bottlenecks(family: Family, scheme: Scheme, task: str) -> Iterable[tuple[str, str]]:
    begin = scheme.begin["VLAdapter"]
    for theirs, ours in family.positions.items():
        for side in ("down", "up"):
            inside = f"{theirs}.adapters.{task}.{side}_sampler"
            own = f"{begin}{side}.{ours}{scheme.suffix(side, task)}"
            for name, called in (*_LINEAR, *_FACTORS):
                yield f"{inside}.{name}", f"{own}.{called}"
            rules = {
                "own": f"{own}.rule.A",
                "position": f"{begin}common.{side}.{ours}.A",
                "model": f"{begin}common.rule.A",
            }
            yield f"{inside}.phm_rule", rules[scheme.rule]
        for norm in ("pre", "post"):
            yield f"{theirs}.{norm}_layer_norm.{{p}}", f"{begin}{norm}_norm.{ours}.{{p}}"
    if scheme.rule == "model":
        yield "phm_rule", f"{begin}common.rule.A"


def _generated(family: Family, scheme: Scheme, task: str) -> Iterable[tuple[str, str]]:
    begin, p = scheme.begin["Hyperformer"], family.begin
    embedded = f"task_to_embeddings.{task}"
    own = f"{begin}tasks.{'shared' if scheme.suffix('hyper', task) == '' else task}"
    yield f"{p}shared_task_embed.{embedded}", own
    for stack, role in (("encoder", "text"), ("decoder", "decoder")):
        yield f"{p}{stack}.task_embed.{embedded}", own
        net, ours = f"{p}{stack}.adapter_layers_hyper_net", f"{begin}networks.{role}"
        yield f"{net}.layer_id_embeddings.weight", f"{ours}.layers.weight"
        yield f"{net}.adapters_block_type.weight", f"{ours}.blocks.weight"
        yield f"{net}.LayerNorm.{{p}}", f"{ours}.norm.{{p}}"
        for number, name in ((0, "inner"), (2, "outer")):
            # Their spelling.
            theirs = f"{net}.task_hypernet.task_embeding_generator.{number}.{{p}}"
            yield theirs, f"{ours}.{name}.{{p}}"
        blocks = {**{f"{name}_": block for name, block in _BLOCKS.items()}, "": "shared"}
        for name, block in blocks.items():
            for side in ("down", "up"):
                for part in ("weight", "bias"):
                    theirs = f"{net}.{name}{side}_sampler_hyper_net.{part}_generator.0.{{p}}"
                    yield theirs, f"{ours}.generators.{block}.{side}_{part}.{{p}}"


def _low_rank(family: Family, scheme: Scheme, task: str) -> Iterable[tuple[str, str]]:
    suffix = "" if scheme.suffix("lora", task) == "" else f".{task}"
    for theirs, ours in family.attentions.items():
        for part in "AB":
            own = f"{scheme.begin['LoRA']}layers.{ours}{suffix}.{part}"
            yield f"{theirs}.lora_{part}s.{task}", own


def _prompts(family: Family, scheme: Scheme, task: str) -> Iterable[tuple[str, str]]:
    suffix = "" if scheme.suffix("prompt", task) == "" else f".{task}"
    for place, role in (("encoder.", "text"), ("", "decoder")):
        inside = f"{family.begin}{place}prompt_modules.prompts.{task}.prefix_embedding"
        for theirs, ours in _PERCEPTRON.items():
            own = f"{scheme.begin['PromptTuning']}prompts.{role}{suffix}.{ours}"
            yield f"{inside}.{theirs}", own


_METHODS = {
    "VLAdapter": _bottlenecks,
    "Hyperformer": _generated,
    "LoRA": _low_rank,
    "PromptTuning": _prompts,
}


def _pairs(family: Family, scheme: Scheme) -> list[Pair]:
    """All names of a family under a scheme, those of the table with the number of its part."""
    named = [(f"{family.begin}{name}", f"text.{name}") for name in family.language]
    visual = f"{family.begin}encoder.visual_embedding"
    named += [(f"{visual}.{name}", f"visual_embedding.{name}") for name in _VISUAL]
    named += [
        (f"{table}[{part}]", ours) for table in family.tables() for part, ours in enumerate(PARTS)
    ]
    named.append((_BIAS, f"text.{_BIAS}"))
    for method in scheme.begin:
        for task in scheme.tasks:
            named += _METHODS[method](family, scheme, task)
    return [Pair(theirs, ours) for theirs, ours in dict.fromkeys(named)]


_ANY = Scheme(("{task}",), dict.fromkeys(_METHODS, "adapter."))
#: What tells a file of this layout; a file's own scheme says what its names mean.
VL_ADAPTER = Layout(
    "vl-adapter",
    tuple(
        replace(pair, theirs=pair.theirs.removesuffix("[0]"))
        for family in (BART, T5)
        for pair in _pairs(family, _ANY)
        if not pair.theirs.endswith("[1]")
    ),
    (UNREAD, ("phm_rule", "every projection names it")),
)


def _family(names: Iterable[str], path: object) -> Family:
    names = set(names)
    for family in (BART, T5):
        if f"{family.begin}shared.weight" in names:
            return family
    raise ValueError(
        f"{path} has neither 'model.shared.weight' nor 'shared.weight': it is no file of the "
        "layout 'vl-adapter', or not all of it."
    )


def read_vl_adapter(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a file, the table in the two parts that it has here.

    Args:
        path (str | Path): The file.
        model (VLSeq2Seq): The model of the config.

    Returns:
        tuple: Tensors by their names, and notes for the user.

    Raises:
        ValueError: If it is another layout's, or of a vocabulary of another size.
    """
    language: Any = getattr(model, "text", None)
    if not hasattr(language, "new_words") or not hasattr(model, "tasks"):
        raise ValueError("--from vl-adapter needs --config of a model with type='VLSeq2Seq'.")
    content = read(path)
    notes = [f"beside the weights, not used: {k} ({what})" for k, what in content.left.items()]
    family, rows = _family(content.tensors, path), language.vocab_size
    state: State = {}
    for name, tensor in content.tensors.items():
        if name == _BIAS:
            if tensor.dim() != 2:
                raise ValueError(
                    f"{path}: {name} has the shape {tuple(tensor.shape)}, not one row: the file is "
                    "damaged or another model's."
                )
            if bool(tensor[:, rows:].any()):
                raise ValueError(f"{path}: {name} of words behind the table's {rows} is not 0.")
            state[name] = tensor[:, :rows]
        elif name in family.tables():
            found = len(tensor) if tensor.dim() else 0
            if found != language.num_words:
                raise ValueError(
                    f"{path}: {name} has {found} rows, the config's language model "
                    f"{language.num_words}: set model.text.new_words={found - rows}."
                )
            state[f"{name}[0]"], state[f"{name}[1]"] = tensor[:rows], tensor[rows:]
        else:
            state[name] = tensor
    return state, notes


def layout_of(source: State, model: Any, path: object) -> Layout:
    """The layout of a file by the scheme that its names and values show.

    Args:
        source (dict[str, Tensor]): Of :func:`read_vl_adapter`.
        model (VLSeq2Seq): The model of the config.
        path (str | Path): The file, for errors.

    Raises:
        ValueError: If the config's method is another one.
    """
    family = _family((name.removesuffix("[0]") for name in source), path)
    pairs = _pairs(family, find_scheme(source, model, path))
    return Layout(VL_ADAPTER.name, tuple(pairs), (UNREAD,))


def export_vl_adapter(
    state: State, tasks: Iterable[str] = (), **_: Any
) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the released names, aliases included.

    Args:
        state (dict[str, Tensor]): All weights by our name.
        tasks (Iterable[str]): Tasks of the model, under whose names stands what they share.

    Returns:
        tuple: Tensors by their name, and our names to those.

    Raises:
        ValueError: If there is no table with new rows, or there are no tasks.
    """
    tasks = tuple(tasks)
    if not all(name in state for name in PARTS) or not tasks:
        raise ValueError(
            "--to vl-adapter writes a VLSeq2Seq with its whole language model, new words and "
            "tasks: choose the config of one."
        )
    family = T5 if any(name.startswith("text.encoder.block.") for name in state) else BART
    layout = Layout(VL_ADAPTER.name, tuple(_pairs(family, own_scheme(state, tasks))))
    table = torch.cat([state[name] for name in PARTS])
    found = {f"{PREFIX}{name}": table for name in family.tables()}
    used = dict.fromkeys(PARTS, f"{PREFIX}{family.tables()[0]}")
    for name, tensor in state.items():
        if name.endswith("common.rule.A"):
            # Under a name of its own, and in every projection.
            biases = [n for n in state if re.fullmatch(r"adapter\..*\b(?:down|up)\..+\.b", n)]
            inside = [f"{n.removesuffix('b')}phm_rule" for b in biases for n in layout.to_theirs(b)]
            found.update({f"{PREFIX}{n}": tensor for n in ("phm_rule", *inside)})
            used[name] = f"{PREFIX}phm_rule"
        elif name == f"text.{_BIAS}":
            new = tensor.new_zeros(1, len(table) - tensor.shape[1])
            found[f"{PREFIX}{_BIAS}"] = torch.cat((tensor, new), 1)
            used[name] = f"{PREFIX}{_BIAS}"
        elif name not in PARTS and (theirs := layout.to_theirs(name)):
            found.update({f"{PREFIX}{their}": tensor for their in theirs})
            used[name] = f"{PREFIX}{theirs[0]}"
    return found, used
