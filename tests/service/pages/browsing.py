"""A browser at a service's pages."""

from __future__ import annotations

from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving import Served


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

    def until(self, so, seconds: float = 120):
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

    def says(self, text: str, seconds: float = 120) -> None:
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
