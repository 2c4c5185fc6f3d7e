"""The page of a large image in a real browser: it zooms, lists, filters and prints, and asks nobody for anything."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sheets import HEIGHT, HOSTILE, SCALE, WIDTH, drawn_sheet

from pellucid.errors import ParameterError
from pellucid.records.grades import Sheet
from pellucid.regions.rules import read_rules
from pellucid.regions.zones import Zones
from pellucid.reports import leaflet
from pellucid.reports.sheet import MAX_PRINTED_DEFECTS, SheetPages, _drawn_zones

pytest.importorskip("pyvips", reason="pyvips is not installed")
pytest.importorskip("nicegui", reason="nicegui, whose Leaflet zooms, is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

NATIVE = 3  # the level of own pixels of a picture of 1100 x 1500


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three pages: a graded sheet under a hostile name, one without a scale, one with more defects than paper holds."""
    place = tmp_path_factory.mktemp("pages # %")
    pages = SheetPages(place, Zones(margin=30), read_rules("en1279"))
    pages.write(2, drawn_sheet(60, path="many.png"))
    pages.write(0, drawn_sheet())
    pages.write(1, drawn_sheet(4, path="pixels.png", scale=None))
    assert pages.write_index() == place / "sheets/index.html"
    return place / "sheets"


@pytest.fixture
def page(browser, folder):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    browser.set_window_size(1300, 950)
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(next(folder.glob("00000_*.html")).as_uri())
    _drawn(browser)
    return browser


def _drawn(page):
    """Wait until all tiles of the view are there."""
    tiles, loaded = (
        f"document.querySelectorAll('.leaflet-tile{more}').length" for more in ("", ".leaflet-tile-loaded")
    )
    WebDriverWait(page, 20).until(lambda browser: browser.execute_script(f"return {tiles} > 0 && {tiles} === {loaded}"))


def _view(page):
    """Centre of the view in px of the image, and its zoom."""
    y, x, zoom = page.execute_script("const c = sheetMap.getCenter(); return [c.lat, c.lng, sheetMap.getZoom()]")
    return x / SCALE, y / SCALE, zoom


def _choose(page, selector, value):
    page.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'));",
        selector,
        value,
    )


def _current(page):
    return [
        row.get_attribute("data-number") for row in page.find_elements(By.CSS_SELECTOR, "#defects tr[aria-current]")
    ]


def _rows(page):
    return [
        row.get_attribute("data-number")
        for row in page.find_elements(By.CSS_SELECTOR, "#defects tbody tr")
        if row.is_displayed()
    ]


def _marks(page):
    """How many marks and outlines the map has now."""
    return page.execute_script("let n = 0; sheetMap.eachLayer((l) => { n += l.getRadius ? 1 : 0; }); return n")


def test_it_opens_without_errors_or_network_and_its_names_are_text(page):
    assert page.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert sent
    assert all(url.startswith(("file://", "data:", "about:")) for url in sent)
    assert page.find_element(By.TAG_NAME, "h1").text == HOSTILE
    assert page.title == f"{HOSTILE}: reject"
    assert "It is <i>darker</i> than those." in page.find_element(By.CLASS_NAME, "remark").text
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x], #defects b, h1 img") == []
    kinds = {row.text for row in page.find_elements(By.CSS_SELECTOR, "#defects tbody td:nth-child(2)")}
    assert kinds == {"dark point", "dark <b>line</b>"}
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_whole_is_seen_first_and_every_pixel_on_demand(page):
    x, y, zoom = _view(page)
    assert (x, y) == pytest.approx((WIDTH / 2, HEIGHT / 2), rel=0.02)
    assert zoom < NATIVE
    page.find_element(By.ID, "native").click()
    _drawn(page)
    assert _view(page)[2] == NATIVE
    tiles = page.find_elements(By.CSS_SELECTOR, ".leaflet-tile-loaded img")
    assert tiles
    assert all(f"_tiles/{NATIVE}/" in tile.get_attribute("src") for tile in tiles)
    assert "mm" in page.find_element(By.CLASS_NAME, "measure").text
    page.find_element(By.ID, "whole").click()
    assert _view(page)[2] == pytest.approx(zoom)


