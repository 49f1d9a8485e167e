"""The contract matrix: the methods, the models that they serve, and what each pair promises.

A new method is a line in :data:`METHODS`, a new backbone or task one in :data:`MODELS`;
``test_contract.py`` holds every pair to its promises.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from tests.helpers import ROOT
from tests.test_models.test_adapters import contract_models as models


@dataclass(frozen=True)
class Model:
    """A small model that a method is tried on.

    Attributes:
        build (Callable): Makes it; see :mod:`contract_models`.
        outputs (Callable): All that the model computes, by role, without a graph.
        loss (Callable): The loss of a training step.
        uses (tuple[str]): What UniAdapter calls the modalities that it runs.
        heads (str): Pattern of the names that a step trains beside the method's own.
        task (bool): Whether it is a task of the package: with fast paths, gradient checkpointing by
            config and adapter folders.
        apart (bool): Whether what it saves leaves the frozen weights out.
    """

    build: Callable[..., Any]
    outputs: Callable[[Any], models.Outputs]
    loss: Callable[[Any], torch.Tensor]
    uses: tuple[str, ...]
    heads: str = "(?!)"
    task: bool = True
    apart: bool = True


_BLIP_HEADS = r"(vision_proj|text_proj|itm_head)\.|temp$"
_DUAL_HEADS = r"(vision_proj|text_proj)\.|logit_scale$"
_ALL, _TWO = ("visual", "text", "cross"), ("visual", "text")
_BLIP = (models.retrieval_outputs, models.pairs_loss, _ALL, _BLIP_HEADS)
_DUAL = (models.dual_outputs, models.dual_loss, _TWO, _DUAL_HEADS)
_WRAPPED = (models.backbone_outputs, models.backbone_loss, ("visual",), "(?!)", False)
MODELS: dict[str, Model] = {
    "blip_video": Model(models.blip_video, *_BLIP),
    "blip_image": Model(models.blip_image, *_BLIP),
    "blip_two_widths": Model(models.blip_two_widths, *_BLIP),
    "albef": Model(models.albef, *_BLIP),
    "pretrain": Model(
        models.pretrain, models.pretrain_outputs, models.pairs_loss, _ALL, _BLIP_HEADS
    ),
    "vqa": Model(models.vqa, models.vqa_outputs, models.words_loss, _ALL),
    "albef_vqa": Model(models.albef_vqa, models.vqa_outputs, models.words_loss, _ALL),
    "caption": Model(models.caption, models.caption_outputs, models.words_loss, _ALL),
    "clip": Model(models.clip, *_DUAL),
    "beit3": Model(models.beit3, *_DUAL),
    "t5": Model(models.t5, models.seq2seq_outputs, models.seq2seq_loss, ("text", "cross")),
    "mmpretrain_vit": Model(models.mmpretrain_vit, *_WRAPPED),
    "hosted_vit": Model(models.hosted_vit, *_WRAPPED, apart=False),
}

# One of each kind of tower and of task.
ONE, KINDS = ("blip_video",), ("blip_video", "vqa", "clip", "mmpretrain_vit")


@dataclass(frozen=True)
class Method:
    """A method and what it promises.

    Attributes:
        config (dict | Callable): Its config, or what makes it for a model.
        starts_frozen (bool): Whether step 0 is the frozen model, bit for bit.
        merges (bool): Whether it can be merged into the weights.
        same_paths (bool): Whether the model takes the fast paths that it takes without the method.
            Else bits are compared on the plain way.
        own (str): Pattern of the names of what it trains.
        idle (str): Pattern of those among them that no output depends on.
        refuses (Mapping): By name of a model that it doesn't serve, a pattern of the error.
        core (Collection): Models that the core suite tries it on; the deep suite tries all.
        steps (int): Until the gradient has come everywhere from where it starts at zero.
    """

    config: Mapping[str, Any] | Callable[[Model], dict[str, Any]]
    starts_frozen: bool = True
    merges: bool = False
    same_paths: bool = True
    own: str = r"adapter\."
    idle: str = "(?!)"
    refuses: Mapping[str, str] = field(default_factory=dict)
    core: Collection[str] = KINDS
    steps: int = 3

    def config_for(self, model: Model) -> dict[str, Any]:
        """The config of the adapter of a model."""
        return self.config(model) if callable(self.config) else dict(self.config)


def uniadapter(**options: Any) -> Callable[[Model], dict[str, Any]]:
    """UniAdapter on all that a model runs."""
    return lambda model: {"type": "UniAdapter", "bottleneck": 8, "towers": model.uses, **options}


def bottlenecks(preset: str, **options: Any) -> dict[str, Any]:
    """A preset of small bottlenecks."""
    return {"type": "BottleneckAdapter", "preset": preset, "bottleneck": 8, **options}


def peft(**config: Any) -> dict[str, Any]:
    """A method of peft on q and v."""
    return {"type": "PeftAdapter", "config": config}


def tutorial_classes() -> dict[str, Any]:
    """The classes that docs/tutorials.md defines, by name, outside the registry."""
    page = (ROOT / "docs/tutorials.md").read_text(encoding="utf-8")
    kept: list[ast.stmt] = []
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ClassDef):
                node.decorator_list = []
            if isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom):
                kept.append(node)
    found: dict[str, Any] = {"__name__": "tutorials"}
    exec(compile(ast.Module(kept, []), "docs/tutorials.md", "exec"), found)
    return found


_NO_EMBEDDING = dict.fromkeys(
    ("vqa", "albef_vqa", "caption", "t5", "mmpretrain_vit", "hosted_vit"),
    "adapter.side_dim=12 is the width beside",
)


def unipt(
    core: Collection[str], refuses: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> Method:
    """UniPT, which reads states and so runs texts another way than the bare towers do."""
    return Method(
        {"type": "UniPT", **options},
        starts_frozen=options.get("start") == "frozen",
        same_paths=False,
        # The confidence is a softmax, which takes the bias out.
        idle=r"adapter\.sides\.\w+\.gate\.bias",
        refuses=refuses,
        core=core,
        steps=8,
    )


TOYS = tutorial_classes()


def beside(model: Model) -> dict[str, Any]:
    """The toy that reads taps; a question's or a source's own states are read by another role."""
    alone = () if model.build in (models.albef_vqa, models.t5) else ("text",)
    roles = ("visual", "fusion", "decoder", *alone)
    return {"type": TOYS["Beside"], "rank": 4, "roles": roles}


def ladder(model: Model) -> dict[str, Any]:
    """Side towers; a question's own states are read by the fusion alone."""
    roles = {models.albef_vqa: ["visual", "fusion"]}.get(model.build)
    return {"type": "Ladder", "reduction": 4, "num_heads": 2, "roles": roles}


