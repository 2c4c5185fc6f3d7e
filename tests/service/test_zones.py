"""Zones in the service: what is ignored is kept, answered and drawn."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

import pellucid
from pellucid.acquisition.files import image_files
from pellucid.regions.zones import Zones
from pellucid.reports.pictures import GREY, RED
from pellucid.service.app import create_service
from pellucid.service.queue import InspectionJob
from pellucid.service.settings import read_settings
from pellucid.service.storage.record import Filter


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
    for name, colour in (("pane", RED), ("ignoring", GREY)):
        row = zoned.database.get(inspected(zoned, name, bad).id)
        drawn, bare = (
            cv2.imdecode(np.frombuffer(zoned.pictures.overlay(each), np.uint8), cv2.IMREAD_COLOR)
            for each in (row, replace(row, defects=[], ignored=[]))
        )
        changed = (drawn != bare).any(axis=2)
        assert changed.any()
        assert (drawn[changed] == colour).all()
