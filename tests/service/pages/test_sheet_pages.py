"""Large pictures at work in a real browser: from the review to the page that zooms, and back."""

from __future__ import annotations

import cv2
import pytest

from pellucid.records import LARGE_PIXELS

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("pyvips", reason="pyvips is not installed")
from selenium.webdriver.common.by import By

LINK = "a[href$='/sheet']"


@pytest.fixture(scope="module")
def large(bad, tmp_path_factory):
    """A defective image, enlarged until it counts as large."""
    file, image = tmp_path_factory.mktemp("large") / "large.png", cv2.imread(str(bad[0]))
    scale = (1.1 * LARGE_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
    cv2.imwrite(str(file), cv2.resize(image, None, fx=scale, fy=scale))
    return file


@pytest.mark.parametrize(("address", "link"), [("review", "Zoom to every pixel"), ("fa/inspect", "بزرگ‌نمایی")])
def test_a_large_picture_opens_on_a_page_of_its_own(page, service, large, address, link):
    number = service.inspect(large, model="pane").json()["items"][0]["id"]
    page.open(f"{address}?inspection={number}")
    found = page.with_text(LINK, link)
    assert found.get_attribute("target") == "_blank"
    page.errors()  # those of the page before
    page.browser.get(found.get_attribute("href"))
    tiles = page.until(lambda: page.all(".leaflet-tile-loaded img"))
    assert all(f"/inspections/{number}/tiles/" in tile.get_attribute("src") for tile in tiles)
    assert page.errors() == []
    assert page.one("h1").text == "large.png"
    if page.all("#defects tbody tr"):
        page.click("#d0 button")
        assert page.all("#defects tr[aria-current]")
    page.browser.find_element(By.CSS_SELECTOR, "nav a").click()
    page.until(lambda: f"/ui/review?inspection={number}" in page.browser.current_url)


def test_a_small_picture_has_no_such_page(page, service, bad):
    number = service.inspect(bad[0], model="pane").json()["items"][0]["id"]
    page.open(f"inspect?inspection={number}")
    page.one("dl.facts")
    page.until(lambda: page.inside("pellucid-viewer", ".stage"))
    assert page.all(LINK) == []
