"""What all inferencers share: the model, inputs read as its test reads them, batches, results."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.infer import BaseInferencer as EngineInferencer
from PIL import Image
from rich.progress import track
from torch import nn

from uniadapter.checkpoints import load_weights
from uniadapter.structures import MultimodalSample
from uniadapter.utils.config import apply_cfg_options, load_config
from uniadapter.utils.devices import check_device
from uniadapter.utils.json_files import json_text
from uniadapter.utils.safe_io import atomic_write
from uniadapter.visualization.report import Entry, Panel, Report
from uniadapter.visualization.strips import sized, strip

from ..inputs import InputReader, config_of
from ..media_input import content_of, name_of, parts_of
from ..model import init_model
from ..zoo import CONFIG_SUFFIXES, get_model, list_models

#: Height of frames in pictures of results, and how many of a video are shown.
_HEIGHT, _SHOWN = 96, 8


class BaseInferencer(EngineInferencer):
    """Base class of inferencers, MMEngine's with mmpretrain's arguments.

    A call reads inputs, runs the model on batches of them and returns one plain result an input,
    in their order.

    Args:
        model (str | Path | Config | nn.Module): A name of :meth:`list_models`, a config or its
            file, or a model that :func:`uniadapter.apis.init_model` built.
        pretrained (bool | str | Path): A checkpoint, see :func:`uniadapter.apis.load_weights`. True
            loads the weights of the name, of a config the backbone that its ``model.pretrained``
            names, and of a model that is built already nothing. False loads nothing. Defaults to
            True.
        device (str | torch.device, optional): Where the model runs. None: a built model stays
            where it is, others go to a GPU if there is one.
        show_progress (bool): Show a progress bar. Defaults to True.
        cfg_options (dict, optional): Overrides of a config.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the model is of another task, or an option is wrong.
    """

    visualize_kwargs: ClassVar[set] = {"show_dir"}
    postprocess_kwargs: ClassVar[set] = {"out_file"}

    #: How the name of its ``out_file`` ends.
    ending: ClassVar[str] = ".json"
    #: Models that it runs, as they are said in errors.
    needs: str
    #: Words of their task in the zoo; None for all.
    task: ClassVar[str | None] = None

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        pretrained: bool | str | Path = True,
        device: str | torch.device | None = None,
        show_progress: bool = True,
        cfg_options: Mapping[str, Any] | None = None,
    ) -> None:
        # MMEngine's own constructor knows no checkpoint of ours and drops model.pretrained.
        self.model: Any = model_of(model, pretrained, device, cfg_options)
        self.cfg = config_of(self.model)
        self._check_task()
        self.scope, self.show_progress = "uniadapter", show_progress
        self.pipeline = self._init_pipeline(self.cfg)
        self.collate_fn = pseudo_collate
        self.visualizer = None

    def _check_task(self) -> None:
        if not self.runs(self.model):
            raise ValueError(
                f"{type(self).__name__} needs {self.needs}; {self.cfg.filename or 'the config'} "
                f"builds a {type(self.model).__name__}. docs/inference.md says which inferencer "
                "runs which model."
            )

    @classmethod
    @abstractmethod
    def runs(cls, model: nn.Module) -> bool:
        """Whether it runs a model."""

    @classmethod
    def list_models(cls, pattern: str | None = None) -> list[str]:
        """Names of models that it runs, see :func:`uniadapter.apis.list_models`."""
        return list_models(pattern, task=cls.task)

    def _init_pipeline(self, cfg: Config) -> InputReader:
        """What reads inputs as the config's test does."""
        return InputReader(cfg)

    def __call__(
        self, inputs: Any, return_datasamples: bool = False, batch_size: int = 8, **kwargs: Any
    ) -> list:
        """Run the model on inputs.

        Args:
            inputs (Any): One input or a list of them.
            return_datasamples (bool): Return :class:`MultimodalSample` s rather than plain
                results. Defaults to False.
            batch_size (int): Inputs run at once. Defaults to 8.
            **kwargs: ``show_dir``: a folder for a picture of each result; ``out_file``: a JSON
                file of all plain results; and what the class says.

        Returns:
            list: A result for each input.

        Raises:
            MediaError: If an input can't be read.
            ValueError: If there is none, or an argument is wrong.
        """
        read, run, draw, finish = self._dispatch_kwargs(**kwargs)
        if batch_size < 1:
            raise ValueError(f"batch_size is the number of inputs at once, got {batch_size}.")
        # Before the work, which would be lost.
        self._check_places(draw.get("show_dir"), finish.get("out_file"))
        given = self._inputs_to_list(inputs)
        if not given:
            raise ValueError(f"{type(self).__name__} was given no inputs: an empty list.")
        self.model.eval()
        predictions: list[MultimodalSample] = []
        batches = self.preprocess(given, batch_size=batch_size, **read)
        for batch in self._tracked(batches, ceil(len(given) / batch_size), "Inference"):
            predictions.extend(self.forward(batch, **run))
        pictures = self.visualize(given, predictions, **draw)
        return self.postprocess(predictions, pictures, return_datasamples, **finish)

    def _check_places(self, show_dir: str | Path | None, out_file: str | Path | None) -> None:
        """Refuse what results could not be written to."""
        if out_file is not None and Path(out_file).suffix != self.ending:
            raise ValueError(
                f"out_file={str(out_file)!r}: the results of {type(self).__name__} go to a file "
                f"whose name ends in {self.ending}."
            )
        if out_file is not None and Path(out_file).is_dir():
            raise ValueError(f"out_file={str(out_file)!r} is a folder: name a file.")
        if show_dir is not None and Path(show_dir).exists() and not Path(show_dir).is_dir():
            raise ValueError(f"show_dir={str(show_dir)!r} is a file: name a folder.")

    def _tracked(self, steps: Iterable, total: int, description: str) -> Iterable:
        if not self.show_progress:
            return steps
        return track(steps, description=description, total=total)

    def _inputs_to_list(self, inputs: Any) -> list:
        """One input as a list of one; a list as it is.

        What is read from a file object is kept, for it can be read once.
        """
        parts = parts_of(inputs, 3 if self.of_pictures else 4)
        return [held(part) for part in ([inputs] if parts is None else parts)]

    @property
    def of_pictures(self) -> bool:
        """Whether arrays of four dimensions are pictures rather than the frames of a video."""
        return self.pipeline.num_frames == 1

    def read(self, medium: Any) -> torch.Tensor:
        """Frames (N, 3, H, W) uint8 of a medium, as the config's test prepares them."""
        reader: InputReader = self.pipeline
        return reader.image_frames(medium) if self.of_pictures else reader.video_frames(medium)

    def preprocess(self, inputs: list, batch_size: int = 1, **kwargs: Any) -> Iterator[dict]:
        """Batches as the data loader of the test gives them."""
        padded = getattr(self.model.data_preprocessor, "pad_frames", None) is not None
        for items in alike(self.items(inputs), batch_size, padded):
            yield self.collate_fn(items)

    def items(self, inputs: list) -> Iterator[dict[str, Any]]:
        """What the pipeline of a data set gives of each input."""
        for index, medium in enumerate(inputs):
            yield self.item(medium, index)

    def item(self, medium: Any, index: int, **facts: Any) -> dict[str, Any]:
        """What the pipeline of a data set gives of a medium.

        Args:
            medium (Any): See :mod:`uniadapter.apis.inputs`.
            index (int): Its number.
            **facts: What else its sample has.
        """
        return packed(self.read(medium), media_facts(medium, index), **facts)

    @torch.no_grad()
    def forward(self, inputs: dict, **kwargs: Any) -> list[MultimodalSample]:
        """Samples of a batch with what the model says of them."""
        samples: list[MultimodalSample] = self.model.test_step(inputs)
        return samples

    def visualize(
        self, inputs: list, preds: list, show_dir: str | Path | None = None
    ) -> list[Image.Image] | None:
        """A picture of each result in a folder, ``0.png``, ``1.png`` and so on; None without."""
        if show_dir is None:
            return None
        pictures = []
        for index, (given, sample) in enumerate(zip(inputs, preds, strict=True)):
            picture = Report(type(self).__name__, [], [self.entry(given, sample)]).sheet()
            buffer = io.BytesIO()
            picture.save(buffer, "png", optimize=True)
            atomic_write(Path(show_dir) / f"{index}.png", buffer.getvalue(), sync=False)
            pictures.append(picture)
        return pictures

    @abstractmethod
    def entry(self, given: Any, sample: MultimodalSample) -> Entry:
        """What is drawn of an input and its result."""

    def panel(self, medium: Any, title: str = "") -> Panel:
        """Frames of a medium, as the model sees them."""
        return frames_panel(self.read(medium), title)

    @abstractmethod
    def result(self, sample: MultimodalSample) -> Any:
        """The plain result of a sample."""

    def postprocess(
        self,
        preds: list[MultimodalSample],
        visualization: list | None,
        return_datasamples: bool = False,
        out_file: str | Path | None = None,
    ) -> list:
        """Plain results, or the samples; both leave the plain ones in ``out_file``."""
        results = [self.result(sample) for sample in preds]
        if out_file is not None:
            self.save(results, Path(out_file))
        return list(preds) if return_datasamples else results

    def save(self, results: list, path: Path) -> None:
        """Write the plain results as JSON."""
        atomic_write(path, json_text(results, indent=1).encode())


