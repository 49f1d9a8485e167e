"""A small right set of files for every registered data set, which tests then damage."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.malformed import Content, Lines, Text
from uniadapter.datasets.feature_stores.writing import hdf5_bytes, npz_bytes, parquet_bytes


@dataclass(repr=False)
class Case:
    """A data set and right files of it.

    Attributes:
        options: Of the data set beside ``type`` and ``data_root``.
        files: Content by name.
        modes: Values of ``test_mode`` that it is built with.
    """

    options: dict[str, Any]
    files: dict[str, Content]
    modes: tuple[bool, ...] = (False, True)
    reads: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Case({self.options})"

    def __post_init__(self) -> None:
        self.reads = self.reads or list(self.files)


FEATURES = np.ones((2, 3), np.float16)
PICTURES = {f"features/{name}.npz": npz_bytes(FEATURES) for name in "ab"}
STORE = {"features": {"type": "npz", "root": "features", "shape": [2, 3]}}
VIDEO_STORE = {"features": {"type": "npz", "root": "features", "shape": [None, 3]}}
KARPATHY = {
    "images": [
        {
            "filepath": "val2014",
            "filename": "COCO_val2014_000000000007.jpg",
            "split": split,
            "cocoid": number,
            "sentences": [{"raw": "a dog"}, {"raw": "dogs"}],
        }
        for number, split in ((7, "train"), (8, "restval"), (9, "test"))
    ]
}
KARPATHY["images"][1]["filename"] = "b.jpg"
KARPATHY["images"][2]["filename"] = "a.jpg"
BLIP = [
    {"image": "val2014/COCO_val2014_000000000007.jpg", "caption": ["a dog", "dogs"]},
    {"image": "b.jpg", "caption": "a cat", "image_id": "coco_8"},
]
LINES = Lines(
    [
        {"media": "a.mp4", "text": "a dog"},
        {"media": "b/b.png", "texts": ["a cat", "cats"], "image_id": 3},
    ]
)
ANNOTATIONS = {
    "annotations": [
        {
            "question_id": number,
            "answers": [{"answer": "yes"}, {"answer": "no"}],
            "question_type": "is",
            "answer_type": "yes/no",
        }
        for number in (1, 2)
    ]
}
QUESTIONS = {
    "data_subtype": "train2014",
    "questions": [{"question": "is it?", "question_id": n, "image_id": n} for n in (1, 2)],
}
SCORED = [
    {
        "question_id": number,
        "img_id": name,
        "sent": "is it?",
        "label": {"yes": 1.0, "no": 0.3},
        "question_type": "is",
        "answer_type": "yes/no",
        "is_topk_optimal": True,
    }
    for number, name in ((1, "a"), (2, "b"))
]
EXPRESSIONS = {
    "images": [
        {"file_name": "a.jpg", "height": 30, "width": 40, "id": n, "caption": "the red ball"}
        for n in (1, 2)
    ],
    "annotations": [
        {"image_id": n, "bbox": [10.5, 5.0, 5, 10], "tokens_positive": [[4, 12]]} for n in (1, 2)
    ],
}
CHOICES = {f"a{number}": "it" for number in range(5)}
SUBTITLES = Lines([{"vid_name": n, "sub": [{"text": " hey "}, {"text": ""}]} for n in "ab"])
VIDEOS: dict[str, Content] = {**PICTURES, "subtitles.jsonl": SUBTITLES}
CLIPS = Lines(
    [
        {"vid_name": n, "clip_id": i, "ts": [0.5, 2], "descs": [{"desc": "one walks"}]}
        for i, n in enumerate("ab")
    ]
)


def with_box(box: list[Any]) -> Content:
    image, annotation = EXPRESSIONS["images"][0], EXPRESSIONS["annotations"][0]
    return {"images": [image], "annotations": [{**annotation, "bbox": box}]}


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _stored(kind: str, files: dict[str, bytes]) -> Case:
    """Features of a kind that are damaged themselves."""
    store = {"type": kind, "root": "features", "shape": [2, 3]}
    files = {f"features/{name}": data for name, data in files.items()}
    return Case(
        {"ann_file": "x.json", "features": store}, {"x.json": SCORED, **files}, reads=list(files)
    )


def _tsv(task: str, header: str, *rows: str) -> Case:
    names = {"rte": "RTE", "stsb": "STS-B", "cola": "CoLA", "qqp": "QQP", "mnli": "MNLI"}
    parts = ("train", "dev_matched" if task == "mnli" else "dev")
    lines = [*([header] if header else []), *rows, *rows]
    text = Text("\n".join(line.replace("|", "\t") for line in lines) + "\n")
    split = "train" if task in ("rte", "cola") else "dev"
    files = {f"{names[task]}/{part}.tsv": text for part in parts}
    read = f"{names[task]}/{'train' if split == 'train' else parts[1]}.tsv"
    split = "test" if task == "mnli" else split
    return Case({"task": task, "split": split}, files, reads=[read])


CASES: dict[str, list[Case]] = {
    "MSRVTTRetrieval": [
        Case(
            {"split_file": "x.csv"},
            {
                "x.csv": Text(
                    'video_id,sentence\nvideo1,a dog\nvideo2,"a cat, runs"\nvideo1,a dog\n'
                )
            },
        ),
        Case(
            {"split_file": "x.csv", "ann_file": "x.json"},
            {
                "x.csv": Text("key,video_id\n1,video1\n2,video2\n"),
                "x.json": {
                    "sentences": [{"video_id": f"video{n}", "caption": "a dog"} for n in (1, 2, 2)]
                },
            },
        ),
    ],
    "MSVDRetrieval": [
        Case(
            {"split_file": "x.txt", "ann_file": "x.json"},
            {"x.txt": Text("one\ntwo\n"), "x.json": {"one": ["a dog"], "two": ["a cat", "cats"]}},
        )
    ],
    "DiDeMoRetrieval": [
        Case(
            {"ann_file": "x.json"},
            {"x.json": [{"video": f"{n}.avi", "description": "one runs"} for n in "aab"]},
        )
    ],
    "KarpathyRetrieval": [
        Case({"ann_file": "x.json"}, {"x.json": BLIP}),
        Case({"ann_file": "x.json", "split": "train"}, {"x.json": KARPATHY}),
    ],
    "PrecompRetrieval": [
        Case(
            {"ann_file": "x_caps.txt"},
            {
                "x_caps.txt": Text("a dog\na cat\n"),
                "x_ids.txt": Text("7\n8\n"),
                "id_mapping.json": {"7": "a.jpg", "8": "b.jpg"},
            },
        )
    ],
    "RetrievalJsonDataset": [Case({"ann_file": "x.jsonl"}, {"x.jsonl": LINES})],
    "CaptionJsonDataset": [Case({"ann_file": "x.jsonl"}, {"x.jsonl": LINES})],
    "VQAJsonDataset": [
        Case(
            {"ann_file": "x.jsonl", "answer_list": ["yes", "no"]},
            {
                "x.jsonl": Lines(
                    [
                        {"media": "a.mp4", "question": "is it?", "answer": "yes"},
                        {
                            "media": "b.jpg",
                            "question": "who?",
                            "answers": ["he", "he", "she"],
                            "question_id": "b",
                            "answer_type": "other",
                        },
                    ]
                )
            },
        )
    ],
    "COCOCaption": [
        Case({"ann_file": "x.json"}, {"x.json": BLIP}),
        Case({"ann_file": "x.json", "split": "train"}, {"x.json": KARPATHY}),
    ],
    "VQAv2": [
        Case(
            {"question_file": "q.json", "ann_file": "a.json"},
            {"q.json": QUESTIONS, "a.json": ANNOTATIONS},
        ),
        Case(
            {
                "question_file": "q.json",
                "vg_file": "vg.json",
                "data_prefix": {"media": "media", "vg": "media"},
            },
            {
                "q.json": [
                    {"image": "a.jpg", "question": "is it?", "question_id": 1, "answer": ["yes"]},
                    {"image": "b.jpg", "question": "who?", "dataset": "vg", "answer": "he"},
                ],
                "vg.json": [{"image": "c.jpg", "question": "who?", "answer": "he"}],
            },
        ),
    ],
    "MSRVTTQA": [
        Case(
            {"ann_file": "x.json"},
            {
                "x.json": [
                    {"question": "who?", "answer": "he", "video_id": n, "id": n} for n in (1, 2)
                ]
            },
        )
    ],
    "EasyVQA": [
        Case(
            {"split": "train", "data_prefix": None},
            {"train/questions.json": [["what color is it?", "red", 0], ["is it?", "no", 1]]},
        )
    ],
    "LxmertVQA": [
        Case(
            {"ann_file": ["x.json"], "label2ans": "l.json", "ans2label": "a.json"},
            {"x.json": SCORED, "l.json": ["yes", "no"], "a.json": {"yes": 0, "no": 1}},
        )
    ],
    "GLUE": [
        _tsv("rte", "index|sentence1|sentence2|label", "0|a|b|entailment", "1|a|b|not_entailment"),
        _tsv(
            "stsb",
            "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score",
            *(f"{n}|g|f|y|{n}|s|s|a dog|a cat|{n}.8" for n in range(4)),
        ),
        _tsv("cola", "", "gj04|1||a dog runs", "gj04|0|*|runs dog"),
        _tsv(
            "qqp", "id|qid1|qid2|question1|question2|is_duplicate", "0|1|2|who?|who?|1", "1|broken"
        ),
        Case(
            {"task": "rte", "split": "unlabelled"},
            {"RTE/test.tsv": Text("index\tsentence1\tsentence2\n0\ta\tb\n1\ta\tb\n")},
            modes=(True,),
        ),
    ],
    "StillCaptionDataset": [
        Case(
            {"ann_file": "x.json", "image_file": "x.npy", "data_prefix": None},
            {"x.json": [["a", "b"], ["c"]], "x.npy": _npy(np.zeros((2, 4, 4, 3), np.uint8))},
        )
    ],
    "ReferringExpressions": [
        Case({"ann_file": "refcoco_val.json"}, {"refcoco_val.json": EXPRESSIONS})
    ],
    "TextToTextJson": [
        Case(
            {"ann_file": "x.jsonl", "data_prefix": None},
            {"x.jsonl": Lines([{"text": "a", "target": "b"}, {"text": "c", "target": "d"}])},
        )
    ],
    "FeatureVQA": [
        Case(
            {"ann_file": "x.json", "label2ans": "l.json", **STORE},
            {**PICTURES, "x.json": SCORED, "l.json": ["yes", "no"]},
        ),
        Case(
            {"ann_file": "x.json", "annotations": "a.json", **STORE},
            {**PICTURES, "x.json": SCORED, "a.json": ANNOTATIONS},
            modes=(True,),
        ),
        _stored("npz", {f"{n}.npz": npz_bytes(FEATURES) for n in "ab"}),
        _stored("hdf5", {f"{n}.h5": hdf5_bytes(n, FEATURES) for n in "ab"}),
        _stored("parquet", {"0.parquet": parquet_bytes({n: FEATURES for n in "ab"})}),
    ],
    "FeatureNLVR2": [
        Case(
            {"ann_file": "x.json", **STORE},
            {
                **PICTURES,
                "x.json": [
                    {
                        "uid": f"u{n}",
                        "identifier": f"dev-{n}",
                        "img0": "a",
                        "img1": "b",
                        "sent": "both",
                        "label": n,
                    }
                    for n in (0, 1)
                ],
            },
        )
    ],
    "FeatureCaption": [
        Case(
            {"ann_file": "x.json", "split": "train", **STORE},
            {
                **{
                    f"features/{n}.npz": npz_bytes(FEATURES)
                    for n in ("COCO_val2014_000000000007", "b")
                },
                "x.json": KARPATHY,
            },
        )
    ],
    "FeatureVideoQA": [
        Case(
            {"ann_file": "x.jsonl", "subtitles": "subtitles.jsonl", "task": "tvqa", **VIDEO_STORE},
            {
                **VIDEOS,
                "x.jsonl": Lines(
                    [
                        {
                            "qid": n,
                            "q": "who?",
                            "ts": "0-1",
                            "vid_name": "ab"[n],
                            "answer_idx": 4,
                            **CHOICES,
                        }
                        for n in (0, 1)
                    ]
                ),
            },
        )
    ],
    "FeatureVideoCaption": [
        Case(
            {"ann_file": "x.jsonl", "subtitles": "subtitles.jsonl", "task": task, **VIDEO_STORE},
            {**VIDEOS, "x.jsonl": CLIPS},
        )
        for task in ("tvc", "yc2c")
    ],
    "JointDataset": [
        Case(
            {
                "datasets": {
                    name: {"type": "TextToTextJson", "data_root": "", "ann_file": f"{name}.jsonl"}
                    for name in "xy"
                }
            },
            {f"{name}.jsonl": Lines([{"text": "a", "target": "b"}]) for name in "xy"},
        )
    ],
}
