from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.pages.gallery import make_gallery
from builder.pages.highlights import find_highlights
from builder.pages.pictures import (
    COLOURS,
    SIDE,
    crop_outline,
    outlines,
    spotlight,
    thumbnail,
    whole_spotlight,
    whole_thumbnail,
)
from builder.pages.views import GroundTruth
from builder.run.build import build
from builder.settings.gallery import GallerySettings
from builder.storage.remote import parse_location
from salient_imagenet_1m import Box
from tests.browser import DESKTOP, PHONE, log, requests, resize
from tests.conftest import CLASSES, World
from tests.pages.test_preview import open_data
from tests.quiet import Quiet

MARKUP = "<script>document.title='planted'</script><img src=x onerror=alert(1)>\"'&"
QUIET = Quiet()


@pytest.fixture(scope="module")
def data(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a built data set whose votes give their reasons in markup."""
    base = tmp_path_factory.mktemp("gallery")
    votes = base / "votes.csv"
    text = world.votes.read_text().replace(",why", ',"' + MARKUP.replace('"', '""') + '"')
    votes.write_text(text)
    build(world.settings(base / "data", votes=votes), QUIET)
    return base / "data"


@pytest.fixture(scope="module")
def page(world: World, data: Path) -> Path:
    """Return one page with markup wherever a file could bring it."""
    known = GroundTruth(
        title=MARKUP,
        names=dict.fromkeys(CLASSES[1:], MARKUP),
        classes={0: MARKUP},
        pairs={(0, 1): MARKUP},
        images={f"{CLASSES[0]}_0": MARKUP},
    )
    out = data.parent / "page.html"
    settings = GallerySettings(data, str(world.root), out, votes=data.parent / "votes.csv")
    return make_gallery(settings, QUIET, known)


@pytest.fixture(scope="module")
def site(world: World, data: Path) -> Path:
    return make_gallery(GallerySettings(data, str(world.root), data.parent / "site"), QUIET)


class Tags(HTMLParser):
    """What a page is made of: its elements, and where they point to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def layer_of(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def test_the_ends_and_tops_are_those_of_the_published_ranks(data: Path) -> None:
    rows = list(load_dataset(str(data), "masks", split="train", streaming=True))
    selections = find_highlights(open_data(data), "train", tops=5, ends=4)
    for label in range(len(CLASSES)):
        own = [row for row in rows if row["label"] == label]
        highlights = selections[label]
        assert highlights.images == len(own)
        assert highlights.accuracy == np.mean([row["predicted"] == label for row in own])
        for place, feature in enumerate(own[0]["features"]):
            ranked = sorted(own, key=lambda row: row["activation_ranks"][place])
            found = [row["image_id"] for row in highlights.top[feature]]
            assert found == [row["image_id"] for row in ranked[:5]]
        ranked = sorted(own, key=lambda row: row["spuriosity_rank"] or 0)
        ids = [row["image_id"] for row in ranked] if own[0]["spuriosity"] is not None else []
        assert [row["image_id"] for row in highlights.most] == ids[:4]
        assert [row["image_id"] for row in highlights.least] == ids[::-1][:4]


def test_no_image_is_at_both_ends(data: Path) -> None:
    for highlights in find_highlights(open_data(data), "train", tops=1, ends=10).values():
        most = {row["image_id"] for row in highlights.most}
        assert not most & {row["image_id"] for row in highlights.least}


def test_markup_from_files_is_text(page: Path) -> None:
    html = page.read_text()
    tags = Tags(html)
    assert tags.names.count("script") == 1
    assert "onerror" not in tags.attributes
    assert "x" not in tags.links
    assert html.count("&lt;script&gt;document.title") >= 5


def test_a_page_points_at_nothing_but_itself(page: Path, site: Path) -> None:
    assert all(link.startswith("data:") for link in Tags(page.read_text()).links)
    for path in site.parent.iterdir():
        for link in Tags(path.read_text()).links:
            assert link.startswith("data:") or (site.parent / link).is_file()
        assert not re.search(r"url\(|@import|https?:", path.read_text())


def test_a_site_has_an_index_and_a_page_per_class(site: Path) -> None:
    names = sorted(path.name for path in site.parent.iterdir())
    assert names == ["0000.html", "0001.html", "0002.html", "index.html"]
    assert max(path.stat().st_size for path in site.parent.iterdir()) < 1_000_000


def test_a_spotlight_is_dark_where_the_mask_is_not() -> None:
    grids = np.zeros((1, 7, 7), np.uint8)
    grids[0, 1, 1] = 255
    layer = layer_of(spotlight(grids, "core"))
    assert layer.shape == (SIDE, SIDE, 4)
    centre = round(1.5 / 7 * SIDE)
    assert layer[centre, centre, 3] < 60
    assert layer[-20:, -20:, 3].min() > 190


def test_layers_on_a_whole_image_have_its_shape() -> None:
    grids = np.zeros((1, 4, 8), np.uint8)
    grids[0, :, 4:] = 255
    alpha = layer_of(whole_spotlight(grids, "core", Box(0, 0, 200, 100), 200, 100))[..., 3]
    assert alpha.shape == (120, 240)
    assert (alpha[4:-4, :60] > 150).all()
    assert (alpha[8:-8, 180:-8] < 60).all()
    assert layer_of(whole_thumbnail(np.zeros((100, 200, 3), np.uint8))).shape[:2] == (120, 240)
    line = layer_of(crop_outline(200, 100))[..., 3] > 200
    # 224/256 of the short side, in the middle.
    rows, columns = (np.flatnonzero(line.any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1]) == pytest.approx((7.5, 111.5), abs=1)
    assert (columns[0], columns[-1]) == pytest.approx((67.5, 171.5), abs=1)
    assert not line[20:-20, 80:-80].any()


def test_a_page_shows_masks_of_whole_images_where_there_are_any(
    planted: Path, planted_whole: Path, world: World, tmp_path: Path
) -> None:
    texts = []
    for data in (planted, planted_whole):
        out = tmp_path / f"{data.parent.name}.html"
        texts.append(make_gallery(GallerySettings(data, str(world.root), out), QUIET).read_text())
    assert "whole image" not in texts[0]
    assert texts[1].count("core, whole image") == 2  # Of the classes that have a core feature.
    assert texts[1].count("spurious, whole image") == 2


def test_outlines_have_the_colour_of_their_kind() -> None:
    grids = np.zeros((2, 7, 7), np.uint8)
    grids[0, :3, :3] = grids[1, 4:, 4:] = 255
    layer = layer_of(outlines(grids, ["core", "spurious"]))
    half = SIDE // 2
    for kind, corner in (("core", layer[:half, :half]), ("spurious", layer[half:, half:])):
        line = corner[corner[..., 3] > 240]
        assert np.abs(np.median(line[:, :3], axis=0) - COLOURS[kind]).max() < 60
    assert layer[half:, :half, 3].max() < 30


def test_a_thumbnail_is_the_image() -> None:
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[:, 112:] = (200, 30, 90)
    small = layer_of(thumbnail(pixels))
    assert np.abs(small[70, 120, :3] - (200, 30, 90)).max() < 12
    assert small[70, 20, :3].max() < 12


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": "validation"}, "has no split validation, only train"),
        ({"data": Path("/nowhere")}, "holds no finished build"),
        ({"images": "/nowhere"}, "There is no file, directory or dataset"),
        ({"votes": "theirs"}, "are not the votes of"),
        ({"out": "there"}, "exists already"),
    ],
)
def test_bad_input_is_one_sentence(
    world: World, data: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    if changes.get("votes"):
        changes = {"votes": world.votes}
    if changes.get("out"):
        changes = {"out": tmp_path}
    options = {"data": data, "images": str(world.root), "out": tmp_path / "out", **changes}
    with pytest.raises(BuildError, match=sentence):
        make_gallery(GallerySettings(**options), QUIET)
    assert not list(tmp_path.iterdir())


def test_images_of_another_set_are_refused(world: World, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "images" / CLASSES[0]
    other.mkdir(parents=True)
    shutil.copy(next((world.root / "train" / CLASSES[0]).iterdir()), other / "else.JPEG")
    with pytest.raises(BuildError, match=r"lacks (\d+) of the \1 images to show"):
        make_gallery(GallerySettings(data, str(other.parent), tmp_path / "out"), QUIET)


def open_page(browser: webdriver.Chrome, path: Path) -> None:
    """Open a page, and see that all its images decode and that nothing else was loaded."""
    log(browser, "browser")
    log(browser, "performance")
    browser.get(path.as_uri())
    sizes = browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
        ".then(done, error => done(String(error)))"
    )
    assert sizes
    assert set(sizes) == {SIDE}
    assert requests(browser) == {path.as_uri()}
    assert log(browser, "browser") == []


def shown(browser: webdriver.Chrome, selector: str) -> list[WebElement]:
    return [
        found for found in browser.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()
    ]


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_browser_shows_the_page(browser: webdriver.Chrome, page: Path, width: int) -> None:
    resize(browser, width)
    open_page(browser, page)
    assert MARKUP in browser.title
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_filter_works_in_a_browser(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page)
    field = browser.find_element(By.ID, "filter")
    assert len(shown(browser, ".class")) == len(CLASSES)
    field.send_keys(CLASSES[1].upper())
    assert [entry.get_attribute("id") for entry in shown(browser, ".class")] == ["c1"]
    assert browser.find_element(By.ID, "count").text == "1 of 3"
    field.send_keys(" nothing like it")
    assert not shown(browser, ".class")
    assert len(shown(browser, ".none")) == 1
    field.clear()
    field.send_keys(" ")
    browser.find_element(By.ID, "only").click()
    assert [entry.get_attribute("id") for entry in shown(browser, ".class")] == ["c0", "c1"]


def test_masks_can_be_taken_off_in_a_browser(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page)
    layer = browser.find_element(By.CSS_SELECTOR, ".pair .layer")
    assert layer.value_of_css_property("opacity") == "1"
    browser.execute_script("document.querySelector('.layer').style.transition = 'none'")
    browser.find_element(By.ID, "masks").click()
    assert "bare" in (browser.find_element(By.TAG_NAME, "body").get_attribute("class") or "")


def test_the_index_leads_to_a_class_in_a_browser(browser: webdriver.Chrome, site: Path) -> None:
    open_page(browser, site)
    browser.find_element(By.ID, "filter").send_keys(CLASSES[2])
    (card,) = shown(browser, ".card")
    card.click()
    assert browser.current_url.endswith("0002.html")
    open_page(browser, site.parent / "0002.html")


def test_a_data_set_at_a_url_has_the_same_pages(world: World, data: Path, tmp_path: Path) -> None:
    url = parse_location("memory://gallery-of-it")
    for path in (path for path in data.rglob("*") if path.is_file()):
        target = url / path.relative_to(data).as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    pages = {}
    for place, out in ((data, tmp_path / "here.html"), (url, tmp_path / "there.html")):
        page = make_gallery(GallerySettings(place, str(world.root), out), QUIET)
        pages[place] = page.read_text().replace(str(place), "PLACE")
    assert pages[data] == pages[url]


def test_a_url_without_a_data_set_is_one_sentence(world: World, tmp_path: Path) -> None:
    url = parse_location("memory://nowhere")
    with pytest.raises(BuildError, match="memory://nowhere holds no finished build"):
        make_gallery(GallerySettings(url, str(world.root), tmp_path / "out"), QUIET)


def test_a_file_of_masks_that_is_missing_is_one_sentence(
    world: World, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    path = min((copy / "masks").iterdir())
    path.unlink()
    with pytest.raises(BuildError, match=f"masks/{path.name} cannot be read"):
        make_gallery(GallerySettings(copy, str(world.root), tmp_path / "out"), QUIET)


def test_an_out_that_cannot_be_written_is_noticed_before_all_work(
    world: World, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_arguments: object) -> None:
        raise AssertionError("nobody should have come so far")

    monkeypatch.setattr("builder.pages.gallery.find_highlights", unwanted)
    for out in ("/proc/pages", "/proc/page.html"):
        with pytest.raises(BuildError, match=f"{out} cannot be made"):
            make_gallery(GallerySettings(data, str(world.root), Path(out)), QUIET)


def test_pages_are_called_as_the_data_set_is(world: World, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    manifest = Manifest.load(copy)
    assert manifest
    manifest.origin["title"] = "Salient otters"
    (copy / "manifest.json").write_bytes(manifest.as_bytes())
    page = make_gallery(GallerySettings(copy, str(world.root), tmp_path / "page.html"), QUIET)
    assert "<title>Salient otters</title>" in page.read_text()
