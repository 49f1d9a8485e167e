"""What every task shares: towers with sites, an adapter that fills them, and what is trained."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import nn

from uniadapter.checkpoints import load_pretrained
from uniadapter.checkpoints.former_names import rename_state
from uniadapter.registry import MODELS
from uniadapter.structures import KeptFrames

from ..adapters.base import Adapter, check_choice
from ..backbones import BertDecoder, BertModel, BlipViT
from ..backbones.base import playing
from ..backbones.hosted import linear_sites
from ..components import check_trained, norms_and_biases, set_trainable
from ..execution import Want, Words
from ..fast import FastPaths, PrefixCache, execution_of, frozen_layers
from ..heads.base import Head, adopt, refreshed
from ..sites import Places
from ..tapped import TappedRole
from .named import NamedAdapters
from .options import ModelOptions
from .sharing import SharedModel


class VisionLanguageModel(NamedAdapters, SharedModel, BaseModel):
    """Base class of tasks on a vision-language backbone.

    Subclasses create their heads and then call :meth:`finish`, which decides what is trained.

    Args:
        visual (dict, optional): Config of the visual tower. None: the task sees nothing.
        text (dict, optional): Config of the text and multimodal tower.
        decoder (dict, optional): Config of the decoder tower.
        adapter (dict, optional): Config of the adapter. None leaves the sites empty.
        data_preprocessor (dict, optional): Config of the data preprocessor.
        **options: Those of :class:`ModelOptions`.
    """

    Options = ModelOptions

    def __init__(
        self,
        visual: dict | None,
        text: dict | None = None,
        decoder: dict | None = None,
        adapter: dict | None = None,
        data_preprocessor: dict | None = None,
        **options: Any,
    ) -> None:
        chosen = ModelOptions(**options)
        if isinstance(data_preprocessor, dict):
            # By this registry: MMEngine's own finds it only where the default scope is set.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor)
        self._fast = FastPaths.build(chosen.fast)
        self._prefix_cache = PrefixCache.build(chosen.prefix_cache)
        self._adopted: dict[str, Head] = {}
        self.adapter: Adapter | None = None
        # None where the task has no role that sees.
        self.visual: BlipViT = None if visual is None else MODELS.build(visual)  # type: ignore[assignment]
        self.text: BertModel | None = None if text is None else MODELS.build(text)
        self.decoder: BertDecoder | None = None if decoder is None else MODELS.build(decoder)
        for role in self.roles():
            self.role(role)
        for tower in (self.visual, self.text, self.decoder and self.decoder.bert):
            if tower is not None:
                recompute = tower.grad_checkpointing or chosen.grad_checkpointing
                tower.grad_checkpointing = recompute
        self._give_execution()
        self.train_heads = chosen.train_heads
        if adapter is not None:
            self.adapter = MODELS.build(adapter, default_args={"places": self.places()})
        self.register_load_state_dict_pre_hook(_read_former_names)
        self.train_backbone = chosen.train_backbone
        self.train_norms, self.train_biases = chosen.train_norms, chosen.train_biases
        self.pretrained = chosen.pretrained
        # Items that the last loss was a mean over on this rank, where it has one term; by these
        # accumulated steps are weighed.
        self.loss_items: int | torch.Tensor | None = None
        # Set by cast_frozen.
        self.frozen_dtype: torch.dtype | None = None
        self.frozen_fingerprint: str | None = None

    @property
    def fast(self) -> FastPaths:
        """Which fast paths the model takes."""
        return self._fast

    @fast.setter
    def fast(self, switches: FastPaths) -> None:
        self._fast = switches
        self._give_execution()

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """Where tokens of frozen visual layers are kept."""
        return self._prefix_cache

    @prefix_cache.setter
    def prefix_cache(self, cache: PrefixCache | None) -> None:
        self._prefix_cache = cache
        self._give_execution()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a tower that takes another's place runs as that one did."""
        super().__setattr__(name, value)
        if name in ("text", "decoder") and "execution" in vars(self):
            self._give_execution()

    def _give_execution(self) -> None:
        """Make the execution, and give it to towers and heads."""
        self.execution = execution_of(self._fast, self._prefix_cache)
        writer = None if self.decoder is None else self.decoder.bert
        for part in (self.text, writer, *self._adopted.values()):
            if part is not None:
                part.execution = self.execution

    def roles(self) -> tuple[str, ...]:
        """The runs of towers that this task has; overridden by subclasses with fewer."""
        found = ["visual"]
        if self.text is not None:
            found += ["text", "fusion"]
        # A decoder never runs without cross-attention.
        return (*found, *(["decoder"] if self.decoder is not None else []))

    def role(self, name: str) -> Any:
        """Who plays a role, see :mod:`uniadapter.models.backbones.base`.

        The tower, or, where the adapter takes the place of its runs, both together.

        Args:
            name (str): ``'visual'``, ``'text'``, ``'fusion'`` or ``'decoder'``.

        Raises:
            ValueError: If the model has no tower that plays it.
        """
        tower = self._player(name)
        if self.adapter is None:
            return tower
        # What continues from a text's states is handed those of its role.
        continues = name == "fusion" and tower.takes_states and self.adapter.takes("text")
        if not (continues or self.adapter.takes(name)):
            return tower
        return TappedRole(name, tower, self.adapter, self.role("text") if continues else None)

    def _player(self, role: str) -> Any:
        runs = {"visual": self.visual, "text": self.text, "fusion": self.text}
        return playing(role, {**runs, "decoder": self.decoder}[role], type(self).__name__)

    def places(self) -> Places:
        """The sites of all roles, to be filled by an adapter."""
        places = Places()
        decoder = None if self.decoder is None else self.decoder.bert
        for role in self.roles():
            tower = self._player(role)
            places.add(role, found := tower.sites(role))
            if getattr(tower, "maps", False):
                places.maps.add(role)
            # A tower that only plays the role is not who has the layers.
            body: Any = getattr(tower, "body", tower)
            places.add_linears(role, linear_sites(body, role, [index for index, _ in found]))
            # A stream of texts and media has no cross-attention with keys and values of its own.
            if role in ("fusion", "decoder") and hasattr(tower, "kv_slot"):
                places.slots[f"{role}.kv"] = {0: tower.kv_slot}
        bodies = {"visual": self.visual, "text": self.text, "decoder": decoder}
        places.towers.update({name: body for name, body in bodies.items() if body is not None})
        return places

    def towers(self) -> dict[str, nn.Module]:
        """The backbone's towers by the prefix of their names in the state dict."""
        named = {"visual": self.visual, "text": self.text, "decoder": self.decoder}
        return {name: tower for name, tower in named.items() if tower is not None}

    def adopt_head(self, role: str, head: Head) -> None:
        """Take a head, whose parts become the model's own under the names they have in the head.

        Args:
            role (str): What :meth:`head` is asked for.
            head (Head): The head.
        """
        adopt(self, head)
        head.execution = self.execution
        self._adopted[role] = head

    def head(self, role: str) -> Any:
        """The head of a role; None if the task has none."""
        head = self._adopted.get(role)
        return None if head is None else refreshed(self, head)

    def heads(self) -> dict[str, nn.Module]:
        """The trained modules of all heads by the prefix of their names in the state dict."""
        parts: dict[str, nn.Module] = {}
        for role in self._adopted:
            parts.update(self.head(role).trained_parts())
        return parts

    def scalars(self) -> dict[str, nn.Parameter]:
        """Trained parameters outside adapter and heads (a temperature), by component name."""
        found: dict[str, nn.Parameter] = {}
        for role in self._adopted:
            found.update(self.head(role).scalars())
        return found

    def kept_heads(self) -> set[str]:
        """Names of heads that stay frozen, because the adapter adds to what they give."""
        return set()

    def new_heads(self) -> set[str]:
        """Names of heads that no backbone's file need have: they begin as they were drawn."""
        return set()

    def components(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by component: ``backbone``, ``adapter``, ``heads``, ``temperature``."""
        parts: dict[str, list[nn.Parameter]] = {"backbone": [], "heads": []}
        for tower in self.towers().values():
            parts["backbone"] += tower.parameters()
        kept = self.kept_heads()
        for name, head in self.heads().items():
            parts["backbone" if name in kept else "heads"] += head.parameters()
        if self.train_norms or self.train_biases:
            own = norms_and_biases(
                self.places().towers, self.train_norms, self.train_biases, parts["heads"]
            )
            taken = {id(parameter) for part in own.values() for parameter in part}
            parts["backbone"] = [p for p in parts["backbone"] if id(p) not in taken]
            parts.update(own)
        if self.adapter is not None:
            parts.update(self.adapter.components())
        for name, parameter in self.scalars().items():
            parts[name] = [parameter]
        return parts

    def trainable_components(self) -> list[str]:
        """Names of the components that are trained."""
        names = list(self.components())
        if not self.train_backbone:
            names.remove("backbone")
        if not self.train_heads:
            names.remove("heads")
        frozen = {name for role in self._adopted for name in self.head(role).frozen_scalars()}
        return [name for name in names if name not in frozen]

    def finish(self) -> None:
        """Decide by identity what is trained; everything else is frozen.

        Raises:
            ValueError: If there is a prefix cache and no wholly frozen visual layer, or the data
                preprocessor keeps more tokens than the text tower has positions.
        """
        length = getattr(self.data_preprocessor, "max_text_len", None)
        if self.text is not None and length is not None:
            self.text.check_length(length, "model.data_preprocessor.max_text_len")
        check_trained(self)
        components = self.components()
        set_trainable(self, [p for name in self.trainable_components() for p in components[name]])
        self._own_names = None
        if self.prefix_cache is not None:
            self.prefix_cache.check(frozen_layers(self.visual))

    def train(self, mode: bool = True) -> VisionLanguageModel:
        """Set the mode, as every epoch, validation and test does before it starts."""
        if self.prefix_cache is not None:
            self.prefix_cache.refresh()
        super().train(mode)
        return self

    def frozen_autocast(self) -> AbstractContextManager:
        """Autocast of the frozen weights' type, where they are stored in half precision."""
        device = next(self.parameters()).device.type
        if self.frozen_dtype is None or torch.is_autocast_enabled(device):
            return nullcontext()
        return torch.autocast(device, self.frozen_dtype)

    def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        """Called by MMEngine's steps of training, validation and test."""
        data = args[0] if args else kwargs.get("data")
        self.check_samples(data.get("data_samples") if isinstance(data, dict) else None)
        with self.frozen_autocast():
            return super()._run_forward(*args, **kwargs)

    @staticmethod
    def samples_of(data_samples: list | None, mode: str) -> tuple[list[Any], list[Any]]:
        """All samples of a batch, and those of them that have pixels, with the mode checked.

        A medium that could not be read has a sample, which is ``skipped``, and no pixels.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_choice(mode, ("loss", "predict", "tensor"), "mode")
        samples = list(data_samples or [])
        return samples, [sample for sample in samples if not sample.get("skipped")]

    def parse_losses(self, losses: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """Called by MMEngine's steps of training: the losses' sum, with what the adapter adds."""
        penalty = None if self.adapter is None else self.adapter.penalty()
        return super().parse_losses(
            losses if penalty is None else {**losses, "loss_adapter": penalty}
        )

    def init_weights(self) -> None:
        """Load the pretrained weights; towers without them keep their random initialisation."""
        if self.pretrained is None:
            print_log("No model.pretrained: the backbone's weights are random.", "current", 30)
            return
        load_pretrained(self, self.pretrained)
        self.on_weights_loaded()

    def on_weights_loaded(self) -> None:
        """Called after weights were loaded, for what is derived from them."""

    def adapter_extras(self) -> dict[str, Any]:
        """What is saved in the JSON beside the adapter's tensors; overridden by subclasses."""
        return {}

    def set_adapter_extras(self, extras: dict[str, Any]) -> None:
        """Take what :meth:`adapter_extras` saved."""

    def step_on(self, pixels: torch.Tensor | KeptFrames) -> AbstractContextManager[None]:
        """A training step of two models that see pixels (B, N, 3, H, W); see :class:`Execution`."""
        if isinstance(pixels, KeptFrames):
            return nullcontext()
        _check_pixels(pixels)
        return self.execution.step(self.role("visual"), pixels)

    def encode_frames(self, pixels: torch.Tensor | KeptFrames, want: Want = "all") -> torch.Tensor:
        """Run the visual tower on every frame.

        Args:
            pixels (Tensor): (B, N, 3, H, W); an image is a video of one frame. Or states of frames
                that were kept, which go on without the tower.
            want (str): ``'all'`` tokens, or the ``'first'`` of every frame. Defaults to ``'all'``.

        Returns:
            Tensor: Tokens (B, N, M, D), the class token first; M = 1 of the first ones.

        Raises:
            ValueError: If ``pixels`` has another number of dimensions.
        """
        if isinstance(pixels, KeptFrames):
            tokens = self.kept_states("visual", pixels, want)
            return tokens.unflatten(0, pixels.size)
        _check_pixels(pixels)
        return self.execution.visual(self.role("visual"), pixels, want)

    def kept_states(
        self, role: str, kept: KeptFrames, want: Want, words: Words | None = None
    ) -> torch.Tensor:
        """What a role gives of rows whose states were kept, see :meth:`TappedRole.kept`.

        Args:
            role (str): ``'visual'`` or ``'text'``.
            kept (KeptFrames): The states of a batch.
            want (str): ``'all'`` tokens or the ``'first'``.
            words (Words, optional): The texts.
        """
        visual = role == "visual"
        states, player = kept.frames if visual else kept.words, self.role(role)
        if not isinstance(player, TappedRole):
            return states.out if want == "all" else states.out[:, :1]
        return player.kept(states, kept.layers[0 if visual else 1], want, words)


def _check_pixels(pixels: torch.Tensor) -> None:
    if pixels.dim() != 5:
        raise ValueError(
            f"pixels must be (B, N, 3, H, W), with N=1 for images; got {tuple(pixels.shape)}."
        )


def _read_former_names(
    model: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any
) -> None:
    rename_state(model, state, prefix)
