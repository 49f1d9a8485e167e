"""CLIP's networks as they turn pictures into features."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from uniadapter.checkpoints.layouts.clip import CLIP, read_clip
from uniadapter.checkpoints.layouts.clip_vil import read_clip_resnet
from uniadapter.checkpoints.layouts.keys import State, map_keys
from uniadapter.models.backbones.clip import ClipVisual
from uniadapter.models.backbones.clip_resnet import ClipResNet

from .options import RANDOM, ExtractionOptions

#: CLIP's channel statistics, on 0..1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class GridEncoder(nn.Module):
    """The last map of CLIP's ResNet, in front of the attention pool; row by row.

    Args:
        arch: See :class:`ClipResNet`.
    """

    def __init__(self, arch: str | dict) -> None:
        super().__init__()
        self.model = ClipResNet(arch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised pictures (B, 3, H, W) to (B, H / 32 * W / 32, C)."""
        return self.model(x).flatten(2).transpose(1, 2)


class FrameEncoder(nn.Module):
    """CLIP's image embedding by its ViT, projected and not normalised.

    Args:
        arch: See :class:`ClipVisual`.
        size: Side of the pictures in pixels.
        embed_dim: Numbers of an embedding.
    """

    def __init__(self, arch: str | dict, size: int, embed_dim: int) -> None:
        super().__init__()
        self.visual = ClipVisual(arch, size)
        self.vision_proj = nn.Linear(self.visual.embed_dims, embed_dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised pictures (B, 3, H, W) to (B, 1, embed_dim)."""
        return self.vision_proj(self.visual.tokens(x, "first"))


class PictureEncoder:
    """Features of pictures on a device, in half precision where it is a GPU, as CLIP runs there.

    Args:
        options: Of the extraction.

    Raises:
        FileNotFoundError: If the weights do not exist.
        ValueError: If they are damaged, or of another network.
    """

    def __init__(self, options: ExtractionOptions) -> None:
        self.device = torch.device(options.device)
        self.batch_size = options.batch_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.model: nn.Module = (
                GridEncoder(options.arch)
                if options.what == "grids"
                else FrameEncoder(options.arch, options.size, options.embed_dim)
            )
        if options.weights != RANDOM:
            load = _grid_state if options.what == "grids" else _frame_state
            _fill(self.model, load(options.weights), options)
        self.model.requires_grad_(False).eval().to(self.device)
        self._mean = torch.tensor(MEAN, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=self.device).view(3, 1, 1)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Encode pictures.

        Args:
            pictures: (B, H, W, 3) uint8.

        Returns:
            (B, N, D) float16.
        """
        parts = []
        for start in range(0, len(pictures), self.batch_size):
            part = torch.from_numpy(pictures[start : start + self.batch_size]).to(self.device)
            x = (part.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
            half = self.device.type == "cuda"
            with torch.autocast(self.device.type, torch.float16, enabled=half):
                parts.append(self.model(x).half().cpu().numpy())
        return np.concatenate(parts)


def _grid_state(path: str) -> State:
    return {f"model.{name}": tensor for name, tensor in read_clip_resnet(path).items()}


def _frame_state(path: str) -> State:
    state, _ = map_keys(read_clip(path, None)[0], CLIP, path)
    names = ("visual.", "vision_proj.")
    return {name: tensor for name, tensor in state.items() if name.startswith(names)}


def _fill(model: nn.Module, state: State, options: ExtractionOptions) -> None:
    """Load all weights, of the right shapes."""
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    more = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or more or shapes:
        example = (missing or more or shapes)[0]
        raise ValueError(
            f"{options.weights} is not of arch={options.arch!r} and size={options.size}: "
            f"{len(missing)} tensors are missing, {len(more)} have no place and {len(shapes)} are "
            f"of another shape, such as {example}. Name the right file, or change --arch."
        )
    model.load_state_dict(state)
