"""The report in a real browser: it draws, counts, sorts and filters, and asks nobody for anything."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
from commands import SMALL, pellucid_here

from pellucid.study import metrics
from pellucid.study.intervals import wilson

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait


@pytest.fixture(params=[1280, 390])
def page(request, browser, compared):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get((compared / "report.html").as_uri())
    return browser


def _text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def _visible(page, selector):
    return [e for e in page.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


def _choose(page, selector, value):
    page.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        " e.dispatchEvent(new Event('change', {bubbles: true}));",
        selector,
        value,
    )


def _move(page, position):
    page.execute_script(
        "const e = document.querySelector('#cut'); e.value = arguments[0]; e.dispatchEvent(new Event('input'));",
        position,
    )


def test_it_opens_without_errors_network_or_overflow(page):
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    asked = []
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"][:30])
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    widths = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
    shapes = "svg :is(.line, .step, .bars, .marks) > *"
    empty = [e.get_attribute("id") for e in page.find_elements(By.CSS_SELECTOR, f".chart:not(:has({shapes}))")]
    assert empty == []
    assert len(page.find_elements(By.CSS_SELECTOR, ".chart")) == 4
    broken = "return [...document.querySelectorAll('.gallery img')].filter(i => i.complete && !i.naturalWidth).length"
    assert page.execute_script(broken) == 0


def _hover(page, element):
    """Move the pointer to the middle of an element; returns what the chart's tip says, line by line."""
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(page).move_to_element(element).perform()
    tips = _visible(page, ".tip")
    return tips[0].text.splitlines() if tips else []


def test_charts_show_every_image_and_say_values(page, compared):
    rows = list(csv.DictReader((compared / "dfm/scores.csv").read_text().splitlines()))
    _choose(page, "#model", "dfm")
    ticks = [float(e.text) for e in page.find_elements(By.CSS_SELECTOR, "#histogram text[text-anchor=end]")]
    lines = page.find_elements(By.CSS_SELECTOR, "#histogram .grid")[-len(ticks) :]
    places = [float(e.get_attribute("y1")) for e in lines]
    image_px = (places[0] - places[-1]) / (ticks[-1] - ticks[0])
    drawn = page.find_elements(By.CSS_SELECTOR, "#histogram .bars")
    for label, bars in zip(("normal", "abnormal"), drawn, strict=True):
        heights = [float(e.get_attribute("height")) for e in bars.find_elements(By.TAG_NAME, "rect")]
        assert sum(heights) / image_px == pytest.approx(sum(r["label"] == label for r in rows))
    score, *counted = _hover(page, drawn[0].find_element(By.TAG_NAME, "rect"))
    assert re.fullmatch(r"score [-\d.e]+ to [-\d.e]+", score)
    assert [line.split()[1] for line in counted] == ["good", "defective"]
    labels, scores = [r["label"] == "abnormal" for r in rows], [float(r["score"]) for r in rows]
    at = metrics.at_limit(labels, scores, float(rows[0]["limit"]))
    said = _hover(page, page.find_element(By.CSS_SELECTOR, "#roc .marks circle"))
    if said[0] == "dfm, this limit":  # a corner of the curve may lie in the same place
        assert said[1] == f"{at['escapes']} escapes, {at['false_rejects']} false rejects"
    else:
        assert said[1] == f"false-reject rate {at['false_reject_rate']:.4g}"
    star = page.find_element(By.CSS_SELECTOR, "#pareto polygon")
    chosen = next(row for row in json.loads((compared / "leaderboard.json").read_text()) if row["recommended"])
    assert _hover(page, star)[:2] == [chosen["name"], f"AUROC {chosen['image_auroc']:.4f}"]


def test_the_limit_moves_in_the_charts(page):
    def drawn():
        rule, mark = (page.find_element(By.CSS_SELECTOR, s) for s in ("#histogram .rule", "#roc .marks circle"))
        return float(rule.get_attribute("x1")), float(mark.get_attribute("cx")), float(mark.get_attribute("cy"))

    _choose(page, "#model", "dfm")
    _move(page, 0)
    everything_rejected = drawn()
    _move(page, page.find_element(By.ID, "cut").get_attribute("max"))
    nothing_rejected = drawn()
    assert nothing_rejected[0] > everything_rejected[0]
    assert nothing_rejected[1] < everything_rejected[1]
    assert nothing_rejected[2] > everything_rejected[2]


def test_charts_follow_the_window(page):
    box = page.find_element(By.CSS_SELECTOR, "#pareto svg").get_dom_attribute("viewBox")
    width = page.execute_script("return document.querySelector('#pareto').clientWidth")
    assert box == f"0 0 {width} 400"
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    wanted = "const box = document.querySelector('#pareto svg').viewBox.baseVal;" \
        " return box.width === document.querySelector('#pareto').clientWidth"  # fmt: skip
    WebDriverWait(page, 60).until(lambda driver: driver.execute_script(wanted))


def test_the_page_carries_no_library(compared):
    text = (compared / "report.html").read_text()
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    assert sum(map(len, scripts)) < 30_000


def test_the_first_sentence_recommends(page, compared):
    rows = json.loads((compared / "leaderboard.json").read_text())
    chosen = next(row for row in rows if row["recommended"])
    assert _text(page, ".advice").startswith(f"Run {chosen['name']}: it missed ")
    assert page.find_element(By.CSS_SELECTOR, "#model").get_attribute("value") == chosen["name"]


