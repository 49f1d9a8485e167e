"""Fingerprints of weights that are kept in a file of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import nn


def digest_frozen(parts: Mapping[str, nn.Module]) -> str:
    """SHA-256 over what is not trained of modules, but for position embeddings."""
    digest = hashlib.sha256()
    for prefix, part in sorted(parts.items()):
        trained = {name for name, p in part.named_parameters() if p.requires_grad}
        for name, tensor in sorted(part.state_dict().items()):
            if name == "pos_embed" or name in trained:
                continue
            digest.update(f"{prefix}.{name}{tuple(tensor.shape)}".encode())
            data = tensor.detach().to("cpu", torch.float32).contiguous()
            digest.update(memoryview(data.numpy()).cast("B") if data.numel() else b"")
    return digest.hexdigest()
