"""Models that learn more good images: a new lot's, or false alarms; and what they refuse."""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from commands import pellucid_here
from scipy.stats import binomtest

import pellucid
from pellucid import updating
from pellucid.acquisition.images import read_image
from pellucid.acquisition.verify import verify
from pellucid.detectors._known_defects import Head
from pellucid.errors import DataError, ModelFileError, ParameterError
from pellucid.models.file import read_header
from pellucid.records import Sample, Samples
from pellucid.study.planted import fewer_than_chance, find_flaws
from pellucid.synthesis.flaws import plant_flaw
from pellucid.synthesis.glass import draw_pane, to_uint8

OLD_FILES = Path(__file__).parent / "models" / "old_files"
LOT = range(1000, 1008)


def draw_lot(folder, numbers, light=0.7):
    """Good panes under a lamp that lights one side less than the other."""
    folder.mkdir(parents=True, exist_ok=True)
    lamp = np.linspace(light, 1.2, 256, dtype=np.float32)
    for n in numbers:
        cv2.imwrite(str(folder / f"{n}.png"), to_uint8(draw_pane(np.random.default_rng(n)) * lamp))
    return folder


@pytest.fixture(scope="module")
def padim(glass, tmp_path_factory):
    path = tmp_path_factory.mktemp("padim") / "padim.pellucid"
    pellucid.fit(glass, "padim", image_size=64, false_reject=0.1, n_features=20).save(path)
    return path


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    return draw_lot(tmp_path_factory.mktemp("lot") / "lot", LOT)


@pytest.fixture(scope="module")
def updated(padim, lot):
    return pellucid.update(padim, lot)


def test_a_new_lot_is_no_longer_rejected(padim, updated, lot):
    before, others = pellucid.load(padim), sorted(draw_lot(lot.parent / "others", range(2000, 2030)).iterdir())
    rejected = [sum(one.verdict == "reject" for one in i.inspect_many(others)) for i in (before, updated.inspector)]
    assert rejected[0] > 15
    low, high = binomtest(rejected[1], len(others)).proportion_ci()
    assert low <= 0.1 <= high
    assert updated.accepted
    assert updated.rejected == sum(one.verdict == "reject" for one in before.inspect_many(sorted(lot.iterdir())))
    assert updated.inspector.limit.lot_images == len(LOT)


def test_the_file_remembers_its_ancestry(padim, updated, lot, tmp_path):
    first, second = tmp_path / "first.pellucid", tmp_path / "second.pellucid"
    updated.inspector.save(first)
    again = pellucid.update(first, draw_lot(tmp_path / "next", range(3000, 3004), light=0.75))
    again.inspector.save(second)
    loaded = pellucid.load(second)
    assert [step.model_sha256 for step in loaded.ancestry] == [read_header(path)[1] for path in (padim, first)]
    assert [(step.learned, step.images) for step in loaded.ancestry] == [("lot", 8), ("lot", 4)]
    assert loaded.ancestry[0].limit == pellucid.load(padim).limit.value
    assert loaded.ancestry[1].limit == loaded.ancestry[0].updated_limit == updated.inspector.limit.value
    assert loaded.limit == again.inspector.limit
    assert int(loaded.detector.count_) == 50 + 8 + 4
    picture = next(lot.iterdir())
    assert loaded.inspect(picture).score == again.inspector.inspect(picture).score


def test_a_file_without_ancestry_loads(padim, tmp_path, monkeypatch):
    import pellucid.models.file as module

    real, inspector = json.dumps, pellucid.load(padim)

    def of_today(values, **more):
        limit = {name: value for name, value in values["limit"].items() if name != "lot_images"}
        return real({name: value for name, value in values.items() if name != "ancestry"} | {"limit": limit}, **more)

    monkeypatch.setattr(module.json, "dumps", of_today)
    inspector.save(tmp_path / "today.pellucid")
    monkeypatch.undo()
    loaded = pellucid.load(tmp_path / "today.pellucid")
    assert (loaded.ancestry, loaded.limit) == ((), inspector.limit)


def test_it_knows_what_it_learned(padim, updated, lot):
    before, after = pellucid.load(padim).fitted_images, updated.inspector.fitted_images
    data = verify(Samples(lot, "lot", tuple(Sample(path, "normal") for path in sorted(lot.iterdir()))))
    assert all(after.contain(digest) and not before.contain(digest) for digest in data.hashes.values())
    assert set(before.hashes) < set(after.hashes)
    assert after.lowest.light == min(one.light for one in data.appearances.values()) < before.lowest.light
    assert after.highest.light == before.highest.light
    assert after.data_sha256 != before.data_sha256