@pytest.mark.parametrize("model", ["dfm", "patchcore"])
def test_the_slider_recounts_as_we_do(page, compared, model):
    rows = list(csv.DictReader((compared / model / "scores.csv").read_text().splitlines()))
    labels, scores = [r["label"] == "abnormal" for r in rows], [float(r["score"]) for r in rows]
    _choose(page, "#model", model)
    last = int(page.find_element(By.ID, "cut").get_attribute("max"))
    seen = set()
    for position in ("own", 0, last // 3, last // 2, last):
        if position == "own":
            limit = float(rows[0]["limit"])
        else:
            _move(page, position)
            limit = float(
                re.search(r"limit ([-\d.e+]+):", page.find_element(By.ID, "cut").get_attribute("aria-valuetext"))[1]
            )
        expected = metrics.at_limit(labels, scores, limit)
        shown = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#counts b")]
        seen.add(tuple(shown[1:]))
        assert shown[1] == f"{expected['escapes']} of {expected['defectives']}"
        assert shown[2] == f"{expected['false_rejects']} of {expected['normals']}"
        low, high = wilson(expected["escapes"], expected["defectives"])
        assert f"95 %: {100 * low:.1f} % to {100 * high:.1f} %" in " ".join(_text(page, "#counts").split())
    assert len(seen) > 2
    page.find_element(By.ID, "reset").click()
    assert "the model's own" in _text(page, "#counts")


def test_rules_set_the_limit(page, compared):
    model = page.find_element(By.ID, "model").get_attribute("value")
    points = json.loads((compared / model / "metrics.json").read_text())["operating_points"]
    for button, point in zip(page.find_elements(By.CSS_SELECTOR, "#points button"), points, strict=True):
        page.execute_script("arguments[0].click()", button)
        shown = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#counts b")]
        assert shown[1] == f"{point['counts']['escapes']} of {point['counts']['defectives']}"


def test_the_table_sorts_by_keyboard(page):
    def names():
        return [e.get_attribute("data-value") for e in page.find_elements(By.CSS_SELECTOR, ".sortable tbody th")]

    button = page.find_element(By.XPATH, "//table[contains(@class,'sortable')]//button[text()='model']")
    button.send_keys(Keys.ENTER)
    assert names() == ["dfm", "padim", "patchcore"]
    button.send_keys(Keys.ENTER)
    assert names() == ["patchcore", "padim", "dfm"]
    heads = page.find_elements(By.CSS_SELECTOR, ".sortable th[aria-sort]")
    assert [h.get_attribute("aria-sort") for h in heads] == ["descending"]


def test_pictures_are_filtered_and_enlarged(page, compared):
    shown = {m: json.loads((compared / m / "gallery.json").read_text()) for m in ("dfm", "padim", "patchcore")}
    _choose(page, "[data-filter=model]", "")
    assert len(_visible(page, ".gallery figure")) == sum(map(len, shown.values()))
    _choose(page, "[data-filter=model]", "dfm")
    kind = next(g["type"] for g in shown["dfm"] if g["type"])
    _choose(page, "[data-filter=type]", kind)
    expected = [g for g in shown["dfm"] if g["type"] == kind]
    assert len(_visible(page, ".gallery figure")) == len(expected) > 0
    assert _text(page, "#shown") == f"{len(expected)} pictures"
    for figure, one in zip(_visible(page, ".gallery figure"), expected, strict=True):
        assert "; ".join(one["strongest"]) in figure.text
        assert len(one["strongest"]) == min(one["defects"], 3)
    _visible(page, ".gallery .zoom")[0].send_keys(Keys.ENTER)
    assert page.find_element(By.ID, "large").is_displayed()
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find_element(By.ID, "large").is_displayed()


def test_light_and_dark_and_paper(page):
    def ground():
        colours = page.execute_script(
            "return [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('#roc text')).fill]"
        )
        assert colours[0] != colours[1]
        return colours

    for scheme in ("dark", "light"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        before = ground()
        page.find_element(By.ID, "theme").click()
        assert ground() != before
        page.find_element(By.ID, "theme").click()
        assert ground() == before
    pdf = page.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(pdf) > 10_000


def test_what_users_name_cannot_break_the_page(glass, tmp_path, browser):
    """A defect type of markup is shown as it is written."""
    evil = tmp_path / "data"
    shutil.copytree(glass, evil)
    path = next((evil / "abnormal_test").glob("stone*.png"))
    (evil / "mask" / path.name).unlink()
    path.rename(evil / "abnormal_test/x<img src=a onerror=alert(1)>.png")
    pellucid_here("compare", evil, "-o", tmp_path / "out", "--detectors", "dfm", *SMALL)
    text = (tmp_path / "out/report.html").read_text()
    assert "<img src=a" not in text
    browser.get((tmp_path / "out/report.html").as_uri())
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=a]") == []


@pytest.mark.slow
def test_without_defects_or_test_images_it_still_opens(glass, tmp_path, browser):
    shutil.copytree(glass / "normal_train", tmp_path / "data/normal")
    done = pellucid_here("compare", tmp_path / "data", "-o", tmp_path / "out", "--detectors", "dfm", *SMALL)
    assert "Run dfm: it takes" in " ".join(done.stdout.split())
    browser.get((tmp_path / "out/report.html").as_uri())
    assert [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    assert "none to count" in _text(browser, "#counts")
    assert "No labelled defects" in _text(browser, "main")
