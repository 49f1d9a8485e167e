"""An encoded corpus has the rows that indexing has, whoever encodes it and wherever media lie."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.search_helpers import RATE, StubEngine, content_of, write_frames, write_picture
from uniadapter.search.corpus import CorpusEncoder, CorpusOptions, digest_of_units
from uniadapter.search.corpus_items import find_units
from uniadapter.search.corpus_table import read_rows
from uniadapter.search.from_parquet import index_from_parquet
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.update import update_index

pytest.importorskip("pyarrow")

READING = ReadOptions(shot_seconds=2.0, frame_rate=RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "media"
    for number in range(4):
        write_picture(root / "pictures" / f"{number}#.png", number)
    (root / "pictures" / "more").mkdir()
    write_frames(root / "clips" / "long", 1, 11)
    write_frames(root / "clips" / "short", 2, 3)
    (root / "broken.png").write_bytes(b"\x89PNG\r\n")
    (root / "empty.mp4").write_bytes(b"")
    return root


def options_of(out: Path, units: Sequence[str], **more: Any) -> CorpusOptions:
    reading = more.pop("reading", READING)
    return CorpusOptions(str(out), len(units), digest_of_units(units), reading, **more)


def encode(out: Path, sources: Sequence[Path | str], per_unit: int = 3, **more: Any) -> list[dict]:
    units = find_units([str(source) for source in sources], per_unit, frames=True)
    engine = more.pop("engine", StubEngine)
    encoder = CorpusEncoder(options_of(out, units, **more), engine)
    return [json.loads(str(report)) for report in encoder({"unit": units})["report"]]


def rows_of(out: Path) -> dict[str, list]:
    """All numbers by key, without what a file's place says."""
    layout = SearchIndex.create(out.parent / "layout", StubEngine()).settings.layout
    found: dict[str, list] = {}
    for path in sorted(out.glob("*.parquet")):
        for rows in read_rows(path, layout):
            for row in rows:
                numbers = {n: a.tobytes() for n, a in (row.numbers or {}).items()}
                found.setdefault(row.key, []).append((row.start, row.end, row.error, numbers))
    return found


def in_processes(out: Path, units: list[str], count: int) -> None:
    """Deal the pieces to processes as torchrun does."""

    def work(rank: int) -> None:
        encoder = CorpusEncoder(options_of(out, units), StubEngine)
        for unit in units[rank::count]:
            encoder({"unit": [unit]})

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


@given(
    per_unit=st.integers(1, 9),
    batch_size=st.integers(1, 5),
    way=st.sampled_from(["here", "workers", "processes"]),
    reranks=st.booleans(),
)
@settings(
    max_examples=draws(5),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_an_index_of_a_corpus_is_that_of_its_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, per_unit, batch_size, way, reranks
) -> None:
    root = tmp_path_factory.mktemp("way")
    engine = partial(StubEngine, reranks)
    own = SearchIndex.create(root / "own", engine(), READING, folder)
    update_index(own, engine())
    if way == "processes":
        engine = StubEngine
        own = SearchIndex.create(root / "own", engine(), READING, folder)
        update_index(own, engine())
        in_processes(root / "out", find_units([str(folder)], per_unit, frames=True), 2)
    else:
        workers = 2 if way == "workers" else 0
        reports = encode(
            root / "out", [folder], per_unit, engine=engine, batch_size=batch_size, workers=workers
        )
        assert sum(report["media"] for report in reports) == 8
        faults = [fault for report in reports for fault in report["faults"]]
        assert [fault.partition(":")[0] for fault in faults] == ["broken.png", "empty.mp4"]
    index = index_from_parquet(root / "out", root / "index", engine(), folder)
    assert content_of(index) == content_of(own)
    again = update_index(index, engine())
    assert (again.unchanged, again.encoded) == (8, 0)


