"""Charts: where the sites of other projects' towers are, and the matrices of all towers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Place:
    """One site, by the names of modules inside a layer (``''`` is the layer itself).

    Attributes:
        write (str): The module to whose output the term is added.
        read (str, optional): The module whose input is the state that the site shows. None: it
            shows the output that is written to.
        input (str, optional): The module whose input is the sub-layer's, for terms that are
            parallel to it. None: the site has no sub-layer.
    """

    write: str
    read: str | None = None
    input: str | None = None


@dataclass(frozen=True)
class Chart:
    """Where a tower's layers are, and the sites in each of them.

    Attributes:
        layers (str | tuple[str, ...]): Name of the list of layers, or of each layer.
        sites (Mapping[str, Place]): Places by the name of the site, see
            :mod:`uniadapter.models.sites`.
        channels_first (bool): Whether states are (B, C, H, W), as behind the stages of a
            convolution network: the site sees (B, H * W, C), of (B, C, T, H, W) it sees
            (B, T * H * W, C). Defaults to False.
        linears (Mapping[str, str | tuple]): Names of ``nn.Linear`` modules inside a layer by
            ``q``, ``k``, ``v``, ``o``, ``fc1``, ``fc2`` and, of cross-attention, ``cross_q`` and so
            on; or a name, a number n and a number of parts: the n-th part of its rows, from 0. A
            layer whose attribute of the name is None has no such matrix.
    """

    layers: str | tuple[str, ...]
    sites: Mapping[str, Place]
    channels_first: bool = False
    linears: Mapping[str, str | tuple[str, int, int]] = field(default_factory=dict)

    @classmethod
    def build(cls, config: Chart | Mapping[str, Any]) -> Chart:
        """Make a chart from a config: ``layers``, ``sites`` (a dict a site) and further fields.

        Raises:
            ValueError: If a key is missing or unknown, or a value is of another kind.
        """
        if isinstance(config, Chart):
            return config
        if not isinstance(config, Mapping):
            raise ValueError(f"chart={config!r} must be the name of a chart or a dict.")
        options = dict(config)
        unknown = set(options) - {"layers", "sites", "channels_first", "linears"}
        if unknown or not {"layers", "sites"} <= set(options):
            raise ValueError(
                f"chart={dict(config)!r} must have the keys 'layers' and 'sites' and may have "
                "'channels_first' and 'linears'."
            )
        layers, sites = options.pop("layers"), options.pop("sites")
        if not isinstance(layers, str):
            if not isinstance(layers, list | tuple) or not layers or not _all_names(layers):
                raise ValueError(
                    f"chart.layers={layers!r} must be the name of the list of layers, or a list "
                    "with the name of each layer."
                )
            layers = tuple(layers)
        for name in ("sites", "linears"):
            value = sites if name == "sites" else options.get(name, {})
            if not isinstance(value, Mapping):
                raise ValueError(f"chart.{name}={value!r} must be a dict.")
        return cls(layers, {name: _place(name, place) for name, place in sites.items()}, **options)


def _all_names(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _place(site: str, place: Any) -> Place:
    """A place of a chart's config."""
    good = isinstance(place, Mapping) and "write" in place and _all_names(place.values())
    if not good or set(place) - {"write", "read", "input"}:
        raise ValueError(
            f"chart.sites.{site}={place!r} must be a dict of names of modules: it must have the "
            "key 'write' and may have 'read' and 'input'."
        )
    return Place(**place)


def _projections(*names: str, cross: bool = False) -> dict[str, str | tuple[str, int, int]]:
    """Linears by their usual names, ``q, k, v, o`` and then ``fc1, fc2``."""
    keys = ("q", "k", "v", "o", "fc1", "fc2")
    return {f"cross_{key}" if cross else key: name for key, name in zip(keys, names, strict=False)}


