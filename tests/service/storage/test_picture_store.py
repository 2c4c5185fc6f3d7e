"""Pictures and maps as files, and for how long."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import an_inspection_row, full_disk

from pellucid.errors import DataError, DiskFullError, OutputError
from pellucid.service.storage.pictures import MAP_LEVELS, PictureStore
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.retention import expire


def test_pictures_are_kept_for_their_time(tmp_path):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    now = datetime.now(UTC)
    anomaly_map = np.zeros((8, 8), np.float32)
    kept = {}
    for name, days, verdict, decision in (
        ("new ok", 1, "ok", None),
        ("old ok", 40, "ok", None),
        ("decided ok", 40, "ok", "ok"),
        ("old reject", 40, "reject", None),
        ("ancient reject", 400, "reject", None),
        ("ancient decided", 400, "ok", "defect"),
    ):
        moment = now - timedelta(days=days)
        files = pictures.save(moment, b"content", ".png", anomaly_map, (8, 8))
        entry = database.add(an_inspection_row(time=moment, verdict=verdict, picture=files.picture, map=files.map))
        if decision:
            database.decide(entry.id, decision, None, "ann")
        kept[name] = entry.id
    pictures.save(now - timedelta(days=401), b"left by a kill", ".png", anomaly_map, (8, 8))  # without a row
    assert expire(database, pictures, keep_ok=30, keep_reject=365) == 3
    left = {name for name, number in kept.items() if database.get(number).picture}
    assert left == {"new ok", "decided ok", "old reject"}
    assert len(list((tmp_path / "pictures").glob("*/*"))) == 6
    assert len(list((tmp_path / "pictures").iterdir())) == 2, "empty days are gone"
    with pytest.raises(DataError, match="their time was over"):
        pictures.path(database.get(kept["old ok"]))
    database.close()


@given(low=st.floats(-1e3, 1e3), spread=st.floats(0, 1e4), seed=st.integers(0, 99))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_maps_keep_their_values(tmp_path, low, spread, seed):
    anomaly_map = np.float32(low + spread * np.random.default_rng(seed).random((9, 11)))
    pictures = PictureStore(tmp_path)
    kept = pictures.save(datetime.now(UTC), b"x", ".png", anomaly_map, (9, 11))
    found = pictures.map(an_inspection_row(map=kept.map, map_low=kept.map_low, map_high=kept.map_high))
    step = (float(anomaly_map.max()) - float(anomaly_map.min())) / MAP_LEVELS
    np.testing.assert_allclose(found, anomaly_map, atol=step / 2 + 1e-6 * (abs(low) + spread) + 1e-7)


def test_a_full_disk_leaves_no_half_of_a_picture(tmp_path):
    with full_disk(tmp_path / "small", 1):
        pictures = PictureStore(tmp_path / "small")
        for _ in range(2):
            pictures.save(datetime.now(UTC), bytes(300_000), ".png", np.zeros((8, 8), np.float32), (8, 8))
        with pytest.raises(DiskFullError, match="No space"):
            pictures.save(datetime.now(UTC), bytes(600_000), ".png", np.zeros((8, 8), np.float32), (8, 8))
        assert all(f.stat().st_size for f in (tmp_path / "small").glob("*/*"))
        assert not list((tmp_path / "small").glob("*/.*"))


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in a file's place is made as POSIX does")
def test_a_picture_that_cannot_be_removed_stops_no_other_and_is_tried_again(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    old = datetime.now(UTC) - timedelta(days=40)
    store = PictureStore(tmp_path / "pictures")
    for number in range(5):
        name = f"2026-01-01/{number}"
        (tmp_path / "pictures/2026-01-01").mkdir(parents=True, exist_ok=True)
        for suffix in (".png", ".map.png"):
            (tmp_path / "pictures" / f"{name}{suffix}").write_bytes(b"x")
        database.add(an_inspection_row(time=old, picture=f"{name}.png", map=f"{name}.map.png"))
    stuck = tmp_path / "pictures/2026-01-01/1.png"
    stuck.unlink()
    (stuck / "inside").mkdir(parents=True)  # unlink fails, as on a file that Windows has open
    monkeypatch.setattr(PictureStore, "remove_before", lambda *_: None)
    for _ in range(2):
        with pytest.raises(OutputError, match="1 inspections are past their time but stay"):
            expire(database, store, keep_ok=1, keep_reject=1)
        assert [row.picture for row in database.find(Filter(), 9)] == [None, None, None, "2026-01-01/1.png", None]
        assert [path.name for path in (tmp_path / "pictures/2026-01-01").iterdir()] == ["1.png"]
    (stuck / "inside").rmdir()
    stuck.rmdir()
    stuck.write_bytes(b"x")
    assert expire(database, store, keep_ok=1, keep_reject=1) == 1
    assert list((tmp_path / "pictures").iterdir()) == []
    database.close()
