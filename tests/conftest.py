"""Small drawn data sets and fast detectors for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import forks
import pytest
import torch
from commands import COMPARED, pellucid_here
from hypothesis import settings
from small import FAST, SHARED

import pellucid
from pellucid import detectors
from pellucid.detectors.__main__ import write_table
from pellucid.detectors._base import Detector
from pellucid.study import engines
from pellucid.synthesis.glass import draw_data_set

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

LONG_FILES = (  # of half a minute and more, the longest first
    *("test_watch.py", "test_compare.py", "test_service_training.py", "test_scripts.py", "test_contract.py"),
    *("test_tiling.py", "test_accessibility.py", "test_runtimes.py", "test_pages_run.py", "test_pages_journeys.py"),
    *("test_pages_work.py", "test_faults.py", "test_bounded.py", "test_cli_interrupted.py", "test_report.py"),
    *("test_passing.py", "test_updating.py", "test_shapes.py", "test_tracking.py", "test_arguments.py"),
    *("test_on_ray.py", "test_teaching_networks.py", "test_pages_looks.py", "test_close_ups.py", "test_notebook.py"),
    *("test_model_routes.py", "test_pretraining.py", "test_owned.py", "test_interface.py", "test_examples.py"),
)

settings.register_profile("pellucid", deadline=None)  # machines are shared: a slow example is no fault
settings.load_profile("pellucid")


def pytest_sessionstart():
    """Renew the table of detectors, so that a new or changed file needs no other line; in CI its own test complains."""
    if "CI" not in os.environ:
        write_table()


def pytest_collection_modifyitems(items: list[pytest.Item]):
    """Put the longest files first: at the end, one would keep a single process busy while the others have nothing."""
    place = {name: n for n, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


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


@pytest.fixture(scope="session", autouse=True)
def _models_of_comparisons_are_forks() -> Iterator[None]:
    """Begin the processes of a comparison that a test makes itself as forks; a command's are as a user has them."""
    with patch.object(engines, "subprocess", forks):
        yield
    forks.end()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Let a folder be filled by the first of this run's processes that asks for it; nobody changes what is in it."""
    from filelock import FileLock  # which warns where there are no locks: a test hides what Windows lacks

    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder(name: str, fill: Callable[[Path], None]) -> Path:
        made = root / "shared" / name
        made.parent.mkdir(exist_ok=True)
        with FileLock(made.with_suffix(".lock")):
            if not made.with_suffix(".done").exists():
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                fill(made)
                made.with_suffix(".done").touch()
        return made

    return folder


@pytest.fixture(scope="session")
def glass(made_once) -> Path:
    return made_once("glass", partial(draw_data_set, seed=0, n_train=50, n_test=6, n_per_defect=2))


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


@pytest.fixture(scope="session")
def dinov2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DINOv2-S with random weights, as transformers writes it."""
    transformers = pytest.importorskip("transformers", reason="the extra [vit] is not installed")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    folder = tmp_path_factory.mktemp("dinov2")
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder / "model.safetensors"


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
def model(glass, made_once):
    fitted = "pane.pellucid"
    fit = partial(pellucid.fit, glass, "dfm", image_size=64, false_reject=0.1)
    return made_once("model", lambda folder: fit().save(folder / fitted)) / fitted


@pytest.fixture(scope="session")
def compared(glass, made_once):
    """The results of a comparison of three detectors."""
    return made_once("compared", lambda folder: pellucid_here("compare", glass, "-o", folder, *COMPARED))