def test_a_row_zooms_to_its_defect(page):
    page.find_element(By.CSS_SELECTOR, "#d4 td").click()
    _drawn(page)
    defect = drawn_sheet().defects[4]
    x, y, zoom = _view(page)
    assert (x, y) == pytest.approx(defect.centroid, abs=3)
    assert zoom > NATIVE - 1
    assert _current(page) == ["4"]
    assert page.find_element(By.ID, "where").text.startswith(f"x {(defect.centroid[0] + 0.5) * SCALE:.0f}"[:5])


def test_a_mark_finds_its_row(page):
    defect = drawn_sheet().defects[7]
    place = [(value + 0.5) * SCALE for value in defect.centroid]
    x, y = page.execute_script(
        "const p = sheetMap.latLngToContainerPoint([arguments[1], arguments[0]]), s = sheetMap.getSize();"
        " return [p.x - s.x / 2, p.y - s.y / 2]",
        *place,
    )
    ActionChains(page).move_to_element_with_offset(
        page.find_element(By.ID, "map"), round(x), round(y)
    ).click().perform()
    assert _current(page) == ["7"]
    tip = page.find_element(By.CLASS_NAME, "leaflet-tooltip")
    assert tip.text.startswith("7: dark point, ")
    assert page.execute_script(
        "const [r, s] = ['#d7', '#list .scroll'].map((of) => document.querySelector(of).getBoundingClientRect());"
        " return r.top >= s.top - 1 && r.bottom <= s.bottom + 1"
    )


def test_everything_goes_by_keyboard(page):
    page.find_element(By.CSS_SELECTOR, "#d0 button").send_keys(Keys.ENTER)
    assert _current(page) == ["0"]
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert _current(page) == ["1"]
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert _current(page) == ["1"]
    assert _view(page)[:2] == pytest.approx(drawn_sheet().defects[1].centroid, abs=3)
    page.find_element(By.ID, "whole").send_keys(Keys.SPACE)
    before = _view(page)
    chart = page.find_element(By.ID, "map")
    assert chart.get_attribute("tabindex") == "0"
    chart.send_keys("+")
    WebDriverWait(page, 5).until(lambda browser: _view(browser)[2] > before[2])
    chart.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(page, 5).until(lambda browser: _view(browser)[0] > before[0])


def test_filters_hold_for_list_and_map(page):
    assert len(_rows(page)) == _marks(page) == 12
    page.find_elements(By.NAME, "kind")[0].click()
    assert _rows(page) == ["1", "3", "5", "7", "9", "11"]
    assert _marks(page) == 6
    assert page.find_element(By.ID, "shown").text == "6 of 12 shown"
    least = page.find_element(By.ID, "least")
    least.clear()
    least.send_keys("14")
    assert _rows(page) == ["1"]
    page.find_element(
        By.CSS_SELECTOR, ".clauses .number[href='#d2']"
    ).click()  # what a filter hides is shown when it is asked for
    assert len(_rows(page)) == 12
    _choose(page, "#which", "counted")
    assert len(_rows(page)) == 10
    _choose(page, "#which", "broken")
    broken = {number for clause in drawn_sheet().grade.broken for number in clause.defects}
    assert set(map(int, _rows(page))) == broken
    _choose(page, "#which", "all")
    _choose(page, "#order", "size")
    assert _rows(page)[:2] == ["0", "1"]
    assert _rows(page)[-1] == "11"


def test_clauses_and_verdict_are_told_with_their_defects(page):
    grade = drawn_sheet().grade
    shown = page.find_element(By.CLASS_NAME, "verdict").text
    assert "REJECT" in shown
    assert f"en1279: {grade.verdict.upper()}" in shown
    for broken in grade.broken:
        assert broken.text in shown
    link = page.find_elements(By.CSS_SELECTOR, ".clauses .number")[-1]
    page.execute_script("arguments[0].scrollIntoView()", link)
    link.click()
    assert _current(page) == [link.text]
    row = page.find_element(By.ID, f"d{link.text}")
    assert any(broken.clause in row.text for broken in grade.broken)


def test_an_address_names_a_defect(page):
    page.get(f"{page.current_url}#d3")
    WebDriverWait(page, 5).until(lambda browser: _current(browser) == ["3"])


def test_zones_are_drawn_and_go(page):
    is_zone = "l.getLatLngs && !l.getRadius && l.options.dashArray ? 1 : 0"
    dashed = f"let n = 0; sheetMap.eachLayer((l) => {{ n += {is_zone}; }}); return n"
    count = page.execute_script(dashed)
    assert count >= 3  # two zones of the rule at least, and the margin
    page.find_element(By.ID, "zones").click()
    assert page.execute_script(dashed) == 0


