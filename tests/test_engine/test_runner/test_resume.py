from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import tiny_model
from uniadapter.engine.runner.resume import check_matches, find_resumable

WHOLE = {"meta": {}, "state_dict": {}, "message_hub": {}, "optimizer": {}}


def write(folder: Path, name: str, whole: bool = True) -> Path:
    path = folder / name
    torch.save(WHOLE, path)
    if not whole:
        path.write_bytes(path.read_bytes()[:-50])
    return path


def test_empty_directory_has_none(tmp_path: Path):
    assert find_resumable(tmp_path) is None
    assert find_resumable(tmp_path / "nowhere") is None


def test_last_checkpoint_comes_first_and_stale_ones_are_ignored(tmp_path: Path):
    write(tmp_path, "epoch_9.pth")
    two = write(tmp_path, "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(str(two))
    assert find_resumable(tmp_path) == two


def test_numbers_count_and_not_their_spelling(tmp_path: Path):
    write(tmp_path, "epoch_9.pth")
    ten = write(tmp_path, "epoch_10.pth")
    write(tmp_path, "best_epoch_11.pth")
    assert find_resumable(tmp_path) == ten


def test_fall_back_goes_backwards_past_several(tmp_path: Path):
    write(tmp_path, "iter_30.pth")
    ten = write(tmp_path, "iter_10.pth")
    write(tmp_path, "iter_20.pth", whole=False)
    (tmp_path / "last_checkpoint").write_text(str(write(tmp_path, "iter_25.pth", whole=False)))
    assert find_resumable(tmp_path) == ten


def test_last_checkpoint_of_a_moved_directory(tmp_path: Path):
    one = write(tmp_path, "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text("/elsewhere/epoch_1.pth")
    assert find_resumable(tmp_path) == one


@pytest.mark.parametrize("text", ["", "\n"])
def test_empty_last_checkpoint_is_as_none(tmp_path: Path, text: str):
    two = write(tmp_path, "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(text)
    assert find_resumable(tmp_path) == two


def test_vanished_last_checkpoint_falls_back(tmp_path: Path):
    one = write(tmp_path, "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    assert find_resumable(tmp_path) == one


def test_none_usable_says_why_of_each(tmp_path: Path):
    write(tmp_path, "epoch_1.pth", whole=False)
    torch.save({"state_dict": {}}, tmp_path / "epoch_2.pth")
    with pytest.raises(ValueError, match=r"(?s)None of the 2.*epoch_2\.pth has no meta.*epoch_1"):
        find_resumable(tmp_path)


def test_weights_of_another_image_size_may_start_a_run_but_not_resume_one():
    state = tiny_model().state_dict()
    larger = tiny_model(visual={**tiny_retrieval_cfg()["visual"], "img_size": 48})
    check_matches(larger, state, [], "a.pth", exact=False)
    larger.load_state_dict(state)
    with pytest.raises(ValueError, match=r"pos_embed: file \(1, 5, 32\), model \(1, 10, 32\)\n"):
        check_matches(larger, state, [], "a.pth", exact=True)
    text = {**tiny_retrieval_cfg()["text"], "max_positions": 20}
    with pytest.raises(ValueError, match=r"text\.embeddings\.position_embeddings\.weight: file"):
        check_matches(tiny_model(text=text), state, [], "a.pth", exact=False)
