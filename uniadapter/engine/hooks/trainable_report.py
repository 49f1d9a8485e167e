"""What is trained, in the log of every training run."""

from __future__ import annotations

from collections.abc import Iterable

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from uniadapter.registry import HOOKS


def trainable_report(model: nn.Module) -> str:
    """Table of the parameters by component.

    A component is one of ``model.components()`` or, for a model without that method, one of its
    direct children and parameters. A parameter that stands under several names is counted once, in
    the first component that has it.

    Args:
        model: The model, without wrapper.

    Returns:
        Lines of component, trainable parameters, all parameters and the trainable ones' share of
        all parameters of the model.
    """
    seen: set[int] = set()
    rows = [(name, *_count(params, seen)) for name, params in _components(model).items()]
    rows.append(("other", *_count(model.parameters(), seen)))
    rows = [row for row in rows if row[2] > 0]
    trainable, total = sum(row[1] for row in rows), sum(row[2] for row in rows)
    rows.append(("sum", trainable, total))
    lines = [f"{'component':<24}{'trainable':>14}{'all':>14}{'share':>10}"]
    for name, own, own_total in rows:
        share = own / total if total else 0.0
        lines.append(f"{name:<24}{own:>14,}{own_total:>14,}{share:>10.3%}")
    return "\n".join(lines)


def _components(model: nn.Module) -> dict[str, Iterable[nn.Parameter]]:
    components = getattr(model, "components", None)
    if callable(components):
        return dict(components())
    parts: dict[str, Iterable[nn.Parameter]] = {
        name: child.parameters() for name, child in model.named_children()
    }
    for name, parameter in model.named_parameters(recurse=False):
        parts[name] = [parameter]
    return parts


def _count(parameters: Iterable[nn.Parameter], seen: set[int]) -> tuple[int, int]:
    """Trainable and all elements of the parameters that were not seen yet."""
    trainable = total = 0
    for parameter in parameters:
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        total += parameter.numel()
        trainable += parameter.numel() * parameter.requires_grad
    return trainable, total


@HOOKS.register_module()
class TrainableReportHook(Hook):
    """Log, before training, which components are trained and their share of the model."""

    def before_train(self, runner: Runner) -> None:
        """Log the table.

        Args:
            runner: The runner.

        Raises:
            ValueError: If nothing is trainable.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                "nothing in the model is trainable; give it an adapter, or set "
                "model.train_heads or model.train_backbone"
            )
        runner.logger.info(f"Trainable parameters:\n{trainable_report(model)}")
