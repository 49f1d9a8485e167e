from __future__ import annotations

import copy

import torch
from torch import nn

from uniadapter.models.momentum import TrainedEMA


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.trained = nn.Linear(3, 3), nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trained(self.dropout(self.frozen(x)))


NAMES = ["trained.weight", "trained.bias"]


def test_only_the_named_tensors_have_a_copy():
    net = Net()
    ema = TrainedEMA(net, NAMES, 0.9)
    assert set(ema.averages()) == set(NAMES)
    assert sum(t.numel() for t in ema.state_dict().values()) == 12
    assert not list(ema.parameters())


def test_one_update_moves_by_one_minus_the_momentum():
    net = Net()
    ema = TrainedEMA(net, NAMES, 0.9)
    before = {name: t.clone() for name, t in ema.averages().items()}
    with torch.no_grad():
        net.trained.weight.add_(1.0)
    ema.update(net)
    torch.testing.assert_close(ema.averages()["trained.weight"], before["trained.weight"] + 0.1)
    assert torch.equal(ema.averages()["trained.bias"], before["trained.bias"])


def test_call_equals_a_copy_with_the_averages_and_leaves_the_model():
    net, x = Net().train(), torch.randn(4, 3)
    ema = TrainedEMA(net, NAMES, 0.9)
    with torch.no_grad():
        net.trained.weight.add_(1.0)
    ema.update(net)
    clone = copy.deepcopy(net).eval()
    for name, average in ema.averages().items():
        clone.get_parameter(name).data.copy_(average)
    weight = net.trained.weight.clone()
    out = ema.call(net, net, x)
    torch.testing.assert_close(out, clone(x))
    assert not out.requires_grad
    assert torch.equal(net.trained.weight, weight)
    assert net.training
    assert net.dropout.training


def test_call_keeps_a_part_that_was_in_evaluation_there():
    net = Net().train()
    net.dropout.eval()
    TrainedEMA(net, NAMES, 0.9).call(net, net, torch.randn(1, 3))
    assert net.training
    assert not net.dropout.training


def test_reset_takes_the_parameters():
    net = Net()
    ema = TrainedEMA(net, NAMES, 0.9)
    with torch.no_grad():
        net.trained.bias.fill_(3.0)
    ema.reset(net)
    assert torch.equal(ema.averages()["trained.bias"], net.trained.bias)


def test_nothing_averaged_is_fine():
    net, x = Net().eval(), torch.randn(2, 3)
    ema = TrainedEMA(net, [], 0.9)
    ema.update(net)
    torch.testing.assert_close(ema.call(net, net, x), net(x))