def test_what_is_there_is_not_encoded_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = encode(out, [folder])
    files = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "part-00001.parquet").unlink()
    again = encode(out, [folder])
    assert [report["there"] for report in again] == [2, 0, 2]
    assert [len(r["faults"]) for r in again] == [len(r["faults"]) for r in first] == [1, 1, 0]
    assert "remove part-00000.parquet to try again" in again[0]["faults"][0]
    changed = {path.name for path in out.iterdir() if path.stat().st_mtime_ns != files[path]}
    assert changed == {"part-00001.parquet"}
    more: list[tuple[str, dict[str, Any]]] = [
        (r"the backbone's weights \('stub' there, 'other' now\)", {"name": "other"}),
        (
            r"how the model runs .*, shape of tokens \(\[3, 5\] there, None",
            {"reranks": False},
        ),
        (r"number of shards \(.*\) \(3 there, 4 now\), choice of files", {"per_unit": 2}),
        (r"--batch-size \(8 there, 2 now\)", {"batch_size": 2}),
        (r"--shot-seconds \(2.0 there, 3.0 now\)", {"reading": ReadOptions(3.0, RATE)}),
        (r"--frames \(2.0 there, 4.0 now\)", {"reading": ReadOptions(2.0, 2 * RATE)}),
    ]
    for words, other in more:
        stub = {name: other.pop(name) for name in ("name", "reranks") if name in other}
        with pytest.raises(ValueError, match=f"with another {words}") as refused:
            encode(out, [folder], engine=partial(StubEngine, **stub), **other)
        assert "Name another folder (--out), or remove this one." in str(refused.value)
        assert "{" not in str(refused.value)


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def pictures(folder: Path) -> list[tuple[str, bytes]]:
    return [(p.name, p.read_bytes()) for p in sorted((folder / "pictures").glob("*.png"))]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(folder: Path, tmp_path: Path) -> Iterator[str]:
    write_tar(tmp_path / "served" / "some.tar", pictures(folder))
    for name, content in pictures(folder):
        (tmp_path / "served" / name).write_bytes(content)
    handler = partial(_Quiet, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_media_from_elsewhere_have_the_same_rows(
    folder: Path, tmp_path: Path, address: str
) -> None:
    encode(tmp_path / "local", [folder / "pictures"])
    expected = list(rows_of(tmp_path / "local").values())
    some = [("a.txt", b"a caption"), ("a.json", b"{}"), *pictures(folder), (".hidden", b"")]
    write_tar(tmp_path / "tars" / "some.tar", some)
    names = [name.replace("#", "%23") for name, _ in pictures(folder)]
    (tmp_path / "list.txt").write_text("\n".join(f"{address}/{name}" for name in names) + "\n\n")
    (tmp_path / "tar.txt").write_text("tars/some.tar")
    for number, (source, key) in enumerate(
        [
            (tmp_path / "tars", "some.tar/0#.png"),
            (tmp_path / "tar.txt", "tars/some.tar/0#.png"),
            (tmp_path / "list.txt", f"{address}/0%23.png"),
            (f"{address}/some.tar", f"{address}/some.tar/0#.png"),
        ]
    ):
        reports = encode(tmp_path / f"out{number}", [source], workers=number % 2)
        assert [report["faults"] for report in reports] == [[]] * len(reports)
        found = rows_of(tmp_path / f"out{number}")
        assert list(found)[0] == key
        assert list(found.values()) == expected
        index = index_from_parquet(tmp_path / f"out{number}", tmp_path / "index", StubEngine())
        assert len(index.shots()) == 4


def test_an_address_without_a_file(address: str, tmp_path: Path) -> None:
    [report] = encode(tmp_path / "out", [f"{address}/0%23.png", f"{address}/gone.png"])
    assert report["media"] == 2
    assert report["faults"] == [
        f"{address}/gone.png: can't be fetched: HTTP Error 404: File not found"
    ]
    [tar] = encode(tmp_path / "tar", [f"{address}/gone.tar"])
    assert "gone.tar: can't be fetched: HTTP Error 404" in tar["faults"][0]
    assert not (tmp_path / "tar" / "part-00000.parquet").exists()
    for args in ({"backend": "http", "unknown": 1}, {"backend": "ftp"}):
        with pytest.raises(ValueError, match="no backend of MMEngine's fileio"):
            encode(tmp_path / "args", [f"{address}/0%23.png"], backend_args=args)
    [report] = encode(tmp_path / "ftp", ["nothing://0.png"])
    assert "nothing://0.png: " in report["faults"][0]


def test_s3(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Exception):
        response: ClassVar = {"Error": {"Code": "NoSuchKey"}}

    class Client:
        def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
            if Bucket != "media" or not (folder / Key).is_file():
                raise Gone("gone")
            return {"Body": io.BytesIO((folder / Key).read_bytes())}

    addresses = ["s3://media/pictures/0#.png", "s3://media/gone.png"]
    if find_spec("boto3") is None:
        [report] = encode(tmp_path / "none", addresses)
        assert "uniadapter[corpus]" in report["faults"][0]
    boto3 = SimpleNamespace(client=lambda name, **options: Client())
    monkeypatch.setitem(sys.modules, "boto3", boto3)
    [report] = encode(tmp_path / "out", addresses)
    [fault] = report["faults"]
    assert fault.startswith("s3://media/gone.png: can't be fetched: ")
    encode(tmp_path / "local", [folder / "pictures" / "0#.png"])
    assert rows_of(tmp_path / "out")[addresses[0]] == rows_of(tmp_path / "local")["0#.png"]


PNG = b"\x89PNG\r\n"
ODD: list[tuple[str, Any, str]] = [
    ("a broken member", [("a.png", PNG)], "some.tar/a.png: "),
    ("an unknown kind", [("a.xyz", b"")], "some.tar/a.xyz: is of no kind"),
    ("one key twice", [("a.png", PNG), ("a.png", PNG)], "some.tar: has two members 'a.png'"),
    ("a way out", [("../a.png", PNG)], "some.tar: the member '../a.png' leads out"),
    ("no medium", [("a.txt", b"")], "some.tar: holds no video and no picture"),
    ("nothing", [], "some.tar: holds no video and no picture"),
    ("no byte", b"", "some.tar: is no tar, or damaged"),
    ("no tar", b"x" * 5000, "some.tar: is no tar, or damaged"),
]


@pytest.mark.parametrize(("content", "message"), [o[1:] for o in ODD], ids=[o[0] for o in ODD])
def test_odd_tars(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_tar(path, content)
    [report] = encode(tmp_path / "out", [path])
    assert len(report["faults"]) == 1
    assert report["faults"][0].startswith(message)


@given(cut=st.floats(0, 1), damage=st.booleans())
@settings(max_examples=draws(10), deadline=None)
def test_damaged_tars(cut: float, damage: bool, folder: Path, tmp_path_factory: Any) -> None:
    root = tmp_path_factory.mktemp("damaged")
    path = root / "some.tar"
    write_tar(path, pictures(folder))
    content = bytearray(path.read_bytes())
    # Headers and contents of four small pictures, of 1024 bytes each, and then the end.
    place = max(int(cut * 4 * 1024 - 1), 0)
    if damage:
        # The checksum of a header.
        place = place // 1024 * 1024 + 148
        content[place : place + 6] = b"999999"
    else:
        content = content[:place]
    path.write_bytes(content)
    [report] = encode(root / "out", [path])
    wrong = report["faults"]
    if damage or len(content) % 1024 or not len(content):
        assert len(wrong) == 1
        assert "damaged" in wrong[0]
        assert not (root / "out" / "part-00000.parquet").exists()


def test_a_corpus_may_move(tmp_path: Path) -> None:
    write_picture(tmp_path / "one" / "a.png", 1)
    encode(tmp_path / "out", [tmp_path / "one"])
    (tmp_path / "one").rename(tmp_path / "two")
    assert encode(tmp_path / "out", [tmp_path / "two"])[0]["there"] == 1


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        find_units([str(tmp_path / "nowhere")], 3)
    with pytest.raises(FileNotFoundError, match="no video, picture or"):
        find_units([str(tmp_path)], 3)
    write_picture(tmp_path / "one" / "a.png", 1)
    write_picture(tmp_path / "two" / "a.png", 1)
    with pytest.raises(ValueError, match=r"would both be 'a.png'"):
        find_units([str(tmp_path / "one"), str(tmp_path / "two")], 3)
    (tmp_path / "one" / ".hidden").mkdir()
    write_tar(tmp_path / "one" / ".hidden" / "a.tar", [])
    write_tar(tmp_path / "one" / "B.TAR", [])
    kinds = [list(json.loads(unit))[1] for unit in find_units([str(tmp_path / "one")], 3)]
    assert kinds == ["items", "tar"]
    for content, message in (("a.exe", "no video, no picture"), ("a.png\na.png", "would both be")):
        (tmp_path / "list.txt").write_text(content)
        with pytest.raises(ValueError, match=message):
            find_units([str(tmp_path / "list.txt")], 3)
    (tmp_path / "list.txt").write_bytes(b"\xff.png")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        find_units([str(tmp_path / "list.txt")], 3)


def test_corpora_that_fit_no_index(folder: Path, tmp_path: Path) -> None:
    out, place = tmp_path / "out", tmp_path / "index"
    make = partial(index_from_parquet, out, place, StubEngine(), folder)
    out.mkdir()
    with pytest.raises(FileNotFoundError, match="has no shard"):
        make()
    out.rmdir()
    encode(out, [folder])
    with pytest.raises(ValueError, match="differs from it in: the backbone's weights"):
        index_from_parquet(out, place, StubEngine(name="other"), folder)
    last = out / "part-00002.parquet"
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(ValueError, match="has 2 of 3 shards"):
        make()
    last.write_bytes(content[:-20])
    with pytest.raises(ValueError, match="part-00002.parquet is no shard .* or damaged"):
        make()
    encode(tmp_path / "other", [folder], engine=partial(StubEngine, name="other"))
    os.replace(tmp_path / "other" / last.name, last)
    with pytest.raises(ValueError, match="they differ in the backbone's weights"):
        make()
    last.write_bytes((out / "part-00001.parquet").read_bytes())
    with pytest.raises(ValueError, match="stands in .*part-00001.parquet and again in"):
        make()
    assert not place.exists() or not SearchIndex.open(place).shots()


def test_keys_that_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{folder}/pictures/0#.png")
    encode(tmp_path / "out", [tmp_path / "list.txt"])
    with pytest.raises(ValueError, match="lies outside of the folder"):
        index_from_parquet(tmp_path / "out", tmp_path / "index", StubEngine(), tmp_path)
    index = index_from_parquet(tmp_path / "out", tmp_path / "index", StubEngine(), folder)
    assert [file.path for file in index.files()] == ["pictures/0#.png"]


def test_ray_data_gives_the_same(folder: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray.data")
    units = find_units([str(folder)], 3, frames=True)
    encode(tmp_path / "one", [folder])
    rows = ray.from_items([{"unit": unit} for unit in units]).map_batches(
        CorpusEncoder,
        fn_constructor_args=(options_of(tmp_path / "two", units), StubEngine),
        batch_size=1,
        concurrency=2,
    )
    assert sum(json.loads(row["report"])["media"] for row in rows.iter_rows()) == 8
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