def model_of(
    model: Any, pretrained: Any, device: Any, cfg_options: Mapping[str, Any] | None
) -> nn.Module:
    """The model that an inferencer is given in one way or another.

    Args:
        model: See :class:`BaseInferencer`, as are the others.
        pretrained: A checkpoint, True for what the model itself names, or False.
        device: Where it runs.
        cfg_options: Overrides of a config.

    Raises:
        ValueError: If there is no such device, or an option is wrong.
    """
    if device is not None:
        check_device(device)
    if isinstance(model, nn.Module):
        if cfg_options:
            raise ValueError("cfg_options change how a model is built; this one is built already.")
        if not isinstance(pretrained, bool):
            load_weights(model, pretrained)
        return (model if device is None else model.to(device)).eval()
    where = get_device() if device is None else device
    named = isinstance(model, str) and Path(model).suffix not in CONFIG_SUFFIXES
    if named and cfg_options:
        raise ValueError(f"cfg_options are of a config: name that of {model!r}, a file.")
    if not named and isinstance(model, str | Path):
        model = load_config(model, cfg_options)
    elif cfg_options:
        model = Config(model.to_dict(), filename=model.filename)
        apply_cfg_options(model, cfg_options)
    if named or pretrained is not True:
        return get_model(model, pretrained, where)
    return init_model(model, device=where)


