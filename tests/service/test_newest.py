"""Which model a page begins with."""

from __future__ import annotations

import shutil

from serving import an_inspection_row

from pellucid.service.newest import last_used_model, newest_model
from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.record import Database


def test_the_model_that_inspected_last_comes_first_if_it_can_still_be_used(model, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    database = Database(f"sqlite:///{tmp_path / 'record.db'}")
    registry = ModelRegistry(models, database, "torch")
    assert last_used_model(registry, database) is None
    for name in ("first", "second"):
        shutil.copy(model, models / f"{name}.pellucid")
    assert last_used_model(registry, database) == newest_model(registry) == "first"
    database.add(an_inspection_row(model="second"))
    assert last_used_model(registry, database) == "second"
    database.add(an_inspection_row(model="gone"))
    assert last_used_model(registry, database) == "first", "there is no such model any more"
    database.add(an_inspection_row(model="second"))
    (models / "second.pellucid").write_bytes(b"no model")
    assert last_used_model(registry, database) == "first", "it cannot be used any more"
    database.close()
