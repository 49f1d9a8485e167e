"""Readers of features behind one small interface: a folder of files, or shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .base import KEY, FeatureStore
from .files import Hdf5Features, NpzFeatures
from .parquet import ParquetFeatures

STORES: dict[str, type[FeatureStore]] = {
    "hdf5": Hdf5Features,
    "npz": NpzFeatures,
    "parquet": ParquetFeatures,
}

__all__ = [
    "KEY",
    "STORES",
    "FeatureStore",
    "Hdf5Features",
    "NpzFeatures",
    "ParquetFeatures",
    "open_features",
]


def open_features(config: Mapping[str, Any], data_root: str | None = None) -> FeatureStore:
    """Open features.

    Args:
        config: ``type``, a key of :data:`STORES`; ``root``, the folder, absolute or relative to
            ``data_root``; and ``shape``, see :class:`FeatureStore`.
        data_root: Folder that ``root`` is relative to.

    Raises:
        ValueError: If a key is missing or unknown, or a value wrong.
        FileNotFoundError: If there is no such folder.
    """
    keys = ("type", "root", "shape")
    if not isinstance(config, Mapping) or set(config) != set(keys):
        raise ValueError(
            f"features={config!r} takes the keys {keys}, such as dict(type='hdf5', "
            "root='COCO/clip_features/data_clip_RN101_att', shape=(49, 2048))."
        )
    if config["type"] not in STORES:
        raise ValueError(
            f"features.type={config['type']!r} is unknown: choose from {list(STORES)}."
        )
    return STORES[config["type"]](os.path.join(data_root or "", config["root"]), config["shape"])
