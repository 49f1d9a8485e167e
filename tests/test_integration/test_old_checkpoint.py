"""A training checkpoint of an earlier version resumes.

``retrieval_epoch_2.pth`` has no names beside its optimizer states. The trained tensors that its run
had one epoch later are in ``retrieval_epoch_3.safetensors``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg

DATA = Path(__file__).parents[1] / "data/checkpoints"
train = load_tool("train.py")


def test_resumes_as_the_version_that_wrote_it(tmp_path: Path, tiny_world: Path):
    cfg = tiny_run_cfg(tiny_world, epochs=3, random=False)
    model = cfg["model"]
    model["visual"]["arch"].update(embed_dims=16, feedforward_channels=32)
    model["text"].update(hidden_size=16, intermediate_size=32, encoder_width=16)
    model["adapter"]["bottleneck"] = 4
    model.update(queue_size=8, embed_dim=8)
    cfg["optim_wrapper"]["paramwise_cfg"] = {"no_decay_norm_bias": True}
    path = write_run_cfg(tmp_path / "cfg.py", cfg)
    file = DATA / "retrieval_epoch_2.pth"
    train.main([str(path), "--work-dir", str(tmp_path), "--resume", str(file)])
    before = torch.load(file, weights_only=True)["state_dict"]
    after = torch.load(tmp_path / "epoch_3.pth", weights_only=True)
    expected = load_file(DATA / "retrieval_epoch_3.safetensors")
    # Processors round differently, and AdamW turns small gradients into whole steps.
    for name, tensor in expected.items():
        moved, wanted = after["state_dict"][name] - before[name], tensor - before[name]
        assert (moved - wanted).abs().mean() <= 0.02 * wanted.abs().mean() + 1e-8, name
    names = {name for group in after["optimizer_names"] for name in group}
    assert names == set(expected)
