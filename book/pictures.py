"""Take every picture of the documentation anew: ``python -m book.pictures``; it needs chromium and some minutes.

Glass is drawn, a model is fitted, results, reports and pages are made by the commands that the documentation shows, and
a browser without a window looks at them. The pictures lie in ``docs/pictures``, with few colours, so that they are
small.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from pellucid.synthesis.glass import draw_data_set

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLOURS = 96
WINDOW = (1200, 760)
TALL_PX = 1120  # of the window for a sheet that broke many clauses
FIRST = "stone_2_000.png"  # the pane of the tutorial


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser() as chrome:
        folder = Path(name)
        draw_data_set(folder / "GlassDefect")
        shutil.copytree(folder / "GlassDefect" / "abnormal_test", folder / "new_images")
        shutil.copy(folder / "new_images" / FIRST, folder / "pane_0412.png")
        (folder / "customer.toml").write_text(customer_rule(), encoding="utf-8")
        for command in commands():
            subprocess.run([sys.executable, "-m", "pellucid", *command.split()], cwd=folder, check=True)
        save(Image.open(next((folder / "results" / "images").glob("*pane_0412.png"))), "result")
        chrome.set_window_size(WINDOW[0], TALL_PX)
        chrome.get(next((folder / "sheet" / "again" / "sheets").glob("*_sheet.html")).as_uri())
        look(chrome, "drawn-sheet")
        chrome.set_window_size(*WINDOW)
        chrome.get((folder / "out" / "report.html").as_uri())
        look(chrome, "report")
        chrome.get(next((folder / "graded" / "sheets").glob("*pane_0412.html")).as_uri() + "#d1")
        look(chrome, "sheet")
        with service(folder) as url:
            look_at_the_service(chrome, url, folder)


def customer_rule() -> str:
    """Return the rule of the tutorial."""
    page = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    return page.partition("<!-- file: customer.toml -->")[2].partition("```toml\n")[2].partition("```")[0]


def commands() -> tuple[str, ...]:
    """Return what is run, of the tutorial and of README."""
    return (
        "fit GlassDefect -o glass.pellucid",
        "inspect glass.pellucid pane_0412.png -o results",
        "inspect glass.pellucid pane_0412.png --mm-per-px 0.05 --grade customer.toml --sheet-pages -o graded",
        "compare GlassDefect -o out --detectors patchcore,padim,dfm --image-size 128",
        "demo --sheet -o sheet",
        "inspect sheet/sheet.pellucid sheet/sheet.tif --mm-per-px 0.2 --grade en1279 --sheet-pages -o sheet/again",
    )


def look_at_the_service(chrome: Any, url: str, folder: Path) -> None:
    """Take the pages after some panes came in."""
    good = sorted((folder / "GlassDefect" / "normal_test").iterdir())[:20]
    bad = sorted((folder / "new_images").iterdir())[::4]
    for picture in [*good, *bad, folder / "pane_0412.png"]:
        request = urllib.request.Request(f"{url}/inspect?model=glass&part_id={picture.stem}", picture.read_bytes())
        request.add_header("content-type", "image/png")
        urllib.request.urlopen(request).read()
    for page in ("review", "models"):
        open_page(chrome, f"{url}/ui/{page}?model=glass")
        look(chrome, page)
    open_page(chrome, f"{url}/ui/inspect?model=glass")
    field = "return document.querySelector('pellucid-drop')?.shadowRoot?.querySelector('input')"
    wait(chrome, lambda: chrome.execute_script(field)).send_keys(str(folder / "pane_0412.png"))
    wait(chrome, lambda: "REJECT" in chrome.find_element("tag name", "body").text.upper())
    look(chrome, "inspect")


def open_page(chrome: Any, address: str) -> None:
    """Go to a page of the service and wait until it is alive."""
    chrome.get(address)
    alive = "return window.socket?.connected && !!document.querySelector('main.page')"
    wait(chrome, lambda: chrome.execute_script(alive))


def look(chrome: Any, name: str) -> None:
    """Keep what the browser shows, once it has drawn it."""
    time.sleep(2)
    save(Image.open(io.BytesIO(chrome.get_screenshot_as_png())), name)


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with few colours."""
    file = PICTURES / f"{name}.png"
    picture.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT).save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


def wait(chrome: Any, so: Callable[[], Any]) -> Any:
    """Return what a question answers, once that is something."""
    return WebDriverWait(chrome, 120, 0.2).until(lambda _: so())


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """Serve a folder; yields the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pellucid", "serve", "--models", ".", "--data", ".", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(90)


def until_ready(url: str) -> None:
    """Wait until a service inspects, two minutes at most."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/ready").read()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url} is not ready")


@contextmanager
def browser() -> Iterator[Any]:
    """Start chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--lang=en", size):
        options.add_argument(argument)
    driver = shutil.which("chromedriver")
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


if __name__ == "__main__":
    main()
