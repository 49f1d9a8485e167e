"""Convolution networks as visual towers: torchvision's, and one that is added in a few lines."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict

import pytest
import torch
from torch import nn

from uniadapter.models import AdaptedBackbone, ConvTower, ResNetVisual, SmallConvVisual, UniPT
from uniadapter.models.fast.prefix_identity import frozen_layers
from uniadapter.models.sites import Places

torchvision = pytest.importorskip("torchvision")

TINY = {"block": "bottleneck", "layers": [1, 2, 1, 1], "groups": 2, "width_per_group": 8}


class Two(ConvTower):
    """As another network is added: its modules, the names of its stages, its stem."""

    stages = ("blocks.0", "blocks.2")

    def __init__(self, norm_eval: bool = True, grad_checkpointing: bool = False) -> None:
        super().__init__(norm_eval, grad_checkpointing)
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(4, 5, 3, 2, 1), nn.BatchNorm2d(5), nn.ReLU()),
                nn.Identity(),
                nn.Sequential(nn.Conv2d(5, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Dropout(0.5)),
            ]
        )
        self.finish()

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """The first convolution."""
        return self.conv(x)


def test_it_is_torchvisions():
    """Names, states of the stages and their mean, for images of any size."""
    torch.manual_seed(0)
    block = torchvision.models.resnet.Bottleneck
    net = torchvision.models.ResNet(block, [1, 2, 1, 1], groups=2, width_per_group=8).eval()
    tower = ResNetVisual(TINY).eval()
    state = {n: t for n, t in net.state_dict().items() if not n.startswith("fc.")}
    assert set(tower.state_dict()) == set(state)
    tower.load_state_dict(state)
    images, found = torch.randn(2, 3, 64, 96), []
    net.avgpool.register_forward_hook(lambda _, __, out: found.append(out.flatten(1)))
    for k in range(1, 5):
        getattr(net, f"layer{k}").register_forward_hook(lambda _, __, out: found.append(out))
    with torch.no_grad():
        net(images)
        taps = tower.taps(images)
        for own, theirs in zip(taps.hidden[1:], found[:4], strict=True):
            assert torch.equal(own, theirs)
        assert torch.equal(tower.tokens(images), found[3].flatten(2).transpose(1, 2))
        torch.testing.assert_close(tower(images)[0], found[4])
    assert [at.after_self.dim for _, at in tower.sites()] == [256, 512, 1024, 2048]
    assert (tower.embed_dims, tower.num_layers) == (2048, 4)


def test_the_published_backbone():
    with torch.device("meta"):
        tower = ResNetVisual()
    # With the classifier of 1,000 words it would be 88,791,336.
    assert sum(p.numel() for p in tower.parameters()) == 88_791_336 - 1000 * 2049


def test_batch_norms_keep_their_statistics():
    for norm_eval in (True, False):
        tower = Two(norm_eval).train()
        drops = [m.training for m in tower.modules() if isinstance(m, nn.Dropout)]
        assert drops == [True]
        before = tower.blocks[0][1].running_mean.clone()
        tower.tokens(torch.randn(2, 3, 16, 16))
        assert torch.equal(tower.blocks[0][1].running_mean, before) == norm_eval


def test_recomputing_gives_equal_gradients():
    tower = Two()
    grads = []
    for again in (False, True):
        tower.zero_grad()
        tower.grad_checkpointing = again
        torch.manual_seed(1)
        tower.train().tokens(torch.ones(2, 3, 16, 16)).square().sum().backward()
        grads.append([p.grad.clone() for p in tower.parameters()])
    torch.testing.assert_close(*grads)
    with pytest.raises(ValueError, match="norm_eval=True"):
        Two(norm_eval=False, grad_checkpointing=True)


def test_copies_and_files_are_whole():
    tower = Two().eval()
    images = torch.randn(1, 3, 16, 16)
    other = copy.deepcopy(tower)
    nn.init.zeros_(tower.blocks[2][0].weight)
    assert not torch.equal(other.tokens(images), tower.tokens(images))
    assert other.layers[0] is other.blocks[0]
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    tower.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.tokens(images), tower.tokens(images))


def test_a_side_network_beside_any_of_them():
    """It brings the maps of early stages to the last one's grid, whatever stands in the tower."""
    tower, places = Two().eval(), Places()
    places.add("visual", tower.sites())
    places.maps.add("visual")
    places.pooled["visual"] = 8
    adapter = UniPT(places).eval()
    taps = tower.taps(torch.randn(2, 3, 32, 48))
    assert [tuple(state.shape[1:]) for state in taps.hidden] == [(4, 16, 24), (5, 8, 12), (6, 4, 6)]
    assert adapter.sides["visual"].read(taps.out, taps).shape == (2, 24, 8)


def test_a_side_network_in_place_of_another_projects_network():
    """Its output is in the form of the backbone's last map, and its start may be that map."""
    bare = torchvision.models.resnet18().eval()
    bare.avgpool = bare.fc = nn.Identity()
    # What torchvision flattens is a map again.
    backbone = nn.Sequential(OrderedDict(list(bare.named_children())[:8]))
    chart = {"layers": [f"layer{k}" for k in range(1, 5)], "sites": {"after_self": {"write": ""}}}
    images = torch.randn(2, 3, 64, 96)
    for start in ("frozen", "published"):
        adapter = {"type": "UniPT", "start": start, "reduction": 16}
        model = AdaptedBackbone(backbone, adapter, chart={**chart, "channels_first": True})
        model.train()
        out = model(images)
        assert out.shape == (2, 512, 2, 3)
        same = torch.allclose(out, backbone(images), atol=1e-5)
        assert same == (start == "frozen")
        out.sum().backward()
        assert all(p.grad is None for p in backbone.parameters())
        assert model.adapter.sides["visual"].up.linear.weight.grad.any()


def test_small_network():
    """A block is its formula; sizes of the maps by the strides."""
    tower = SmallConvVisual((3, 5), (1, 2)).eval()
    x = torch.randn(2, 3, 12, 16)
    taps = tower.taps(x)
    assert [tuple(state.shape[1:]) for state in taps.hidden] == [(3, 6, 8), (3, 6, 8), (5, 3, 4)]
    block = tower.blocks[1]
    inner = block.bn2(block.conv2(block.bn1(block.conv1(taps.hidden[1])).relu()))
    expected = (block.shortcut(taps.hidden[1]) + inner).relu()
    torch.testing.assert_close(taps.hidden[2], expected)
    assert tower.embed_dims == 5
    with pytest.raises(ValueError, match="one each a stage"):
        SmallConvVisual((3, 5), (1,))


def test_wrong_options_are_named():
    for wrong, message in (
        ("resnet7", "arch='resnet7' is unknown"),
        ({"block": "basic"}, "must be a name of"),
        ({"block": "basic", "layers": [1] * 4, "depth": 3}, "must be a name of"),
        ({"block": "odd", "layers": [1] * 4}, "must be a name of"),
        ({"block": "basic", "layers": [1] * 4, "num_classes": 7}, "must be a name of"),
        ({"block": "basic", "layers": [1, 1, 1]}, "must be four numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNetVisual(wrong)
    with pytest.raises(ValueError, match="no token that stands for an image"):
        Two().tokens(torch.zeros(1, 3, 8, 8), "first")
    with pytest.raises(ValueError, match="Two has nothing to keep"):
        frozen_layers(Two())
