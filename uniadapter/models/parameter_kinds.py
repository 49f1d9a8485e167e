"""What a parameter is, for optimizers that treat kinds of them apart. By identity."""

from __future__ import annotations

from torch import nn

from .linears import is_norm

#: Kinds of parameters, see :func:`parameter_kinds`.
KINDS = ("weight", "bias", "norm", "generator_norm")


def parameter_kinds(model: nn.Module) -> dict[int, str]:
    """The kind of each parameter, by identity.

    A module says of parameters inside it what they are in ``parameter_kinds``, a dictionary of
    their names from there and kinds; what an outer module says counts. Of all others, a parameter
    named ``bias`` is a ``bias``, and so is the table of a module whose own name ends in ``bias``
    (T5's ``relative_attention_bias``, what generates a bias). What else a norm has is a ``norm``,
    and the rest ``weight``.

    Args:
        model (nn.Module): The model.

    Returns:
        dict[int, str]: One of :data:`KINDS` by ``id(parameter)``.

    Raises:
        ValueError: If a module names a parameter that it has not, or an unknown kind.
    """
    found: dict[int, str] = {}
    # Outer modules come first.
    for module in model.modules():
        for own, kind in getattr(module, "parameter_kinds", {}).items():
            if kind not in KINDS:
                raise ValueError(
                    f"{type(module).__name__}.parameter_kinds[{own!r}]={kind!r}: choose from "
                    f"{KINDS}."
                )
            try:
                parameter = module.get_parameter(own)
            except AttributeError as error:
                raise ValueError(
                    f"{type(module).__name__}.parameter_kinds names {own!r}: {error}."
                ) from error
            found.setdefault(id(parameter), kind)
    for name, module in model.named_modules():
        held = name.rpartition(".")[2].endswith("bias")
        for own, parameter in module.named_parameters(recurse=False):
            kind = "bias" if own == "bias" or held else "norm" if is_norm(module) else "weight"
            found.setdefault(id(parameter), kind)
    return found
