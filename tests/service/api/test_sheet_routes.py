"""Pages of large pictures, over HTTP: made from the record, with tiles that are made once and go with the picture."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from serving import an_inspection_row, served, serving_folder

from pellucid.errors import DataError, OutputError
from pellucid.models.load import load
from pellucid.records.grades import Sheet
from pellucid.reports import leaflet
from pellucid.service.access.accounts import add_account
from pellucid.service.api import sheets
from pellucid.service.api.sheets import as_inspection
from pellucid.service.storage import pictures as store
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database
from pellucid.service.storage.retention import expire

pytest.importorskip("pyvips", reason="pyvips is not installed")
pytest.importorskip("nicegui", reason="nicegui is not installed")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def large(bad, tmp_path_factory):
    """A defective image, enlarged so that it has several levels of tiles."""
    file = tmp_path_factory.mktemp("large") / "pane & <b>.png"
    image = cv2.imread(str(bad))
    cv2.imwrite(str(file), cv2.resize(image, None, fx=600 / max(image.shape), fy=600 / max(image.shape)))
    return file


def test_a_page_has_the_inspections_defects_and_its_tiles(service, large):
    (item,) = service.inspect(large).json()["items"]
    address = f"/inspections/{item['id']}"
    assert service.http.get(f"{address}/tiles/0/0_0.jpg").status_code == 404  # nobody has asked for the page
    answer = service.http.get(f"{address}/sheet")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.text
    assert "<b>.png" not in page
    assert "pane & <b>.png" in unescape(page)
    data = data_of(page)
    assert data["tiles"] == f"{address}/tiles"
    assert [one["box"] for one in data["defects"] if not one["ignored"]] == [one["box"] for one in item["defects"]]
    assert f'href="/ui/review?inspection={item["id"]}"' in page
    last = data["levels"] - 1
    assert last == 2
    tile = service.http.get(f"{address}/tiles/{last}/1_1.jpg")
    assert (tile.status_code, tile.headers["content-type"]) == (200, "image/jpeg")
    shown = cv2.imdecode(np.frombuffer(tile.content, np.uint8), cv2.IMREAD_COLOR)
    sent = cv2.imread(str(large))[256:512, 256:512]
    assert shown.shape == sent.shape
    assert np.abs(shown.astype(int) - sent).mean() < 4
    for wrong, status in (("9/0_0", 404), (f"{last}/50_0", 404), ("99/0_0", 422), ("0/-1_0", 422), ("0/..%2f_0", 404)):
        assert service.http.get(f"{address}/tiles/{wrong}.jpg").status_code in (status, 404, 422)
    assert service.http.get("/inspections/999999/sheet").status_code == 404
    assert service.http.get("/inspections/999999/tiles/0/0_0.jpg").status_code == 404


def test_strangers_see_neither(model, cache, large, tmp_path):
    folder = serving_folder(tmp_path, model)
    accounts = tmp_path / "accounts.toml"
    token = add_account(accounts, "ann", "operator")
    with served(folder, "--no-pages", "--accounts", str(accounts), env=cache) as service:
        own = {"Authorization": f"Bearer {token}"}
        with large.open("rb") as file:
            (item,) = service.http.post("/inspect", files={"files": file}, headers=own).json()["items"]
        for path in ("sheet", "tiles/0/0_0.jpg"):
            assert service.http.get(f"/inspections/{item['id']}/{path}").status_code == 401
            assert service.http.get(f"/inspections/{item['id']}/{path}", headers=own).status_code == 200


def test_the_record_holds_the_sheet_in_mm(model, cache, large, tmp_path):
    folder = serving_folder(tmp_path, model)
    inspector = load(model).with_scale((0.5, 0.25))
    inspector.save(folder / "models" / "pane.pellucid")
    with served(folder, "--no-pages", env=cache) as service:
        (item,) = service.inspect(large).json()["items"]
        assert item["sheet"]["mm_per_px"] == [0.5, 0.25]
        assert item["sheet"]["width_mm"] == pytest.approx(item["width"] * 0.5)
        assert service.http.get(f"/inspections/{item['id']}").json()["sheet"] == item["sheet"]
        assert data_of(service.http.get(f"/inspections/{item['id']}/sheet").text)["mm_per_px"] == [0.5, 0.25]


def test_a_row_is_an_inspection_again():
    defect = {"box": [1, 2, 3, 4], "area_px": 5, "peak": 1.0, "centroid": [2.0, 3.0]}
    sheet = {"width_mm": 10.0, "height_mm": 20.0, "mm_per_px": [0.1, 0.2], "outline": "image"}
    row = an_inspection_row(defects=[defect], ignored=[{**defect, "reason": "area"}], sheet=sheet)
    found = as_inspection(row)
    assert found.sheet == Sheet(10, 20, (0.1, 0.2))
    assert (found.defects[0].box, found.ignored[0].reason) == ([1, 2, 3, 4], "area")
    assert as_inspection(an_inspection_row()).sheet is None


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    row = an_inspection_row(id=7, picture=None)
    service = Mock(pictures=PictureStore(tmp_path / "pictures"))
    monkeypatch.setattr(sheets, "require_inspection", lambda *_: row)
    with pytest.raises(sheets.HTTPException, match="their time was over") as error:
        sheets.sheet(7, service)
    assert error.value.status_code == 404
    monkeypatch.setattr(leaflet, "find_spec", lambda _: None)
    sheets._leaflet.cache_clear()
    service = Mock()
    service.queue.drawing.return_value = Mock(__enter__=Mock(), __exit__=Mock(return_value=False))
    with pytest.raises(sheets.HTTPException, match="needs nicegui, which is not installed") as error:
        sheets.sheet(7, service)
    assert error.value.status_code == 503


def test_tiles_go_with_their_picture(tmp_path):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    content = cv2.imencode(".png", np.full((300, 300, 3), 99, np.uint8))[1].tobytes()
    rows = []
    for days in (1, 40):
        moment = datetime.now(UTC) - timedelta(days=days)
        files = pictures.save(moment, content, ".png", np.zeros((8, 8), np.float32), (8, 8))
        row = an_inspection_row(time=moment, picture=files.picture, map=files.map)
        rows.append(database.add(row))
        pictures.make_tiles(rows[-1], pictures.large_picture(rows[-1]))
    assert [pictures.tile(row, 1, 1, 1).is_file() for row in rows] == [True, True]
    assert expire(database, pictures, keep_ok=30, keep_reject=30) == 1
    assert len(list((tmp_path / "tiles").iterdir())) == 1
    with pytest.raises(DataError, match="has no such tile"):
        pictures.tile(rows[0], 5, 0, 0)
    with pytest.raises(DataError, match="their time was over"):
        pictures.tile(rows[1], 1, 1, 1)
    pictures.remove_before(datetime.now(UTC) + timedelta(days=2))
    assert list((tmp_path / "tiles").iterdir()) == []
    database.close()


def test_tiles_are_made_once_whoever_asks_at_the_same_time(tmp_path, monkeypatch):
    pictures = PictureStore(tmp_path / "pictures")
    content = cv2.imencode(".png", np.full((30, 30, 3), 99, np.uint8))[1].tobytes()
    files = pictures.save(datetime.now(UTC), content, ".png", np.zeros((8, 8), np.float32), (8, 8))
    row = an_inspection_row(picture=files.picture, map=files.map)
    picture = pictures.large_picture(row)

    def faster(_, folder):
        folder.mkdir(parents=True)
        raise OutputError("it is there")

    monkeypatch.setattr(store, "write_tiles", faster)
    pictures.make_tiles(row, picture)
    monkeypatch.setattr(store, "write_tiles", Mock(side_effect=AssertionError))
    pictures.make_tiles(row, picture)
    other = pictures.save(datetime.now(UTC), content, ".png", np.zeros((8, 8), np.float32), (8, 8))
    monkeypatch.setattr(store, "write_tiles", Mock(side_effect=OutputError("the disk is full")))
    with pytest.raises(OutputError, match="the disk is full"):
        pictures.make_tiles(an_inspection_row(picture=other.picture, map=other.map), picture)
