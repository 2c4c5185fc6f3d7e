"""Pages of large images from the command line."""

from __future__ import annotations

import sys

import cv2
import pytest
from commands import pellucid_here

from pellucid.acquisition.files import image_files
from pellucid.cli import _sheet_pages

pytest.importorskip("pyvips", reason="pyvips is not installed")
pytest.importorskip("nicegui", reason="nicegui is not installed")


@pytest.fixture(scope="module")
def images(glass, tmp_path_factory):
    """A good and a defective image, and one whose name is odd."""
    folder = tmp_path_factory.mktemp("images")
    for name, source in (("a.png", "normal_test"), ("b.png", "abnormal_test"), ("c #%41 & d.png", "abnormal_test")):
        (folder / name).write_bytes(image_files(glass / source)[0].read_bytes())
    return folder


def pages_of(folder):
    return sorted(file.name for file in (folder / "sheets").glob("*"))


def test_small_images_have_no_page_unless_asked_for(model, images, tmp_path):
    pellucid_here("inspect", model, images, "-o", tmp_path / "auto")
    assert not (tmp_path / "auto/sheets").exists()
    done = pellucid_here(
        "inspect", model, images, "-o", tmp_path, "--sheet-pages", "--mm-per-px", 0.5, "--grade", "en1279"
    )
    assert pages_of(tmp_path) == [
        *("00000_a.html", "00000_tiles", "00001_b.html", "00001_tiles"),
        *("00002_c #%41 & d.html", "00002_tiles", "index.html"),
    ]
    assert f"sheets to look at: {tmp_path / 'sheets/index.html'}" in done.stdout
    index = (tmp_path / "sheets/index.html").read_text()
    assert 'href="00002_c%20%23%2541%20%26%20d.html"' in index
    assert "by en1279" in index


def test_large_images_have_a_page_unless_refused(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(_sheet_pages, "LARGE_PIXELS", 1000)
    done = pellucid_here("inspect", model, images, "-o", tmp_path / "auto", "--json")
    assert "index.html" in pages_of(tmp_path / "auto")
    assert "sheets to look at" in done.stderr  # what is printed stays JSON
    pellucid_here("inspect", model, images, "-o", tmp_path / "none", "--no-sheet-pages")
    assert not (tmp_path / "none/sheets").exists()
    pellucid_here("inspect", model, images)  # nothing is written without -o


def test_what_is_missing_is_said(model, images, tmp_path, monkeypatch):
    done = pellucid_here("inspect", model, images, "--sheet-pages", check=1)
    assert "--sheet-pages needs -o DIR" in done.stderr
    monkeypatch.setitem(sys.modules, "pyvips", None)
    done = pellucid_here("inspect", model, images, "--sheet-pages", "-o", tmp_path / "wanted", check=1)
    assert "needs 'pyvips[binary]', which is not installed" in " ".join(done.stderr.split())
    monkeypatch.setattr(_sheet_pages, "LARGE_PIXELS", 1000)
    done = pellucid_here("inspect", model, images, "-o", tmp_path / "auto")
    assert "no pages of large images were written: A page of a large image needs" in " ".join(done.stderr.split())
    assert (tmp_path / "auto/results.jsonl").exists()


def test_the_slim_runtime_says_what_it_lacks(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(_sheet_pages, "LARGE_PIXELS", 1000)
    for name in [name for name in sys.modules if name.startswith("pellucid.reports.sheet")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "markupsafe", None)
    done = pellucid_here("inspect", model, images, "-o", tmp_path)
    assert "needs markupsafe: pip install pellucid." in " ".join(done.stderr.split())


def test_an_image_whose_picture_fails_is_inspected_all_the_same(model, images, tmp_path, monkeypatch):
    from pellucid.reports import deep_zoom

    monkeypatch.setattr(deep_zoom, "MAX_WHOLE_PIXELS", 0)  # libvips has no reader for BMP
    cv2.imwrite(str(tmp_path / "e.bmp"), cv2.imread(str(images / "a.png")))
    done = pellucid_here("inspect", model, tmp_path / "e.bmp", "-o", tmp_path / "out", "--sheet-pages")
    assert "there is no page of" in done.stderr
    assert "1 inspected" in done.stdout
    assert not (tmp_path / "out/sheets/index.html").exists()
