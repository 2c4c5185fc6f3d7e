"""What belongs together, by file names and by content; what becomes of the split and of its promise."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from panes import frame, pane

import pellucid
from pellucid.acquisition.file_names import groups_in_names
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.groups import with_groups
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import assign_folds, count_groups, plan_split, splits_csv
from pellucid.acquisition.verify import verify
from pellucid.records import Sample, Samples

USED = {
    "pane07_frame3": [f"pane{a:02}_frame{b}" for a in range(12) for b in range(5)],
    "few clips": [f"clip{a}_frame{b:04}" for a in range(2) for b in range(30)],
    "lot3-plate12-tile04": [f"lot{c}-plate{p}-tile{t:02}" for c in range(3) for p in range(6) for t in range(4)],
    "cam1_ts1763100100504_2": [f"cam{a % 4}_ts{1763100100504 + a * 77}_{b}" for a in range(30) for b in range(3)],
    "cam-1_ts1763100100504_906_526": [
        f"cam-1_ts{1763100100504 + a * 77}_{x}_{y}" for a in range(30) for x, y in ((906, 526), (13, 70))
    ],
    "P0007_128_256": [f"P{a:04}_{x}_{y}" for a in range(12) for x in (0, 128, 256) for y in (0, 128)],
    "P0007_1_2": [f"P{a:04}_{x}_{y}" for a in range(12) for x in range(4) for y in range(4)],
    "00012_x1_y2": [f"{a:05}_x{x}_y{y}" for a in range(5) for x in range(4) for y in range(4)],
    "00012_r1_c2": [f"{a:05}_r{x}_c{y}" for a in range(12) for x in range(2) for y in range(2)],
    "14112817160_0": [f"{14112817160 + a * 11}_{b}" for a in range(70) for b in range(1 + a % 3)],
    "pane_07_3": [f"pane_{a:02}_{b}" for a in range(20) for b in range(4)],
    "IMG_1234 (2)": [f"IMG_{1000 + a} ({b})" for a in range(20) for b in range(3)],
    "20240317_101500_2": [f"20240317_{101500 + a}_{b}" for a in range(30) for b in range(3)],
    "S123.crop2": [f"S{100 + a}.crop{b}" for a in range(15) for b in range(4)],
}
PROPOSED = {
    "good_3_4": [f"good_{x}_{y}" for x in range(12) for y in range(9)],
    "three classes on a grid": [f"{c}_{x}_{y}" for c in ("spot", "crack", "line") for x in range(9) for y in range(9)],
    "few parts": [f"S{a}_{b}" for a in range(5) for b in range(8)],
    "cam1_0001": [f"cam{c}_{n:04}" for c in range(1, 5) for n in range(100)],
    "many cameras": [f"cam{c:02}_{n:04}" for c in range(1, 15) for n in range(30)],
    "cam1_frame0001": [f"cam{c}_frame{n:04}" for c in range(3) for n in range(100)],
    "days": [f"2024-03-{d:02}_{n:03}" for d in range(1, 21) for n in range(20)],
    "lots": [f"lot{d:02}_{n:03}" for d in range(1, 21) for n in range(20)],
}
NOTHING = {
    "000": [f"{a:03}" for a in range(200)],
    "img_001": [f"img_{a:03}" for a in range(200)],
    "good_0001": [f"good_{a:04}" for a in range(100)],
    "frame0001": [f"frame{a:04}" for a in range(100)],
    "class_x_y": [
        f"{c}_{x}_{y}" for c in ("spot", "crack", "line") for x in range(0, 900, 90) for y in range(0, 900, 90)
    ],
    "times": [f"20240317_{h:02}{m:02}{s:02}" for h in range(3) for m in range(0, 60, 7) for s in range(0, 60, 13)],
    "exp1_num_106151": [f"exp{e}_num_{106151 + 977 * i + e}" for e in range(1, 7) for i in range(33)],
    "hashes": [f"{(a * 2654435761) % 2**32:08x}" for a in range(100)],
    "one of another kind": [*(f"pane{a:02}_frame{b}" for a in range(12) for b in range(5)), "other"],
    "a word": ["pane", "glass", "sheet"],
}


def _normals(stems, folder="normal_train"):
    return [Sample(Path(folder) / f"{stem}.png", "normal", "train") for stem in stems]


@pytest.mark.parametrize("kind", USED)
def test_groups_in_names_are_used_and_said(kind):
    groups, notes = groups_in_names(_normals(USED[kind]))
    assert set(groups) == {s.path for s in _normals(USED[kind])}
    assert 1 < len(set(groups.values())) < len(groups)
    assert f"{len(set(groups.values()))} groups, as in " in notes[0]
    assert "are kept together, before" in notes[0]


@pytest.mark.parametrize("kind", PROPOSED)
def test_what_may_be_groups_is_proposed(kind):
    groups, notes = groups_in_names(_normals(PROPOSED[kind]))
    assert groups == {}
    assert "say so in the group column of a CSV file" in notes[0]


@pytest.mark.parametrize("kind", NOTHING)
def test_running_numbers_and_classes_are_no_groups(kind):
    assert groups_in_names(_normals(NOTHING[kind])) == ({}, ())


def test_names_that_are_numbered_anew_in_each_folder_are_not_the_same_thing():
    stems = [f"pane{a:02}_frame{b}" for a in range(12) for b in range(3)]
    test = [Sample(Path("normal_test") / f"{stem}.png", "normal", "test") for stem in stems]
    groups, _ = groups_in_names([*_normals(stems), *test])
    assert not {groups[s.path] for s in test} & {groups[s.path] for s in _normals(stems)}
    stems = [f"ts{1763100100504 + a}_{b}" for a in range(12) for b in range(3)]
    test = [Sample(Path("normal_test") / f"{stem}.png", "normal", "test") for stem in stems]
    groups, _ = groups_in_names([*_normals(stems), *test])
    assert {groups[s.path] for s in test} == {groups[s.path] for s in _normals(stems)}


# --- with images ------------------------------------------------------------------------------------------------------


def _write(folder, names, panes, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for name, number in zip(names, panes, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), frame(pane(number, 96), rng))


@pytest.fixture(scope="module")
def burst(tmp_path_factory):
    """12 panes, 5 frames of each, under names that say nothing; 6 others to test on."""
    root = tmp_path_factory.mktemp("burst")
    _write(root / "normal_train", [f"{n * 7919 % 104729:06}" for n in range(60)], [n // 5 for n in range(60)])
    _write(root / "normal_test", [f"t{n}" for n in range(6)], range(100, 106), seed=1)
    return root


def _groups(plan):
    return {s.group for s in plan.split.fit}


def test_a_burst_is_one_group_in_every_way_to_a_split(burst):
    plan = Plan.from_data(burst)
    assert count_groups(plan.split.fit) == 12
    assert plan.split.folds == 5
    numbers = assign_folds(plan.split.fit, 5, seed=3)
    assert len({(s.group, n) for s, n in zip(plan.split.fit, numbers, strict=True)}) == 12
    assert count_groups(plan.resplit(seed=5).split.fit) == 12
    rows = list(csv.DictReader(splits_csv(plan.split, burst).splitlines()))
    assert len({row["group"] for row in rows if row["role"] == "fit"}) == 12
    assert any("60 normal training images show the same as another one" in note for note in plan.notes)
    assert any("show only 12 parts or photos, and 19 are needed for 5.0% false rejects" in note for note in plan.notes)


def test_a_burst_gets_a_limit_and_no_promise(burst):
    inspector = pellucid.fit(burst, "dfm", image_size=64)
    assert inspector.limit.groups == 12
    assert inspector.limit.false_reject_rate == pytest.approx(1 / 13)
    assert inspector.limit.value == max(inspector.limit.scores)


def test_a_model_keeps_the_weights_of_its_groups(burst, tmp_path):
    inspector = pellucid.fit(burst, "dfm", image_size=64)
    inspector.save(tmp_path / "m.pellucid")
    assert pellucid.load(tmp_path / "m.pellucid").limit == inspector.limit


def test_enough_groups_keep_the_promise(tmp_path):
    names = [f"{n:03}" for n in range(100)]
    _write(tmp_path / "normal_train", names, [n // 2 for n in range(100)])
    plan = Plan.from_data(tmp_path)
    assert count_groups(plan.split.fit) == 50
    assert not any("not promised" in note for note in plan.notes)
    plan = Plan.from_data(tmp_path, false_reject=0.2)
    assert plan.split.folds is None
    assert not {s.group for s in plan.split.fit} & {s.group for s in plan.split.calibrate}


def test_the_group_column_has_the_last_word(burst, tmp_path):
    shutil.copytree(burst / "normal_train", tmp_path / "images")
    names = sorted(p.name for p in (tmp_path / "images").iterdir())
    rows = [f"images/{name},normal,train,part {n}" for n, name in enumerate(names)]
    (tmp_path / "d.csv").write_text("\n".join(["path,label,split,group", *rows]))
    split = Plan.from_data(tmp_path / "d.csv").split
    assert count_groups(split.fit) == 60
    assert split.notes == ()


def test_an_image_without_a_group_joins_the_one_that_it_is_like(burst, tmp_path):
    shutil.copytree(burst / "normal_train", tmp_path / "images")
    names = [f"{n * 7919 % 104729:06}.png" for n in range(60)]
    rows = [f"images/{name},normal,train,{f'pane {n // 5}' if n % 5 == 0 else ''}" for n, name in enumerate(names)]
    (tmp_path / "d.csv").write_text("\n".join(["path,label,split,group", *rows]))
    fit = Plan.from_data(tmp_path / "d.csv").split.fit
    assert {s.path.name: s.group for s in fit} == {name: f"pane {n // 5}" for n, name in enumerate(names)}


def test_one_part_promises_nothing_for_others(tmp_path):
    _write(tmp_path / "normal_train", [f"{n:03}" for n in range(30)], [0] * 30)
    plan = Plan.from_data(tmp_path)
    assert count_groups(plan.split.fit) == 1
    assert "all show one part or photo, so nothing is promised for others: take images of 18 more" in plan.notes[-1]
    assert set(assign_folds(plan.split.fit, plan.split.folds, 0)) == {0, 1}
    assert pellucid.fit(plan, "dfm", image_size=64).limit.groups == 1


def test_what_may_be_frames_of_one_part_is_said_where_nothing_else_tells():
    names = [Path(f"normal_train/{n}.png") for n in range(30)]
    free = Samples(Path(), "CSV", tuple(Sample(path, "normal", "train") for path in names))
    said = with_groups(free, (), [names[:12], names[15:28]])
    assert not any(s.group for s in said.samples)
    (note,) = said.notes
    assert "25 normal training images look alike, in 2 groups, and more than noise differs: 0.png = 1.png, 15" in note
    assert "If they are frames of one part, the promised rate does not hold: say which belong together in" in note
    grouped = replace(free, samples=tuple(replace(s, group=s.path.stem) for s in free.samples))
    tested = replace(free, samples=tuple(replace(s, split="test") for s in free.samples))
    for told in (grouped, tested):
        assert with_groups(told, (), [names[:12]]).notes == ()


def test_the_same_file_twice_is_one_group(tmp_path):
    _write(tmp_path / "normal_train", [f"{n:03}" for n in range(30)], range(30))
    shutil.copy(tmp_path / "normal_train/004.png", tmp_path / "normal_train/copy.png")
    samples = verify(read_folder(tmp_path)).samples
    assert {s.path.name for s in samples.samples if s.group} == {"004.png", "copy.png"}
    assert "2 normal training images show the same as another one" in samples.notes[-1]
    assert "in 1 groups: 004.png = copy.png." in samples.notes[-1]


def test_free_images_are_drawn_for_testing_by_group(tmp_path):
    _write(tmp_path / "normal", [f"{n:03}" for n in range(120)], [n // 3 for n in range(120)])
    _write(tmp_path / "abnormal", ["a", "b"], [900, 901])
    split = Plan.from_data(tmp_path).split
    groups = [{s.group for s in role if s.label == "normal"} for role in (split.test, split.fit, split.calibrate)]
    assert groups[0]
    assert not groups[0] & (groups[1] | groups[2])


def test_unnamed_panes_split_as_before(tmp_path):
    """Without groups the draw of a seed is what it was."""
    _write(tmp_path / "normal_train", [f"pane_{n:03}" for n in range(100)], range(100))
    plan = Plan.from_data(tmp_path, seed=4)
    bare = Samples(
        tmp_path, "five folders", tuple(_normals([f"pane_{n:03}" for n in range(100)], tmp_path / "normal_train"))
    )
    assert plan.split == plan_split(bare, seed=4)
    assert plan.verified.alike == ()


@pytest.mark.parametrize(
    ("size", "images", "calibrate", "folds"),
    [
        (1, 100, 20, None),  # a fifth has the 19 groups that 5 % need
        (2, 120, 38, None),  # a fifth has 12 groups: so many more that there are 19
        (2, 100, 0, 5),  # not even a third has 19
        (1, 60, 0, 5),  # where a fifth is too few images, nothing more is taken from learning
        (3, 600, 120, None),
    ],
)
def test_as_many_groups_calibrate_as_the_rate_needs(size, images, calibrate, folds):
    samples = tuple(Sample(Path(f"{n}.png"), "normal", "train", group=f"g{n // size}") for n in range(images))
    split = plan_split(Samples(Path(), "CSV", samples))
    assert (len(split.calibrate), split.folds) == (calibrate, folds)
    assert not {s.group for s in split.fit} & {s.group for s in split.calibrate}
    if folds is None:
        assert count_groups(split.calibrate) >= 19


def test_folds_that_are_asked_for_leave_the_test_as_it_was():
    samples = tuple(Sample(Path(f"{n}.png"), "normal", group=f"g{n // 2}") for n in range(300))
    data = Samples(Path(), "CSV", (*samples, Sample(Path("flaw.png"), "abnormal")))
    held_out, folded = plan_split(data, seed=3), plan_split(data, folds=7, seed=3)
    assert (held_out.folds, folded.folds, folded.calibrate) == (None, 7, ())
    assert folded.test == held_out.test
    assert set(folded.fit) == set(held_out.normals)
    assert set(assign_folds(folded.fit, 7, 3)) == set(range(7))
