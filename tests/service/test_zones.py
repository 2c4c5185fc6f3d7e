"""Zones in the service: what is ignored is kept, answered and drawn."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

import pellucid
from pellucid.acquisition.files import image_files
from pellucid.errors import DataError, ParameterError
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.reports.pictures import GREY, RED, YELLOW
from pellucid.service.access.accounts import Account, RoleError
from pellucid.service.app import create_app, create_service
from pellucid.service.queue import InspectionJob
from pellucid.service.registry import ModelRegistry
from pellucid.service.settings import read_settings
from pellucid.service.storage.record import Filter
from pellucid.service.zone_changes import set_zones


@pytest.fixture(scope="module")
def inspector(glass):
    """A model whose map shows where."""
    return pellucid.fit(glass, "padim", image_size=64, false_reject=0.1, n_features=20)


@pytest.fixture(scope="module")
def bad(inspector, glass):
    return next(f for f in image_files(glass / "abnormal_test") if inspector.inspect(f).verdict == "reject")


@pytest.fixture(scope="module")
def corner(inspector, bad):
    """Zones that let a few pixels count, where that map is lowest."""
    anomaly_map = inspector.inspect(bad).map
    y, x = np.unravel_index(anomaly_map.argmin(), anomaly_map.shape)
    counted = np.zeros(anomaly_map.shape, bool)
    counted[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = True
    return Zones._drawn(counted, margin=0, min_area=0)


@pytest.fixture(scope="module")
def zoned(inspector, corner, tmp_path_factory):
    """A service of two models, one of which ignores nearly all."""
    folder = tmp_path_factory.mktemp("zoned")
    (folder / "models").mkdir()
    inspector.save(folder / "models/pane.pellucid")
    replace(inspector, zones=corner).save(folder / "models/ignoring.pellucid")
    settings = {"models": folder / "models", "record": folder / "record", "pages": False, "runtime": "torch"}
    made = create_service(read_settings(settings))
    yield made
    made.queue.close()
    made.database.close()


def inspected(service, model: str, file):
    job = InspectionJob(file.read_bytes(), file.name, file.stem, model, "http", "ann")
    return service.queue.submit(job).result(60)


def test_what_is_ignored_is_kept_with_its_reason(zoned, bad):
    rejected, accepted = (inspected(zoned, name, bad) for name in ("pane", "ignoring"))
    assert (rejected.verdict, accepted.verdict) == ("reject", "ok")
    assert (accepted.score, accepted.p_value) == (rejected.score, rejected.p_value)
    assert accepted.defects == []
    assert {one["reason"] for one in accepted.ignored} == {"region"}
    expected = zoned.registry.get("ignoring").inspector.inspect(bad).ignored
    assert [one["area_px"] for one in accepted.ignored] == [one.defect.area_px for one in expected]
    read = zoned.database.get(accepted.id)
    assert [one["box"] for one in read.ignored] == [list(one["box"]) for one in accepted.ignored]
    assert zoned.database.find(Filter(), 1)[0].ignored == read.ignored


def test_what_is_ignored_is_drawn_thin_and_grey(zoned, bad):
    for name, colours in (("pane", (RED, YELLOW)), ("ignoring", (GREY,))):  # boxes and outlines
        row = zoned.database.get(inspected(zoned, name, bad).id)
        drawn, bare = (
            cv2.imdecode(np.frombuffer(zoned.pictures.overlay(each), np.uint8), cv2.IMREAD_COLOR)
            for each in (row, replace(row, defects=[], ignored=[]))
        )
        changed = (drawn != bare).any(axis=2)
        assert changed.any()
        assert {tuple(map(int, pixel)) for pixel in drawn[changed]} == set(colours)


def engineer(name: str = "eve") -> Account:
    return Account(name=name, role="engineer", key_sha256="0" * 64)


def change(service, zones: Zones | None, reason: str = "the fixture glares", account: Account | None = None):
    return set_zones(service.registry, service.database, "pane", zones, account or engineer(), reason)


def test_an_engineer_sets_what_counts_and_the_record_knows_who_and_why(zoned, corner, bad):
    assert inspected(zoned, "pane", bad).verdict == "reject"
    other = ModelRegistry(zoned.settings.models, zoned.database, "torch")
    assert other.get("pane").inspector.zones == EVERYTHING
    change(zoned, corner)
    assert inspected(zoned, "pane", bad).verdict == "ok"
    assert zoned.registry.known("pane").zones == corner
    assert zoned.registry.known("pane").header.zones == EVERYTHING
    other.follow()
    assert other.get("pane").inspector.zones == corner, "another process follows"
    assert ModelRegistry(zoned.settings.models, zoned.database, "torch").known("pane").zones == corner, (
        "and a later one"
    )
    assert zoned.registry.set_limit("pane", 1e-3, engineer(), "a test", confirmed=True).inspector.zones == corner
    assert zoned.registry.reload("pane", engineer()).inspector.zones == corner
    assert change(zoned, None, "it was repaired").inspector.limit.value == 1e-3, "a limit stays where it was moved"
    zoned.registry.set_limit("pane", None, engineer())
    assert inspected(zoned, "pane", bad).verdict == "reject"
    last, first = [c for c in zoned.database.changes(model="pane") if c.kind == "zones"]
    assert (first.who, first.reason) == ("eve", "the fixture glares")
    assert (last.who, last.reason) == ("eve", "it was repaired")
    assert Zones.model_validate_json(first.after) == Zones.model_validate_json(last.before) == corner
    assert first.before == last.after == EVERYTHING.model_dump_json()


def test_what_counts_is_not_changed_lightly(zoned, corner, bad):
    inspected(zoned, "pane", bad)
    before = zoned.database.changes(model="pane")
    with pytest.raises(RoleError):
        change(zoned, corner, account=Account(name="ann", role="operator", key_sha256="0" * 64))
    with pytest.raises(ParameterError, match="What counts decides what is rejected: give a reason"):
        change(zoned, corner, " ")
    with pytest.raises(DataError, match="In an image of 256x256 px there is no place for a defect that counts"):
        change(zoned, Zones(margin=128))
    with pytest.raises(DataError, match="drawn on 30x10 px, which is of another shape than 256x256 px"):
        change(zoned, Zones._drawn(np.ones((10, 30), bool), margin=0, min_area=0))
    assert zoned.database.changes(model="pane") == before
    assert zoned.registry.get("pane").inspector.zones == EVERYTHING


def test_routes_of_what_counts(zoned):
    app = TestClient(create_app(zoned), base_url="http://127.0.0.1")
    given = {"zones": {"margin": 3, "min_area": 20}, "reason": "dust"}
    answer = app.put("/models/pane/zones", json=given)
    assert answer.status_code == 200, answer.text
    assert answer.json()["zones"] == Zones(margin=3, min_area=20).model_dump(mode="json")
    assert answer.json()["zones_of_file"] == EVERYTHING.model_dump(mode="json")
    assert app.get("/models/pane/zones").json() == answer.json()
    (entry, *_) = app.get("/changes", params={"model": "pane"}).json()["items"]
    assert (entry["kind"], entry["reason"]) == ("zones", "dust")
    assert app.put("/models/pane/zones", json={"zones": {"runs": [4]}, "reason": "dust"}).status_code == 422
    assert app.put("/models/none/zones", json=given).status_code == 404
    assert app.put("/models/pane/zones", json={"zones": None, "reason": "clean"}).json()["zones"] == (
        EVERYTHING.model_dump(mode="json")
    )
