"""The site: it builds without a warning or a network, names all that is public, and its generated pages are current."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from page_blocks import ROOT, blocks_of

import pellucid
from book import tables
from book.docstrings import plain
from pellucid import anomalib, backbones, detectors, errors, testing

EXTERNAL = re.compile(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?(https?:)?//""")
WORDS = ROOT / "docs" / "words.txt"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {"NO_MKDOCS_2_WARNING": "1", "PATH": "", "http_proxy": "http://127.0.0.1:9", "NO_COLOR": "1"}
    environment |= {"https_proxy": "http://127.0.0.1:9", "SYSTEMROOT": "C:\\Windows"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def public_names() -> set[str]:
    """Every name that a user may import, from the modules that the reference speaks of."""
    found = {f"pellucid.{name}" for name in pellucid.__all__ if name != "__version__"}
    found |= {f"pellucid.backbones.{name}" for name in backbones.__all__}
    for module in (detectors, errors, testing):
        own = (name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__)
        found |= {
            f"{module.__name__}.{name}" for name in own if not name.startswith("_") and callable(vars(module)[name])
        }
    found |= {f"pellucid.detectors.{name}" for name in detectors._HOMES}
    classes = [detectors.class_of(name) for name in detectors.own_names()]
    return found | {f"{cls.__module__}.{cls.__qualname__}" for cls in classes}


def test_every_public_name_is_in_the_reference(site):
    pages = "\n".join(page.read_text("utf-8") for page in sorted((site / "reference").glob("*.html")))
    shown = set(re.findall(r'id="(pellucid[\w.]*)"', pages))
    names = public_names()
    assert len(names) > 80
    assert names - shown == set()


def test_every_name_of_anomalib_is_on_a_page():
    pages = [page for page in (ROOT / "docs/reference/anomalib.md", ROOT / "docs/anomalib.md") if page.exists()]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    assert {name for name in anomalib.__all__ if not re.search(rf"\b{name}\b", text)} == set()


def test_every_public_name_has_a_docstring():
    for name in sorted(public_names()):
        module, _, attribute = name.rpartition(".")
        thing = getattr(sys.modules.get(module) or __import__(module, fromlist=["_"]), attribute)
        if inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing):  # not an alias of a type
            assert inspect.getdoc(thing), name


def test_nothing_is_loaded_from_elsewhere(site):
    """Links lead elsewhere; scripts, styles and pictures do not."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    assert {page.name for page in pages if EXTERNAL.search(page.read_text("utf-8"))} == set()


def test_the_search_of_pages_on_a_disk_finds(site, browser):
    """From a page in a folder, whose paths go up; and nothing, script or style, is asked of a network."""
    from selenium.webdriver.support.ui import WebDriverWait  # it may be missing

    browser.get_log("performance")  # of what this module did before
    browser.get((site / "howto" / "gpu.html").as_uri())
    field = browser.find_element("css selector", "[data-md-component=search-query]")
    browser.execute_script("arguments[0].focus()", field)
    field.send_keys("exchangeable")
    found = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    links = WebDriverWait(browser, 30, 0.1).until(lambda chrome: chrome.execute_script(found))
    pages = {link.split("?")[0].split("#")[0] for link in links}
    assert {(site / "glossary.html").as_uri(), (site / "explanation" / "conformal.html").as_uri()} <= pages
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [sent["params"]["request"]["url"] for sent in messages if sent["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("/search_index.js") for url in asked)
    assert {url for url in asked if not url.startswith(("file:", "data:"))} == set()


def test_pictures_are_small_and_used():
    pictures = sorted((ROOT / "docs" / "pictures").glob("*"))
    text = "\n".join(page.read_text("utf-8") for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 150_000, picture.name
        assert f"pictures/{picture.name}" in text, f"{picture.name} is on no page"


def test_the_http_page_is_current():
    reference = pytest.importorskip("pellucid.service.api.reference", reason="the extra [serve] is not installed")
    page = (ROOT / "docs/reference/http.md").read_text("utf-8")
    assert page == reference.reference(), "python -m pellucid.service.api.reference > docs/reference/http.md"


def test_the_page_of_benchmark_rows_is_current():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the day of a file's last change is git's to tell")

    def without_days(text: str) -> str:
        return re.sub(r"Last changed: .*", "", text)

    page = (ROOT / "docs/benchmark-rows.md").read_text("utf-8")
    assert without_days(page) == without_days(tables.page()), "python -m book.tables > docs/benchmark-rows.md"


def test_every_environment_variable_is_on_its_page():
    page = (ROOT / "docs/reference/environment.md").read_text("utf-8")
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'"(PELLUCID_[A-Z]+|RAY_ADDRESS)"', sources)) - {"PELLUCID_NAME"}
    assert {"PELLUCID_DEVICE", "PELLUCID_PROGRESS"} <= read
    assert {name for name in read if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("page", ["README.md", "README.fa.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text("utf-8")):
        if target.startswith(("http://", "https://", "#")):
            continue
        file, _, anchor = target.partition("#")
        assert (ROOT / file).exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page}: {target}"


def test_both_readmes_have_the_same_code():
    english, persian = (
        [(block.kind, block.text) for block in blocks_of(ROOT / name)] for name in ("README.md", "README.fa.md")
    )
    assert len(english) == 3
    assert english == persian


def test_words_are_spelled_right():
    """As `make docs` does; what codespell takes for a mistake and the field does not, stands in docs/words.txt."""
    pytest.importorskip("codespell_lib", reason="the extra [docs] is not installed")
    command = [sys.executable, "-m", "codespell_lib", "--ignore-words", str(WORDS), "--skip", "*.png,*.svg"]
    pages = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
    places = [*pages, "docs", "src", "book", "deploy", "examples"]
    done = subprocess.run([*command, *places], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.stdout == ""


def test_docstrings_become_markdown():
    text = ":func:`pellucid.fit` gives ``(B, H)``, see :class:`~pellucid.Limit`.\n\nExample:\n    >>> 1\n    1"
    assert plain(text) == "`pellucid.fit` gives `(B, H)`, see `pellucid.Limit`.\n\nExamples:\n    >>> 1\n    1"
