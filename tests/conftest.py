"""Small drawn data sets and fast detectors for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from small import FAST, SHARED

import pellucid
from pellucid import detectors
from pellucid.detectors.__main__ import write_table
from pellucid.detectors._base import Detector
from pellucid.synthesis.glass import draw_data_set

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

settings.register_profile("pellucid", deadline=None)  # machines are shared: a slow example is no fault
settings.load_profile("pellucid")


def pytest_sessionstart():
    """Renew the table of detectors, so that a new or changed file needs no other line; in CI its own test complains."""
    if "CI" not in os.environ:
        write_table()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape names that are not UTF-8 in logs and messages: one process could not send them to the other."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return type(value)(map(_encodable, value)) if isinstance(value, (list, tuple)) else value


@pytest.fixture(scope="session")
def glass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glass")
    draw_data_set(folder, seed=0, n_train=50, n_test=6, n_per_defect=2)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real images are not here: ../shared is absent")
    return SHARED


@pytest.fixture
def make() -> Callable[..., Detector]:
    return lambda name, **more: detectors.create(name, **(FAST.get(name, {}) | more))


@pytest.fixture(scope="session")
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(12, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(smooth, size=(64, 64), mode="bilinear")
    return list((images * 0.2 + 0.4).split(4))


@pytest.fixture(scope="module")  # each module reads its own log
def browser() -> Iterator[Chrome]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver_file = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver_file is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_file))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def model(glass, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "pane.pellucid"
    pellucid.fit(glass, "dfm", image_size=64, false_reject=0.1).save(path)
    return path
