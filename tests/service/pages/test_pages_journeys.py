"""The pages in a real browser: from a training to a moved limit, by mouse and by keyboard alone."""

from __future__ import annotations

import csv
import io
import zipfile

import cv2
import pytest
from serving import rows_of, wait_until

import pellucid
from pellucid.acquisition.files import image_files
from pellucid.acquisition.folders import read_folder
from pellucid.models.load import load

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


@pytest.mark.slow
def test_from_a_training_to_a_moved_limit(page, service, data):
    page.open("train")
    page.choose("Data set", "glass_defect")
    page.fill("Name of the result", "first try")
    page.choose("Shorter side of the images (px)", "128")
    page.click(".q-checkbox", "padim")  # off: PatchCore alone
    page.click("button", "Start")
    page.says("'first try' has been started")
    page.until(lambda: page.one("pre.log").text, 120)
    assert page.all("[role=progressbar]")
    wait_until(
        lambda: page.one(".chip[role=status]").text in ("done", "failed"), 400, told=lambda: page.one("pre").text
    )
    assert page.one(".chip[role=status]").text == "done", page.one("pre.log").text
    page.click("a", "See it in Models")

    page.says("first-try.patchcore")
    page.says("recommended")
    frame = page.one("iframe.report")
    page.browser.switch_to.frame(frame)
    page.says("Which model to run")
    page.browser.switch_to.default_content()

    model = service.folder / "models" / "first-try" / "patchcore" / "model.pellucid"
    inspector = load(model)
    defects = image_files(data / "glass_defect" / "abnormal_test")
    defect = next(f for f in defects if (found := inspector.inspect(f)).verdict == "reject" and found.defects)
    page.open("inspect")
    assert "pane" in page.field("Model").text, "the model that inspected last"
    page.open("models?model=first-try.patchcore")
    page.click("a", "Inspect with this model")
    page.until(lambda: "first-try.patchcore" in page.field("Model").text)
    page.drop(defect)
    page.with_text(".verdict.reject", "REJECT")
    page.until(lambda: defect.stem in page.one("dl.facts").text)
    boxes = page.until(lambda: page.inside("pellucid-viewer", "rect"))
    height, width = cv2.imread(str(defect)).shape[:2]
    expected = inspector.inspect(defect)
    assert len(boxes) == len(expected.defects)
    shown = page.script("const s = arguments[0].ownerSVGElement.viewBox.baseVal; return [s.width, s.height]", boxes[0])
    assert shown == [width, height]
    assert [int(boxes[0].get_attribute(side)) for side in ("x", "y", "width", "height")] == list(
        expected.defects[0].box
    )
    page.inside("pellucid-viewer", "ol button")[0].click()
    assert "chosen" in boxes[0].get_attribute("class")
    row = rows_of(service.folder)[-1]
    assert (row["source"], row["verdict"], row["model"]) == ("page", "reject", "first-try.patchcore")

    page.click("a", "Confirm or overrule")
    page.says("Decision: none yet")
    page.click("button", "It is good")
    wait_until(lambda: rows_of(service.folder)[-1]["decision"] == "ok")
    page.click("button", "Export decisions")
    page.fill("Name of the data set", "reviewed")
    page.click("button", "Put it beside the training data")
    page.says("1 images are now in the data set 'reviewed'")
    with (data / "reviewed" / "data.csv").open(encoding="utf-8") as stream:
        exported = list(csv.DictReader(stream))
    assert [(line["label"], line["group"]) for line in exported] == [("normal", defect.stem)]
    assert (data / "reviewed" / exported[0]["path"]).read_bytes() == defect.read_bytes()
    read_folder(data / "reviewed" / "data.csv")
    packed = zipfile.ZipFile(io.BytesIO(service.http.get("/decisions.zip").content))
    assert len(packed.namelist()) == 2

    page.open("models?model=first-try.patchcore")
    page.says("Parts that people called good or nuisance: rejected")
    assert "1 / 1" in page.with_text("tr", "called good or nuisance").text
    page.fill("New limit", f"{row['score'] * 1.01:.6g}", Keys.TAB)
    page.until(lambda: "0 / 1" in page.with_text("tr", "called good or nuisance").text)
    assert service.http.get("/models/first-try.patchcore/limit").json()["changed_by"] is None, "only counted so far"
    page.fill("Reason", "too strict")
    page.click("button", "Apply")
    page.says("It would reject 0 of")
    page.click("button", "Apply it all the same")
    page.says("is now")
    limit = service.http.get("/models/first-try.patchcore/limit").json()
    assert limit["value"] == pytest.approx(row["score"] * 1.01, rel=1e-4)
    page.says("too strict")
    page.open("inspect")
    assert "first-try.patchcore" in page.field("Model").text, "which has inspected since"
    page.drop(defect)
    page.with_text(".verdict.ok", "OK")
    page.open("models?model=first-try.patchcore")
    page.says("a tail fitted to the highest scores placed the limit, so that")
    page.click("button", "Back to the calibrated limit")
    page.until(lambda: service.http.get("/models/first-try.patchcore/limit").json()["value"] == limit["calibrated"])
    assert not page.errors()


