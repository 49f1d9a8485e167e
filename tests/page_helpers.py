"""A small index that needs no model, videos of known content, and requests to the page."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
from PIL import Image

from uniadapter.search.hits import Hit, SearchResult


def grey_video(
    path: Path, seconds: float = 2.0, codec: str = "mpeg4", pace: int = 8, size: int = 64
) -> Path:
    """Write a video whose brightness is 40 at its start and grows by 20 a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=pace)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(round(seconds * pace)):
            grey = np.full((size, size, 3), 40 + round(20 * number / pace), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, pace)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def plain_picture(path: Path, size: tuple[int, int] = (48, 32)) -> Path:
    """Write a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 40, 40)).save(path)
    return path


@dataclass
class FakeIndex:
    """Files of a folder as an index: a video has one shot of two seconds, a picture one of none."""

    root: Path
    folder: Path
    version: int = 1
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.update()

    def update(self) -> None:
        found = [path for path in self.root.rglob("*") if path.is_file()]
        self.names = sorted(path.relative_to(self.root).as_posix() for path in found)
        states = [(self.root / name).stat() for name in self.names]
        digests = [hashlib.sha256((self.root / name).read_bytes()).digest() for name in self.names]
        self.states: list[tuple[Any, bytes]] = list(zip(states, digests, strict=True))
        self.version += 1

    def reopened(self) -> FakeIndex:
        return self

    @staticmethod
    def kind(name: str) -> str:
        return "image" if name.endswith((".png", ".jpg")) else "video"

    settings = SimpleNamespace(reading=SimpleNamespace(frame_rate=None))

    def path_of(self, path: str) -> Path:
        return self.root / path

    def files(self) -> list[Any]:
        return [
            SimpleNamespace(
                file_id=10 + number,
                path=name,
                kind=self.kind(name),
                size=state.st_size,
                mtime_ns=state.st_mtime_ns,
                digest=digest,
                gone=False,
                error=None,
            )
            for number, (name, (state, digest)) in enumerate(
                zip(self.names, self.states, strict=True)
            )
        ]

    def shots(self) -> list[Any]:
        return [
            SimpleNamespace(
                shot_id=100 + number,
                file_id=10 + number,
                start=0.0,
                end=0.0 if self.kind(name) == "image" else 2.0,
            )
            for number, name in enumerate(self.names)
        ]


class FakeSearcher:
    """Ranks shots by a digest of the query: alike each time, whatever the query is."""

    def __init__(self, index: FakeIndex) -> None:
        self.index = index
        self.engine = SimpleNamespace(reranks=True)
        self.asked: list[dict[str, Any]] = []

    def refresh(self) -> bool:
        return False

    @property
    def snapshot(self) -> Any:
        shots = self.index.shots()
        return SimpleNamespace(
            state=SimpleNamespace(version=self.index.version),
            files={file.file_id: file for file in self.index.files()},
            shot_ids=np.array([shot.shot_id for shot in shots]),
            shot_files=np.array([shot.file_id for shot in shots]),
            starts=np.array([shot.start for shot in shots]),
            ends=np.array([shot.end for shot in shots]),
        )

    def search(self, **query: Any) -> SearchResult:
        self.asked.append(query)
        if query.get("text") == "refused":
            raise ValueError("The engine refuses this text.")
        files = {file.file_id: file for file in self.index.files()}
        start = f"{query['folder']}/" if query["folder"] else ""
        chosen = [
            (shot, files[shot.file_id])
            for shot in self.index.shots()
            if files[shot.file_id].path.startswith(start)
            and query["kind"] in (None, files[shot.file_id].kind)
        ]
        hits = [_hit(shot, file, str(query.get("text"))) for shot, file in chosen]
        hits.sort(key=lambda hit: -hit.score)
        seconds = {"encode": 0.01, "first_stage": 0.002, "rerank": 0.1}
        reranked = len(hits) if query.get("text") else 0
        return SearchResult(tuple(hits[: query["topk"]]), len(hits), seconds, reranked)


def _hit(shot: Any, file: Any, query: str) -> Hit:
    digest = hashlib.sha256(f"{query}/{file.path}".encode("utf-8", "surrogateescape")).digest()
    video = file.kind == "video"
    times = tuple(0.25 + 0.5 * n for n in range(4)) if video else (0.0,)
    weights = np.array([64 + value for value in digest[: len(times)]], float)
    weights /= weights.sum()
    return Hit(
        shot_id=shot.shot_id,
        file_id=file.file_id,
        path=file.path,
        kind=file.kind,
        start=shot.start,
        end=shot.end,
        best_moment=times[int(weights.argmax())] if video else 0.0,
        score=digest[8] / 25,
        similarity=digest[8] / 255,
        frame_times=times,
        frame_weights=tuple(weights.tolist()),
    )


def fake_media(folder: Path) -> Path:
    """A folder with videos and pictures in two folders."""
    grey_video(folder / "day/one.mp4")
    grey_video(folder / "day/two.avi")
    grey_video(folder / "night/three.webm", codec="libvpx")
    plain_picture(folder / "night/four.png")
    return folder


@contextmanager
def client_of(searcher: Any, options: Any = None, **client: Any) -> Iterator[Any]:
    """A client of the page, without a socket."""
    from starlette.testclient import TestClient

    from uniadapter.search.page.app import create_app

    base = {"base_url": "http://127.0.0.1:8080", "raise_server_exceptions": False, **client}
    with TestClient(create_app(searcher, options), **base) as found:
        yield found


@contextmanager
def served(searcher: Any, options: Any = None) -> Iterator[str]:
    """The page on a port of this machine, in a thread; gives its address."""
    import uvicorn

    from uniadapter.search.page.app import create_app
    from uniadapter.search.page.serving import server_options

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(searcher, options), **server_options()))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
