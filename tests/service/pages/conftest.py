"""What tests of the pages share: data, a service with inspections, a browser at its pages."""

from __future__ import annotations

import shutil

import pytest
from serving import served, serving_folder
from small import SHARED

from pellucid.acquisition.files import image_files
from pellucid.models.load import load


@pytest.fixture(scope="module")
def data(glass, tmp_path_factory):
    """Real images if they are here, drawn ones if not: all good ones to learn from, few to test on."""
    root = SHARED / "data" / "glass_defect" if SHARED.is_dir() else glass
    folder = tmp_path_factory.mktemp("data")
    for name, count in (("normal_train", None), ("normal_test", 12), ("abnormal_train", 10), ("abnormal_test", 20)):
        (folder / "glass_defect" / name).mkdir(parents=True)
        for file in image_files(root / name)[:count]:
            shutil.copy(file, folder / "glass_defect" / name)
    shutil.copytree(root / "mask", folder / "glass_defect" / "mask")
    return folder


@pytest.fixture(scope="module")
def bad(glass, model):
    inspector = load(model)
    return [f for f in image_files(glass / "abnormal_test") if inspector.inspect(f).verdict == "reject"]


@pytest.fixture(scope="module")
def service(model, data, glass, bad, tmp_path_factory):
    folder = serving_folder(tmp_path_factory.mktemp("pages"), model)
    with served(folder, "--data", str(data)) as running:
        for file in [*image_files(glass / "normal_test")[:4], *bad[:4]]:
            running.inspect(file, model="pane")
        yield running


@pytest.fixture
def page(browser, service):
    from service.pages.browsing import Page  # selenium may be missing

    browser.get("about:blank")
    browser.delete_all_cookies()
    browser.get_log("browser")
    return Page(browser, service)
