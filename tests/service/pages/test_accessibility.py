"""Pages for those who cannot see well, use no mouse, or zoom: WCAG 2.2 A and AA by axe-core, and by keyboard alone."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from serving import served, serving_folder, wait_until

from pellucid.service.access.accounts import add_account

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.keys import Keys

from service.pages.browsing import Page

PAGES = ("inspect", "review", "models", "train", "trends")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
MAX_STOPS = 150  # of the tabulator on a page
RUN_AXE = """
const done = arguments[1];
axe.run(document, {runOnly: arguments[0]}).then((found) => done(found.violations.flatMap((rule) => rule.nodes.map(
  (node) => `${rule.id}: ${node.html.slice(0, 120)}: ${[...node.any, ...node.all, ...node.none].map((c) => c.message)}`
))));
"""
STILL = "return document.getAnimations().every((animation) => animation.playState !== 'running')"
FOCUSED = """
let element = document.activeElement;
while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
"""
LOOK_AT_FOCUS = (
    FOCUSED
    + """
if (!element || element === document.body) return null;
if (!element.dataset.stop) element.dataset.stop = ++window.stops || (window.stops = 1);
const ring = (part) => {
  const style = getComputedStyle(part);
  return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
};
const field = element.closest('.q-field'), label = element.closest('label');
const end = element.getBoundingClientRect().bottom;
return {
  stop: Number(element.dataset.stop),
  what: element.outerHTML.slice(0, 120),
  seen: ring(element) || (label && ring(label)) || !!field?.classList.contains('q-field--focused'),
  covered: !!element.closest('main.page') && document.querySelector('.top').getBoundingClientRect().bottom > end,
};
"""
)
CONTROLS_LEFT = """
const left = [], kinds = 'a[href], button, input:not([type=hidden]), select, textarea, iframe, [tabindex="0"]';
function look(root) {
  for (const element of root.querySelectorAll('*')) {
    if (element.shadowRoot) look(element.shadowRoot);
    const shown = element.checkVisibility({visibilityProperty: true}) && element.tabIndex >= 0;
    const missed = element.matches(kinds) && shown && !element.dataset.stop && !element.disabled;
    if (missed) left.push(element.outerHTML.slice(0, 160));
  }
}
look(document);
return left;
"""


@pytest.fixture(scope="module")
def axe() -> str:
    try:
        files = distribution("axe-playwright-python")
    except PackageNotFoundError:
        pytest.skip("axe-core is not installed: pip install --no-deps axe-playwright-python, as `make` does")
    return files.locate_file("axe_playwright_python/axe.min.js").read_text(encoding="utf-8")


def _violations(page: Page, axe: str) -> list[str]:
    page.script(axe)
    return page.browser.execute_async_script(RUN_AXE, STANDARDS)


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), pytest.param("fa", "dark", marks=pytest.mark.slow)])
def test_every_page_keeps_the_guidelines_and_fits(page, service, axe, language, theme):
    """At its usual size; zoomed to 200 % (half the width and height); and at 320 px, a phone or 400 %."""
    page.open("inspect")
    page.browser.add_cookie({"name": "theme", "value": theme})
    for name in PAGES:
        for width, height in ((1280, 800), (640, 400), (320, 640)):
            page.open(f"fa/{name}" if language == "fa" else name, width, height)
            page.until(lambda: page.script("return document.body.innerText.length > 100"))
            time.sleep(0.7)  # charts are drawn
            assert page.script("return document.documentElement.scrollWidth") <= width, f"{name} at {width} px"
            if width == 1280 or (width == 320 and language == "fa"):
                assert _violations(page, axe) == [], f"{name} at {width} px"
    page.open("fa/review" if language == "fa" else "review")
    page.script("document.querySelector('.q-btn').click()")
    page.one(".q-dialog h2")
    page.until(lambda: page.script(STILL))
    page.script(
        "document.querySelector('.q-dialog__backdrop').style.visibility = 'hidden'"
    )  # axe takes it for a ground
    assert _violations(page, axe) == [], "a dialog"
    page.open("fa/review?inspection=999999" if language == "fa" else "review?inspection=999999")
    page.says("بازرسی ۹۹۹۹۹۹ وجود ندارد." if language == "fa" else "There is no inspection 999999.")
    assert page.one(".q-notification[role=alert]").get_attribute("lang") == language
    page.until(lambda: page.script(STILL))
    assert _violations(page, axe) == [], "a note"
    page.browser.get(f"{service.url}/ui/{'fa/' if language == 'fa' else ''}nowhere")
    assert _violations(page, axe) == [], "the page of an error"


@pytest.mark.parametrize("address", [*PAGES, "fa/review"])
def test_every_control_is_reached_by_the_tabulator(page, address):
    """In the document's order, seen, and not under the head; nothing holds the focus."""
    page.open(address)
    page.until(lambda: page.script("return document.body.innerText.length > 100"))
    time.sleep(0.7)
    stops = []
    for _ in range(MAX_STOPS):
        page.key(Keys.TAB)
        focus = page.script(LOOK_AT_FOCUS)
        if focus is None or (stops and focus["stop"] == 1):
            break
        stops.append(focus)
    assert [focus["stop"] for focus in stops] == list(range(1, len(stops) + 1)), "none is met twice"
    assert [focus["what"] for focus in stops if not focus["seen"]] == []
    assert [focus["what"] for focus in stops if focus["covered"]] == []
    assert page.script(CONTROLS_LEFT) == []
    order = page.script(
        "return [...document.querySelectorAll('[data-stop]')].map((element) => Number(element.dataset.stop))"
    )
    assert order == sorted(order)


