"""The page in a headless Chromium; without one these tests are skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, DRIVER, Browser, chromium
from tests.page_helpers import FakeIndex, FakeSearcher, fake_media, grey_video, served
from uniadapter.search.hits import SearchResult
from uniadapter.search.index import SearchIndex
from uniadapter.search.sources import engine_of, open_searcher, source_of
from uniadapter.search.update import update_index

pytest.importorskip("fastapi")
pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
HOSTILE = "night/<img src=x onerror=alert(1)>.png"


class FailingSearcher(FakeSearcher):
    """Fails as long as it is told to, and may be slow."""

    failing = False
    delay = 0.0

    def search(self, **query: Any) -> SearchResult:
        time.sleep(self.delay)
        if self.failing:
            raise ValueError("The engine is out of order.")
        return super().search(**query)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> FailingSearcher:
    folder = tmp_path_factory.mktemp("page")
    fake_media(folder / "media")
    grey_video(folder / "media/day/native.mp4", 4.0, "libx264")
    (folder / "media/night/four.png").rename(folder / "media" / HOSTILE)
    return FailingSearcher(FakeIndex(folder / "media", folder / "index"))


@pytest.fixture(scope="module")
def address(searcher: FailingSearcher) -> Iterator[str]:
    with served(searcher) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Browser]:
    """The empty page at the size of a desk; afterwards nothing has been complained about."""
    browser.resize(1280, 800)
    browser.prefer()
    browser.open(f"{address}/")
    browser.until("document.querySelector('#examples button')")
    browser.complaints()
    yield browser
    assert browser.complaints() == []


STATE = "document.body.dataset.state"
VIDEO = "document.querySelector('video')"
FOCUSED = "document.activeElement.getAttribute('aria-label')"


def ask(page: Browser, text: str) -> None:
    page.run("document.querySelector('#text').value = ''; document.activeElement.blur()")
    page.press("/", text, "Enter")
    page.until(f"{STATE} == 'results' && document.querySelector('#text').value == '{text}'")


def playing(page: Browser) -> tuple[str, float]:
    """Address and second of the clip, once it plays."""
    page.until(f"{VIDEO} && {VIDEO}.readyState >= 3 && !{VIDEO}.paused")
    address, second = page.run(f"return [{VIDEO}.currentSrc, {VIDEO}.currentTime]")
    return address, second


def test_empty(page: Browser) -> None:
    assert page.run(f"return {STATE}") == "empty"
    assert "4 videos and 1 picture are indexed" in page.run("return document.body.innerText")
    page.click("#examples button")
    page.until(f"{STATE} == 'results'")
    assert "?q=a+dog+runs" in page.run("return location.search")


def test_a_query_by_keyboard_alone(page: Browser, searcher: FailingSearcher) -> None:
    ask(page, "a grey wall")
    hits = searcher.search(text="a grey wall", topk=12, folder=None, kind=None).hits
    names = page.run("return [...document.querySelectorAll('.card .name')].map(n => n.textContent)")
    assert names == [hit.path for hit in hits]
    shown = page.run("return document.querySelector('#summary').innerText")
    assert shown == "The best 5 of 5 · query 10 ms · nearest 2 ms · 5 re-ranked in 100 ms"
    page.press("Down")
    assert page.run(f"return {FOCUSED}").startswith("1: ")
    page.press("Right", "Right", "Left")
    assert page.run(f"return {FOCUSED}").startswith("2: ")
    place = next(i for i, hit in enumerate(hits) if hit.path == "day/native.mp4")
    page.press(*["Right"] * 5, *["Left"] * (4 - place), "Enter")
    address, second = playing(page)
    assert address.endswith(f"/media/{hits[place].file_id}")
    best = hits[place].best_moment
    assert best - 0.1 <= second <= best + 1.0
    page.press("Escape")
    assert page.run("return document.querySelector('dialog').open") is False
    assert page.run(f"return {FOCUSED}").startswith(f"{place + 1}: ")
    page.press("/")
    assert page.run("return document.activeElement.id") == "text"


def test_a_clip_plays_from_its_best_moment_and_goes_round(page: Browser, searcher: Any) -> None:
    ask(page, "a grey wall")
    hits = searcher.search(text="a grey wall", topk=12, folder=None, kind=None).hits
    # What the browser can't play has a preview, the other one lasts longer than its shot.
    for path in ("day/two.avi", "day/native.mp4", "night/three.webm"):
        place, hit = next((i, hit) for i, hit in enumerate(hits) if hit.path == path)
        page.click(f".card:nth-child({place + 1}) .open")
        address, second = playing(page)
        assert ("preview" in address) == (path == "day/two.avi")
        assert hit.best_moment - 0.1 <= second <= hit.best_moment + 1.0
        went = [second]
        deadline = time.monotonic() + 8
        while not went[-1] < went[0] - 0.05:
            assert time.monotonic() < deadline, went
            went.append(page.run(f"return {VIDEO}.currentTime"))
        assert max(went) <= hit.end + 0.35
        page.run(f"{VIDEO}.pause()")
        first = hit.frame_times[0]
        page.click("#viewer-strip button")
        page.until(f"Math.abs({VIDEO}.currentTime - {first}) < 0.9 && !{VIDEO}.paused")
        page.press("Escape")


def test_bars_lie_at_the_times_of_the_frames(page: Browser, searcher: Any) -> None:
    ask(page, "a grey wall")
    hits = searcher.search(text="a grey wall", topk=12, folder=None, kind=None).hits
    place, hit = next((i, hit) for i, hit in enumerate(hits) if hit.kind == "video")
    bars = page.run(
        "return [...document.querySelectorAll(arguments[0])].map(b => [b.style.left, b.className])",
        f".card:nth-child({place + 1}) .strip button",
    )
    shares = [100 * time / hit.end for time in hit.frame_times]
    assert [float(left.rstrip("%")) for left, _ in bars] == pytest.approx(shares)
    best = hit.frame_times.index(hit.best_moment)
    assert [name for _, name in bars] == ["best" if i == best else "" for i in range(len(bars))]


def test_filters_history_and_links(page: Browser, address: str) -> None:
    count = "document.querySelectorAll('.card .open').length"
    ask(page, "one")
    ask(page, "two")
    # Entries that a script made are left out by the browser on the way back.
    page.click(".kinds label:nth-of-type(2)")
    page.until(f"{count} == 4 && location.search.includes('kind=video')")
    page.run("document.querySelector('#folder').focus()")
    page.press("Down")
    page.until(f"{count} == 3")
    link = page.run("return location.href")
    page.call("/back")
    page.until(f"{count} == 4")
    page.call("/back")
    page.until(f"{count} == 5 && document.querySelector('#text').value == 'two'")
    page.call("/back")
    page.until(f"{count} == 5 && document.querySelector('#text').value == 'one'")
    page.open(link)
    page.until(f"{count} == 3")
    assert page.run("return document.querySelector('#folder').value") == "day"
    page.open(f"{address}/?q=x&kind=image&folder=day")
    page.until(f"{STATE} == 'none'")
    page.click("#clear")
    page.until(f"{count} == 5")


def test_a_picture_and_the_back_button(page: Browser, searcher: Any) -> None:
    ask(page, "words first")
    page.choose_file("#file", searcher.index.root / HOSTILE)
    page.until(f"{STATE} == 'results' && !document.querySelector('#chosen').hidden")
    page.until("document.querySelectorAll('.card .open').length == 5")
    assert "image" in searcher.asked[-1]
    assert page.run("return document.querySelector('#chosen-name').innerText") == Path(HOSTILE).name
    pixel = "document.querySelector('canvas').getContext('2d').getImageData(36, 36, 1, 1).data"
    page.until(f"{pixel}[0] > 150")
    page.call("/back")
    page.until(f"{STATE} == 'results' && document.querySelector('#chosen').hidden")
    page.call("/forward")
    page.until(f"{STATE} == 'results' && !document.querySelector('#chosen').hidden")
    page.click("#drop-chosen")
    page.until(f"{STATE} == 'empty'")


def test_what_comes_from_the_index_is_text(page: Browser) -> None:
    page.run("window.alert = () => { window.attacked = true; }")
    ask(page, "a picture")
    assert Path(HOSTILE).name in page.run("return document.querySelector('#results').innerText")
    assert page.run("return document.querySelectorAll('.name img').length") == 0
    assert page.run("return window.attacked") is None


def test_waiting_failing_and_trying_again(page: Browser, searcher: FailingSearcher) -> None:
    searcher.delay = 1.0
    try:
        page.press("/", "slow", "Enter")
        page.until(f"{STATE} == 'loading'")
        assert page.run("return document.querySelectorAll('.bone').length") > 0
        assert page.run("return document.querySelector('main').getAttribute('aria-busy')") == "true"
        page.until(f"{STATE} == 'results'")
        searcher.delay, searcher.failing = 0.0, True
        page.press("/", "fails", "Enter")
        page.until(f"{STATE} == 'error'")
        said = page.run("return document.querySelector('#error').innerText")
        assert "The engine is out of order." in said
        searcher.failing = False
        page.click("#retry")
        page.until(f"{STATE} == 'results'")
    finally:
        searcher.delay, searcher.failing = 0.0, False
    # Chromium itself notes the status 422.
    assert all("422" in complaint for complaint in page.complaints())


def test_a_file_that_is_gone(page: Browser, searcher: FailingSearcher) -> None:
    ask(page, "a grey wall")
    hits = searcher.search(text="a grey wall", topk=12, folder=None, kind=None).hits
    place = next(i for i, hit in enumerate(hits) if hit.path == "day/native.mp4")
    file = searcher.index.root / "day/native.mp4"
    away = file.with_name("away")
    file.rename(away)
    try:
        page.click(f".card:nth-child({place + 1}) .open")
        page.until("!document.querySelector('#viewer-error').hidden")
        said = page.run("return document.querySelector('#viewer-error').innerText")
        assert said == "day/native.mp4 is no longer there."
    finally:
        away.rename(file)
    assert all("404" in complaint for complaint in page.complaints())


@pytest.mark.parametrize(("width", "height", "columns"), [(1280, 800, 4), (390, 844, 1)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sizes(page: Browser, tmp_path: Path, width: int, height: int, columns: int, scheme: str):
    page.resize(width, height, phone=width < 500)
    page.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    for text in ("", "a grey wall"):
        if text:
            ask(page, text)
        assert page.run("return document.documentElement.scrollWidth") <= width
    grid = page.run(
        "return getComputedStyle(document.querySelector('#results')).gridTemplateColumns"
    )
    assert len(grid.split()) == columns
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 5000


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: Browser, scheme: str) -> None:
    page.prefer(prefers_color_scheme=scheme)
    ask(page, "a grey wall")
    pairs = page.run(
        "const back = (n) => { for (; n; n = n.parentElement) {"
        "  const c = getComputedStyle(n).backgroundColor;"
        "  if (c.startsWith('rgb(')) return c; } };"
        "return [...document.querySelectorAll('body *')].filter(n => n.offsetParent &&"
        "  !n.closest('.rank, .moment, .play') &&"
        "  [...n.childNodes].some(c => c.nodeType == 3 && c.data.trim()))"
        "  .map(n => [getComputedStyle(n).color, back(n), n.className || n.localName])"
    )
    assert len(pairs) > 20
    for ink, paper, where in pairs:
        light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (where, ink, paper)


def test_a_real_model_and_its_index(page: Browser, tmp_path: Path) -> None:
    root = fake_media(tmp_path / "media")
    source = source_of("tiny_zero_shot")
    engine = engine_of(source, "cpu")
    update_index(SearchIndex.create(root / ".uniadapter", engine, source=source), engine)
    searcher = open_searcher(root, device="cpu")
    with served(searcher) as address:
        page.open(f"{address}/?q=a+green+circle")
        page.until(f"{STATE} == 'results'", 60)
        hits = searcher.search("a green circle", topk=12).hits
        cards = page.run(
            "return [...document.querySelectorAll('.card')].map(c =>"
            " [c.querySelector('.name').textContent, c.querySelector('dd').textContent])"
        )
        assert cards == [[hit.path, f"{hit.score:.3f}"] for hit in hits]
        place, hit = next((i, hit) for i, hit in enumerate(hits) if hit.path == "day/two.avi")
        page.click(f".card:nth-child({place + 1}) .open")
        address, second = playing(page)
        assert f"/preview/{hit.shot_id}" in address
        assert hit.best_moment - 0.1 <= second <= hit.best_moment + 1.0
        page.press("Escape")
        page.choose_file("#file", root / "night/four.png")
        page.until(f"{STATE} == 'results' && !document.querySelector('#chosen').hidden", 60)
        first = page.run("return document.querySelector('.card .name').textContent")
        assert first == "night/four.png"
        page.open("about:blank")
