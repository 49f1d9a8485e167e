"""A second MDETR with UniPT beside it, under its authors' names and from the formulas alone.

It runs one picture and one text at a time, without any padding, on ``nn.MultiheadAttention``; what
the package computes of a padded batch has to be the same.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d
from transformers import RobertaConfig, RobertaModel

WIDTH, HEADS, QUERIES, TEXT, VOCAB, MAP, ALIGN = 16, 2, 5, 12, 40, 24, 6
LAYERS, TAPS = 6, (1, 3, 5)


def config(adapter: bool | dict[str, Any] = True, **options: Any) -> dict[str, Any]:
    """The package's model of these sizes."""
    chosen = {"type": "CoupledUniPT"} if adapter is True else adapter or None
    return {
        "type": "GroundingModel",
        "visual": {"type": "FrozenResNet", "depths": [1, 1], "block": "basic"},
        "text": {
            "type": "RobertaText",
            "vocab_size": VOCAB,
            "hidden_size": TEXT,
            "num_layers": 2,
            "num_heads": 2,
            "intermediate_size": 20,
            "max_positions": 30,
        },
        "detr": {
            "type": "DetrTower",
            "d_model": WIDTH,
            "num_heads": HEADS,
            "feedforward": 20,
            "num_queries": QUERIES,
        },
        "head": {"map_size": MAP, "align_dim": ALIGN},
        "adapter": chosen,
        **options,
    }


def _linear_norm(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b))


class Layer(nn.Module):
    def __init__(self, decoder: bool) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.linear1, self.linear2 = nn.Linear(WIDTH, 20), nn.Linear(20, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        if decoder:
            self.cross_attn_image = nn.MultiheadAttention(WIDTH, HEADS)
            self.norm3, self.norm4 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        else:
            self.norm2 = nn.LayerNorm(WIDTH)

    def feed(self, x: Tensor) -> Tensor:
        return self.linear2(self.linear1(x).relu())

    def encode(self, x: Tensor, code: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attn(x + code, x + code, x)[0])
        return self.norm2(x + self.feed(x))

    def decode(self, x: Tensor, query: Tensor, memory: Tensor, code: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attn(x + query, x + query, x)[0])
        x = self.norm3(x + self.cross_attn_image(x + query, memory + code, memory)[0])
        return self.norm4(x + self.feed(x))


def _stack(decoder: bool) -> nn.Module:
    stack = nn.Module()
    stack.layers = nn.ModuleList(Layer(decoder) for _ in range(LAYERS))
    if decoder:
        stack.norm = nn.LayerNorm(WIDTH)
    return stack


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = _stack(False), _stack(True)
        self.text_encoder = RobertaModel(
            RobertaConfig(
                vocab_size=VOCAB,
                hidden_size=TEXT,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=20,
                max_position_embeddings=32,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
            )
        )
        self.resizer = nn.Module()
        self.resizer.fc = nn.Linear(TEXT, WIDTH)
        self.resizer.layer_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        h = WIDTH // 2
        for run in ("encoder", "decoder"):
            setattr(self, f"side_downsample0_{run}", _linear_norm(WIDTH, h))
            downs = nn.ModuleList(_linear_norm(WIDTH, h) for _ in TAPS)
            setattr(self, f"side_downsamples_{run}", downs)
            mlp = (nn.Linear(h, WIDTH), nn.ReLU(), nn.Linear(WIDTH, h), nn.LayerNorm(h))
            setattr(self, f"side_projection_{run}", nn.Sequential(*mlp))
            setattr(self, f"side_gate_layer_{run}", nn.Linear(h, 1))
        self.side_projection_crosser = nn.ModuleList(_linear_norm(h, h) for _ in TAPS)
        self.side_final_upsample = nn.Sequential(
            nn.ReLU(), nn.Linear(h, WIDTH), nn.LayerNorm(WIDTH)
        )


class Box(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, out) for out in (WIDTH, WIDTH, 4))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.layers
        return third(second(first(x).relu()).relu()).sigmoid()


