"""Files of VL-Adapter's released layout, drawn here, and what the formulas make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.vl_helpers import original, parts, vl

DIM, INNER, K, EMBED, HIDDEN, LATENT = 16, 4, 2, 6, 5, 3
#: Configs that read them, by what a file holds; of several tasks.
BOTTLENECK: dict[str, Any] = {"type": "VLAdapter", "bottleneck": INNER}
NONE: dict[str, Any] = {"down": [], "up": []}
PHM = {"type": "phm", "k": K}
HYPER = {"type": "Hyperformer", "bottleneck": INNER, "latent": LATENT, "hidden": HIDDEN}
LORA = {"type": "LoRA", "rank": 2, "alpha": 4}
PROMPT = {"type": "PromptTuning", "length": 3, "hidden": 7}
METHODS: dict[str, Any] = {
    "none": None,
    "single": BOTTLENECK,
    "half": {**BOTTLENECK, "share": {"down": [], "up": ["task"]}},
    "half_down": {**BOTTLENECK, "share": {"down": ["task"], "up": []}},
    "multiple": {**BOTTLENECK, "share": NONE},
    "norms": {**BOTTLENECK, "pre_norm": True, "post_norm": True},
    "phm": {**BOTTLENECK, "projection": PHM},
    "phm_multiple": {**BOTTLENECK, "projection": PHM, "share": NONE},
    "phm_position": {**BOTTLENECK, "projection": {**PHM, "rule": "position"}, "share": NONE},
    "phm_model": {**BOTTLENECK, "projection": {**PHM, "rule": "model", "rank": 1}},
    "low_rank": {**BOTTLENECK, "projection": {"type": "low_rank", "rank": 2}, "share": NONE},
    "hyper": {**HYPER, "embedding": EMBED},
    "hyper_one": {**HYPER, "embedding": EMBED, "variant": "one"},
    "lora": LORA,
    "lora_multiple": {**LORA, "share": []},
    "prompt": PROMPT,
    "prompt_multiple": {**PROMPT, "share": []},
    "prompt_both": {**PROMPT, "roles": ["text", "decoder"]},
    "adapter_prompts": {"type": "Stack", "methods": [BOTTLENECK, {**PROMPT, "share": []}]},
    "adapter_lora": {"type": "Stack", "methods": [BOTTLENECK, LORA]},
}
Term = Callable[[Tensor], Tensor]


_SUB_LAYERS = {
    "Bart": {
        "encoder": (("attn", "self_attn"), ("ff", "fc2")),
        "decoder": (("self_attn", "self_attn"), ("enc_attn", "encoder_attn"), ("ff", "fc2")),
    },
    "T5": {
        "encoder": (("attn", "SelfAttention"), ("ff", "DenseReluDense")),
        "decoder": (
            ("attn", "SelfAttention"),
            ("enc_attn", "EncDecAttention"),
            ("ff", "DenseReluDense"),
        ),
    },
}


def positions(kind: str) -> Iterator[tuple[str, str, str, int]]:
    """Released name, hooked module, type of block and layer of every position."""
    for layer in range(2):
        for stack, named in _SUB_LAYERS[kind].items():
            for number, (name, module) in enumerate(named):
                path = f"{stack}.block.{layer}.layer.{number}"
                if kind == "Bart":
                    path = f"model.{stack}.layers.{layer}"
                yield f"{path}.{name}_adapter", f"{path}.{module}", _block(name), layer


def _block(name: str) -> str:
    if name == "ff":
        return "feed_forward"
    return "cross_attention" if name == "enc_attn" else "self_attention"


def attentions(kind: str) -> Iterator[str]:
    """Modules of queries and values."""
    for layer in range(2):
        for stack in ("encoder", "decoder"):
            for cross in (False, True)[: 1 if stack == "encoder" else 2]:
                for m in "qv":
                    if kind == "Bart":
                        name = "encoder_attn" if cross else "self_attn"
                        yield f"model.{stack}.layers.{layer}.{name}.{m}_proj"
                    else:
                        name = "layer.1.EncDecAttention" if cross else "layer.0.SelfAttention"
                        yield f"{stack}.block.{layer}.{name}.{m}"


class Released:
    """A file, drawn.

    Args:
        kind (str): Language model.
        method (str): Of :data:`METHODS`; ``'a+b'`` parts of two.
        tasks (list[str]): Tasks.
        seed (int): What is drawn.
    """

    def __init__(self, kind: str, method: str, tasks: list[str], seed: int = 0) -> None:
        self.kind, self.method, self.tasks = kind, method, tasks
        self.drawn = torch.Generator().manual_seed(seed)
        self.p = "model." if kind == "Bart" else ""
        bare = vl(kind, seed)
        self.hf = original(bare)
        self.bare = bare
        self.state = {name: tensor.clone() for name, tensor in self.hf.state_dict().items()}
        table = parts(self.hf).shared.weight.detach()
        inside = f"{self.p}encoder.visual_embedding"
        self.state[f"{inside}.obj_order_embedding.weight"] = table.clone()
        for name, tensor in bare.visual_embedding.state_dict().items():
            self.state[f"{inside}.{name}"] = tensor.clone()
        self._draw()

    def new(self, *shape: int) -> Tensor:
        """A tensor."""
        return torch.randn(*shape, generator=self.drawn) * 0.3

    def same(self, key: str, *shape: int, by_task: bool) -> None:
        """A tensor for each task, or one under the names of all; ``*`` is the task."""
        one = self.new(*shape)
        for task in self.tasks:
            self.state[key.replace("*", task)] = self.new(*shape) if by_task else one.clone()

    def _draw(self) -> None:
        method = self.method
        if method in METHODS and str(METHODS[method]).count("VLAdapter"):
            self._bottlenecks()
        if method.startswith("hyper"):
            self._hyper()
        if "lora" in method:
            for path in attentions(self.kind):
                many = method == "lora_multiple"
                self.same(f"{path}.lora_As.*", 2, self._width(path), by_task=many)
                self.same(f"{path}.lora_Bs.*", self._width(path, 0), 2, by_task=many)
        if "prompt" in method:
            for begin in ("encoder.", "")[: 2 if method == "prompt_both" else 1]:
                inside = f"{self.p}{begin}prompt_modules.prompts.*.prefix_embedding"
                many = method in ("prompt_multiple", "adapter_prompts")
                sizes = {"0.weight": (3, DIM), "1.weight": (7, DIM), "1.bias": (7,)}
                sizes.update({"3.weight": (DIM, 7), "3.bias": (DIM,)})
                for name, shape in sizes.items():
                    self.same(f"{inside}.{name}", *shape, by_task=many)

    def _width(self, path: str, dim: int = 1) -> int:
        return self.hf.get_submodule(path).weight.shape[dim]

    def _bottlenecks(self) -> None:
        apart = {
            "half": ("down",),
            "half_down": ("up",),
            "multiple": ("down", "up"),
            "phm_multiple": ("down", "up"),
            "phm_position": ("down", "up"),
            "low_rank": ("down", "up"),
        }.get(self.method, ())
        rule = self.new(K, K, K)
        if self.method == "phm_model":
            self.state["phm_rule"] = rule
        for path, *_ in positions(self.kind):
            for side, (rows, columns) in (("down", (DIM, INNER)), ("up", (INNER, DIM))):
                inside, many = f"{path}.adapters.*.{side}_sampler", side in apart
                if self.method.startswith("phm"):
                    own = self.method != "phm_position" and many
                    self.same(f"{inside}.phm_rule", K, K, K, by_task=own)
                    if self.method == "phm_model":
                        for task in self.tasks:
                            self.state[f"{inside}.phm_rule".replace("*", task)] = rule.clone()
                        self.same(f"{inside}.W_left", K, rows // K, 1, by_task=many)
                        self.same(f"{inside}.W_right", K, 1, columns // K, by_task=many)
                    else:
                        self.same(f"{inside}.W", K, rows // K, columns // K, by_task=many)
                    self.same(f"{inside}.b", columns, by_task=many)
                elif self.method == "low_rank":
                    self.same(f"{inside}.W_left", rows, 2, by_task=many)
                    self.same(f"{inside}.W_right", 2, columns, by_task=many)
                    self.same(f"{inside}.b", columns, by_task=many)
                else:
                    self.same(f"{inside}.weight", columns, rows, by_task=many)
                    self.same(f"{inside}.bias", columns, by_task=many)
            if self.method == "norms":
                for norm in ("pre", "post"):
                    self.state[f"{path}.{norm}_layer_norm.weight"] = self.new(DIM)
                    self.state[f"{path}.{norm}_layer_norm.bias"] = self.new(DIM)

    def _hyper(self) -> None:
        p, one = self.p, self.method == "hyper_one"
        for task in self.tasks:
            embedding = self.new(EMBED)
            for place in ("shared_task_embed", "encoder.task_embed", "decoder.task_embed"):
                self.state[f"{p}{place}.task_to_embeddings.{task}"] = embedding.clone()
        for stack in ("encoder", "decoder"):
            inside = f"{p}{stack}.adapter_layers_hyper_net"
            self.state[f"{inside}.layer_id_embeddings.weight"] = self.new(2, EMBED)
            if one:
                self.state[f"{inside}.adapters_block_type.weight"] = self.new(3, EMBED)
            net = f"{inside}.task_hypernet.task_embeding_generator"
            for number, shape in ((0, (HIDDEN, (3 if one else 2) * EMBED)), (2, (LATENT, HIDDEN))):
                self.state[f"{net}.{number}.weight"] = self.new(*shape)
                self.state[f"{net}.{number}.bias"] = self.new(shape[0])
            self.state[f"{inside}.LayerNorm.weight"] = self.new(LATENT)
            self.state[f"{inside}.LayerNorm.bias"] = self.new(LATENT)
            blocks = ["feed_forward_", "self_attention_", "cross_attention_"]
            for block in [""] if one else blocks[: 2 if stack == "encoder" else 3]:
                for side, width in (("down", INNER), ("up", DIM)):
                    for part, size in (("weight", INNER * DIM), ("bias", width)):
                        name = f"{inside}.{block}{side}_sampler_hyper_net.{part}_generator.0"
                        self.state[f"{name}.weight"] = self.new(size, LATENT)
                        self.state[f"{name}.bias"] = self.new(size)

    # What the formulas say.

    def _matrix(self, inside: str) -> tuple[Tensor, Tensor]:
        """x M + b of a projection."""
        s = self.state
        if f"{inside}.weight" in s:
            return s[f"{inside}.weight"].T, s[f"{inside}.bias"]
        if f"{inside}.phm_rule" not in s:
            return s[f"{inside}.W_left"] @ s[f"{inside}.W_right"], s[f"{inside}.b"]
        rule = s[f"{inside}.phm_rule"]
        w = s.get(f"{inside}.W")
        if w is None:
            w = torch.stack(
                [a @ b for a, b in zip(s[f"{inside}.W_left"], s[f"{inside}.W_right"], strict=True)]
            )
        return sum(torch.kron(a, b) for a, b in zip(rule, w, strict=True)), s[f"{inside}.b"]

    def term(self, path: str, block: str, layer: int, task: str) -> Term | None:
        """What a position adds to its input."""
        s = self.state
        if self.method.startswith("hyper"):
            return self._hyper_term(path, block, layer, task)
        if not any(name.startswith(f"{path}.adapters.") for name in s):
            return None
        (d, bd), (u, bu) = (
            self._matrix(f"{path}.adapters.{task}.{side}_sampler") for side in ("down", "up")
        )

        def act(x: Tensor) -> Tensor:
            if self.method == "norms":
                pre = [s[f"{path}.pre_layer_norm.{n}"] for n in ("weight", "bias")]
                x = F.layer_norm(x, (DIM,), *pre)
            y = F.gelu(x @ d + bd, approximate="tanh") @ u + bu
            if self.method == "norms":
                post = [s[f"{path}.post_layer_norm.{n}"] for n in ("weight", "bias")]
                y = F.layer_norm(y, (DIM,), *post)
            return y

        return act

    def _hyper_term(self, path: str, block: str, layer: int, task: str) -> Term:
        s, one = self.state, self.method == "hyper_one"
        stack = "encoder" if "encoder." in path else "decoder"
        inside = f"{self.p}{stack}.adapter_layers_hyper_net"
        seen = [s[f"{self.p}shared_task_embed.task_to_embeddings.{task}"]]
        seen.append(s[f"{inside}.layer_id_embeddings.weight"][layer])
        if one:
            row = ["feed_forward", "self_attention", "cross_attention"].index(block)
            seen.append(s[f"{inside}.adapters_block_type.weight"][row])
        net = f"{inside}.task_hypernet.task_embeding_generator"
        z = torch.relu(s[f"{net}.0.weight"] @ torch.cat(seen) + s[f"{net}.0.bias"])
        z = s[f"{net}.2.weight"] @ z + s[f"{net}.2.bias"]
        norm = [s[f"{inside}.LayerNorm.{n}"] for n in ("weight", "bias")]
        z = F.layer_norm(z, (LATENT,), *norm, eps=1e-6)

        def made(side: str, part: str, *shape: int) -> Tensor:
            begin = "" if one else f"{block}_"
            name = f"{inside}.{begin}{side}_sampler_hyper_net.{part}_generator.0"
            return (s[f"{name}.weight"] @ z + s[f"{name}.bias"]).view(*shape)

        d, bd = made("down", "weight", INNER, DIM), made("down", "bias", INNER)
        u, bu = made("up", "weight", DIM, INNER), made("up", "bias", DIM)
        return lambda x: F.gelu(x @ d.T + bd, approximate="tanh") @ u.T + bu

    def prompt(self, task: str, begin: str = "encoder.") -> Tensor | None:
        """Tokens (3, D) in front; None without."""
        inside = f"{self.p}{begin}prompt_modules.prompts.{task}.prefix_embedding"
        s = self.state
        if f"{inside}.0.weight" not in s:
            return None
        inner = torch.tanh(
            s[f"{inside}.0.weight"] @ s[f"{inside}.1.weight"].T + s[f"{inside}.1.bias"]
        )
        return inner @ s[f"{inside}.3.weight"].T + s[f"{inside}.3.bias"]

    def hook(self, task: str) -> list[Any]:
        """Put what a task adds behind transformers' modules."""
        found = []
        for path, module, block, layer in positions(self.kind):
            act = self.term(path, block, layer, task)
            if act is not None:
                found.append(self.hf.get_submodule(module).register_forward_hook(_adding(act)))
        for path in attentions(self.kind) if "lora" in self.method else ():
            a, b = (self.state[f"{path}.lora_{m}s.{task}"] for m in "AB")

            def low_rank(_: Any, args: Any, out: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
                return out + 2.0 * (args[0] @ a.T @ b.T)

            found.append(self.hf.get_submodule(path).register_forward_hook(low_rank))
        return found

    def written(self) -> dict[str, Tensor]:
        """The file's content."""
        return {f"module.{name}": tensor for name, tensor in self.state.items()}


def _adding(act: Term) -> Callable[..., Any]:
    def hook(_: Any, __: Any, out: Any) -> Any:
        if isinstance(out, tuple):
            return (out[0] + act(out[0]), *out[1:])
        return out + act(out)

    return hook
