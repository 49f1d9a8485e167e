"""Parameter-efficient adaptation of frozen vision-language models (UniAdapter, ICLR 2024)."""

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
