"""Pages in every language, colour and width."""

from __future__ import annotations

import json
import time
from datetime import datetime

import cv2
import numpy as np
import pytest
from serving import served

from pellucid.service.language.translator import Translator

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.by import By

from service.pages.browsing import Page

PAGES = ("inspect", "review", "models", "train", "trends")


@pytest.mark.parametrize(
    ("language", "theme", "width"),
    [
        pytest.param("en", "light", 1280, marks=pytest.mark.slow),
        ("fa", "dark", 390),
        pytest.param("en", "light", 390, marks=pytest.mark.slow),
        pytest.param("fa", "dark", 1280, marks=pytest.mark.slow),
    ],
)
def test_every_page_in_every_dress(page, service, tmp_path, language, theme, width):
    page.open("inspect")
    page.browser.add_cookie({"name": "theme", "value": theme})
    page.browser.get_log("performance")
    t = Translator(language)
    for name in PAGES:
        page.open(f"fa/{name}" if language == "fa" else name, width, 800 if width == 1280 else 844)
        page.says(t(name.capitalize()))
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


def test_dates_and_digits_are_chosen_and_kept(page, service):
    """Persian ones at first; the page is sent again in what was chosen."""
    time_of = "return [...document.querySelectorAll('dl.facts dd')].map((e) => e.innerText).join('|')"
    taken = datetime.fromisoformat(service.http.get("/inspections").json()["items"][0]["time"])
    page.open(f"fa/inspect?inspection={service.http.get('/inspections').json()['items'][0]['id']}")
    for style in ("persian", "gregorian", "jalali"):
        if style != "persian":
            page.click(f"header option[value={style}]")
        page.until(lambda s=style: Translator("fa", s).moment(taken) in page.script(time_of))
    page.open("inspect")
    page.until(lambda: page.all("dl.facts"))
    assert page.one("header option[value=jalali]").get_property("selected"), "in the other language too"


def test_a_first_visit_explains_itself(page):
    page.open("inspect")
    assert len(page.all("#welcome p")) == 3
    page.click("#welcome button", "Understood")
    page.until(lambda: not page.all("#welcome"))
    page.open("inspect")
    assert not page.all("#welcome")
    page.browser.delete_all_cookies()
    page.open("fa/inspect")
    assert len(page.all("#welcome p")) == 3


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
