"""Child registries of MMEngine's root registries.

Every component of the package is registered here under the scope ``uniadapter``, so that another
OpenMMLab project can build it with ``custom_imports=dict(imports=['uniadapter'])`` and a type such
as ``'uniadapter.RetrievalModel'``. ``locations`` makes a registry import its modules at the first
build, so ``import uniadapter`` stays cheap. This module names the rooms of the package and imports
none of them.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import EVALUATOR as MMENGINE_EVALUATOR
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import DefaultScope, Registry, init_default_scope

SCOPE = "uniadapter"


class ScopedRegistry(Registry):
    """A registry whose own :meth:`build` finds its own components in any project.

    MMEngine looks a type without a prefix up in the *default* scope, which is another project's
    when our components are built there: a model could not build its own towers.
    """

    def build(self, cfg: dict, *args: Any, **kwargs: Any) -> Any:
        """Build from a config; types of other projects need their prefix here."""
        with DefaultScope.overwrite_default_scope(SCOPE):
            return super().build(cfg, *args, **kwargs)


#: All registries of the package.
REGISTRIES: list[Registry] = []


def _child(name: str, parent: Registry | None, *locations: str) -> Registry:
    registry = ScopedRegistry(name, parent=parent, scope=SCOPE, locations=list(locations))
    REGISTRIES.append(registry)
    return registry


MODELS = _child("model", MMENGINE_MODELS, "uniadapter.models")
# MMEngine has no registry of tokenizers to be a child of.
TOKENIZERS = _child("tokenizer", None, "uniadapter.models")
# Nor one of kinds of projections, which a VLAdapter's option `projection` names.
PROJECTIONS = _child("projection", None, "uniadapter.models")
DATASETS = _child("dataset", MMENGINE_DATASETS, "uniadapter.datasets")
DATA_SAMPLERS = _child("data sampler", MMENGINE_DATA_SAMPLERS, "uniadapter.datasets")
TRANSFORMS = _child("transform", MMENGINE_TRANSFORMS, "uniadapter.datasets.transforms")
METRICS = _child("metric", MMENGINE_METRICS, "uniadapter.evaluation")
EVALUATOR = _child("evaluator", MMENGINE_EVALUATOR, "uniadapter.evaluation")
HOOKS = _child("hook", MMENGINE_HOOKS, "uniadapter.engine")
LOOPS = _child("loop", MMENGINE_LOOPS, "uniadapter.engine")
FUNCTIONS = _child("function", MMENGINE_FUNCTIONS, "uniadapter.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, "uniadapter.engine"
)
VISUALIZERS = _child("visualizer", MMENGINE_VISUALIZERS, "uniadapter.visualization")

# The package adds nothing to these. They exist because MMEngine warns at every build from a
# registry that has no child in the default scope.
LOG_PROCESSORS = _child("log_processor", MMENGINE_LOG_PROCESSORS, "uniadapter.engine")
MODEL_WRAPPERS = _child("model_wrapper", MMENGINE_MODEL_WRAPPERS, "uniadapter.models")
OPTIM_WRAPPERS = _child("optim_wrapper", MMENGINE_OPTIM_WRAPPERS, "uniadapter.engine")
OPTIMIZERS = _child("optimizer", MMENGINE_OPTIMIZERS, "uniadapter.engine")
PARAM_SCHEDULERS = _child("parameter scheduler", MMENGINE_PARAM_SCHEDULERS, "uniadapter.engine")
RUNNERS = _child("runner", MMENGINE_RUNNERS, "uniadapter.engine")
VISBACKENDS = _child("vis_backend", MMENGINE_VISBACKENDS, "uniadapter.visualization")


def register_all_modules(init_scope: bool = True) -> None:
    """Import every room that registers something, so that all components are registered.

    Args:
        init_scope: Also make ``uniadapter`` the default scope of the registries.
    """
    for registry in REGISTRIES:
        registry.import_from_location()
    if init_scope and DefaultScope.get_current_instance() is None:
        init_default_scope(SCOPE)


def scope_of(cfg: Mapping[str, Any]) -> str:
    """The scope in which a config's types are looked up.

    Raises:
        ValueError: If it is no name.
    """
    scope = cfg.get("default_scope")
    if scope is None:
        return SCOPE
    if not isinstance(scope, str):
        raise ValueError(f"default_scope = {scope!r:.80} must be the name of a package.")
    return scope


def found_by_name(known: Registry, kind: str) -> Any:
    """What MMEngine finds for a type of a config, under the default scope that is in force.

    Args:
        known: The package's registry of such things.
        kind: The type, with or without the prefix of a scope.

    Returns:
        The class or function; None if there is none.
    """
    root = known if known.parent is None else known.parent
    with root.switch_scope_and_registry(None) as current:
        return current.get(kind)
