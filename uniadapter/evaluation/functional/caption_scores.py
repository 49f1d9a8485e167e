"""BLEU, ROUGE-L, CIDEr, METEOR and SPICE of captions, scored by pycocoevalcap."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.logging import print_log

from .ptb_tokenizer import tokenize_captions

_SCORERS = {
    "Bleu": "pycocoevalcap.bleu.bleu",
    "METEOR": "pycocoevalcap.meteor.meteor",
    "ROUGE_L": "pycocoevalcap.rouge.rouge",
    "CIDEr": "pycocoevalcap.cider.cider",
    "SPICE": "pycocoevalcap.spice.spice",
}
_CLASSES = {
    "Bleu": "Bleu",
    "METEOR": "Meteor",
    "ROUGE_L": "Rouge",
    "CIDEr": "Cider",
    "SPICE": "Spice",
}
_NEED_JAVA = ("METEOR", "SPICE")
PYTHON_SCORES = ("Bleu", "ROUGE_L", "CIDEr")
_BLEU_ORDERS = 4
_SPICE_MODELS = "stanford-corenlp-3.6.0-models.jar"


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"caption scores need pycocoevalcap ({error}); run `pip install pycocoevalcap`"
        ) from error


def check_caption_tools(scores: Sequence[str] = PYTHON_SCORES, tokenizer: str = "python") -> None:
    """Make sure that scores can be computed here, before a model runs for hours.

    Args:
        scores: As in :func:`score_captions`.
        tokenizer: As in :func:`score_captions`.

    Raises:
        ValueError: If a score or the tokenizer is unknown, or none is asked for.
        ModuleNotFoundError: If pycocoevalcap is not installed.
        FileNotFoundError: If Java, or SPICE's models, are needed and missing.
    """
    unknown = [name for name in scores if name not in _SCORERS]
    if unknown or not scores or isinstance(scores, str):
        raise ValueError(f"scores must be some of {list(_SCORERS)}, got {scores!r}")
    if tokenizer not in ("python", "java"):
        raise ValueError(f"tokenizer must be 'python' or 'java', got {tokenizer!r}")
    for name in scores:
        _import(_SCORERS[name])
    users = [name for name in scores if name in _NEED_JAVA]
    users += ["tokenizer='java'"] if tokenizer == "java" else []
    if users and shutil.which("java") is None:
        raise FileNotFoundError(
            f"{', '.join(users)} need Java, and there is no 'java' on the PATH. Install a Java "
            f"runtime, or use tokenizer='python' with {list(PYTHON_SCORES)}."
        )
    if "SPICE" in scores:
        _check_spice_models()


def _check_spice_models() -> None:
    # Its constructor would fetch them, and nothing goes to the network unasked.
    module = _import("pycocoevalcap.spice.get_stanford_models")
    models = Path(str(module.__file__)).parent / "lib" / _SPICE_MODELS
    if not models.is_file():
        raise FileNotFoundError(
            f"SPICE needs {models}, which pycocoevalcap does not ship. Download it with `python -m "
            "pycocoevalcap.spice.get_stanford_models`, or leave SPICE out."
        )


def _check_captions(
    references: Mapping[Any, Sequence[str]], predictions: Mapping[Any, str]
) -> None:
    if not predictions:
        raise ValueError("there are no captions to score")
    if references.keys() != predictions.keys():
        odd = list(references.keys() ^ predictions.keys())
        raise ValueError(
            f"references and predictions differ in {len(odd)} images, such as {odd[0]!r}"
        )
    for image, texts in references.items():
        if not texts:
            raise ValueError(f"image {image!r} has no reference caption")


def _java_tokenize(captions: Mapping[Any, Sequence[str]]) -> dict[Any, list[str]]:
    tokenizer = _import("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
    # Java ends a line at more characters than "\n", and drops empty lines at the end: either would
    # give captions to the wrong images. A full stop is removed again.
    rows = {
        image: [{"caption": " ".join(text.split()) or "."} for text in texts]
        for image, texts in captions.items()
    }
    tokenized = tokenizer.tokenize(rows)
    if {k: len(v) for k, v in tokenized.items()} != {k: len(v) for k, v in rows.items()}:
        raise RuntimeError(
            "pycocoevalcap's Java tokenizer gave back another number of lines than it was given; "
            "use tokenizer='python'"
        )
    return tokenized


def _scorer(name: str) -> Any:
    scorer = getattr(_import(_SCORERS[name]), _CLASSES[name])
    return scorer(_BLEU_ORDERS) if name == "Bleu" else scorer()


def _compute(name: str, gts: dict, res: dict) -> dict[str, float]:
    if name == "Bleu":
        values, _ = _scorer(name).compute_score(gts, res, verbose=0)
        return {f"Bleu_{n}": 100 * float(value) for n, value in enumerate(values, start=1)}
    value, _ = _scorer(name).compute_score(gts, res)
    return {name: 100 * float(value)}


def score_captions(
    references: Mapping[Any, Sequence[str]],
    predictions: Mapping[Any, str],
    scores: Sequence[str] = PYTHON_SCORES,
    tokenizer: str = "python",
) -> dict[str, float]:
    """Score one caption an image against the image's reference captions.

    Args:
        references: Image id to its reference captions.
        predictions: Image id to the model's caption; the same images. An empty caption scores 0.
        scores: Some of ``'Bleu'``, ``'ROUGE_L'``, ``'CIDEr'`` and, with Java, ``'METEOR'`` and
            ``'SPICE'``.
        tokenizer: ``'python'``, or ``'java'`` for the Stanford tokenizer of pycocoevalcap.

    Returns:
        ``'Bleu_1'`` to ``'Bleu_4'`` (of the whole corpus), ``'ROUGE_L'``, ``'CIDEr'`` and so on,
        all times 100. CIDEr weighs n-grams by how few of these very images have them in their
        references, so it changes with the set of images, and is 0 for a single one.

    Raises:
        ValueError: If the images differ, one has no reference, or no reference has a word.
        ModuleNotFoundError: If pycocoevalcap is not installed.
        FileNotFoundError: If Java, or SPICE's models, are needed and missing.
    """
    check_caption_tools(scores, tokenizer)
    _check_captions(references, predictions)
    if len(predictions) == 1 and "CIDEr" in scores:
        print_log("CIDEr of a single image is always 0", logger="current", level=30)
    tokenize = tokenize_captions if tokenizer == "python" else _java_tokenize
    order = list(predictions)
    gts = tokenize({image: references[image] for image in order})
    res = tokenize({image: [predictions[image]] for image in order})
    if not any(text for texts in gts.values() for text in texts):
        raise ValueError("no reference caption has a word")
    return {key: v for name in scores for key, v in _compute(name, gts, res).items()}
