"""UniPT on CLIP-ViL written number by number from its formulas, on tensors by the authors' names.

Nothing of the package is used. What is added to the towers is computed a sample and a tap at a
time, without padding of the texts; layers are looped over by the names that a state has.
"""

from __future__ import annotations

import math
from typing import Any

import torch

State = dict[str, torch.Tensor]
BERT = "module.lxrt_encoder.model.bert."
DEPTH = 12


Shapes = dict[str, tuple[int, ...]]


def _linear(shapes: Shapes, name: str, out: int, into: int) -> None:
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)


def _norm(shapes: Shapes, name: str, dim: int, averages: bool = False) -> None:
    shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (dim,)
    if averages:
        shapes[f"{name}.running_mean"] = shapes[f"{name}.running_var"] = (dim,)
        shapes[f"{name}.num_batches_tracked"] = ()


def _resnet_shapes(shapes: Shapes, depths: tuple[int, ...], stem: int) -> None:
    visual = f"{BERT}encoder.visual_model.visual."
    for number, (out, into) in enumerate(((stem // 2, 3), (stem // 2,) * 2, (stem, stem // 2)), 1):
        shapes[f"{visual}conv{number}.weight"] = (out, into, 3, 3)
        _norm(shapes, f"{visual}bn{number}", out, averages=True)
    into = stem
    for stage, depth in enumerate(depths, 1):
        inside = stem * 2 ** (stage - 1)
        for index in range(depth):
            block = f"{visual}layer{stage}.{index}."
            sizes = ((inside, into, 1), (inside, inside, 3), (4 * inside, inside, 1))
            for number, (out, of, length) in enumerate(sizes, 1):
                shapes[f"{block}conv{number}.weight"] = (out, of, length, length)
                _norm(shapes, f"{block}bn{number}", out, averages=True)
            if index == 0:
                shapes[f"{block}downsample.0.weight"] = (4 * inside, into, 1, 1)
                _norm(shapes, f"{block}downsample.1", 4 * inside, averages=True)
            into = 4 * inside
    _linear(shapes, f"{visual}attnpool.q_proj", 6, into)


def _stream_shapes(
    shapes: Shapes, grid: int, width: int, inner: int, words: int, places: int
) -> None:
    encoder = f"{BERT}encoder."
    shapes[f"{encoder}visual_model.token_embedding.weight"] = (4, 4)
    shapes[f"{encoder}visual_model.logit_scale"] = ()
    for table in "xy":
        shapes[f"{encoder}visual_pos.{table}_position_embedding.weight"] = (25, grid)
    for name, into in (("visn", grid), ("box", 4)):
        _linear(shapes, f"{encoder}visn_fc.{name}_fc", width, into)
        _norm(shapes, f"{encoder}visn_fc.{name}_layer_norm", width)
    for table, rows in (("word", words), ("position", places), ("token_type", 2)):
        shapes[f"{BERT}embeddings.{table}_embeddings.weight"] = (rows, width)
    _norm(shapes, f"{BERT}embeddings.LayerNorm", width)
    for index in range(DEPTH):
        layer = f"{encoder}layer.{index}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            _linear(shapes, f"{layer}attention.{name}", width, width)
        _norm(shapes, f"{layer}attention.output.LayerNorm", width)
        _linear(shapes, f"{layer}intermediate.dense", inner, width)
        _linear(shapes, f"{layer}output.dense", width, inner)
        _norm(shapes, f"{layer}output.LayerNorm", width)
    _linear(shapes, f"{BERT}pooler.dense", width, width)


def _trained_shapes(shapes: Shapes, width: int, answers: int) -> None:
    encoder, narrow = f"{BERT}encoder.", width // 2
    downs = [f"{encoder}side_first_downsample_l"]
    downs += [f"{encoder}side_downsamples_l.{index}" for index in range(DEPTH)]
    for name in downs:
        _linear(shapes, f"{name}.0", narrow, width)
        _norm(shapes, f"{name}.1", narrow)
    _linear(shapes, f"{encoder}side_projection_l.0", width, narrow)
    _linear(shapes, f"{encoder}side_projection_l.2", narrow, width)
    _norm(shapes, f"{encoder}side_projection_l.3", narrow)
    _linear(shapes, f"{encoder}side_final_upsample_l.0", width, narrow)
    _linear(shapes, f"{encoder}side_gate_layer_l", 1, narrow)
    _linear(shapes, "module.logit_fc.0", 2 * width, width)
    _norm(shapes, "module.logit_fc.2", 2 * width)
    _linear(shapes, "module.logit_fc.3", answers, 2 * width)


def published_shapes(answers: int) -> Shapes:
    """Names and shapes of the authors' model, with some of the unused parts that it has."""
    shapes: Shapes = {}
    _resnet_shapes(shapes, (4, 6, 10, 6), 80)
    _stream_shapes(shapes, 2560, 768, 3072, 30522, 512)
    _trained_shapes(shapes, 768, answers)
    return shapes


def draw_state(generator: torch.Generator, answers: int = 5) -> State:
    """A state dict of the authors' model, small, with the unused parts that it has."""
    shapes: Shapes = {}
    _resnet_shapes(shapes, (1, 2, 1, 1), 4)
    _stream_shapes(shapes, 128, 8, 12, 20, 24)
    _trained_shapes(shapes, 8, answers)
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan = math.prod(shape[1:]) if len(shape) > 1 else 1
            state[name] = torch.randn(shape, generator=generator) * (0.4 if fan == 1 else fan**-0.5)
            if len(shape) == 1 and name.endswith("weight"):
                state[name] += 1
    return state


def batch_norm(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    """The averages' normalisation of (B, C, H, W), eps 1e-5."""
    part = {key: state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias")}
    mean, variance = (state[f"{name}.running_{key}"][:, None, None] for key in ("mean", "var"))
    return (x - mean) / (variance + 1e-5).sqrt() * part["weight"] + part["bias"]


def convolve(x: torch.Tensor, weight: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """A convolution as a sum of shifted maps; 3 x 3 ones are padded by 1."""
    size = weight.shape[-1]
    pad = size // 2
    padded = x.new_zeros(*x.shape[:2], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad)
    padded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]] = x
    total: Any = 0
    for row in range(size):
        for column in range(size):
            seen = padded[:, :, row : row + x.shape[2], column : column + x.shape[3]]
            seen = seen[:, :, ::stride, ::stride]
            total = total + torch.einsum("oc,bchw->bohw", weight[:, :, row, column], seen)
    return total


def halve(x: torch.Tensor) -> torch.Tensor:
    """The means of squares of 2 x 2."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def resnet(images: torch.Tensor, state: State, prefix: str) -> torch.Tensor:
    """CLIP's modified ResNet without its attention pool: (B, C, H / 32, W / 32)."""
    x = images
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        x = convolve(x, state[f"{prefix}conv{number}.weight"], stride)
        x = batch_norm(x, state, f"{prefix}bn{number}").clamp(min=0)
    x = halve(x)
    for stage in range(1, 5):
        index = 0
        while f"{prefix}layer{stage}.{index}.conv1.weight" in state:
            block = f"{prefix}layer{stage}.{index}."
            shrinks = index == 0 and stage > 1
            y = x
            for number in (1, 2, 3):
                y = convolve(y, state[f"{block}conv{number}.weight"])
                y = batch_norm(y, state, f"{block}bn{number}")
                y = y.clamp(min=0) if number < 3 else y
                y = halve(y) if number == 2 and shrinks else y
            if f"{block}downsample.0.weight" in state:
                x = convolve(halve(x) if shrinks else x, state[f"{block}downsample.0.weight"])
                x = batch_norm(x, state, f"{block}downsample.1")
            x = (x + y).clamp(min=0)
            index += 1
    return x


def linear(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    return x @ state[f"{name}.weight"].t() + state[f"{name}.bias"]


def layer_norm(x: torch.Tensor, state: State, name: str, eps: float) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / ((centred**2).mean(-1, keepdim=True) + eps).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def stream(ids: list[int], image: torch.Tensor, state: State, heads: int) -> list[torch.Tensor]:
    """What goes into layer 1 and comes out of each, (N, D), of one question without padding."""
    grid = resnet(image[None], state, f"{BERT}encoder.visual_model.visual.")[0]
    tables = [
        state[f"{BERT}encoder.visual_pos.{name}_position_embedding.weight"] for name in ("x", "y")
    ]
    cells = [
        grid[:, row, column] + tables[0][row] + tables[1][column]
        for row in range(grid.shape[1])
        for column in range(grid.shape[2])
    ]
    visual = linear(torch.stack(cells), state, f"{BERT}encoder.visn_fc.visn_fc")
    visual = layer_norm(visual, state, f"{BERT}encoder.visn_fc.visn_layer_norm", 1e-12)
    words, places, kinds = (
        state[f"{BERT}embeddings.{name}_embeddings.weight"]
        for name in ("word", "position", "token_type")
    )
    text = torch.stack([words[i] + places[n] + kinds[0] for n, i in enumerate(ids)])
    text = layer_norm(text, state, f"{BERT}embeddings.LayerNorm", 1e-12)
    x = torch.cat((text, visual))
    taps = [x]
    for index in range(DEPTH):
        layer = f"{BERT}encoder.layer.{index}."
        query, key, value = (
            linear(x, state, f"{layer}attention.self.{name}") for name in ("query", "key", "value")
        )
        size = x.shape[1] // heads
        read = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            weights = (query[:, part] @ key[:, part].t() / math.sqrt(size)).softmax(-1)
            read.append(weights @ value[:, part])
        y = linear(torch.cat(read, 1), state, f"{layer}attention.output.dense")
        y = layer_norm(x + y, state, f"{layer}attention.output.LayerNorm", 1e-12)
        z = gelu(linear(y, state, f"{layer}intermediate.dense"))
        z = linear(z, state, f"{layer}output.dense")
        x = layer_norm(y + z, state, f"{layer}output.LayerNorm", 1e-12)
        taps.append(x)
    return taps


def side(taps: list[torch.Tensor], state: State) -> torch.Tensor:
    """The side network's answer (N, D) to one sample, none of whose tokens is padding."""
    encoder = f"{BERT}encoder."
    names = [f"{encoder}side_first_downsample_l"]
    names += [f"{encoder}side_downsamples_l.{index}" for index in range(DEPTH)]
    down = [
        layer_norm(linear(tap, state, f"{name}.0"), state, f"{name}.1", 1e-5)
        for tap, name in zip(taps, names, strict=True)
    ]
    query, keys = down[-1], down[:-1]
    scores, found = [], []
    for key in keys:
        similar = (query @ key.t()).clamp(min=0)
        found.append(similar / (similar.sum(1, keepdim=True) + 1e-6) @ key + key)
        scores.append(linear(query.mean(0) * key.mean(0), state, f"{encoder}side_gate_layer_l")[0])
    shares = torch.stack(scores).softmax(0)
    mixed = sum(share * part for share, part in zip(shares, found, strict=True))
    projection = f"{encoder}side_projection_l"
    hidden = linear(mixed, state, f"{projection}.0").clamp(min=0)
    hidden = layer_norm(linear(hidden, state, f"{projection}.2"), state, f"{projection}.3", 1e-5)
    return linear(query + hidden, state, f"{encoder}side_final_upsample_l.0")


def logits(
    ids: list[int], image: torch.Tensor, state: State, heads: int, adapted: bool = True
) -> torch.Tensor:
    """Logits (A,) of one question, its ids without padding, about one image (3, H, W)."""
    taps = stream(ids, image, state, heads)
    states = side(taps, state) if adapted else taps[-1]
    pooled = linear(states[0], state, f"{BERT}pooler.dense")
    hidden = gelu(linear(pooled, state, "module.logit_fc.0"))
    hidden = layer_norm(hidden, state, "module.logit_fc.2", 1e-12)
    return linear(hidden, state, "module.logit_fc.3")