# All of its schemes with all query residuals, and every variant at both ends.
_SCHEMES = [(s, q) for s in ("none", "down", "up", "down+up") for q in ("off", "shared", "own")]
_VARIANTS: dict[str, dict[str, Any]] = {
    "released": {"variant": "released"},
    "released_kv": {"variant": "released", "kv_rank": 4},
    "kv": {"kv_rank": 4},
    "learnable_scale": {"learnable_scale": True},
    "no_textual_branch": {"textual_branch": False},
}


# Models with a decoder.
_WRITERS = ("vqa", "albef_vqa", "caption", "pretrain", "t5")


def _refusals(**options: Any) -> dict[str, str]:
    """Models that have no use for some options of UniAdapter, by the errors that say so."""
    found, residual = {}, options.get("query_residual")
    for name, model in MODELS.items():
        crossed, answers = "cross" in model.uses, name in ("vqa", "caption")
        if options.get("decoder") == "own" and name not in _WRITERS:
            found[name] = r"adapter.decoder='own' would do nothing"
        elif residual == "own" and not crossed:
            found[name] = r"adapter.query_residual='own' would do nothing"
        elif options.get("kv_rank") and (not crossed or name == "t5"):
            found[name] = r"adapter.kv_rank=4 would do nothing, .*no cross-attention"
        elif answers and residual == "own" and options.get("textual_branch") is False:
            # Nothing runs a textual adapter that neither residual nor branch uses.
            found[name] = "names 'text', but nothing would run"
    return found


