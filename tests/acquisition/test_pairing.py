"""Which mask belongs to which image: by path first, by a unique stem second, never by a guess; the rest is told."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from truth_files import disc, mask, normals, pane, photo

import pellucid
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.pairing import pair
from pellucid.acquisition.splits import read_splits_csv, splits_csv
from pellucid.acquisition.verify import verify
from pellucid.anomalib import Folder
from pellucid.errors import DataError
from pellucid.records import Sample, Split

CASES = {  # images, masks, and which mask each image gets
    "same names in two types": (
        ["abnormal_test/crack/000.png", "abnormal_test/scratch/000.png"],
        ["mask/crack/000.png", "mask/scratch/000.png"],
        [0, 1],
    ),
    "with the split": (
        ["abnormal_train/000.png", "abnormal_test/000.png"],
        ["mask/abnormal_test/000.png", "mask/abnormal_train/000.png"],
        [1, 0],
    ),
    "without the type": (["abnormal/crack/7.png", "abnormal/chip/8.png"], ["mask/7.png", "mask/8.png"], [0, 1]),
    "with a type of its own": (["abnormal_test/7.png"], ["mask/crack/7.png"], [0]),
    "two splits, one name": (["abnormal_train/000.png", "abnormal_test/000.png"], ["mask/000.png"], [None, None]),
    "two types, one name": (["abnormal/a/0.png", "abnormal/b/0.png"], ["mask/0.png"], [None, None]),
    "one of two by its folder": (["abnormal/a/0.png", "abnormal/b/0.png"], ["mask/a/0.png", "mask/0.png"], [0, None]),
    "MVTec": (["test/crack/000.png"], ["ground_truth/crack/000_mask.png"], [0]),
    "BTAD": (["test/ko/0000.bmp"], ["ground_truth/ko/0000.png"], [0]),
    "VisA": (["Data/Images/Anomaly/000.JPG"], ["Data/Masks/Anomaly/000.png"], [0]),
    "upper case": (["abnormal/k1.png"], ["mask/k1_GT.bmp"], [0]),
    "label": (["abnormal/Part5.jpg"], ["mask/Part5_label.bmp"], [0]),
    "equal before similar": (["abnormal/a.png", "abnormal/a_mask.png"], ["mask/a.png", "mask/a_mask.png"], [0, 1]),
    "equal beats a suffix": (["abnormal/a.png"], ["mask/a_mask.png", "mask/a.png"], [1]),
    "two that fit": (["abnormal/a.png"], ["mask/a.png", "mask/a.bmp"], [None]),
    "two suffixes": (["abnormal/a.png"], ["mask/a_gt.png", "mask/a_mask.png"], [None]),
    "a folder that is another image's": (
        ["test/crack/1.png", "test/scratch/5.png"],
        ["ground_truth/crack/1_mask.png", "ground_truth/crack/5_mask.png"],
        [0, None],
    ),
    "the good one has the same name": (["abnormal_test/0.png", "normal_test/0.png"], ["mask/0.png"], [0, None]),
    "a mask of the good one": (["abnormal_test/1.png", "normal_test/0.png"], ["mask/0.png"], [None, 0]),
    "another suffix": (["abnormal/a.jpeg"], ["mask/a.tif"], [0]),
    "a suffix kept": (["abnormal/a.png"], ["mask/a.png.png"], [0]),
    "deep": (["abnormal/x/y/0.png", "abnormal/z/y/0.png"], ["mask/z/y/0.png", "mask/x/y/0.png"], [1, 0]),
    "composed characters": (
        [f"abnormal/{unicodedata.normalize('NFD', 'Kratzer_ü')}.png"],
        [f"mask/{unicodedata.normalize('NFC', 'Kratzer_ü')}.png"],
        [0],
    ),
    "a stem that contains another": (["abnormal/1.png", "abnormal/11.png"], ["mask/11_mask.png"], [None, 0]),
    "only a word": (["abnormal/a.png"], ["mask/mask.png"], [None]),
}


@pytest.mark.parametrize("name", CASES)
def test_pairs(name):
    images, masks, expected = CASES[name]
    defective = {n for n, path in enumerate(images) if not path.startswith("normal_")}
    pairs = pair([*map(Path, images)], [*map(Path, masks)], defective)
    by_image = {image: truth for truth, image in pairs.items()}
    assert [by_image.get(n) for n in range(len(images))] == expected


@given(st.data())
def test_pairs_do_not_depend_on_the_order_and_are_one_to_one(data):
    places = st.sampled_from([f"{folder}{stem}" for folder in ("", "a/", "b/", "a/b/") for stem in "012"])
    some = st.lists(places, unique=True, max_size=8)
    images = [Path("abnormal", f"{place}.png") for place in data.draw(some)]
    masks = [Path("mask", f"{place}_mask.png") for place in data.draw(some)]
    pairs = pair(images, masks, set(range(len(images))))
    assert len(set(pairs.values())) == len(pairs)
    shuffled, order = data.draw(st.permutations(masks)), data.draw(st.permutations(images))
    again = pair(order, shuffled, set(range(len(order))))
    assert {(masks[t], images[i]) for t, i in pairs.items()} == {(shuffled[t], order[i]) for t, i in again.items()}
    for truth, image in pairs.items():  # a pair has one name, and no other pair would have agreed for longer
        assert images[image].stem == masks[truth].stem.removesuffix("_mask")


def _right(samples) -> None:
    """Every mask lies in a folder of its image's type and has its image's name."""
    for sample in samples:
        if sample.label == "abnormal":
            assert sample.mask is not None, sample
            assert sample.mask.parent.name == sample.path.parent.name
            assert sample.mask.stem.removesuffix("_mask") == sample.path.stem


LAYOUTS = {
    "five folders": ("normal_train", "abnormal_test/{}/{}.png", "mask/{}/{}.png"),
    "five folders, suffix": ("normal_train", "abnormal_test/{}/{}.png", "masks/{}/{}_mask.png"),
    "five folders, ground_truth": ("normal_train", "abnormal_test/{}/{}.png", "ground_truth/abnormal_test/{}/{}.png"),
    "MVTec": ("train/good", "test/{}/{}.png", "ground_truth/{}/{}_mask.png"),
    "MVTec without suffix": ("train/good", "test/{}/{}.png", "ground_truth/{}/{}.bmp"),
    "MVTec with mask": ("train/good", "test/{}/{}.png", "mask/{}/{}.png"),
    "plain": ("normal", "abnormal/{}/{}.png", "mask/{}/{}.png"),
    "plain, deeper": ("normal", "abnormal/{}/{}.png", "mask/abnormal/{}/{}_mask.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_pair_by_path_below_the_folder(tmp_path, layout):
    good, image, truth = LAYOUTS[layout]
    normals(tmp_path / good)
    for kind in ("crack", "scratch"):
        for n in range(3):
            pane(tmp_path / image.format(kind, f"{n:03d}"))
            mask(tmp_path / truth.format(kind, f"{n:03d}"), disc(at=(12 + n, 20 if kind == "crack" else 40)))
    data = read_folder(tmp_path)
    _right(data.samples)
    assert {s.type for s in data.samples if s.label == "abnormal"} == {"crack", "scratch"}
    assert data.notes == ()


def test_a_csv_without_masks_takes_those_beside_it(tmp_path):
    rows = ["path,label"]
    for n in range(3):
        pane(tmp_path / f"images/g{n}.png")
        rows.append(f"images/g{n}.png,normal")
    for kind in ("crack", "scratch"):
        pane(tmp_path / f"images/{kind}/0.png")
        mask(tmp_path / f"mask/{kind}/0_mask.png")
        rows.append(f"images/{kind}/0.png,abnormal")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    _right(read_folder(tmp_path / "data.csv").samples)


def test_a_csv_that_names_masks_names_all(tmp_path):
    pane(tmp_path / "g.png")
    for name in "ab":
        pane(tmp_path / f"{name}.png")
        mask(tmp_path / f"mask/{name}.png")
    (tmp_path / "d.csv").write_text("path,label,mask\ng.png,normal,\na.png,abnormal,mask/b.png\nb.png,abnormal,\n")
    data = read_folder(tmp_path / "d.csv")
    assert [s.mask and s.mask.name for s in data.samples] == [None, "b.png", None]


@pytest.mark.parametrize("suffix", ["", "_mask", "_gt", "_label", ".mask"])
@pytest.mark.parametrize("order", [1, -1])
def test_the_notebook_finds_masks_by_name_and_never_by_order(tmp_path, suffix, order):
    normals(tmp_path / "train/good")
    for n in range(6):
        pane(tmp_path / f"test/crack/{n:03d}.png")
        mask(tmp_path / f"ground_truth/crack/{n:03d}{suffix}.png")
    (tmp_path / f"ground_truth/crack/{0 if order > 0 else 5:03d}{suffix}.png").unlink()  # by order, all would shift
    data = Folder("m", "train/good", tmp_path, "test/crack", mask_dir="ground_truth/crack", task="segmentation")
    data.setup()
    paired = {s.path.stem: s.mask.stem for s in data.samples if s.mask}
    assert paired == {f"{n:03d}": f"{n:03d}{suffix}" for n in (range(1, 6) if order > 0 else range(5))}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="There are no images in"):
        Folder("m", "train/good", tmp_path, "test/crack", mask_dir="empty").setup()


def test_a_notebook_with_types_and_left_over_masks(tmp_path):
    normals(tmp_path / "normal")
    for kind in ("crack", "scratch"):
        pane(tmp_path / f"abnormal/{kind}/0.png")
        mask(tmp_path / f"mask/{kind}/0.png")
    mask(tmp_path / "mask/crack/9.png")
    data = Folder("m", "normal", tmp_path, "abnormal", mask_dir="mask")
    data.setup()
    _right(data.samples)
    assert data.notes == ("1 masks have no image and are ignored: 9.png.",)


def test_what_is_left_over_is_counted_and_named(tmp_path):
    normals(tmp_path / "normal_train")
    for split in ("train", "test"):
        pane(tmp_path / f"abnormal_{split}/000.png")
    mask(tmp_path / "mask/000.png")
    mask(tmp_path / "mask/deep/123.png")
    mask(tmp_path / "mask/wide/123.png")
    data = read_folder(tmp_path)
    assert not any(s.mask for s in data.samples)
    assert data.notes[:2] == (
        "2 masks have no image and are ignored: deep/123.png, wide/123.png.",
        "1 masks have names that do not say which image they belong to and are ignored: 000.png. Put them into folders"
        " named like their images' folders.",
    )
    pane(tmp_path / "abnormal_test/001.png")
    mask(tmp_path / "mask/001.png")
    assert read_folder(tmp_path).notes[-1] == (
        "1 defective test images have no mask or annotation and count for image metrics only: 000.png."
    )


@pytest.mark.parametrize("suffix", ["_mask", "_GT", "_label"])
@pytest.mark.parametrize(
    ("good", "bad"), [("normal_train", "abnormal_test"), ("train/good", "test/crack"), ("normal", "abnormal/crack")]
)
def test_masks_beside_their_images_are_no_images(tmp_path, good, bad, suffix):
    for n in range(3):
        pane(tmp_path / good / f"{n}.png")
        mask(tmp_path / good / f"{n}{suffix}.png", disc() & False)
    pane(tmp_path / bad / "0.png")
    mask(tmp_path / bad / f"0{suffix}.png")
    checked = verify(read_folder(tmp_path)).samples
    assert [s.path.name for s in checked.samples] == ["0.png", "1.png", "2.png", "0.png"]
    assert checked.samples[-1].mask == tmp_path / bad / f"0{suffix}.png"
    assert checked.notes[0].startswith("4 files are named as masks of images beside them and are taken as such: ")
    data = Folder("m", good, tmp_path, bad)
    data.setup()
    assert [s.path.name for s in data.samples] == ["0.png", "1.png", "2.png", "0.png"]
    assert data.notes == checked.notes[:1]


def test_twenty_thousand_masks_are_paired_in_seconds():
    images = [Path(f"/data/set/abnormal_test/k{n % 7}/{n // 7:05d}.png") for n in range(20_000)]
    masks = [Path(f"/data/set/mask/k{n % 7}/{n // 7:05d}_mask.png") for n in range(20_000)]
    assert pair(images, masks, set(range(20_000))) == {n: n for n in range(20_000)}


def test_types_of_five_folders_are_folders_then_prefixes(tmp_path):
    normals(tmp_path / "normal_train")
    for name in ("chip/a_1.png", "seed_1.png", "seed_2.png", "seed_3.png"):
        pane(tmp_path / "abnormal_test" / name)
    assert [s.type for s in read_folder(tmp_path).samples[3:]] == ["chip", "seed", "seed", "seed"]


def test_case_05_same_names(tmp_path):
    """Masks of two type folders with the same names: the one that matters is beside its image's folder."""
    normals(tmp_path / "normal_train")
    at = {"crack": (14, 14), "scratch": (26, 44)}
    for kind, centre in at.items():
        for n in range(6):
            pane(tmp_path / f"abnormal_test/{kind}/{n:03d}.png")
            mask(tmp_path / f"mask/{kind}/{n:03d}.png", disc(at=centre, radius=5))
    for sample in verify(read_folder(tmp_path)).samples.samples:
        if sample.label == "abnormal":
            assert cv2.imread(str(sample.mask), 0)[at[sample.path.parent.name]] == 255


