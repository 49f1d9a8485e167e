"""What runs a model: hooks, loops and optimizer constructors."""

from . import hooks, optimizers, runner

__all__ = ["hooks", "optimizers", "runner"]