METHODS: dict[str, Method] = {
    "uniadapter": Method(uniadapter(), core=tuple(MODELS)),
    **{
        f"uniadapter-{s}-{q}": Method(
            uniadapter(sharing=s, query_residual=q),
            core=ONE,
            refuses=_refusals(query_residual=q),
        )
        for s, q in _SCHEMES
    },
    **{
        f"uniadapter-{s}-{q}-{name}": Method(
            uniadapter(sharing=s, query_residual=q, **options),
            core=ONE,
            refuses=_refusals(query_residual=q, **options),
        )
        for s, q in (("down", "shared"), ("none", "own"))
        for name, options in _VARIANTS.items()
    },
    "uniadapter-own_decoder": Method(
        uniadapter(decoder="own"), core=("vqa", "caption"), refuses=_refusals(decoder="own")
    ),
    "beside": Method(beside, core=tuple(MODELS), steps=8, same_paths=False),
    "unipt": unipt(("blip_video", "clip", "albef")),
    "unipt-frozen_start": unipt(
        ("blip_image", "vqa", "caption", "mmpretrain_vit"), start="frozen", reduction=4
    ),
    "unipt-some_taps": unipt(
        ONE,
        _NO_EMBEDDING,
        taps="0-1",
        side_dim=12,
        confidence="uniform",
        start="published",
    ),
    "unipt-pair": unipt(
        ("vqa", "caption", "t5"),
        dict.fromkeys(
            [name for name in MODELS if name not in ("vqa", "albef_vqa", "caption", "t5")],
            "adapter.decoder='side' is a pair of an encoder and a decoder",
        ),
        decoder="side",
        start="published",
    ),
    "ladder": Method(ladder, starts_frozen=False, same_paths=False, core=tuple(MODELS)),
    "sequential_and_parallel": Method(
        {"type": TOYS["TwoTerms"], "rank": 4},
        refuses={"t5": "TwoTerms fills the site 'visual.attn'"},
    ),
    "mean_of_a_frame": Method(
        {"type": TOYS["FrameMean"]},
        refuses=dict.fromkeys(
            ("clip", "t5", "mmpretrain_vit", "hosted_vit"), "FrameMean fills the site 'visual.mid'"
        ),
        core=("blip_video", "vqa", "beit3"),
    ),
    "houlsby": Method(bottlenecks("houlsby"), starts_frozen=False),
    "houlsby-tied": Method(
        bottlenecks("houlsby", tied=True, train_norms=False), starts_frozen=False, core=ONE
    ),
    "pfeiffer": Method(
        bottlenecks("pfeiffer"),
        starts_frozen=False,
        refuses={"t5": r"fills the sites \['out'\] of the role 'text', of which"},
        core=("blip_video", "vqa", "clip", "beit3"),
    ),
    "parallel": Method(bottlenecks("parallel")),
    "parallel-shared": Method(
        bottlenecks("parallel", share_text=True),
        refuses=dict.fromkeys(
            [name for name in MODELS if not name.startswith(("blip", "pretrain"))],
            "adapter.share_text=True, but no layer",
        ),
        core=ONE,
    ),
    "lora": Method({"type": "LoRA", "rank": 4}, merges=True, same_paths=False, core=tuple(MODELS)),
    "lora-all": Method(
        {"type": "LoRA", "rank": 3, "alpha": 5, "targets": ["q", "k", "v", "o", "fc1", "fc2"]},
        merges=True,
        same_paths=False,
    ),
    "peft-dora": Method(
        # Its magnitudes are those of the weights that are loaded, see test_peft.py.
        peft(peft_type="LORA", r=3, use_dora=True),
        starts_frozen=False,
        merges=True,
        same_paths=False,
    ),
    "peft-ia3": Method(
        {**peft(peft_type="IA3"), "targets": ["k", "v", "fc2"], "feedforward": ["fc2"]},
        merges=True,
        same_paths=False,
    ),
    "bitfit": Method(
        {"type": "BitFit"},
        merges=True,
        same_paths=False,
        refuses={"t5": "trains biases, of which these towers have none"},
    ),
    "stack": Method(
        lambda model: {
            "type": "Stack",
            "methods": [uniadapter()(model), {"type": "LoRA", "rank": 3}, bottlenecks("parallel")],
        },
        same_paths=False,
        core=("blip_video", "mmpretrain_vit"),
    ),
    "stack-merging": Method(
        {"type": "Stack", "methods": [{"type": "LoRA", "rank": 3}, {"type": "BitFit"}]},
        merges=True,
        same_paths=False,
        core=ONE,
        refuses={"t5": "trains biases, of which these towers have none"},
    ),
    "stack-sums": Method(
        {
            "type": "Stack",
            "methods": [bottlenecks("parallel"), bottlenecks("parallel", bottleneck=3)],
        },
        core=ONE,
    ),
    "vl_adapter": Method(
        {"type": "VLAdapter", "reduction_factor": 4, "post_norm": True},
        starts_frozen=False,
        core=("blip_video", "t5"),
    ),
    "vl_adapter-zero_up": Method(
        {"type": "VLAdapter", "bottleneck": 4, "init": "zero_up", "reads": "input"}, core=()
    ),
    "vl_adapter-across": Method(
        # One down-projection for all runs, one up-projection for all layers of a run and a site.
        {
            "type": "VLAdapter",
            "bottleneck": 4,
            "share": {"down": ["modality", "site", "layer", "task"], "up": ["layer", "task"]},
        },
        starts_frozen=False,
        core=(),
    ),
    "compacter": Method(
        {
            "type": "VLAdapter",
            "bottleneck": 4,
            "projection": {"type": "phm", "k": 2, "rank": 1, "rule": "model"},
        },
        starts_frozen=False,
        core=ONE,
    ),
    "compacter-own_rules": Method(
        {"type": "VLAdapter", "bottleneck": 4, "projection": "phm"}, starts_frozen=False, core=()
    ),
    "low_rank_adapter": Method(
        {"type": "VLAdapter", "bottleneck": 4, "projection": "low_rank"},
        starts_frozen=False,
        core=(),
    ),
    "hyperformer": Method(
        {"type": "Hyperformer", "share": ["task"], "embedding": 8, "hidden": 6, "bottleneck": 4},
        starts_frozen=False,
        core=ONE,
    ),
    "hyperformer-one": Method(
        {
            "type": "Hyperformer",
            "share": ["task"],
            "variant": "one",
            "embedding": 8,
            "hidden": 6,
            "bottleneck": 4,
        },
        starts_frozen=False,
        core=(),
    ),
    "prompt_tuning": Method(
        {"type": "PromptTuning", "length": 3, "hidden": 5},
        starts_frozen=False,
        same_paths=False,
        refuses=dict.fromkeys(
            ("vqa", "caption", "t5", "mmpretrain_vit", "hosted_vit"),
            "PromptTuning fills the site 'text.tokens'",
        ),
        core=(),
    ),
    "mam": Method(
        {"type": "MAM", "prefix": 3, "bottleneck": 4},
        starts_frozen=False,
        same_paths=False,
        refuses={
            **dict.fromkeys(
                ("clip", "mmpretrain_vit", "hosted_vit"), "MAM fills the site 'visual.keys'"
            ),
            "t5": "MAM fills the site 'text.keys'",
        },
        core=("blip_video", "vqa", "caption", "albef", "beit3"),
    ),
    "mam-own": Method(
        {"type": "MAM", "prefix": 2, "bottleneck": 4, "hidden": 5, "share_text": False},
        starts_frozen=False,
        same_paths=False,
        refuses={
            **dict.fromkeys(
                ("clip", "mmpretrain_vit", "hosted_vit"), "MAM fills the site 'visual.keys'"
            ),
            "t5": "MAM fills the site 'text.keys'",
        },
        core=ONE,
    ),
    "prompt": Method(
        lambda model: {
            "type": "Prompt",
            "text": 0 if model.build is models.caption else 3,
            "visual": 2,
        },
        starts_frozen=False,
        same_paths=False,
        refuses={
            **dict.fromkeys(
                ("mmpretrain_vit", "hosted_vit"), "Prompt fills the site 'visual.tokens'"
            ),
            "t5": "Prompt fills the site 'text.tokens'",
        },
        core=("blip_video", "vqa", "caption", "albef", "albef_vqa", "beit3", "clip"),
    ),
    "prompt-deep": Method(
        {"type": "Prompt", "text": 0, "visual": 2, "deep": True},
        starts_frozen=False,
        same_paths=False,
        refuses={
            **dict.fromkeys(
                ("mmpretrain_vit", "hosted_vit"), "Prompt fills the site 'visual.tokens'"
            ),
            "t5": "in front of every layer of pictures, of which there are none",
        },
        core=("blip_video", "clip"),
    ),
    "st_adapter": Method(
        # Where the class token alone is read, patches of the last layer are of no effect.
        lambda model: {
            "type": "STAdapter",
            "bottleneck": 8,
            "sites": ["into", "mid"] if "cross" in model.uses else ["into"],
        },
        refuses=dict.fromkeys(
            ("clip", "t5", "mmpretrain_vit", "hosted_vit"), "STAdapter fills the site 'visual.mid'"
        ),
        core=("blip_video", "vqa", "beit3"),
    ),
}