_CLIP_ATTN = tuple(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out"))
_CLIP_LINEARS = _projections(*_CLIP_ATTN, "mlp.fc1", "mlp.fc2")
_BERT_QKV = ("self.query", "self.key", "self.value", "output.dense")
_BERT_LINEARS = _projections(
    *(f"attention.{name}" for name in _BERT_QKV), "intermediate.dense", "output.dense"
)
_BERT_CROSS = _projections(*(f"crossattention.{name}" for name in _BERT_QKV), cross=True)
_BART_LINEARS = _projections(*_CLIP_ATTN, "fc1", "fc2")
_BART_CROSS = _projections(*(n.replace("self", "encoder") for n in _CLIP_ATTN), cross=True)
_T5_LINEARS = {
    **_projections(*(f"layer.0.SelfAttention.{name}" for name in "qkvo")),
    "fc2": "layer.-1.DenseReluDense.wo",
}
_T5_CROSS = _projections(*(f"layer.1.EncDecAttention.{name}" for name in "qkvo"), cross=True)
_BEIT3_LINEARS = _projections(
    "attn.query", "attn.key", "attn.value", "attn.proj", "ffn.fc1", "ffn.fc2"
)
_VIT_LINEARS: dict[str, str | tuple[str, int, int]] = {
    **{name: ("attn.qkv", index, 3) for index, name in enumerate("qkv")},
    **{"o": "attn.proj", "fc1": "ffn.layers.0.0", "fc2": "ffn.layers.1"},
}
_CLIP_LAYER = {
    "attn": Place("self_attn.out_proj", input="self_attn.q_proj"),
    "ffn": Place("mlp", input="mlp"),
    "out": Place(""),
    "after_self": Place("mlp", read="layer_norm2"),
}
_BERT_LAYER = {
    "attn": Place("attention.output.dense", input="attention.self.query"),
    "ffn": Place("output.dense", input="intermediate.dense"),
    "after_self": Place("output", read="intermediate.dense"),
}
_BART_ATTN = Place("self_attn.out_proj", input="self_attn.q_proj")
_T5_ATTN = Place("layer.0.SelfAttention.o", input="layer.0.SelfAttention.q")
_T5_FFN = Place("layer.-1.DenseReluDense.wo", input="layer.-1.DenseReluDense")
_DETR_LAYER = {
    "attn": Place("self_attn.o_proj", input="self_attn"),
    "ffn": Place("mlp.fc2", input="mlp.fc1"),
    "out": Place(""),
}
_DETR_LINEARS = _projections(*(f"self_attn.{name}_proj" for name in "qkvo"), "mlp.fc1", "mlp.fc2")
_DETR_CROSS = _projections(*(f"encoder_attn.{name}_proj" for name in "qkvo"), cross=True)
_STAGE = {"after_self": Place("")}
_STAGES = ("layer1", "layer2", "layer3", "layer4")

CHARTS: dict[str, Chart] = {
    # transformers
    "CLIPVisionModel": Chart("encoder.layers", _CLIP_LAYER, linears=_CLIP_LINEARS),
    "CLIPTextModel": Chart("encoder.layers", _CLIP_LAYER, linears=_CLIP_LINEARS),
    "BertModel": Chart("encoder.layer", _BERT_LAYER, linears=_BERT_LINEARS),
    "RobertaModel": Chart("encoder.layer", _BERT_LAYER, linears=_BERT_LINEARS),
    "ViTModel": Chart(
        "layers",
        {
            "attn": Place("attention.o_proj", input="attention.q_proj"),
            "ffn": Place("mlp", input="mlp"),
            "out": Place(""),
            "after_self": Place("mlp", read="layernorm_after"),
        },
        linears=_projections(*(f"attention.{name}_proj" for name in "qkvo"), "mlp.fc1", "mlp.fc2"),
    ),
    "BartEncoder": Chart(
        "layers",
        {
            "attn": _BART_ATTN,
            "ffn": Place("fc2", input="fc1"),
            "after_self": Place("final_layer_norm", read="fc1"),
        },
        linears=_BART_LINEARS,
    ),
    "BartDecoder": Chart(
        "layers",
        {
            "attn": _BART_ATTN,
            "cross": Place("encoder_attn.out_proj", input="encoder_attn.q_proj"),
            "ffn": Place("fc2", input="fc1"),
            "after_self": Place("final_layer_norm", read="encoder_attn.q_proj"),
            "after_cross": Place("final_layer_norm", read="fc1"),
        },
        linears={**_BART_LINEARS, **_BART_CROSS},
    ),
    "T5Stack": Chart(
        "block",
        {
            "attn": _T5_ATTN,
            "ffn": _T5_FFN,
            "after_self": Place("layer.-1", read="layer.-1.layer_norm"),
        },
        linears=_T5_LINEARS,
    ),
    "T5Stack.decoder": Chart(
        "block",
        {
            "attn": _T5_ATTN,
            "cross": Place("layer.1.EncDecAttention.o", input="layer.1.EncDecAttention.q"),
            "ffn": _T5_FFN,
            "after_self": Place("layer.-1", read="layer.1.layer_norm"),
            "after_cross": Place("layer.-1", read="layer.-1.layer_norm"),
        },
        linears={**_T5_LINEARS, **_T5_CROSS},
    ),
    "DetrEncoder": Chart(
        "layers",
        {**_DETR_LAYER, "after_self": Place("final_layer_norm", read="mlp")},
        linears=_DETR_LINEARS,
    ),
    "DetrDecoder": Chart(
        "layers",
        {
            **_DETR_LAYER,
            "cross": Place("encoder_attn.o_proj", input="encoder_attn"),
            "after_self": Place("final_layer_norm", read="encoder_attn"),
            "after_cross": Place("final_layer_norm", read="mlp"),
        },
        linears={**_DETR_LINEARS, **_DETR_CROSS},
    ),
    # mmpretrain
    "VisionTransformer": Chart(
        "layers",
        {
            "attn": Place("attn.proj", input="attn.qkv"),
            "ffn": Place("ffn.layers", input="ffn.layers"),
            "out": Place(""),
            "after_self": Place("ffn", read="ln2"),
        },
        linears=_VIT_LINEARS,
    ),
    # mmaction2
    "mmaction.VisionTransformer": Chart(
        "blocks",
        {
            "attn": Place("attn", input="attn"),
            "ffn": Place("mlp", input="mlp"),
            "after_self": Place("", read="norm2"),
        },
    ),
    "TimeSformer": Chart(
        "transformer_layers.layers",
        {
            "ffn": Place("ffns.0.layers", input="ffns.0.layers"),
            "after_self": Place("", read="ffns.0"),
        },
    ),
    # The package's own, whose layers have their sites from themselves.
    "BertModel.fusion": Chart("encoder.layer", {}, linears={**_BERT_LINEARS, **_BERT_CROSS}),
    "Beit3Tower": Chart("layers", {}, linears=_BEIT3_LINEARS),
    "ClipTower": Chart("model.encoder.layers", {}, linears=_CLIP_LINEARS),
    "EfficientNetLite": Chart("layers", {}, linears={"fc1": "expand", "fc2": "project"}),
    "BertStream": Chart("model.encoder.layer", {}, linears=_BERT_LINEARS),
    # mmpretrain, mmaction2 and torchvision; a site behind every stage.
    "ResNet": Chart(_STAGES, _STAGE, channels_first=True),
    "ResNet3d": Chart(_STAGES, _STAGE, channels_first=True),
    "ConvNeXt": Chart("stages", _STAGE, channels_first=True),
}


def chart_of_linears(module: Any, role: str) -> Chart | None:
    """The chart that names a tower's matrices; None if there is none for its class.

    Args:
        module (nn.Module): The tower.
        role (str): Its run; one that reads a medium has the matrices of cross-attention.
    """
    names = [kind.__name__ for kind in type(module).__mro__]
    if role in ("fusion", "decoder"):
        names = [name for kind in names for name in (f"{kind}.{role}", f"{kind}.fusion", kind)]
    return next((CHARTS[name] for name in names if name in CHARTS), None)


def find_chart(module: Any, chart: str | Chart | Mapping[str, Any] | None) -> Chart:
    """The chart of a tower.

    Args:
        module (nn.Module): The tower.
        chart (str | Chart | Mapping, optional): Name of a chart, or a chart. None: by the class of
            the tower, or of one that it inherits from; a chart under the package's and the class's
            name, such as ``'mmaction.VisionTransformer'``, goes before one under the class's.

    Raises:
        ValueError: If there is none of that name, or none for the class.
    """
    if chart is not None and not isinstance(chart, str):
        return Chart.build(chart)
    kinds = type(module).__mro__
    full = [(f"{kind.__module__.split('.')[0]}.{kind.__name__}", kind.__name__) for kind in kinds]
    names = [chart] if chart else [name for pair in full for name in pair]
    if not chart and getattr(module, "is_decoder", False):
        names = [f"{name}.decoder" for name in names] + names
    for name in names:
        if name in CHARTS:
            return CHARTS[name]
    raise ValueError(
        f"There is no chart {chart or type(module).__name__!r}: choose from {sorted(CHARTS)}, or "
        "write one, chart=dict(layers='...', sites=dict(ffn=dict(write='...', input='...')))."
    )
