"""Damaged checkpoints wherever they are read: they load, or one error of ours names the file."""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from safetensors.torch import save_file

from tests.damage import ODD_VALUES, Runs, damaged, odd_states, odd_tensors
from tests.helpers import draws, tiny_retrieval_cfg
from tests.malformed import outcome, spoiled
from tests.test_checkpoints.test_layouts import test_clip, test_grids
from tests.vl_helpers import vl_cfg
from tests.vl_released import METHODS, Released
from uniadapter.apis import convert_checkpoint
from uniadapter.checkpoints import load_adapter, load_weights, save_adapter
from uniadapter.checkpoints.compare import compare
from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME, read
from uniadapter.checkpoints.layouts import export_state, read_checkpoint
from uniadapter.checkpoints.layouts.clip import read_original
from uniadapter.engine.runner.resume import check_resumable, find_resumable
from uniadapter.models.build import build_model
from uniadapter.utils.safe_io import load_torch_file

pytestmark = pytest.mark.filterwarnings("ignore")
State = dict[str, torch.Tensor]
SMALL = {"a": torch.ones(4, 3), "b": torch.arange(5)}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new folder at every call."""

    def make() -> Path:
        folder = tmp_path_factory.getbasetemp() / f"damaged_checkpoint{next(_numbers)}"
        folder.mkdir()
        return folder

    return make


def content_of(save: Callable[[Path], Any], name: str, folder: Path) -> bytes:
    save(folder / name)
    return (folder / name).read_bytes()


@functools.cache
def files() -> dict[str, bytes]:
    """Right files of every kind, by a name of that kind."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        content = {"model": SMALL, "meta": {"x": 1}}
        program = torch.jit.script(torch.nn.Linear(2, 2))
        return {
            "a.safetensors": content_of(lambda p: save_file(SMALL, p), "a.safetensors", folder),
            "a.pth": content_of(lambda p: torch.save(content, p), "a.pth", folder),
            "old.pth": content_of(
                lambda p: torch.save(content, p, _use_new_zipfile_serialization=False),
                "old.pth",
                folder,
            ),
            "a.pt": content_of(lambda p: torch.jit.save(program, str(p)), "a.pt", folder),
        }


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "old.pth", "a.pt"])
@settings(max_examples=draws(12, deep=400))
@given(data=st.data())
def test_bytes(name: str, data: st.DataObject, place: Callable[[], Path]):
    folder = place()
    (folder / name).write_bytes(data.draw(damaged(files()[name])))
    for reader in (read, read_original, load_torch_file):
        outcome(lambda reader=reader: reader(folder / name), folder)


# Bytes that ended in a traceback: two of an archive's list of files.
@pytest.mark.parametrize("name", ["a.pth", "a.pt"])
@pytest.mark.parametrize(("at", "value"), [(b"PK\x01\x02", 46), (b"PK\x06\x07", 16)])
def test_archives_whose_list_is_damaged(name: str, at: bytes, value: int, tmp_path: Path):
    changed = bytearray(files()[name])
    changed[changed.index(at) + value] = 0xFF
    (tmp_path / name).write_bytes(changed)
    for reader in (read, read_original, load_torch_file):
        assert outcome(lambda reader=reader: reader(tmp_path / name), tmp_path) is None


@functools.cache
def tiny() -> tuple[Any, State]:
    model = build_model(tiny_retrieval_cfg())
    return model, {name: tensor.clone() for name, tensor in model.state_dict().items()}


@settings(max_examples=draws(15, deep=300))
@given(data=st.data())
def test_tensors(data: st.DataObject, place: Callable[[], Path]):
    model, state = tiny()
    folder, plain = place(), data.draw(st.booleans())
    content = data.draw(odd_states(state, plain))
    if plain:
        save_file(content, folder / "a.safetensors")
    else:
        zipped = data.draw(st.booleans())
        torch.save(content, folder / "a.pth", _use_new_zipfile_serialization=zipped)
    path = folder / ("a.safetensors" if plain else "a.pth")
    outcome(lambda: load_weights(model, path), folder)


