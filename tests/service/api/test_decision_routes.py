"""Decisions, over HTTP."""

from __future__ import annotations

import errno
import io
import re
import shutil
import time
import zipfile
from datetime import UTC, datetime
from unittest.mock import Mock

import numpy as np
import pytest
from serving import an_inspection_row, served, serving_folder

from pellucid.acquisition.folders import read_folder
from pellucid.errors import DataError, DiskFullError, OutputError
from pellucid.service.admission import BusyError
from pellucid.service.decisions_export import (
    EXPORT_STALL_S,
    ExportLease,
    decided_pictures,
    export_decisions,
    zip_decisions,
)
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database


def test_decisions_are_kept_undone_and_exported(model, cache, tmp_path, good, bad):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        assert service.http.get("/decisions.zip").status_code == 404
        first, second, third, _ = service.inspect(bad, good, bad, good).json()["items"]
        address = f"/inspections/{first['id']}/decision"
        assert service.http.put(address, json={"decision": "ok"}).json()["decision"] == "ok"
        assert service.http.put(address, json={"decision": None}).json()["decided_by"] is None
        decided = service.http.put(address, json={"decision": "defect", "type": "scratch"}).json()
        assert (decided["decision"], decided["type"], decided["decided_by"]) == ("defect", "scratch", "local")
        history = service.http.get(f"/inspections/{first['id']}/decisions").json()
        assert [(h["decision"], h["type"]) for h in history] == [("ok", None), (None, None), ("defect", "scratch")]
        service.http.put(f"/inspections/{second['id']}/decision", json={"decision": "ok"})
        service.http.put(f"/inspections/{third['id']}/decision", json={"decision": "nuisance", "type": "dust"})
        undecided = service.http.get("/inspections", params={"decision": "none"}).json()["items"]
        assert len(undecided) == 1
        assert service.http.put("/inspections/999/decision", json={"decision": "ok"}).status_code == 404
        assert service.http.put(address, json={"decision": "maybe"}).status_code == 422
        with zipfile.ZipFile(io.BytesIO(service.http.get("/decisions.zip").content)) as zipped:
            zipped.extractall(tmp_path / "next")
        more = service.http.get("/decisions.zip", params={"accepted": 5}).content
        assert not [
            f
            for f in (folder / "record").iterdir()
            if not f.name.startswith(("record.db", "pictures", "thumbnails", "session"))
        ]
        for refused in (-1, 100_001, 10**9, "many"):
            assert service.http.get("/decisions.zip", params={"accepted": refused}).status_code == 422
    samples = read_folder(tmp_path / "next" / "data.csv").samples
    assert sorted((s.label, s.type) for s in samples) == [("abnormal", "scratch"), ("normal", None), ("normal", None)]
    assert {s.path.read_bytes() for s in samples} == {good.read_bytes(), bad.read_bytes()}
    assert len({s.group for s in samples}) == 2, "images of one part stay together"
    with zipfile.ZipFile(io.BytesIO(more)) as zipped:
        assert len(zipped.namelist()) == 4 + 1


@pytest.mark.parametrize(
    ("kind", "part"), [("=HYPERLINK(1)", "-1+2"), ("@x", "+1"), ("stone", "=cmd|' /C calc'!A0"), ("a;=1", "P;@x")]
)
def test_an_export_holds_no_formulas(tmp_path, good, kind, part):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    now = datetime.now(UTC)
    stored = pictures.save(now, good.read_bytes(), ".png", np.ones((4, 4), np.float32), (4, 4))
    row = database.add(an_inspection_row(time=now, part_id=part, picture=stored.picture, map=stored.map))
    database.decide(row.id, "defect", kind, "ann")
    export_decisions(database, pictures, tmp_path / "out")
    database.close()
    text = (tmp_path / "out" / "data.csv").read_text("utf-8")
    assert not re.search(r"(^|[,;\"])[=+@-]", text, re.MULTILINE)
    (sample,) = read_folder(tmp_path / "out" / "data.csv", training_required=False).samples
    assert (sample.type.replace("'", ""), sample.group.replace("'", "")) == (kind, part.replace("'", ""))