def test_by_keyboard_alone(page, service):
    page.open("inspect")
    page.key(Keys.TAB)
    assert page.browser.switch_to.active_element.text == "Skip to the content"
    for _ in range(3):
        page.key(Keys.TAB)
    assert page.browser.switch_to.active_element.text == "Review"
    outline = page.browser.switch_to.active_element.value_of_css_property("outline-style")
    assert outline == "solid", "the focus is seen"
    page.key(Keys.ENTER)
    page.until(lambda: page.browser.current_url.endswith("/review"))
    page.until(lambda: len(page.all(".gallery .thumb")) >= 3)
    assert "chosen" in page.all(".gallery .thumb")[0].get_attribute("class")
    page.key(Keys.ARROW_RIGHT)
    page.until(lambda: "chosen" in page.all(".gallery .thumb")[1].get_attribute("class"))
    pictures = page.all(".gallery .thumb img")[:2]
    first, second = (int(picture.get_attribute("src").split("/")[-2]) for picture in pictures)

    def decided(number: int) -> tuple[str | None, str | None]:
        entry = service.http.get(f"/inspections/{number}").json()
        return entry["decision"], entry["type"]

    page.key("2")
    wait_until(lambda: decided(second) == ("defect", "scratch"))
    page.until(lambda: "chosen" in page.all(".gallery .thumb")[2].get_attribute("class"))
    page.key("u")
    wait_until(lambda: decided(second) == (None, None))
    page.key(Keys.ARROW_LEFT)
    page.key("n")
    wait_until(lambda: decided(first) == ("nuisance", None))
    page.key("u")
    wait_until(lambda: decided(first) == (None, None))
    page.key("n", "n", "u", "u", "u")  # quicker than the record: each meets the one it was meant for
    page.says("Nothing to undo.")
    assert (decided(first), decided(second)) == ((None, None), (None, None))
    last = [service.http.get(f"/inspections/{number}/decisions").json()[-2:] for number in (first, second)]
    assert [[line["decision"] for line in lines] for lines in last] == [["nuisance", None]] * 2

    highest = pellucid.load(service.folder / "models" / "pane.pellucid").limit.scores[-1]
    service.http.put("/models/pane/limit", json={"value": highest - 1e-6 * abs(highest)})  # a few steps from all
    page.open("models?model=pane")
    slider = page.one(".q-slider")
    before = service.http.get("/models/pane/limit").json()["value"]
    stop = slider.find_element(By.CSS_SELECTOR, "[tabindex='0']") if slider.get_attribute("tabindex") != "0" else slider
    page.script("arguments[0].focus()", stop)
    page.key(*[Keys.ARROW_RIGHT] * 10)
    page.until(lambda: page.with_text("button", "Apply").is_enabled())
    page.script("arguments[0].focus()", page.with_text("button", "Apply"))
    page.key(Keys.ENTER)
    page.says("Is this limit meant?")
    page.fill("Your reason", "fewer false rejects", Keys.TAB, Keys.ENTER)
    wait_until(lambda: service.http.get("/models/pane/limit").json()["value"] > before)
    service.http.put("/models/pane/limit", json={"value": None})
    stage = page.open("inspect") or page.until(lambda: page.inside("pellucid-viewer", ".stage")[0])
    page.script("arguments[0].focus()", stage)
    page.key("+", "+")
    moved = page.until(lambda: page.inside("pellucid-viewer", ".glass")[0].get_attribute("style"))
    assert "scale(2.25)" in moved
    page.key("0")
    assert "scale(1)" in page.inside("pellucid-viewer", ".glass")[0].get_attribute("style")
    assert not page.errors()