def test_menus_and_dialogs_are_closed_by_escape(page):
    page.open("review")
    page.until(lambda: page.all(".gallery .thumb"))
    page.script("arguments[0].focus()", page.input("Show"))
    page.key(Keys.ENTER)
    page.until(lambda: page.all(".q-menu .q-item"))
    page.key(Keys.ESCAPE)
    page.until(lambda: not page.all(".q-menu"))
    button = page.with_text("button", "Export decisions")
    page.script("arguments[0].focus()", button)
    page.key(Keys.ENTER)
    page.one(".q-dialog h2")
    inside = "return !!document.activeElement.closest('.q-dialog')"
    page.until(lambda: page.script(inside))
    for _ in range(8):
        page.key(Keys.TAB)
        assert page.script(f"{inside} || document.activeElement === document.body"), "the focus stays in the dialog"
    page.key(Keys.ESCAPE)
    page.until(lambda: not page.all(".q-dialog"))
    page.until(lambda: page.script("return document.activeElement === arguments[0]", button))


def test_from_the_login_to_the_next_part_by_keyboard(browser, axe, model, bad, tmp_path):
    folder = serving_folder(tmp_path, model)
    key = add_account(folder / "accounts.toml", "sara", "operator")
    with served(folder, "--accounts", "accounts.toml", ready=False) as service:
        service.http.headers["authorization"] = f"Bearer {key}"
        numbers = [service.inspect(file, model="pane").json()["items"][0]["id"] for file in bad[:3]]
        browser.delete_all_cookies()
        page = Page(browser, service)
        browser.get(f"{service.url}/inspections/{numbers[0]}")
        page.until(lambda: browser.current_url.endswith("/login"))
        page.until(lambda: page.all("button"))
        assert _violations(page, axe) == []
        page.key(key, Keys.ENTER)
        page.until(lambda: browser.current_url.endswith("/ui/inspect"))
        page.until(lambda: page.script("return window.socket?.connected && !!document.querySelector('.verdict .word')"))
        for _ in range(4):
            page.key(Keys.TAB)
        assert browser.switch_to.active_element.text == "Review"
        page.key(Keys.ENTER)
        page.until(lambda: browser.current_url.endswith("/review"))
        page.until(lambda: len(page.all(".gallery .thumb")) == 3 and page.script("return window.socket?.connected"))
        page.key("d")
        wait_until(lambda: service.http.get(f"/inspections/{numbers[-1]}").json()["decision"] == "defect")
        page.until(lambda: "chosen" in page.all(".gallery .thumb")[1].get_attribute("class"))
        assert service.http.get(f"/inspections/{numbers[-1]}").json()["decided_by"] == "sara"
        assert "none yet" in page.one(".chip[role=status]").text, "the next one is shown"
