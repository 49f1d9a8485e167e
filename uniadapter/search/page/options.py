"""What ``uniadapter serve`` allows, and how large it may get."""

from __future__ import annotations

from dataclasses import dataclass, fields

#: Addresses of this machine alone.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EXAMPLES = (
    "a dog runs along the beach",
    "somebody cuts vegetables in a kitchen",
    "a red car turns left",
)


@dataclass(frozen=True)
class PageOptions:
    """Limits of the page.

    Args:
        host: Address that is listened on.
        allowed_hosts: Names that requests may call the server by, beside its own address and
            those of the loopback; ``*`` allows any.
        max_text: Characters of a text that is searched for.
        max_upload: Bytes of a request with a picture or video.
        max_pixels: Pixels of an uploaded picture, or of a frame of an uploaded video.
        max_seconds: Seconds of an uploaded video.
        max_topk: Results of one search.
        queue: Searches that may wait for the model; the next one is told to come again.
        workers: Processes that make previews.
        preview_seconds: Longest preview; longer shots have several.
        preview_side: Longer side of a preview, in pixels.
        preview_timeout: Seconds that making a preview may take.
        cache_bytes: Bytes that previews may take on the disk; those used least recently go first.
        examples: Sentences that the empty page offers.

    Raises:
        ValueError: If one is not a positive number.
    """

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    max_text: int = 1000
    max_upload: int = 64 * 2**20
    max_pixels: int = 50_000_000
    max_seconds: float = 600.0
    max_topk: int = 100
    queue: int = 128
    workers: int = 2
    preview_seconds: float = 30.0
    preview_side: int = 640
    preview_timeout: float = 60.0
    cache_bytes: int = 2 * 2**30
    examples: tuple[str, ...] = EXAMPLES

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not 0 < value < float("inf"):
                raise ValueError(f"{field.name} must be a positive number, got {value}.")
