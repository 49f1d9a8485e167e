"""The contract matrix: the methods, the models that they serve, and what each pair promises.

A new method is a line in :data:`METHODS`, a new backbone or task one in contract_kinds.py;
``test_contract.py`` holds every pair to its promises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from tests.test_models.test_adapters import contract_models as models
from tests.test_models.test_adapters.contract_kinds import (
    MODELS,
    ONE,
    Method,
    Model,
    tutorial_classes,
)

__all__ = ["METHODS", "MODELS", "TOYS", "Method", "Model"]


def uniadapter(**options: Any) -> Callable[[Model], dict[str, Any]]:
    """UniAdapter on all that a model runs."""
    return lambda model: {"type": "UniAdapter", "bottleneck": 8, "towers": model.uses, **options}


def bottlenecks(preset: str, **options: Any) -> dict[str, Any]:
    """A preset of small bottlenecks."""
    return {"type": "BottleneckAdapter", "preset": preset, "bottleneck": 8, **options}


def peft(**config: Any) -> dict[str, Any]:
    """A method of peft on q and v."""
    return {"type": "PeftAdapter", "config": config}


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


# Of these the core suite tries every way to share, every query residual and every variant once;
# tests/test_properties draws them together.
_TRIED = (
    "none-own",
    "down-off",
    "up-shared",
    "down+up-own",
    "down-shared-released_kv",
    "down-shared-learnable_scale",
    "none-own-released",
    "none-own-kv",
    "none-own-no_textual_branch",
)
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
            core=ONE if f"{s}-{q}" in _TRIED else (),
            refuses=_refusals(query_residual=q),
        )
        for s, q in _SCHEMES
    },
    **{
        f"uniadapter-{s}-{q}-{name}": Method(
            uniadapter(sharing=s, query_residual=q, **options),
            core=ONE if f"{s}-{q}-{name}" in _TRIED else (),
            refuses=_refusals(query_residual=q, **options),
        )
        for s, q in (("down", "shared"), ("none", "own"))
        for name, options in _VARIANTS.items()
    },
    "uniadapter-own_decoder": Method(
        uniadapter(decoder="own"), core=("vqa", "caption"), refuses=_refusals(decoder="own")
    ),
    "beside": Method(
        beside,
        core=("blip_video", "albef_vqa", "clip", "t5", "hosted_vit"),
        steps=8,
        same_paths=False,
    ),
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
    "ladder": Method(
        ladder,
        starts_frozen=False,
        same_paths=False,
        core=("blip_image", "albef_vqa", "caption", "beit3", "mmpretrain_vit"),
    ),
    "sequential_and_parallel": Method(
        {"type": TOYS["TwoTerms"], "rank": 4},
        refuses={"t5": "TwoTerms fills the site 'visual.attn'"},
        core=("blip_video", "mmpretrain_vit"),
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
    "lora": Method(
        {"type": "LoRA", "rank": 4},
        merges=True,
        same_paths=False,
        core=("blip_two_widths", "pretrain", "albef", "beit3", "t5", "hosted_vit"),
    ),
    "lora-all": Method(
        {"type": "LoRA", "rank": 3, "alpha": 5, "targets": ["q", "k", "v", "o", "fc1", "fc2"]},
        merges=True,
        same_paths=False,
        core=("vqa", "clip", "mmpretrain_vit"),
    ),
    "peft-dora": Method(
        # Its magnitudes are those of the weights that are loaded, see test_peft.py.
        peft(peft_type="LORA", r=3, use_dora=True),
        starts_frozen=False,
        merges=True,
        same_paths=False,
        core=("blip_video", "mmpretrain_vit"),
    ),
    "peft-ia3": Method(
        {**peft(peft_type="IA3"), "targets": ["k", "v", "fc2"], "feedforward": ["fc2"]},
        merges=True,
        same_paths=False,
        core=("vqa", "clip"),
    ),
    "bitfit": Method(
        {"type": "BitFit"},
        merges=True,
        same_paths=False,
        refuses={"t5": "trains biases, of which these towers have none"},
        core=("blip_video", "mmpretrain_vit"),
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
        core=("blip_video", "caption", "beit3"),
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
        core=("blip_video", "caption", "albef_vqa", "clip"),
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
