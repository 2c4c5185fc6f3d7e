"""Each page at its work, in a real browser."""

from __future__ import annotations

import shutil

import httpx
import pytest
from serving import rows_of, served, serving_folder, wait_until

from pellucid.acquisition.files import image_files
from pellucid.reports.pictures import SCALE_PX
from pellucid.service.access.accounts import add_account

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from service.pages.browsing import Page


def test_the_page_follows_the_line(page, service, bad, glass):
    page.open("inspect")
    good = image_files(glass / "normal_test")[5]
    for file in (good, bad[0]):
        answer = service.inspect(file, model="pane", part_id=f"live {file.stem}").json()["items"][0]
        page.until(lambda f=file: f"live {f.stem}" in page.one("dl.facts").text)
        assert page.one(".verdict").get_attribute("class").split()[-1] == answer["verdict"]
    page.all(".strip .thumb")[1].click()  # an earlier one: the line is no longer followed
    page.until(lambda: f"live {good.stem}" in page.one("dl.facts").text)
    service.inspect(bad[1], model="pane", part_id="later")
    page.until(lambda: page.all(".strip .thumb")[0].get_attribute("title") == "later")
    assert f"live {good.stem}" in page.one("dl.facts").text


def test_zoom_opacity_and_boxes(page, service, bad):
    number = service.inspect(bad[0], model="pane").json()["items"][0]["id"]
    page.open(f"inspect?inspection={number}")
    stage = page.until(lambda: page.inside("pellucid-viewer", ".stage")[0])
    page.until(lambda: page.inside("pellucid-viewer", ".glass img")[0].get_property("naturalWidth") > 0)
    scale, tick, sign = (page.inside("pellucid-viewer", f".scale {part}")[0] for part in ("img", "span > i", "> i"))
    assert scale.get_property("naturalWidth") == SCALE_PX[0]
    assert abs(tick.rect["x"] + tick.rect["width"] / 2 - scale.rect["x"] - scale.rect["width"] / 2) <= 1
    assert sign.rect["x"] > scale.rect["x"] + scale.rect["width"]
    slider = page.inside("pellucid-viewer", "input[type=range]")[0]
    page.script("arguments[0].value = 80; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert page.inside("pellucid-viewer", ".glass img")[1].value_of_css_property("opacity") == "0.8"
    pixels = page.until(lambda: page.inside("pellucid-viewer", ".tools button")[2])
    pixels.click()
    glass = page.inside("pellucid-viewer", ".glass")[0]
    assert "pixels" in glass.get_attribute("class")
    wide = page.script(
        "return arguments[0].getBoundingClientRect().width", page.inside("pellucid-viewer", ".glass img")[0]
    )
    assert wide / int(page.script("return document.querySelector('pellucid-viewer').getAttribute('width')")) >= 7.9
    ActionChains(page.browser).drag_and_drop_by_offset(stage, 40, 30).perform()
    page.script("arguments[0].click()", page.inside("pellucid-viewer", ".tools button")[3])
    assert "scale(1)" in glass.get_attribute("style")
    box = page.inside("pellucid-viewer", "rect")[0]
    page.script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", box)
    assert page.inside("pellucid-viewer", "ol button")[0].get_attribute("aria-pressed") == "true"


def test_what_cannot_be_inspected_is_said(page, tmp_path, glass):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    trick = tmp_path / "<img src=x onerror=alert(1)>.png"
    shutil.copy(image_files(glass / "normal_test")[0], trick)
    page.open("inspect")
    page.choose("Model", "pane")
    page.drop(text, trick)
    page.says("'notes.png' is not an image that can be read")
    page.until(lambda: "<img src=x onerror=alert(1)>" in page.one("dl.facts").text)
    page.open("inspect?inspection=999999999")
    page.says("There is no inspection 999999999.")
    page.open("inspect?inspection=abc")
    wrong = [e for e in page.errors() if "/inspect?" not in e]  # a refusal is logged as a failed request
    assert not wrong


def test_review_finds_what_is_asked_for(page, service):
    page.open("review")
    part = rows_of(service.folder)[0]["part_id"]
    page.choose("Show", "Everything")
    page.fill("Part number", part, Keys.ENTER)
    page.until(lambda: {e.get_attribute("title") for e in page.all(".gallery .thumb")} == {part})
    page.fill("Part number", "there is no such part", Keys.ENTER)
    page.says("Nothing to review here.")
    table = httpx.get(page.with_text("a.download", "Download as a table").get_property("href"))
    assert table.status_code == 200
    assert len(table.text.splitlines()) == 1, "what is shown, which is nothing"
    page.fill("Part number", part, Keys.ENTER)
    page.until(lambda: page.all(".gallery .thumb"))
    page.fill("Type of the defect", "tin drip", Keys.ENTER)
    wait_until(lambda: rows_of(service.folder)[0]["type"] == "tin drip")
    page.choose("Show", "Decided")
    page.until(lambda: page.all(".gallery .thumb"))
    page.open("trends")
    page.choose("Model", "pane")
    page.until(lambda: any("tin drip" in e.get_attribute("innerHTML") for e in page.all(".chart")))
    page.open("review")
    assert "1" in page.with_text("button", "tin drip").text, "has become the first type to choose"
    page.with_text("button", "bubble")
    service.http.put(f"/inspections/{rows_of(service.folder)[0]['id']}/decision", json={"decision": None})


def test_keys_go_with_the_writing(page, service):
    page.open("fa/review")
    page.until(lambda: len(page.all(".gallery .thumb")) >= 2)
    left, right = (page.all(".gallery .thumb")[k].location["x"] for k in (1, 0))
    assert left < right
    page.key(Keys.ARROW_LEFT)
    page.until(lambda: "chosen" in page.all(".gallery .thumb")[1].get_attribute("class"))
    number = page.all(".gallery .thumb img")[1].get_attribute("src").split("/")[-2]
    page.script("document.dispatchEvent(new KeyboardEvent('keydown', {code: 'Digit1', key: '۱'}))")
    wait_until(lambda: service.http.get(f"/inspections/{number}").json()["decision"] == "defect")
    page.script("document.dispatchEvent(new KeyboardEvent('keydown', {code: 'KeyU', key: 'ع'}))")
    wait_until(lambda: service.http.get(f"/inspections/{number}").json()["decision"] is None)


def test_keys_are_not_taken_from_what_has_the_focus(page, service):
    page.open("review")
    page.until(lambda: len(page.all(".gallery .thumb")) >= 2)
    slider = page.until(lambda: page.inside("pellucid-viewer", "input[type=range]")[0])
    page.script("arguments[0].focus()", slider)
    page.key(Keys.ARROW_LEFT)
    page.until(lambda: slider.get_property("value") == "99")
    page.click("button", "Export decisions")
    page.with_text(".q-dialog h2", "Export decisions")
    before = [row["decision"] for row in rows_of(service.folder)]
    page.key("o", "n", Keys.ARROW_RIGHT)
    page.click(".q-dialog button", "Cancel")
    page.until(lambda: not page.all(".q-dialog"))
    assert [row["decision"] for row in rows_of(service.folder)] == before
    assert "chosen" in page.all(".gallery .thumb")[0].get_attribute("class")
    page.key(Keys.ARROW_RIGHT)
    page.until(lambda: "chosen" in page.all(".gallery .thumb")[1].get_attribute("class"))


def test_a_training_is_cancelled(page):
    page.open("train")
    page.choose("Data set", "glass_defect")
    page.fill("Name of the result", "stopped")
    page.click("button", "Start")
    page.until(lambda: page.one(".chip[role=status]").text == "running")
    page.fill("Name of the result", "second")
    page.click("button", "Start")
    page.says("'stopped' is still running: wait for it, or cancel it.")
    page.click("button", "Cancel")
    page.until(lambda: page.one(".chip[role=status]").text == "cancelled", 60)
    page.fill("Name of the result", "stopped")
    page.click("button", "Start")
    page.says("There is a result 'stopped' already")
    page.fill("Name of the result", "...")
    page.click("button", "Start")
    page.says("Give the training a name of letters and digits.")
    assert not page.errors()


@pytest.mark.slow
def test_a_model_learns_more_good_images(page):
    page.open("models?model=pane")
    page.fill("How many", "5")
    page.click("button", "Show these images")
    page.until(lambda: len(page.all(".gallery .thumb")) == 5)
    page.click("button", "Learn them")
    page.says("What a model learns decides what it rejects: give a reason.")
    page.choose("Images to learn", "Rejected parts that people called good or nuisance")
    page.says("say nothing about where the limit should be")
    assert not page.all(".gallery .thumb")
    page.choose("Images to learn", "A data set")
    page.until(lambda: page.field("Data set to learn"))
    page.choose("Images to learn", "The latest images")
    page.fill("Reason for learning", "a new lamp")
    page.click("button", "Learn them")
    page.says("has been started.")
    page.click("a", "See how it is doing")
    page.until(lambda: page.one(".chip[role=status]").text == "running")
    assert page.one(".panel h2").text.startswith("pane-")
    page.click("button", "Cancel")
    page.until(lambda: page.one(".chip[role=status]").text in ("cancelled", "done"), 60)
    assert not page.errors()


def test_inspecting_begins_with_the_last_model_or_the_one_that_was_asked_for(page, service):
    other = service.folder / "models" / "another.pellucid"
    shutil.copy(service.folder / "models" / "pane.pellucid", other)
    page.open("models?model=another")
    page.click("a", "Inspect with this model")
    page.until(lambda: "another" in page.field("Model").text)
    for name in ("inspect", "trends"):
        page.open(name)
        assert "pane" in page.field("Model").text, "which has inspected, while 'another' comes first by its name"
    page.open("trends?model=another")
    assert "another" in page.field("Model").text
    other.unlink()


def test_a_broken_model_is_told_on_its_page(page, service):
    broken = service.folder / "models" / "broken.pellucid"
    broken.write_bytes(b"no model")
    page.open("models?model=broken")
    assert "broken.pellucid" in page.one("[role=alert]").text
    page.choose("Model", "pane")
    page.says("Move the limit")
    broken.unlink()


def test_operators_log_in_and_change_no_model(browser, model, glass, tmp_path):
    folder = serving_folder(tmp_path, model)
    key = add_account(folder / "accounts.toml", "sara", "operator")
    with served(folder, "--accounts", "accounts.toml", "--data", str(glass), ready=False) as service:
        browser.delete_all_cookies()
        page = Page(browser, service)
        browser.get(service.url)
        page.until(lambda: browser.current_url.endswith("/login"))
        page.one("#key").send_keys("wrong", Keys.ENTER)
        page.says("No account has this key.")
        page.one("#key").clear()
        page.one("#key").send_keys(key, Keys.ENTER)
        page.until(lambda: "/ui/" in browser.current_url)
        page.says("sara · operator")
        page.open("models?model=pane")
        page.says("An engineer can do this.")
        assert not [e for e in page.all("button") if e.text == "Apply"]
        assert not [e for e in page.all("button") if "Read the file again" in e.text]
        page.open("train")
        page.says("An engineer can do this.")
        assert not [e for e in page.all("button") if "Start" in e.text]
        page.click("header button", "Log out")
        page.until(lambda: browser.current_url.endswith("/login"))
        browser.get(f"{service.url}/ui/models")
        page.until(lambda: browser.current_url.endswith("/login"))
        assert key not in service.log()
