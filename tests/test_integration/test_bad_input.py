"""Bad input to every family of backbones: one clear error each, when the model is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from tokenizers import Tokenizer
from tokenizers import models as token_models

from tests.helpers import VOCAB_SIZE, WORDS, tiny_retrieval_cfg
from tests.test_models.test_adapters import contract_models as models
from tests.test_models.test_adapters.contract import TOYS
from uniadapter.apis.model import build_model
from uniadapter.registry import TOKENIZERS

FAMILIES = {
    "blip": models.blip_image,
    "blip_large": models.blip_two_widths,
    "blip_vqa": models.vqa,
    "blip_caption": models.caption,
    "albef": models.albef,
    "beit3": models.beit3,
    "clip": models.clip,
    "adapted": models.mmpretrain_vit,
    "hosted": models.hosted_vit,
}
DUAL, ALONE = ("beit3", "clip"), ("adapted", "hosted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write_files(tmp_path_factory.mktemp("models"))


# Roles that a task needs.

VISUAL, TEXT = tiny_retrieval_cfg()["visual"], tiny_retrieval_cfg()["text"]
DECODER = {**TEXT, "type": "BertDecoder"}
SIDES = {
    kind: {**models.TEXT, "type": kind, "vocab_size": VOCAB_SIZE}
    for kind in ("ClipText", "Beit3Text")
}
PARTS: dict[str, dict[str, Any]] = {
    "RetrievalModel": {"text": TEXT},
    "BlipPretrainModel": {"text": TEXT, "decoder": DECODER},
    "VQAModel": {"text": TEXT, "decoder": DECODER},
    "CaptionModel": {"decoder": DECODER},
}
ROLES = [
    (task, key, tower)
    for task, parts in PARTS.items()
    for key in ("visual", *parts)
    for tower in (None, VISUAL, TEXT, DECODER, *SIDES.values())
    # What fits, and what another key of the base class could not take either.
    if not (
        tower is not None
        and (
            tower["type"]
            == {"visual": "BlipViT", "text": "BertModel", "decoder": "BertDecoder"}[key]
        )
    )
    and not (key == "visual" and tower is None)
]


@pytest.mark.parametrize(("task", "key", "tower"), ROLES)
def test_a_role_that_a_task_needs(task: str, key: str, tower: Any, folder: Path):
    cfg: dict[str, Any] = {"type": task, "visual": VISUAL, **PARTS[task], key: tower}
    if task in ("VQAModel", "CaptionModel"):
        tokenizer = {"vocab_file": str(folder / "vocab.txt")}
        cfg["data_preprocessor"] = {"type": "MultimodalDataPreprocessor", "tokenizer": tokenizer}
    with pytest.raises(ValueError, match=rf"{task} needs a tower to .*role '\w+'.*model\.\w+"):
        build_model(cfg)


# Sites that a method names.


@pytest.mark.parametrize("family", [*DUAL, *ALONE])
def test_a_modality_that_the_backbone_lacks(family: str, folder: Path):
    adapter = {"type": "UniAdapter", "bottleneck": 2, "towers": ["visual", "text", "cross"]}
    with pytest.raises(ValueError, match=r"adapter\.towers names \[.*'cross'\].*its sites are"):
        FAMILIES[family](adapter, folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_that_the_backbone_lacks(family: str, folder: Path):
    has_grid = family not in ("clip", *ALONE)
    if has_grid:
        FAMILIES[family]({"type": TOYS["FrameMean"]}, folder)
        return
    with pytest.raises(ValueError, match=r"FrameMean fills the site 'visual\.mid', .*it has \["):
        FAMILIES[family]({"type": TOYS["FrameMean"]}, folder)


# Charts. Their paths are tried in tests/test_models/test_backbones/test_hosted.py.

PLACE = {"write": "ffn"}
CHARTS: list[tuple[Any, str]] = [
    ("Nope", r"There is no chart 'Nope': choose from"),
    (7, r"chart=7 must be the name of a chart or a dict"),
    ({"layers": 3, "sites": {"ffn": PLACE}}, r"chart\.layers=3 must be the name"),
    ({"layers": [], "sites": {"ffn": PLACE}}, r"chart\.layers=\[\] must be the name"),
    ({"layers": "layers", "sites": ["ffn"]}, r"chart\.sites=\['ffn'\] must be a dict"),
    ({"layers": "layers", "sites": {"ffn": "ffn"}}, r"chart\.sites\.ffn='ffn' must be a dict"),
    (
        {"layers": "layers", "sites": {"ffn": {"write": 3}}},
        r"chart\.sites\.ffn=.* names of modules",
    ),
    (
        {"layers": "blocks", "sites": {"ffn": PLACE}},
        r"chart\.layers='blocks': VisionTransformer has",
    ),
    ({"layers": "layers", "sites": {"ffn": {"write": "x"}}}, r"chart\.sites\.ffn\.write='x'"),
    (
        {"layers": "layers", "sites": {"ffn": PLACE}, "linears": 3},
        r"chart\.linears=3 must be a dict",
    ),
    ({"layers": "layers", "sites": {"ffn": PLACE}}, r"adapter\.towers names \['visual'\]"),
]


@pytest.mark.parametrize(("chart", "match"), CHARTS)
def test_a_chart_that_does_not_fit(chart: Any, match: str):
    adapter = {"type": "uniadapter.UniAdapter", "towers": ["visual"], "bottleneck": 2}
    cfg = {"type": "uniadapter.AdaptedBackbone", "backbone": models.BACKBONE, "adapter": adapter}
    with pytest.raises(ValueError, match=match):
        ROOT.build({**cfg, "chart": chart})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backbone": {"depth": 18}}, "backbone=.* must be a dict with a `type`"),
        ({"backbone": "ResNet"}, "backbone='ResNet' must be a dict"),
        (
            {"backbone": {"type": "NoSuch"}},
            r"backbone\.type='NoSuch' is not registered in the scope",
        ),
        ({"adapter": {"botleneck": 2}}, r"adapter\.botleneck is no option of UniAdapter. Did you"),
        ({"adapter": {"scale": float("nan")}}, r"adapter\.scale is NaN"),
        ({"adapter": {"type": "UniAdaptor"}}, r"adapter\.type='UniAdaptor' is not registered"),
        ({"role": "text"}, r"adapter\.towers names \['visual'\].*'text\.after_self'"),
    ],
)
def test_a_wrapped_backbone_says_which_key_is_wrong(options: dict[str, Any], match: str):
    adapter = {"type": "UniAdapter", "towers": ["visual"], "bottleneck": 2}
    cfg = {"type": "uniadapter.AdaptedBackbone", "backbone": models.BACKBONE, **options}
    with pytest.raises(ValueError, match=match):
        ROOT.build({**cfg, "adapter": {**adapter, **options.get("adapter", {})}})


# Sizes of images.

SIZES = [(33, 16), (32, 5), (16, 32), (0, 16), (32, 0), (-32, 16), ((32, 32), 16), ("32", 16)]


@pytest.mark.parametrize("kind", ["BlipViT", "ClipVisual", "Beit3Vision"])
@pytest.mark.parametrize(("side", "patch"), SIZES)
def test_an_image_size_that_patches_do_not_divide(kind: str, side: Any, patch: Any):
    cfg = {"type": kind, "arch": models.SIZES, "img_size": side, "patch_size": patch}
    with pytest.raises(ValueError, match=r"visual\.(img|patch)_size=") as error:
        build_model(tiny_retrieval_cfg(visual=cfg, text={**TEXT, "encoder_width": 16}))
    said = str(error.value)
    if isinstance(side, int) and side > 0 and patch > 0:
        wanted = int(re.findall(r"to (\d+)\.", said)[0])
        assert wanted % patch == 0
        assert abs(wanted - side) < patch


@pytest.mark.parametrize("family", ["blip", "blip_large", "albef", "beit3", "clip"])
@pytest.mark.parametrize("shape", [(40, 40), (32, 40), (8, 32)])
def test_images_that_patches_do_not_divide(family: str, shape: tuple[int, int], folder: Path):
    model = FAMILIES[family](None, folder)
    with pytest.raises(ValueError, match=rf"Images of {shape[0]} x {shape[1]} pixels"):
        model.encode_visual(torch.randn(1, 1, 3, *shape))


# Files of tokenizers.


def _saved(path: Path, model: Any) -> Path:
    Tokenizer(model).save(str(path))
    return path


@pytest.fixture(scope="module")
def token_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind, small and of no use."""
    folder = tmp_path_factory.mktemp("tokens")
    words = {word: index for index, word in enumerate(WORDS)}
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    (folder / "pieces.spm").write_bytes(b"\n\x0b\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\xff")
    (folder / "empty").write_bytes(b"")
    return {
        **{path.name: path for path in folder.iterdir()},
        "wordpiece": _saved(folder / "w.json", token_models.WordPiece(words, unk_token="[UNK]")),
        "unigram": _saved(
            folder / "u.json", token_models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)
        ),
        "bpe": _saved(folder / "b.json", token_models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])),
        "wordlevel": _saved(folder / "l.json", token_models.WordLevel(words, unk_token="[UNK]")),
    }


