"""The pages in a real browser: from a training to a moved limit, by mouse and by keyboard alone, in both languages."""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving import Served, place, rows_of, served, wait_until
from small import SHARED

from pellucid.acquisition.folders import image_files, read_folder
from pellucid.models.load import load
from pellucid.service import pages
from pellucid.service.access import Role, add_account
from pellucid.service.pages.texts import PERSIAN, Say
from pellucid.service.training import State

PAGES = ("inspect", "review", "models", "train", "trends")


class Page:
    """A browser at a service's pages, that waits for what it looks for."""

    def __init__(self, browser, service: Served) -> None:
        self.browser, self.service = browser, service

    def open(self, page: str, width: int = 1280, height: int = 800) -> None:
        """Go to a page and wait until it is alive."""
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        self.browser.get(f"{self.service.url}/ui/{page}")
        self.until(lambda: self.script("return window.socket?.connected && !!document.querySelector('main.page')"))

    def script(self, code: str, *arguments):
        return self.browser.execute_script(code, *arguments)

    def until(self, so, seconds: float = 30):
        """What a question answers, once that is neither nothing nor an element that has gone."""
        return WebDriverWait(self.browser, seconds, 0.1, (WebDriverException, IndexError, StopIteration)).until(
            lambda _: so()
        )

    def all(self, selector: str):
        return [e for e in self.browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]

    def one(self, selector: str):
        return self.until(lambda: self.all(selector)[0])

    def with_text(self, selector: str, text: str):
        return self.until(lambda: next(e for e in self.all(selector) if text in e.text))

    def says(self, text: str, seconds: float = 30) -> None:
        self.until(lambda: text in self.browser.find_element(By.TAG_NAME, "body").text, seconds)

    def click(self, selector: str, text: str = "") -> None:
        def done() -> bool:
            element = next(e for e in self.all(selector) if text in e.text)
            self.script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.until(done)

    def field(self, label: str):
        """A field of Quasar's by its label."""
        return self.until(
            lambda: next(
                e for e in self.all("label.q-field") if e.find_element(By.CLASS_NAME, "q-field__label").text == label
            )
        )

    def input(self, label: str):
        """What of a field is typed into."""
        return self.field(label).find_element(By.TAG_NAME, "input")

    def fill(self, label: str, text: str, *end: str) -> None:
        element = self.input(label)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(text or Keys.DELETE, *end)

    def choose(self, label: str, option: str) -> None:
        """An option of a select."""
        self.field(label).click()
        self.click(".q-menu .q-item", option)
        self.until(lambda: not self.all(".q-menu"))

    def inside(self, host: str, selector: str):
        """Elements in a component's own tree."""
        return self.script(
            "return [...(document.querySelector(arguments[0])?.shadowRoot?.querySelectorAll(arguments[1]) || [])]",
            host,
            selector,
        )

    def drop(self, *files: Path) -> None:
        """Choose files as a person does."""
        field = self.until(lambda: self.inside("pellucid-drop", "input")[0])
        field.send_keys("\n".join(str(file) for file in files))

    def key(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def errors(self) -> list[str]:
        return [e["message"] for e in self.browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(scope="module")
def data(glass, tmp_path_factory):
    """Real images if they are here, drawn ones if not."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(SHARED / "data" / "glass_defect" if SHARED.is_dir() else glass, folder / "glass_defect")
    return folder


@pytest.fixture(scope="module")
def bad(glass, model):
    inspector = load(model)
    return [f for f in image_files(glass / "abnormal_test") if inspector.inspect(f).verdict == "reject"]


@pytest.fixture(scope="module")
def service(model, data, glass, bad, tmp_path_factory):
    folder = place(tmp_path_factory.mktemp("pages"), model)
    with served(folder, "--data", str(data)) as running:
        for file in [*image_files(glass / "normal_test")[:4], *bad[:4]]:
            running.inspect(file, model="pane")
        yield running


@pytest.fixture
def page(browser, service):
    browser.get("about:blank")
    browser.delete_all_cookies()
    browser.get_log("browser")
    return Page(browser, service)


def test_from_a_training_to_a_moved_limit(page, service, data):
    page.open("train")
    page.choose("Data set", "glass_defect")
    page.fill("Name of the result", "first try")
    page.choose("Image size (px)", "128")
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
    assert "first-try.patchcore" in page.field("Model").text, "the newest comparison's choice"
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
    page.says("is now")
    limit = service.http.get("/models/first-try.patchcore/limit").json()
    assert limit["value"] == pytest.approx(row["score"] * 1.01, rel=1e-4)
    page.says("too strict")
    page.open("inspect")
    page.drop(defect)
    page.with_text(".verdict.ok", "OK")
    page.open("models?model=first-try.patchcore")
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

    page.open("models?model=pane")
    slider = page.one(".q-slider")
    before = service.http.get("/models/pane/limit").json()["value"]
    stop = slider.find_element(By.CSS_SELECTOR, "[tabindex='0']") if slider.get_attribute("tabindex") != "0" else slider
    page.script("arguments[0].focus()", stop)
    page.key(*[Keys.ARROW_RIGHT] * 10)
    page.until(lambda: page.with_text("button", "Apply").is_enabled())
    page.script("arguments[0].focus()", page.with_text("button", "Apply"))
    page.key(Keys.ENTER)
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


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("fa", "dark")])
def test_every_page_in_every_dress(page, service, tmp_path, language, theme, width):
    page.open("inspect")
    page.browser.add_cookie({"name": "theme", "value": theme})
    page.browser.get_log("performance")
    say = Say(language)
    for name in PAGES:
        page.open(f"fa/{name}" if language == "fa" else name, width, 800 if width == 1280 else 844)
        page.says(say(name.capitalize()))
        page.until(lambda: not page.all(".q-loading"))
        time.sleep(0.7)  # charts are drawn
        assert page.script("return document.documentElement.dir || 'ltr'") == ("rtl" if language == "fa" else "ltr")
        assert page.script("return document.documentElement.lang") == ("fa" if language == "fa" else "en-US")
        assert page.script("return document.body.classList.contains('body--dark')") == (theme == "dark")
        assert page.script("return document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
        file = tmp_path / f"{name}.png"
        assert page.browser.save_screenshot(str(file))
        picture = cv2.imread(str(file))
        assert picture.std() > 5
        ground = np.median(picture.reshape(-1, 3), axis=0).mean()
        assert (ground < 90) == (theme == "dark")
        assert not page.errors(), name
    asked = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in page.browser.get_log("performance")
        if json.loads(entry["message"])["message"]["method"] == "Network.requestWillBeSent"
    ]
    assert asked
    assert {url for url in asked if not url.startswith((service.url, "data:", "blob:", "chrome:"))} == set()


def test_the_browser_chooses_the_language(service, page):
    def lands(header: str, cookie: str = "") -> str:
        answer = service.http.get("/", headers={"accept-language": header, "cookie": cookie})
        return answer.headers["location"]

    assert lands("fa-IR,fa;q=0.9,en;q=0.8") == "/ui/fa/inspect"
    assert lands("de-DE,de;q=0.9,en;q=0.8") == "/ui/inspect"
    assert lands("") == "/ui/inspect"
    assert lands("en", "language=fa") == "/ui/fa/inspect"
    page.open("models?model=pane&page=1")
    page.click("header a", "فارسی")
    page.until(lambda: page.browser.current_url.endswith("/ui/fa/models?model=pane"))
    page.browser.get(service.url)
    page.until(lambda: page.browser.current_url.endswith("/ui/fa/inspect"))


def test_colours_are_chosen_and_kept(page):
    page.open("trends")
    for theme, dark in (("dark", True), ("light", False)):
        page.one("header select").find_element(By.CSS_SELECTOR, f"option[value={theme}]").click()
        page.until(lambda d=dark: page.script("return document.body.classList.contains('body--dark')") == d)
        page.until(lambda t=theme: (page.browser.get_cookie("theme") or {}).get("value") == t)
    page.open("train")
    assert page.one("header select").get_attribute("value") == "light"


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
    page.until(lambda: page.inside("pellucid-viewer", "img")[0].get_property("naturalWidth") > 0)
    slider = page.inside("pellucid-viewer", "input[type=range]")[0]
    page.script("arguments[0].value = 80; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert page.inside("pellucid-viewer", "img")[1].value_of_css_property("opacity") == "0.8"
    pixels = page.until(lambda: page.inside("pellucid-viewer", ".tools button")[2])
    pixels.click()
    glass = page.inside("pellucid-viewer", ".glass")[0]
    assert "pixels" in glass.get_attribute("class")
    wide = page.script("return arguments[0].getBoundingClientRect().width", page.inside("pellucid-viewer", "img")[0])
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
    page.key(Keys.ARROW_RIGHT)
    page.until(lambda: slider.get_property("value") == "41")
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


def test_a_broken_model_is_told_on_its_page(page, service):
    broken = service.folder / "models" / "broken.pellucid"
    broken.write_bytes(b"no model")
    page.open("models?model=broken")
    assert "broken.pellucid" in page.one("[role=alert]").text
    page.choose("Model", "pane")
    page.says("Move the limit")
    broken.unlink()


def test_operators_log_in_and_change_no_model(browser, model, glass, tmp_path):
    folder = place(tmp_path, model)
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
        assert not page.with_text("button", "Read the file again").is_enabled()
        page.open("train")
        page.says("An engineer can do this.")
        assert not [e for e in page.all("button") if "Start" in e.text]
        page.click("header button", "Log out")
        page.until(lambda: browser.current_url.endswith("/login"))
        browser.get(f"{service.url}/ui/models")
        page.until(lambda: browser.current_url.endswith("/login"))
        assert key not in service.log()


def test_pages_without_anything_say_what_to_do(browser, tmp_path):
    with served(tmp_path, ready=False) as service:
        browser.delete_all_cookies()
        page = Page(browser, service)
        for name, words in {
            "inspect": "There are no models yet.",
            "review": "Nothing to review here.",
            "models": "There are no comparisons yet",
            "train": "--data FOLDER",
            "trends": "There are no models yet.",
        }.items():
            page.open(name)
            page.says(words)


def test_every_sentence_is_there_in_persian():
    """Whatever the pages say is a key, and every key is said."""
    said = set()
    for file in Path(pages.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        tables = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "PERSIAN"]
        nodes = [n for part in tree.body if part not in tables for n in ast.walk(part)]
        said |= {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    of_the_service = {*get_args(State), *get_args(Role), "limit", "reload"}
    assert set(PERSIAN) - said - of_the_service == set()
    assert of_the_service <= set(PERSIAN)
    for english, persian in PERSIAN.items():
        assert _holes(english) == _holes(persian), english


def _holes(text: str) -> set[str]:
    return {part.split("}")[0] for part in text.split("{")[1:]}
