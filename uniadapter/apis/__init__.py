"""What a script or a notebook calls: build a model, load weights, convert checkpoints."""

from .convert import convert_checkpoint
from .model import build_model, init_model, load_weights

__all__ = ["build_model", "convert_checkpoint", "init_model", "load_weights"]
