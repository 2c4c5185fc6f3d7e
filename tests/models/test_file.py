from __future__ import annotations

import json
import random

import numpy as np
import pytest
from safetensors.numpy import save_file

import pellucid
from pellucid.acquisition.folders import read_folder
from pellucid.errors import DataError, ModelFileError, OutputError, ParameterError
from pellucid.models.file import check_model_writable


@pytest.fixture(scope="module")
def inspector(glass):
    return pellucid.fit(glass, "patchcore", image_size=64, coreset_size=50)


@pytest.fixture(scope="module")
def model(inspector, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.pellucid"
    inspector.save(path)
    return path


def test_round_trip_gives_the_same_inspection(inspector, model, glass):
    path = read_folder(glass).samples[-1].path
    one, two = inspector.inspect(path), pellucid.load(model).inspect(path)
    assert one == two
    np.testing.assert_array_equal(one.map, two.map)
    assert one.map.shape == (256, 256)
    assert pellucid.load(model).limit == inspector.limit


def test_two_saves_are_the_same_bytes(inspector, model, tmp_path):
    inspector.save(tmp_path / "again.pellucid")
    assert (tmp_path / "again.pellucid").read_bytes() == model.read_bytes()


def test_nothing_but_a_model_is_replaced(model, tmp_path):
    path = tmp_path / "m.pellucid"
    content = model.read_bytes()
    for earlier in (None, b"", content, content[: len(content) // 2]):  # a damaged model may be replaced too
        if earlier is not None:
            path.write_bytes(earlier)
        check_model_writable(path)
    for other in (b"x", b"path,label\n", b"12345678{" + bytes(99), bytes(99)):
        path.write_bytes(other)
        with pytest.raises(OutputError, match=r"m.pellucid' is there and is not a pellucid model: give another file"):
            check_model_writable(path)
        assert path.read_bytes() == other


def test_pixels_and_files_agree(inspector, glass):
    from pellucid.acquisition.images import read_image

    path = read_folder(glass).samples[-1].path
    assert inspector.inspect(read_image(path)).score == inspector.inspect(path).score
    with pytest.raises(DataError, match=r"array of shape \(4, 4, 5\); \(H, W\), .* are taken"):
        inspector.inspect(np.zeros((4, 4, 5), np.float32))


def test_every_changed_byte_is_found(model, tmp_path):
    content = model.read_bytes()
    chooser = random.Random(0)
    for position in [0, 9, 20, *chooser.sample(range(len(content)), 20), len(content) - 1]:
        changed = bytearray(content)
        changed[position] ^= 0x10
        (tmp_path / "c.pellucid").write_bytes(changed)
        with pytest.raises(ModelFileError):
            pellucid.load(tmp_path / "c.pellucid")


@pytest.mark.parametrize("kept", [0, 5, 100, 5000, -1])
def test_truncated(model, tmp_path, kept):
    (tmp_path / "t.pellucid").write_bytes(model.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"truncated|not a pellucid model"):
        pellucid.load(tmp_path / "t.pellucid")


def test_foreign_missing_and_newer(inspector, tmp_path, monkeypatch):
    save_file({"a": np.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match="not a pellucid model"):
        pellucid.load(tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match="Cannot read model"):
        pellucid.load(tmp_path / "absent.pellucid")

    import pellucid.models.file as module

    real = json.dumps
    monkeypatch.setattr(module.json, "dumps", lambda d, **k: real({**d, "format_version": 9}, **k))
    inspector.save(tmp_path / "newer.pellucid")
    with pytest.raises(ModelFileError, match="format version 9; this pellucid reads up to 6"):
        pellucid.load(tmp_path / "newer.pellucid")


def test_a_detector_that_has_got_a_parameter_since(inspector, tmp_path, monkeypatch):
    now = type(inspector.detector).parameters
    monkeypatch.setattr(
        type(inspector.detector), "parameters", lambda self: {k: v for k, v in now(self).items() if k != "seed"}
    )
    inspector.save(tmp_path / "older.pellucid")
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=r"older pellucid, whose \w+ had no seed: fit it again"):
        pellucid.load(tmp_path / "older.pellucid")


def test_a_detector_that_learns_something_else_by_now(inspector, tmp_path, monkeypatch):
    now = type(inspector.detector).state
    monkeypatch.setattr(type(inspector.detector), "state", lambda self: dict(list(now(self).items())[:-1]))
    inspector.save(tmp_path / "older.pellucid")
    with pytest.raises(ModelFileError, match=r"another pellucid, whose \w+ learned something else: fit it again"):
        pellucid.load(tmp_path / "older.pellucid")


def test_unwritable_output(inspector, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        inspector.save(tmp_path / "file" / "m.pellucid")


def test_few_normals_calibrate_by_folds(glass):
    inspector = pellucid.fit(glass, "stfpm", image_size=64, false_reject=0.03, confidence=0.75, epochs=1)
    assert inspector.limit.method == "cross-conformal"
    assert len(inspector.limit.scores) == 50


def test_folds_calibrate_where_they_are_asked_for(glass, tmp_path):
    """Fifty normals are enough for a tenth to be held out."""
    assert pellucid.Plan.from_data(glass, false_reject=0.1).split.folds is None
    inspector = pellucid.fit(glass, "stfpm", image_size=64, false_reject=0.1, folds=2, epochs=1)
    assert (len(inspector.limit.scores), inspector.limit.folds, inspector.limit.left_out) == (50, 2, False)
    inspector.save(tmp_path / "m.pellucid")
    assert pellucid.load(tmp_path / "m.pellucid").limit == inspector.limit
    with pytest.raises(DataError, match="all 50 were: they are few, or folds were asked for"):
        inspector.export(tmp_path / "int8", format="openvino", int8=glass)


def test_folds_that_are_not_allowed(glass):
    with pytest.raises(ParameterError, match=r"dfm needs no folds: .* left out in turn. Leave --folds out"):
        pellucid.fit(glass, "dfm", folds=5)
    for folds in (1, 51):
        with pytest.raises(ParameterError, match=f"{folds} folds are not allowed: give at least 2, and at most 50"):
            pellucid.fit(glass, "stfpm", folds=folds)


def test_all_normals_calibrate_a_detector_that_leaves_them_out(glass, tmp_path):
    inspector = pellucid.fit(glass, "dfm", image_size=64)
    assert (inspector.limit.method, inspector.limit.left_out) == ("tail", True)  # of so few
    assert len(inspector.limit.scores) == len(inspector.held_out) == 50
    inspector.save(tmp_path / "m.pellucid")
    assert pellucid.load(tmp_path / "m.pellucid").limit == inspector.limit
    assert pellucid.fit(glass, "dfm", image_size=64, limit="f1").limit.left_out


def test_f1_limit_on_request(glass):
    assert pellucid.fit(glass, "dfm", image_size=64, limit="f1").limit.method == "f1"