KINDS = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "pieces.spm",
    "empty",
    "wordpiece",
    "unigram",
    "bpe",
    "wordlevel",
)
# Tokenizers by the option that names their file, and the end of what each of them says.
READERS = {
    "BertTokenizer": ("vocab_file", "a vocabulary has one token a line"),
    "SentencePieceTokenizer": ("file", "convert_sentencepiece.py"),
    "ClipTokenizer": ("file", "copy it from the folder of a transformers CLIP model"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_file_of_another_kind(reader: str, kind: str, token_files: dict[str, Path]):
    option, remedy = READERS[reader]
    path = token_files[kind]
    if (reader, kind) == ("BertTokenizer", "vocab.txt"):
        TOKENIZERS.build({"type": reader, option: str(path)})
        return
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        TOKENIZERS.build({"type": reader, option: str(path)})
    assert remedy in str(error.value)


@pytest.mark.parametrize("kind", ["ClipText", "Beit3Text", "BertModel"])
def test_a_tokenizer_of_another_backbone(kind: str, folder: Path):
    """Its ids fit into the table of words, and stand for other words."""
    tokenizer = {"vocab_file": str(folder / "vocab.txt")}
    cfg = {
        **tiny_retrieval_cfg(
            text={**models.TEXT, "type": kind, "vocab_size": VOCAB_SIZE + 1},
            contrast={"type": "BatchContrastHead"},
            **{"matching": None, "queue_size": None, "pfa": None, "adapter": None},
        ),
        "data_preprocessor": {"type": "MultimodalDataPreprocessor", "tokenizer": tokenizer},
    }
    with pytest.raises(ValueError, match=r"text\.vocab_size=.*name the tokenizer of that backbone"):
        build_model(cfg)
    cfg["text"]["vocab_size"] = VOCAB_SIZE
    build_model(cfg)
