"""How other code bases name the same weights, one file each; reading and writing theirs."""

from .convert import (
    ARRANGED,
    FLAT_TARGETS,
    PLAIN_TARGETS,
    SAFETENSORS_TARGETS,
    SOURCES,
    TARGETS,
    convert_with,
    export_state,
    read_checkpoint,
)
from .huggingface import huggingface_config
from .keys import Report
from .towers import read_efficientnet_lite, read_sentence_bert
from .vse import read_towers

__all__ = [
    "ARRANGED",
    "FLAT_TARGETS",
    "PLAIN_TARGETS",
    "SAFETENSORS_TARGETS",
    "SOURCES",
    "TARGETS",
    "Report",
    "convert_with",
    "export_state",
    "huggingface_config",
    "read_checkpoint",
    "read_efficientnet_lite",
    "read_sentence_bert",
    "read_towers",
]