class ReferenceMDETR(nn.Module):
    """The authors' names; weights far from their start, so that every part acts."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        body = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=FrozenBatchNorm2d)
        del body.layer3, body.layer4, body.fc, body.avgpool
        joiner = nn.Module()
        joiner.body = body
        self.backbone = nn.ModuleList([joiner])
        self.input_proj = nn.Conv2d(128, WIDTH, 1)
        self.query_embed = nn.Embedding(QUERIES, WIDTH)
        self.transformer = Transformer()
        self.class_embed = nn.Linear(WIDTH, MAP)
        self.bbox_embed = Box()
        self.contrastive_align_projection_image = nn.Linear(WIDTH, ALIGN)
        self.contrastive_align_projection_text = nn.Linear(WIDTH, ALIGN)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
            for name, buffer in self.named_buffers():
                if name.startswith("backbone"):
                    # A variance is above 0.
                    buffer.add_(torch.rand_like(buffer) * 0.3)
        self.eval()

    def features(self, pixels: Tensor) -> Tensor:
        """The map of a batch, whose padding a convolution network sees."""
        body = self.backbone[0].body
        x = body.maxpool(body.relu(body.bn1(body.conv1(pixels))))
        return body.layer2(body.layer1(x))

    def forward(self, cells: Tensor, ids: Tensor, side: bool) -> dict[str, Any]:
        """Of the map (C, h, w) of the real cells and the real tokens (L,)."""
        words = self.transformer.text_encoder(input_ids=ids[None]).last_hidden_state[0]
        resizer = self.transformer.resizer
        words = resizer.layer_norm(resizer.fc(words))
        image = self.input_proj(cells[None])[0].flatten(1).T
        code = torch.cat((place_code(*cells.shape[1:]), torch.zeros_like(words)))
        states = [torch.cat((image, words))]
        for layer in self.transformer.encoder.layers:
            states.append(layer.encode(states[-1], code))
        query = self.query_embed.weight
        queries = [torch.zeros_like(query)]
        for layer in self.transformer.decoder.layers:
            queries.append(layer.decode(queries[-1], query, states[-1], code))
        last = self.transformer.decoder.norm(queries[-1])
        if side:
            outputs = self.beside(states, queries, last)
        else:
            outputs = [self.transformer.decoder.norm(x) for x in queries[1:]]
        tokens = self.contrastive_align_projection_text(states[-1][len(image) :])
        return {
            "logits": torch.stack([self.class_embed(x) for x in outputs]),
            "boxes": torch.stack([self.bbox_embed(x) for x in outputs]),
            "queries": torch.stack([self._unit(x) for x in outputs]),
            "tokens": tokens / tokens.norm(dim=-1, keepdim=True),
        }

    def _unit(self, x: Tensor) -> Tensor:
        x = self.contrastive_align_projection_image(x)
        return x / x.norm(dim=-1, keepdim=True)

    def beside(self, states: list[Tensor], queries: list[Tensor], last: Tensor) -> list[Tensor]:
        """Both side networks, and the outputs of the decoder's."""
        parts = self.transformer
        taps = [
            down(states[i]) for i, down in zip(TAPS, parts.side_downsamples_encoder, strict=True)
        ]
        memory = self._interact("encoder", parts.side_downsample0_encoder(states[-1]), taps)
        crossed = []
        for i, down, cross in zip(
            TAPS, parts.side_downsamples_decoder, parts.side_projection_crosser, strict=True
        ):
            tap = down(queries[i])
            crossed.append(tap + cross(_l1((tap @ memory.T).relu()) @ memory))
        found = self._interact("decoder", parts.side_downsample0_decoder(last), crossed)
        return [parts.side_final_upsample(x) for x in (*crossed, found)]

    def _interact(self, run: str, guide: Tensor, taps: list[Tensor]) -> Tensor:
        gate = getattr(self.transformer, f"side_gate_layer_{run}")
        scores = torch.stack([gate(guide.mean(0) * tap.mean(0))[0] for tap in taps])
        shares = scores.exp() / scores.exp().sum()
        mixed = [_l1((guide @ tap.T).relu()) @ tap + tap for tap in taps]
        found = sum(share * x for share, x in zip(shares, mixed, strict=True))
        return guide + getattr(self.transformer, f"side_projection_{run}")(found)


def _l1(similarities: Tensor) -> Tensor:
    return similarities / (similarities.sum(-1, keepdim=True) + 1e-7)


def place_code(height: int, width: int) -> Tensor:
    """DETR's sine code of each cell, row by row: half for the row, half for the column."""
    half = WIDTH // 2
    rows = []
    for y in range(height):
        for x in range(width):
            code = []
            for place, size in ((y, height), (x, width)):
                angle = (place + 1) / (size + 1e-6) * 2 * math.pi
                for i in range(half):
                    part = angle / 10000 ** (2 * (i // 2) / half)
                    code.append(math.cos(part) if i % 2 else math.sin(part))
            rows.append(code)
    return torch.tensor(rows)


def generalized_iou(one: Tensor, other: Tensor) -> float:
    """GIoU of two boxes (4,) given by centre and size, number by number."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = one.tolist(), other.tolist()
    a = (ax - aw / 2, ay - ah / 2, ax + aw / 2, ay + ah / 2)
    b = (bx - bw / 2, by - bh / 2, bx + bw / 2, by + bh / 2)
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = aw * ah + bw * bh - across * down
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return across * down / union - (hull - union) / hull


def reference_losses(
    output: dict[str, Tensor], box: Tensor, positive: set[int]
) -> tuple[dict[str, float], int]:
    """Losses of one output of one picture, not weighted, and the query that was chosen.

    Args:
        output: ``logits`` (Q, C), ``boxes`` (Q, 4), ``queries`` (Q, E) and ``tokens`` (L, E).
        box: (4,), centre and size.
        positive: Numbers of the tokens that name the thing.
    """
    logits, boxes = output["logits"].double(), output["boxes"].double()
    box = box.double()
    likely = F.log_softmax(logits, -1)
    costs = []
    for q in range(len(logits)):
        token = -sum(likely[q, t].exp().item() for t in positive)
        distance = (boxes[q] - box).abs().sum().item()
        costs.append(token + 5 * distance - 2 * generalized_iou(boxes[q], box))
    chosen = min(range(len(costs)), key=costs.__getitem__)
    ce = 0.0
    for q in range(len(logits)):
        if q == chosen:
            ce -= sum(likely[q, t].item() for t in positive)
        else:
            ce -= 0.1 * likely[q, -1].item()
    similar = output["queries"].double() @ output["tokens"].double().T / 0.07
    align = 0.0
    if positive:
        own = [similar[chosen, t].item() for t in positive]
        align += similar[chosen].exp().sum().log().item() - sum(own) / len(own)
        for t in positive:
            align += similar[:, t].exp().sum().log().item() - similar[chosen, t].item()
    return {
        "ce": ce,
        "bbox": (boxes[chosen] - box).abs().sum().item(),
        "giou": 1 - generalized_iou(boxes[chosen], box),
        "contrastive_align": align / 2,
    }, chosen
