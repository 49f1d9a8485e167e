"""Every data set on files with all that can be wrong in them: it loads, or names the file."""

from __future__ import annotations

import gc
import io
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.malformed import DEEP, NESTED, Content, Lines, Text, encoded, outcome, spoiled
from uniadapter.datasets.feature_stores.writing import hdf5_bytes, npz_bytes, parquet_bytes
from uniadapter.registry import DATASETS, register_all_modules


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


def _with_box(box: list[Any]) -> Content:
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
PARAMETERS = [
    pytest.param(name, case, id=f"{name}{number or ''}")
    for name, cases in CASES.items()
    for number, case in enumerate(cases)
]
_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    register_all_modules()
    # MMEngine collects garbage for every data set, and looks at all modules for that each time.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_every_data_set_is_here():
    own = {
        name
        for name, kind in DATASETS.module_dict.items()
        if kind.__module__.startswith("uniadapter.")
    }
    assert own == set(CASES), "give the new data set an entry of right files"


def build(name: str, case: Case, folder: Path, test_mode: bool) -> Any:
    """The data set on the files of a folder."""
    options = {"type": name, "data_root": str(folder), "test_mode": test_mode, **case.options}
    if name == "JointDataset":
        datasets = {
            task: {**inner, "data_root": str(folder), "test_mode": test_mode}
            for task, inner in case.options["datasets"].items()
        }
        return DATASETS.build({"type": name, "datasets": datasets})
    if options.get("data_prefix", "") is None or name in ("GLUE",) or "features" in options:
        options.pop("data_prefix", None)
    else:
        options.setdefault("data_prefix", {"media": "media"})
    return DATASETS.build(options)


def write(case: Case, folder: Path) -> Path:
    (folder / "media").mkdir(parents=True)
    (folder / "train" / "images").mkdir(parents=True)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content))
    return folder


TEXTS = ("text", "question", "media_path", "video_id", "target", "identifier")
LISTS = ("texts", "answers", "gt_captions", "choices")
IDS = ("question_id", "image_id", "clip_id")


def assert_well_typed(item: dict[str, Any]) -> None:
    """What every reader of an item counts on."""
    for key in TEXTS:
        assert isinstance(item.get(key, ""), str), (key, item)
    for key in LISTS:
        assert all(isinstance(value, str) for value in item.get(key, ())), (key, item)
    for key in IDS:
        assert type(item.get(key, 0)) in (int, str), (key, item)
    numbers = [*item.get("answer_weights", ()), *item.get("gt_scores", {}).values()]
    numbers += [*item.get("box", ()), *item.get("gt_box", ()), item.get("target_weight", 0.0)]
    assert all(type(number) is float and math.isfinite(number) for number in numbers), item
    if "features" in item:
        assert item["features"].dtype == np.float32
        assert np.isfinite(item["features"]).all()


def read_all(name: str, case: Case, folder: Path, test_mode: bool) -> int:
    """Build the data set and read every item that needs no medium."""
    dataset = build(name, case, folder, test_mode)
    assert len(dataset) > 0
    for index in range(len(dataset)):
        assert_well_typed(dataset.get_data_info(index))
        if "features" in case.options or name == "TextToTextJson":
            assert_well_typed(dataset[index])
    return len(dataset)


@pytest.mark.parametrize(("name", "case"), PARAMETERS)
def test_right_files(name: str, case: Case, tmp_path: Path):
    write(case, tmp_path)
    assert all(read_all(name, case, tmp_path, mode) > 0 for mode in case.modes)


# What is wrong with a whole file, and was no error of ours, or one that named no file.
FOUND = [DEEP, "9" * 5000, json.dumps(NESTED)]
# The same of one value: the case, the file, and what stands in it.
FOUND_VALUES: list[tuple[str, int, str, Content]] = [
    ("FeatureVideoQA", 0, "subtitles.jsonl", Lines([{"vid_name": "a", "sub": True}])),
    ("ReferringExpressions", 0, "refcoco_val.json", _with_box([10**400, 0, 1, 1])),
    ("ReferringExpressions", 0, "refcoco_val.json", _with_box([0, 0, 1e308, 1])),
    ("StillCaptionDataset", 0, "x.json", ["ab", "c"]),
    ("StillCaptionDataset", 0, "x.json", [7, ["c"]]),
    ("StillCaptionDataset", 0, "x.npy", b""),
    ("StillCaptionDataset", 0, "x.npy", npz_bytes(FEATURES)),
    ("PrecompRetrieval", 0, "x_ids.txt", Text("7\n" + "8" * 5000)),
    ("GLUE", 4, "RTE/test.tsv", Text("index\tsentence1\tsentence2\n" + "7" * 5000 + "\ta\tb")),
    ("RetrievalJsonDataset", 0, "x.jsonl", Lines([{"media": "a\0b", "text": "a dog"}])),
    ("MSRVTTRetrieval", 0, "x.csv", Text("video_id,sentences\nvideo1,a dog\n")),
]


@pytest.mark.parametrize(("name", "case"), PARAMETERS)
@settings(max_examples=draws(6, deep=100))
@given(data=st.data())
def test_malformed_files(name: str, case: Case, data: st.DataObject, tmp_path_factory):
    folder = write(case, tmp_path_factory.getbasetemp() / f"malformed{next(_numbers)}")
    spoil = data.draw(st.sampled_from(case.reads), "file")
    content = data.draw(spoiled(case.files[spoil]), "content")
    (folder / spoil).write_bytes(content)
    mode = data.draw(st.sampled_from(case.modes), "test_mode")
    outcome(lambda: read_all(name, case, folder, mode), folder)


@pytest.mark.parametrize(("name", "case"), PARAMETERS)
@pytest.mark.parametrize("content", FOUND, ids=["deep", "digits", "nested"])
def test_found_before(name: str, case: Case, content: str, tmp_path: Path):
    write(case, tmp_path)
    for file in case.reads:
        right = (tmp_path / file).read_bytes()
        (tmp_path / file).write_text(content)
        for mode in case.modes:
            outcome(lambda mode=mode: read_all(name, case, tmp_path, mode), tmp_path)
        (tmp_path / file).write_bytes(right)


@pytest.mark.parametrize(("name", "number", "file", "content"), FOUND_VALUES)
def test_a_value_found_before(name: str, number: int, file: str, content: Content, tmp_path: Path):
    case = CASES[name][number]
    write(case, tmp_path)
    (tmp_path / file).write_bytes(encoded(content))
    for mode in case.modes:
        found = outcome(lambda mode=mode: read_all(name, case, tmp_path, mode), tmp_path)
        assert found is None


def test_a_long_number_in_a_name_is_no_identifier(tmp_path: Path):
    """Python converts no number of so many digits; the name itself identifies the picture."""
    case = CASES["KarpathyRetrieval"][0]
    write(case, tmp_path)
    (tmp_path / "x.json").write_text(json.dumps([{**BLIP[1], "image_id": "coco_" + "7" * 5000}]))
    assert read_all("KarpathyRetrieval", case, tmp_path, True) == 1
