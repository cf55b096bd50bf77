"""The report in a real browser: lines move, tables sort, zoom stays in step, nothing is asked."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import picture

from deconv import io, psf
from deconv.report import compare

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PATIENCE = 120_000  # milliseconds, for a machine that is busy


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: see make test-browser"
    )
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no browser at {CHROMIUM}: see make test-browser")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox"], timeout=PATIENCE
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two pictures and three methods."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "in").mkdir()
    (folder / "sharp").mkdir()
    for name in ("camera", "moon"):
        sharp = picture(name, 64)
        blurred = np.apply_along_axis(np.convolve, 1, sharp, [0.25, 0.5, 0.25], "same")
        io.write(folder / "sharp" / f"{name}.tif", sharp.astype(np.float32))
        io.write(folder / "in" / f"{name}.tif", blurred.astype(np.float32))
        psf.to_file(psf.gaussian(0.7), folder / f"{name}.npy")
    compare(
        folder / "in",
        folder / "r.html",
        truth=folder / "sharp",
        psf=str(folder),
        methods="wiener,richardson_lucy,filter_bank",
    )
    return (folder / "r.html").as_uri()


@pytest.fixture
def page(browser, report):
    """A page that keeps what went wrong, and what it asked for beyond its file."""
    found = browser.new_page(viewport={"width": 1200, "height": 900})
    found.set_default_timeout(PATIENCE)
    found.complaints = []
    found.on("console", lambda message: found.complaints.append(message.text))
    found.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", "blob:", report))
            else found.complaints.append(request.url)
        ),
    )
    yield found
    complaints = found.complaints
    found.close()
    assert complaints == []


def variable(locator, name):
    return locator.evaluate("(e, name) => getComputedStyle(e).getPropertyValue(name)", name).strip()


def test_the_line_moves_by_hand_and_by_its_slider(page, report):
    page.goto(report + "#picture-0")
    pane = page.locator("#picture-0 .pane").first
    pane.scroll_into_view_if_needed()
    box = pane.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20, steps=3)
    page.mouse.up()
    assert float(variable(pane, "--cut").rstrip("%")) == pytest.approx(25, abs=1)
    others = page.locator("#picture-0 .pane")
    assert variable(others.nth(1), "--cut") == variable(pane, "--cut")
    page.locator("#picture-0 .together").uncheck()
    page.locator("#picture-0 .cut").first.fill("80")
    assert variable(pane, "--cut") == "80%"
    assert variable(others.nth(1), "--cut") != "80%"
    clip = page.locator("#picture-0 .layer.top").first
    assert "80%" in clip.evaluate("e => getComputedStyle(e).clipPath")


def test_zoom_and_place_are_the_same_for_all(page, report):
    page.goto(report + "#picture-0")
    images = page.locator("#picture-0 .layer img")

    def transforms():
        """Zoom and place of each picture, in parts of its width: panes may differ by a hair."""
        found = images.evaluate_all(
            "all => all.map(e => new DOMMatrix(getComputedStyle(e).transform))"
            ".map((m, i) => [m.a, m.e / all[i].clientWidth, m.f / all[i].clientHeight])"
        )
        return {tuple(round(v, 2) for v in each) for each in found}

    assert transforms() == {(1, 0, 0)}
    page.locator("#picture-0 [data-zoom='2']").click()
    zoomed = transforms()
    assert zoomed == {(2, -0.5, -0.5)}
    pane = page.locator("#picture-0 .pane").nth(1)
    pane.scroll_into_view_if_needed()
    box = pane.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 70, steps=3)
    page.mouse.up()
    moved = transforms()
    assert len(moved) == 1
    assert moved != zoomed
    page.locator("#picture-0 [data-zoom='0']").click()
    assert transforms() == {(1, 0, 0)}


def test_the_table_sorts_with_the_missing_last(page, report):
    page.goto(report + "#picture-1")
    table = page.locator("#table-1")
    heading = table.locator("thead th", has_text="PSNR").first

    def column():
        return table.locator("tbody tr").evaluate_all(
            "all => all.map(row => row.cells[2].dataset.value)"
        )

    unsorted = column()
    for expected, reverse in (("descending", True), ("ascending", False)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == expected
        assert column() == sorted(unsorted, key=float, reverse=reverse)
    table.locator("thead button").first.click()
    names = table.locator("tbody th").all_text_contents()
    assert names == sorted(names)


def test_the_left_side_may_be_the_truth(page, report):
    page.goto(report + "#picture-0")
    left = page.locator("#picture-0 img.left").first
    before = left.get_attribute("src")
    page.locator("#picture-0 select.before").select_option(label="truth")
    assert left.get_attribute("src") != before
    assert left.evaluate("e => e.decode().then(() => e.naturalWidth)") == 64


def test_one_picture_at_a_time_and_decoded_when_opened(page, report):
    page.goto(report)
    assert page.locator("#summary").is_visible()
    assert not page.locator("#picture-0").is_visible()
    image = page.locator("#picture-1 .layer.top img").first
    assert image.get_attribute("src") is None
    page.locator("nav a", has_text="moon.tif").click()
    assert page.locator("#picture-1").is_visible()
    assert not page.locator("#summary").is_visible()
    assert image.get_attribute("src").startswith("data:image/webp")
    command = page.locator("#table-1 details").first
    command.locator("summary").click()
    assert "deconv deblur" in command.locator("code").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_needs_no_sideways_scroll(browser, report, scheme):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE)
    for place in ("#summary", "#picture-0"):
        page.goto(report + place)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
    light = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (sum(light[:3]) > 600) == (scheme == "light")
    page.close()