@pytest.mark.parametrize("number", [0, 2], ids=["few", "many"])
def test_it_prints_as_one_page(browser, folder, number):
    browser.get(next(folder.glob(f"0000{number}_*.html")).as_uri())
    _drawn(browser)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed["data"]))) == 1
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        rows = browser.find_elements(By.CSS_SELECTOR, ".paper tbody tr")
        numbers = browser.find_elements(By.CSS_SELECTOR, ".paper svg text")
        assert len(rows) == len(numbers) == min(MAX_PRINTED_DEFECTS, (12, 4, 60)[number])
        assert not browser.find_element(By.ID, "map").is_displayed()
        assert ("30 more: defects.csv" in browser.find_element(By.CLASS_NAME, "paper").text) == (number == 2)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_a_scale_it_speaks_of_pixels(browser, folder):
    browser.get(next(folder.glob("00001_*.html")).as_uri())
    _drawn(browser)
    browser.find_element(By.CSS_SELECTOR, "#d1 button").click()
    told = re.compile(r"x \d+, y \d+ px")
    WebDriverWait(browser, 5).until(lambda page: told.fullmatch(page.find_element(By.ID, "where").text))
    assert "px" in browser.find_element(By.CLASS_NAME, "measure").text
    assert "1100 x 1500 px" in browser.find_element(By.CLASS_NAME, "answer").text


def test_it_fits_a_phone_and_the_dark(page):
    page.set_window_size(500, 900)
    page.refresh()
    _drawn(page)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1")
    page.find_element(By.ID, "theme").click()
    assert page.execute_script("return getComputedStyle(document.documentElement).colorScheme") in ("dark", "light")
    page.find_element(By.CSS_SELECTOR, "#d5 button").click()
    assert page.find_element(By.ID, "map").is_displayed()
    assert page.execute_script("return document.querySelector('#map').getBoundingClientRect().top") >= 0


def test_the_list_links_every_page_in_order(browser, folder):
    browser.get((folder / "index.html").as_uri())
    links = browser.find_elements(By.CSS_SELECTOR, "th a")
    assert [link.text for link in links] == [HOSTILE, "pixels.png", "many.png"]
    assert browser.execute_script("return [...document.images].every((image) => image.naturalWidth > 0)")
    links[0].click()
    assert browser.find_element(By.TAG_NAME, "h1").text == HOSTILE
    browser.find_element(By.CSS_SELECTOR, "nav a").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "3 sheets"


# --- what is drawn and what is missing ------------------------------------------------------------------------------


def test_drawn_zones_lie_where_they_count():
    counted = np.ones((10, 20), bool)
    counted[2:5, 4:10] = False
    zones = Zones._drawn(counted, margin=7, min_area=0)
    found = drawn_sheet(scale=None)
    margin, region = _drawn_zones((200, 100), found, zones, None)
    assert margin["rings"][1] == [[7, 7], [193, 7], [193, 93], [7, 93]]
    (ring,) = region["rings"]
    assert np.min(ring, 0) == pytest.approx([40, 20], abs=6)
    assert np.max(ring, 0) == pytest.approx([100, 50], abs=6)
    whole = replace(found, sheet=Sheet(2000, 1000, (10, 10)))
    drawn = {zone["name"]: zone for zone in _drawn_zones((200, 100), whole, Zones(), read_rules("en1279"))}
    last = list(drawn.values())[-1]
    assert len(last["rings"]) == 1
    left, top = last["rings"][0][0]
    assert 0 < left < 100
    assert 0 < top < 50


def test_without_pages_there_is_no_list(tmp_path):
    assert SheetPages(tmp_path).write_index() is None
    assert list(tmp_path.iterdir()) == []


def test_without_nicegui_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(leaflet, "find_spec", lambda _: None)
    with pytest.raises(
        ParameterError, match=r"A page of a large image needs nicegui, .* pip install 'pellucid\[serve\]'"
    ):
        SheetPages(tmp_path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("export default 1;", "is not of the form that this pellucid knows"),
        (None, "NiceGUI's Leaflet cannot be read: "),
    ],
)
def test_another_leaflet_is_refused(script, message, tmp_path, monkeypatch):
    for name, text in ((leaflet.SCRIPT, script), (leaflet.STYLE, "")):
        if text is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    class Found:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(leaflet, "find_spec", lambda _: Found)
    with pytest.raises(ParameterError, match=message):
        leaflet.read_leaflet()
