"""What a script or a notebook calls: build a model, load weights, read media, convert files."""

from .convert import convert_checkpoint
from .inputs import InputReader, read_image, read_text, read_video
from .model import build_model, init_model, load_weights

__all__ = [
    "InputReader",
    "build_model",
    "convert_checkpoint",
    "init_model",
    "load_weights",
    "read_image",
    "read_text",
    "read_video",
]
