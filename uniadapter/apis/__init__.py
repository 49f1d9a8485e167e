"""What a script or a notebook calls: build a model, load weights."""

from .model import init_model, load_weights

__all__ = ["init_model", "load_weights"]