@pytest.mark.slow
def test_of_many_images_the_lot_places_its_own_limit(padim, tmp_path):
    """29 parts would place one with confidence 0.95 at 10 %: as in a fit, from their scores alone."""
    found = pellucid.update(padim, draw_lot(tmp_path / "many", range(4000, 4030))).inspector.limit
    assert (found.lot_images, len(found.scores)) == (None, 30)
    assert found.method in ("leave-one-out", "tail")
    assert found.value > np.median(found.scores)


def test_false_alarms_are_learned_and_the_limit_stays(padim, tmp_path):
    alarms = tmp_path / "data.csv"
    rows = ["path,label,split,type,mask,group"]
    for n in range(6):  # as the record exports decisions: nuisances that people passed, and defects
        pixels = draw_pane(np.random.default_rng(5000 + n))
        dirty, _ = plant_flaw(np.random.default_rng(n), np.repeat(pixels[..., None], 3, 2), "stone", 12, 0.4)
        cv2.imwrite(str(tmp_path / f"{n}.png"), to_uint8(dirty[..., 0]))
        rows.append(f"{n}.png,{'normal' if n < 5 else 'abnormal'},,,,part {n}")
    alarms.write_text("\n".join(rows))
    before = pellucid.load(padim)
    found = pellucid.update(padim, alarms, false_alarms=True)
    assert found.inspector.limit == before.limit
    assert (found.step.learned, found.step.images, found.found) == ("false alarms", 5, found.step.found)
    assert "1 images are defective or for testing and are left out." in found.notes
    for n in range(5):
        path = tmp_path / f"{n}.png"
        assert found.inspector.inspect(path).score < before.inspect(path).score


def test_what_is_left_out_is_counted(padim, lot, glass, tmp_path):
    mixed = shutil.copytree(lot, tmp_path / "mixed")
    fitted = next((glass / "normal_train").iterdir())
    shutil.copy(fitted, mixed / "fitted.png")
    shutil.copy(mixed / "1000.png", mixed / "again.png")
    (mixed / "broken.png").write_bytes(b"no picture")
    cv2.imwrite(str(mixed / "dead.png"), np.zeros((256, 256), np.uint8))
    cv2.imwrite(str(mixed / "dark.png"), to_uint8(draw_pane(np.random.default_rng(1)) * np.float32(0.1)))
    found = pellucid.update(padim, [mixed])
    assert found.step.images == len(LOT)
    said = " ".join(found.notes)
    assert "2 files are skipped: " in said
    assert "1 images are there twice and are left out." in said
    assert "1 images were learned from already and are left out." in said
    assert "1 images cannot be judged (dark.png: Not judged: " in said


@pytest.mark.parametrize("images", [["1000.png", "1001.png", "1002.png"], []])
def test_too_few_images_are_refused(images, padim, lot, tmp_path):
    (tmp_path / "few").mkdir()
    for name in images:
        shutil.copy(lot / name, tmp_path / "few" / name)
    message = "needs 4 new good images that are independent of each other, and there are 3: take more of them"
    with pytest.raises(DataError, match=message if images else "There are no images in"):
        pellucid.update(padim, tmp_path / "few")


def test_nothing_to_learn_is_refused(padim, glass):
    with pytest.raises(DataError, match=r"there are 0: take more of them\. .* images were learned from already"):
        pellucid.update(padim, glass)


def test_what_cannot_learn_on_is_refused(glass, lot, padim, tmp_path):
    trained = tmp_path / "trained.pellucid"
    pellucid.fit(glass, "stfpm", image_size=64, false_reject=0.1, epochs=1).save(trained)
    with pytest.raises(ParameterError, match=r"Stfpm cannot learn more images on top .*: fit it again, on all of them"):
        pellucid.update(trained, lot)
    taught = pellucid.load(padim)
    taught.detector.teach(Head(torch.ones(1), torch.zeros(1), torch.ones(1)))
    taught.save(trained)
    with pytest.raises(ParameterError, match=r"Labelled defects taught this Padim .*: fit it again, .* --learn-def"):
        pellucid.update(trained, lot)
    pellucid.load(padim).export(tmp_path / "exported", "onnx")
    with pytest.raises(ParameterError, match="An exported model only inspects: use the model file"):
        pellucid.update(tmp_path / "exported", lot)
    with pytest.raises(ModelFileError, match="Cannot read model"):
        pellucid.update(tmp_path / "absent.pellucid", lot)


