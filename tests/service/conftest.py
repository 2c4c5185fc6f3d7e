"""What the service's tests share: a running service, images, a PostgreSQL."""

from __future__ import annotations

import shutil

import cv2
import pytest
from serving import Postgres, served, serving_folder

from pellucid.acquisition.files import image_files
from pellucid.models.load import load
from pellucid.service.access.accounts import add_account
from pellucid.service.app import create_service
from pellucid.service.settings import read_settings
from pellucid.service.storage.record import Database
from service.watched import Line


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return {"PELLUCID_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def service(model, cache, tmp_path_factory):
    folder = serving_folder(tmp_path_factory.mktemp("served"), model)
    with served(folder, "--no-pages", env=cache) as running:
        yield running


@pytest.fixture(scope="module")
def good(glass):
    return image_files(glass / "normal_test")[0]


@pytest.fixture(scope="module")
def bad(glass, model):
    inspector = load(model)
    return next(f for f in image_files(glass / "abnormal_test") if inspector.inspect(f).verdict == "reject")


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'r.db'}")
    else:
        server = request.getfixturevalue("postgres")
        made = Database(server.url)
    yield made
    made.close()


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "accounts.toml"
    return {"file": file, **{name: add_account(file, name, name) for name in ("operator", "engineer")}}


@pytest.fixture(scope="module")
def lines(model, tmp_path_factory):
    """Make services with a folder each."""
    made = []

    def make() -> Line:
        folder = tmp_path_factory.mktemp("line")
        (folder / "models").mkdir()
        (folder / "camera").mkdir()
        shutil.copy(model, folder / "models" / "pane.pellucid")
        settings = read_settings({"models": folder / "models", "record": folder / "record", "pages": False})
        made.append(create_service(settings))
        made[-1].registry.get("pane")  # or files would be finished before they are looked at
        return Line(made[-1], folder / "camera")

    yield make
    for service in made:
        service.queue.close()
        service.database.close()


@pytest.fixture(scope="module")
def pane(glass):
    return cv2.resize(cv2.imread(str(image_files(glass / "normal_test")[0])), (256, 256))