def test_an_export_is_packed_while_it_is_read(tmp_path):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    content = np.random.default_rng(0).bytes(3_000_000)
    for number, p_value in enumerate((0.9, 0.05, 0.9, 0.9)):
        kept = pictures.save(*(datetime.now(UTC), content, ".png", np.zeros((4, 4), np.float32), (4, 4)))
        row = database.add(an_inspection_row(part_id=f"p{number}", p_value=p_value, picture=kept.picture, map=kept.map))
    database.decide(row.id, "defect", "scratch", "ann")
    pieces = zip_decisions(decided_pictures(database, pictures, accepted=9))
    sizes, packed = [], io.BytesIO()
    for number, piece in enumerate(pieces):
        if number == 0:
            pictures.remove([database.get(1).picture])  # in this moment
        sizes.append(len(piece))
        packed.write(piece)
    assert max(sizes) < 1_200_000
    with zipfile.ZipFile(packed) as zipped:
        assert zipped.testzip() is None
        assert sorted(zipped.namelist()) == ["data.csv", "images/00000003.png", "images/00000004.png"]
        assert zipped.read("images/00000004.png") == content
        lines = zipped.read("data.csv").decode().splitlines()[1:]
    assert lines == ["images/00000004.png,abnormal,,scratch,,p3", "images/00000003.png,normal,,,,p2"]
    assert export_decisions(database, pictures, tmp_path / "set", accepted=9) == 2
    database.close()


def test_an_export_into_a_folder_is_whole_or_nothing_and_replaces_nothing(tmp_path, monkeypatch):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(DataError, match="Nothing has been decided yet"):
        export_decisions(database, pictures, data / "next")
    kept = pictures.save(datetime.now(UTC), b"content", ".png", np.zeros((4, 4), np.float32), (4, 4))
    row = database.add(an_inspection_row(picture=kept.picture, map=kept.map))
    database.decide(row.id, "ok", None, "ann")
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copyfile", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(DiskFullError, match=r"Cannot write '.*next': No space left on device"):
            export_decisions(database, pictures, data / "next")
    assert list(data.iterdir()) == [], "the name is not taken"
    own = data / "own" / "images" / "precious.png"
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(OutputError, match=r"Cannot write '.*own': it is there already"):
        export_decisions(database, pictures, data / "own")
    assert export_decisions(database, pictures, data / "next") == 1
    database.close()
    assert sorted(path.name for path in data.iterdir()) == ["next", "own"]
    assert own.exists()


def test_one_export_at_a_time(monkeypatch):
    lease = ExportLease()
    first = lease.hold(iter([b"a", b"b"]))
    assert next(first) == b"a"
    with pytest.raises(BusyError, match="try again in 10 s"):
        lease.hold(iter([]))
    assert list(first) == [b"b"]
    second = lease.hold(iter([b"c", b"d"]))
    assert next(second) == b"c"
    second.close()  # the reader has gone
    third = lease.hold(iter([b"e", b"f"]))
    assert next(third) == b"e"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + EXPORT_STALL_S + 1)
    fourth = lease.hold(iter([b"g"]))
    assert list(third) == [b"f"], "one that was slow ends all the same"
    with pytest.raises(BusyError):
        lease.hold(iter([]))
    assert list(fourth) == [b"g"]


def test_exports_are_for_engineers(model, cache, tmp_path, keys):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", "--accounts", str(keys["file"]), env=cache) as service:
        statuses = {
            name: service.http.get("/decisions.zip", headers={"authorization": f"Bearer {keys[name]}"}).status_code
            for name in ("operator", "engineer")
        }
    assert statuses == {"operator": 403, "engineer": 404}