@pytest.mark.parametrize("name", ["v1_dfm", "v1_padim", "v1_patchcore"])
def test_models_of_an_earlier_pellucid_lack_what_is_needed(name, lot, tmp_path):
    old = tmp_path / "old.pellucid"
    old.write_bytes(lzma.decompress((OLD_FILES / f"{name}.pellucid.xz").read_bytes()))
    with pytest.raises(ParameterError, match="earlier pellucid, which did not keep what an update needs: fit it again"):
        pellucid.update(old, lot)


def test_planted_flaws_are_found_at_a_limit_and_in_their_place(padim, lot):
    inspector = pellucid.load(padim)
    images = [read_image(path) for path in sorted(lot.iterdir())[:2]]
    low, high = replace(inspector.limit, value=-1.0, pixel=-1.0), replace(inspector.limit, value=np.inf)
    nowhere = replace(inspector.limit, value=-1.0, pixel=np.inf)
    found = np.array(find_flaws(images, [inspector] * 2, (low, inspector.limit, high, nowhere)))
    assert len(found) == 200
    assert found[:, 0].all()
    assert not found[:, 2:].any()
    assert 0 < found[:, 1].sum() < 200


def test_no_image_is_judged_by_a_model_that_learned_it(padim, lot, monkeypatch):
    asked = []
    real = updating._learn

    def learn(before, data, samples):
        after, held_out = real(before, data, samples)
        asked.append((after.runtime, {read_image(s.path).tobytes() for s in samples}))
        return after, held_out

    def judge(images, models, limits):
        for image, model in zip(images, models, strict=True):
            taught = [learned for runtime, learned in asked if runtime is model.runtime]
            assert all(image.tobytes() not in learned for learned in taught)
            assert len(limits) == 2 or len(taught[0]) == len(LOT) / 2
        return [(True,) * len(limits)]

    monkeypatch.setattr(updating, "_learn", learn)
    monkeypatch.setattr(updating, "find_flaws", judge)
    assert pellucid.update(padim, lot).accepted
    assert [len(learned) for _, learned in asked] == [8, 4, 4]


@pytest.mark.parametrize(("lost", "gained", "fewer"), [(0, 0, False), (3, 1, False), (5, 0, True), (20, 9, True)])
def test_fewer_is_told_from_chance_by_the_sign_test(lost, gained, fewer):
    before = [True] * lost + [False] * gained + [True, False] * 20
    after = [False] * lost + [True] * gained + [True, False] * 20
    assert fewer_than_chance(before, after) == fewer
    if lost + gained:
        assert fewer == (binomtest(lost, lost + gained, alternative="greater").pvalue < 0.05)


def test_the_command_writes_what_is_accepted(padim, lot, tmp_path):
    output = tmp_path / "new.pellucid"
    done = pellucid_here("update", padim, lot, "-o", output)
    for said in (
        "learned 8 good images of a new lot",
        "10.0% expected",
        "planted flaws found",
        "No promise: the limit",
    ):
        assert said in done.stdout
    assert f"wrote {output}" in done.stdout
    found = json.loads(pellucid_here("update", padim, lot, "-o", output, "--json").stdout)
    assert (found["accepted"], found["images"], found["planted"]) == (True, 8, 200)
    assert pellucid.load(output).ancestry[0].updated_limit == found["updated_limit"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_model_that_got_blind_is_not_written(more, padim, lot, tmp_path, monkeypatch):
    content = padim.read_bytes()
    output = shutil.copy(padim, tmp_path / "model.pellucid")
    monkeypatch.setattr(updating, "_find_flaws", lambda *_: ([True] * 9, [True] * 8 + [False], [True, *[False] * 8]))
    done = pellucid_here("update", output, lot, "-o", output, *more, check=1)
    assert "error: The updated model is not written: of 9 planted flaws it finds 1, and without what it" in done.stderr
    assert Path(output).read_bytes() == content
    assert not more or json.loads(done.stdout)["accepted"] is False


def test_the_command_replaces_nothing_but_a_model(padim, lot, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = pellucid_here("update", padim, lot, "-o", tmp_path / "notes.txt", check=1)
    assert "notes.txt' is there and is not a pellucid model" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