def alike(items: Iterable[dict], size: int, padded: bool) -> Iterator[list[dict]]:
    """Items in order, at most ``size`` at once, those of one batch with frames of one shape.

    Args:
        items: As :func:`packed` makes them.
        size: Most items of a batch.
        padded: Whether their numbers of frames may differ.
    """
    batch: list[dict] = []
    last = None
    for item in items:
        frames = item["inputs"]
        shape = last if frames is None else frames.shape[1 if padded else 0 :]
        if batch and (len(batch) == size or (last is not None and shape != last)):
            yield batch
            batch = []
        batch.append(item)
        last = shape
    if batch:
        yield batch


def held(medium: Any) -> Any:
    """The medium; of a file object its content, which it gives once only."""
    if isinstance(medium, Image.Image) or not hasattr(medium, "read"):
        return medium
    return bytes(content_of(medium) or b"")


def packed(frames: torch.Tensor | None, known: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Frames with what is known of them, as ``PackInputs`` packs both."""
    metainfo = {**known, **facts, "replaced": [], "skipped": False}
    return {"inputs": frames, "data_samples": MultimodalSample(metainfo=metainfo)}


def media_facts(medium: Any, index: int) -> dict[str, Any]:
    """Number, name and, of a file, path of a medium."""
    if isinstance(medium, str | Path):
        return {"media_id": index, "video_id": str(medium), "media_path": str(medium)}
    return {"media_id": index, "video_id": str(index), "media_path": name_of(medium)}


def frames_panel(frames: torch.Tensor, title: str = "") -> Panel:
    """Some of the frames (N, 3, H, W) uint8 side by side."""
    step = max(1, ceil(len(frames) / _SHOWN))
    shown = [sized(frame.permute(1, 2, 0).numpy(), _HEIGHT) for frame in frames[::step]]
    return Panel(strip(shown), title)
