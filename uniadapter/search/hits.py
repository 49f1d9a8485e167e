"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: What a file is: a GIF is a video, of one frame or many.
Kind = Literal["video", "image"]


@dataclass(frozen=True)
class Hit:
    """A shot of a video, or a picture, that was found.

    Times are seconds from the first frame of the file; of a picture they are 0.

    Attributes:
        shot_id: Number of the shot in the index; it stays as long as the file does.
        file_id: Number of its file.
        path: The file below the indexed folder, ``/`` between folders. Bytes that are no UTF-8
            are surrogates, as :func:`os.fsdecode` makes them.
        kind: Of the file.
        start: Where the shot begins.
        end: Where it ends.
        best_moment: Time of the frame with the greatest weight for the query.
        score: The score of the test loop where shots were re-ranked, else the similarity.
        similarity: Cosine of the features of query and shot.
        frame_times: Times of the frames that the model saw, ascending.
        frame_weights: Their weights for the query, which sum to 1.
    """

    shot_id: int
    file_id: int
    path: str
    kind: Kind
    start: float
    end: float
    best_moment: float
    score: float
    similarity: float
    frame_times: tuple[float, ...]
    frame_weights: tuple[float, ...]


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query.

    Attributes:
        hits: Best first.
        searched: Shots that were compared with the query: those that the filters leave.
        seconds: What each stage took: ``encode``, ``first_stage`` and ``rerank``.
        reranked: Shots of the shortlist that image-text matching scored; 0 where similarity alone
            ranks.
    """

    hits: tuple[Hit, ...]
    searched: int
    seconds: dict[str, float] = field(default_factory=dict)
    reranked: int = 0
