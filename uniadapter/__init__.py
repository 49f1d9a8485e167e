"""Parameter-efficient adaptation of frozen vision-language models (UniAdapter, ICLR 2024)."""

import importlib
from typing import Any

from .registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    SCOPE,
    TOKENIZERS,
    TRANSFORMS,
    VISUALIZERS,
)
from .utils.compat import register_scope, repair_imports
from .version import __version__

repair_imports()
register_scope(SCOPE)

#: Of :mod:`uniadapter.apis`, which takes seconds to import and is imported at the first use.
_APIS = (
    "AutoAdapterModel",
    "CaptionInferencer",
    "FeatureExtractor",
    "ImageToTextRetrievalInferencer",
    "TextToImageRetrievalInferencer",
    "TextToVideoRetrievalInferencer",
    "VideoToTextRetrievalInferencer",
    "VisualQuestionAnsweringInferencer",
    "encode_image",
    "encode_text",
    "encode_video",
    "find_weights",
    "get_model",
    "inference_model",
    "init_model",
    "list_models",
    "load_model_and_preprocess",
    "read_image",
    "read_text",
    "read_video",
)


def __getattr__(name: str) -> Any:
    """A function of :mod:`uniadapter.apis`."""
    if name in _APIS:
        return getattr(importlib.import_module("uniadapter.apis"), name)
    raise AttributeError(f"module 'uniadapter' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, those of :mod:`uniadapter.apis` among them."""
    return sorted({*globals(), *_APIS})


__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "EVALUATOR",
    "FUNCTIONS",
    "HOOKS",
    "LOOPS",
    "METRICS",
    "MODELS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "TOKENIZERS",
    "TRANSFORMS",
    "VISUALIZERS",
    "__version__",
]