@pytest.mark.parametrize("kind", ["sparse", "quantized", "no memory"])
def test_tensors_that_no_parameter_takes_are_named(kind: str, tmp_path: Path):
    model, state = tiny()
    odd = odd_tensors(state["itm_head.weight"])[kind]()
    torch.save({**state, "itm_head.weight": odd}, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth").left["itm_head.weight"].startswith("not read, it is a ")
    with pytest.raises(ValueError, match=r"a\.pth does not fit.*\n.*itm_head\.weight"):
        load_weights(model, tmp_path / "a.pth")
    # Resuming reads the file as it is.
    differing = compare({**state, "itm_head.weight": odd}, model, set(state))
    assert [text.partition(":")[0] for text in differing.kinds] == ["itm_head.weight"]
    # Where nothing reads it, it is no fault.
    torch.save({"model": state, "more": odd}, tmp_path / "b.pth")
    load_weights(model, tmp_path / "b.pth")


@pytest.mark.parametrize("kind", sorted(ODD_VALUES))
def test_what_holds_itself_or_no_tensor(kind: str, tmp_path: Path):
    torch.save(ODD_VALUES[kind](), tmp_path / "a.pth")
    assert outcome(lambda: load_weights(tiny()[0], tmp_path / "a.pth"), tmp_path) is None
    # Beside weights it is left out.
    torch.save({"model": SMALL, "more": ODD_VALUES[kind]()}, tmp_path / "b.pth")
    assert set(read(tmp_path / "b.pth").tensors) == set(SMALL)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_runs(zipped: bool, tmp_path: Path):
    content = {"model": SMALL, "more": Runs(tmp_path / "ran")}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    for reader in (read, read_original, load_torch_file, check_resumable):
        outcome(lambda reader=reader: reader(tmp_path / "a.pth"), tmp_path)
    assert not (tmp_path / "ran").exists()


class Case(NamedTuple):
    """Right files of a layout.

    Attributes:
        state: Its tensors.
        save: Writes them, or what stands in their place, below a folder; gives what to read.
        config: Of the model.
        answers: Content of the table of answers.
    """

    state: State
    save: Callable[[Path, Any], Path]
    config: Any
    answers: bytes | None = None


def under(key: str | None) -> Callable[[Path, Any], Path]:
    def save(folder: Path, content: Any) -> Path:
        torch.save({key: content} if key else content, folder / "a.pth")
        return folder / "a.pth"

    return save


def _blip(layout: str) -> Case:
    adapter = test_grids.RELEASED if layout == "uniadapter" else None
    parts: dict[str, Any] = {"adapter": adapter}
    if layout == "albef":
        text = tiny_retrieval_cfg()["text"]
        parts["text"] = {**text, "type_vocab_size": 2, "fusion_layer": 1}
    config = test_grids.config_of(32, **parts)
    own = test_grids.tiny_state(test_grids.random_model(config))
    if layout == "mmpretrain":
        names = {n: test_grids.SOURCES[layout].to_theirs(n) for n in own}
        return Case({names[n][0]: t for n, t in own.items()}, under("model"), config)
    return Case(export_state(own, layout, queue_size=24)[0], under("model"), config)


def _clip4clip() -> Case:
    from tests.test_checkpoints.test_layouts import test_clip4clip as there

    state = {f"clip.{name}": tensor for name, tensor in test_clip.tiny_source().items()}
    shapes = {**there.side_keys("image_adapter", 16, 7, 2)}
    shapes.update(there.side_keys("text_adapter", 12, 7, 2))
    state.update({name: torch.randn(shape) for name, shape in shapes.items()})
    return Case(state, under(None), test_clip.clip_config(adapter=there.UNIPT))


def _clip_vil(start: bool) -> Case:
    from tests.test_checkpoints.test_layouts import test_clip_vil as there

    best = there.reference.draw_state(torch.Generator().manual_seed(1))
    table = json.dumps([{"ans": answer, "dsets": ["vqa"]} for answer in there.TABLE]).encode()
    config = Config({"model": there.small_cfg()})
    if start:
        return Case(there.start_of(best), under(None), config, table)
    return Case(dict(best), under(None), config)


def _vse() -> Case:
    from tests.test_checkpoints.test_layouts import test_vse as there

    pair = there.authors_pair()
    state = {f"{side}/{n}": t for side, one in enumerate(pair) for n, t in one.items()}

    def save(folder: Path, content: Any) -> Path:
        if isinstance(content, dict) and all(isinstance(name, str) for name in content):
            sides = [{n[2:]: t for n, t in content.items() if n[:1] == s} for s in "01"]
            content = sides if any(sides) else content
        torch.save({"model": content, "epoch": 3}, folder / "a.pth")
        return folder / "a.pth"

    return Case(state, save, there.tiny_config())


def _mdetr() -> Case:
    from tests.test_checkpoints.test_layouts import test_mdetr as there

    state = there.ReferenceMDETR(8).state_dict()
    return Case(dict(state), under("model_ema"), Config({"model": there.config()}))


def _vl_adapter(method: str) -> Case:
    tasks = ["vqa", "nlvr"]
    released = Released("Bart", method, tasks)
    cfg = vl_cfg("Bart", tasks=tasks, adapter=METHODS[method])
    return Case(dict(released.written()), under(None), Config({"model": cfg}))


CASES: dict[str, Callable[[], Case]] = {
    **{name: functools.partial(_blip, name) for name in ("blip", "uniadapter", "albef")},
    "mmpretrain": functools.partial(_blip, "mmpretrain"),
    "clip": lambda: Case(test_clip.tiny_source(), under(None), test_clip.clip_config()),
    "clip4clip": _clip4clip,
    "clip-vil": functools.partial(_clip_vil, False),
    "clip-vil-start": functools.partial(_clip_vil, True),
    "vse": _vse,
    "mdetr": _mdetr,
    **{
        f"vl-adapter/{method}": functools.partial(_vl_adapter, method)
        for method in ("multiple", "phm_model", "low_rank", "hyper", "adapter_prompts")
    },
}


def options_of(case: Case, folder: Path) -> dict[str, Any]:
    if case.answers is None:
        return {}
    (folder / "answers.json").write_bytes(case.answers)
    return {"answers": folder / "answers.json"}


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> tuple[str, Case, Any]:
    """Name of a layout, right files, and their model without memory."""
    made = CASES[request.param]()
    with torch.device("meta"):
        model = build_model(made.config.model.to_dict())
    return request.param.partition("/")[0], made, model


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_right_layouts(case: Any, tmp_path: Path):
    layout, right, model = case
    path, options = right.save(tmp_path, right.state), options_of(right, tmp_path)
    assert read_checkpoint(path, layout, model, **options)[0]


@pytest.mark.parametrize("case", CASES, indirect=True)
@settings(max_examples=draws(4, deep=100))
@given(data=st.data())
def test_layouts(case: Any, data: st.DataObject, place: Callable[[], Path]):
    layout, right, model = case
    folder = place()
    content = data.draw(odd_states(right.state))
    if not isinstance(content, dict):
        content = {"a": content}
    path, options = right.save(folder, content), options_of(right, folder)
    outcome(lambda: read_checkpoint(path, layout, model, **options), folder)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an adapter's folder."""
    folder = save_adapter(tiny()[0], tmp_path_factory.mktemp("adapter"))
    return {name: (folder / name).read_bytes() for name in (CONFIG_NAME, WEIGHTS_NAME)}


@settings(max_examples=draws(15, deep=300))
@given(data=st.data())
def test_adapters(data: st.DataObject, adapter: dict[str, bytes], place: Callable[[], Path]):
    folder, spoil = place(), data.draw(st.sampled_from(sorted(adapter)))
    ways = [damaged(adapter[spoil])]
    if spoil == CONFIG_NAME:
        ways += [spoiled(json.loads(adapter[spoil]))] * 3
    for name, content in adapter.items():
        (folder / name).write_bytes(content)
    (folder / spoil).write_bytes(data.draw(st.one_of(ways)))
    outcome(lambda: load_adapter(tiny()[0], folder), folder)


@settings(max_examples=draws(10, deep=300))
@given(data=st.data())
def test_converted_files_are_whole_or_absent(data: st.DataObject, place: Callable[[], Path]):
    config = Config({"model": tiny_retrieval_cfg()})
    folder, content = place(), data.draw(odd_states(tiny()[1], plain=True))
    save_file(content, folder / "a.safetensors")
    former = data.draw(st.booleans())
    if former:
        (folder / "out.pth").write_bytes(b"former")
    out = outcome(
        lambda: convert_checkpoint(
            folder / "a.safetensors", folder / "out.pth", config, None, "blip"
        ),
        folder,
        ("--to",),
    )
    files = {"a.safetensors"} | ({"out.pth"} if former or out is not None else set())
    assert {path.name for path in folder.iterdir()} == files
    if out is None and former:
        assert (folder / "out.pth").read_bytes() == b"former"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("queue.text", None), ("queue.ids", None), ("queue.ptr", torch.zeros(2))),
        *(("queue.visual", torch.zeros(())), ("queue.text", torch.zeros(24, 3))),
        ("ema.vision_proj/weight", torch.zeros(3)),
    ],
)
def test_a_training_state_of_other_weights_is_not_written(name: str, value: Any, tmp_path: Path):
    state = {**tiny()[1], name: value}
    torch.save({n: t for n, t in state.items() if t is not None}, tmp_path / "a.pth")
    config = Config({"model": tiny_retrieval_cfg()})
    with pytest.raises(ValueError, match=rf"a\.pth: {name} .* of these weights it has "):
        convert_checkpoint(tmp_path / "a.pth", tmp_path / "out.pth", config, target="blip")
    assert not (tmp_path / "out.pth").exists()


RUN = {"meta": {}, "state_dict": {"a": torch.ones(2)}, "message_hub": {}, "optimizer": {}}


@pytest.mark.parametrize("key", sorted(RUN))
@pytest.mark.parametrize("kind", sorted(ODD_VALUES))
def test_runs_to_be_resumed(key: str, kind: str, tmp_path: Path):
    value = ODD_VALUES[kind]()
    torch.save({**RUN, key: value}, tmp_path / "epoch_2.pth")
    torch.save(RUN, tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    number = 2 if isinstance(value, dict) else 1
    assert find_resumable(tmp_path) == tmp_path / f"epoch_{number}.pth"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0\0", b"", b"no_such.pth", b"a\0b.pth"])
def test_a_damaged_pointer_is_no_fault(content: bytes, tmp_path: Path):
    torch.save(RUN, tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_bytes(content)
    assert find_resumable(tmp_path) == tmp_path / "epoch_1.pth"
