"""Another name for functions that live in :mod:`uniadapter.checkpoints`."""

from uniadapter.checkpoints.backbone import load_pretrained
from uniadapter.checkpoints.compare import has_place
from uniadapter.checkpoints.files import Content, read_safetensors, read_state_dict
from uniadapter.checkpoints.files import read as read_content

__all__ = [
    "Content",
    "has_place",
    "load_pretrained",
    "read_content",
    "read_safetensors",
    "read_state_dict",
]