def test_masks_survive_splits_csv(tmp_path):
    image = pane(tmp_path / "abnormal/crack/0.png")
    mask(tmp_path / "mask/crack/0.png")
    split = Split((), (), (), (Sample(image, "abnormal", mask=tmp_path / "mask/crack/0.png"),))
    assert read_splits_csv(splits_csv(split, tmp_path), tmp_path, None).test[0].mask == tmp_path / "mask/crack/0.png"


def test_evaluation_goes_on_without_a_mask_that_does_not_fit(glass, model, tmp_path):
    shutil.copytree(glass, tmp_path / "data")
    masks = sorted((tmp_path / "data/mask").glob("*_2_*.png"))  # of images to test on
    mask(masks[0], disc((30, 30)))
    masks[1].write_text("no image")
    result = pellucid.evaluate(pellucid.load(model, runtime="torch"), tmp_path / "data")
    assert any("2 masks cannot be used" in note for note in result.notes)
    assert result.metrics["pixel_auroc"] is not None
    assert result.metrics["defectives"] == 8


def test_a_turned_photo_is_measured_upright(model, tmp_path):
    inspector = pellucid.load(model, runtime="torch")
    normals(tmp_path / "normal", 2)
    image = photo(tmp_path / "abnormal/a.jpg", (80, 120), 6)
    mask(tmp_path / "mask/a.png", disc((80, 120)))
    result = pellucid.evaluate(inspector, tmp_path)
    assert result.scored[-1].defect_px == disc((80, 120)).sum()
    assert inspector.inspect(image).picture(tmp_path / "mask/a.png").size[1] > 120
