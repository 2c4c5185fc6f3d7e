"""Files to pixels, folders to samples, samples to roles; and everything that a user can get wrong on the way."""

from __future__ import annotations

import re
import shutil

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pellucid.acquisition import splits
from pellucid.acquisition.duplicates import note_duplicates
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import ImageBatches, parse_size, read_image, resize
from pellucid.acquisition.splits import (
    assign_folds,
    count_groups,
    min_calibration_images,
    plan_split,
    read_splits_csv,
    splits_csv,
)
from pellucid.acquisition.verify import verify
from pellucid.errors import DataError, ParameterError
from pellucid.records import Sample, Samples
from pellucid.synthesis.glass import draw_data_set

RAMP = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_range_is_kept(tmp_path, suffix, bits, channels):
    image = np.repeat((RAMP * (2**bits - 1)).astype(f"uint{bits}")[..., None], channels, 2)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), image)
    got = read_image(tmp_path / f"a.{suffix}")
    assert got.shape == (16, 16, 3)
    np.testing.assert_allclose(got[..., 0], image[..., 0] / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_modes_agree_with_pillow(tmp_path, mode, suffix):
    colour = np.stack([RAMP * 255, 255 - RAMP * 255, RAMP * 100], 2).astype(np.uint8)
    image = Image.fromarray(colour).convert(mode)
    if suffix == "bmp" and mode in ("LA", "RGBA"):
        pytest.skip("Pillow's BMP has no alpha")
    image.save(tmp_path / f"a.{suffix}")
    expected = np.asarray(image.convert("RGB"), np.float32) / 255
    np.testing.assert_allclose(read_image(tmp_path / f"a.{suffix}"), expected, atol=1 / 255)


def test_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # rotate by 90 degrees
    picture = Image.fromarray(np.zeros((20, 40, 3), np.uint8))
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (40, 20, 3)


def test_float_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RAMP)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[..., 1], RAMP, atol=1e-6)
    tifffile.imwrite(tmp_path / "b.tif", RAMP.astype(np.float64))
    np.testing.assert_allclose(read_image(tmp_path / "b.tif")[..., 1], RAMP, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_two_channels_in_either_order_of_bytes(tmp_path, order):
    grey_and_more = np.stack([RAMP * 65535, RAMP * 0], 2).astype("uint16")  # OpenCV leaves such files out
    tifffile.imwrite(
        tmp_path / "a.tif", grey_and_more, byteorder=order, photometric="minisblack", planarconfig="contig"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 2], grey_and_more[..., 0] / np.float32(65535))


def test_nan_and_range(tmp_path):
    tifffile.imwrite(tmp_path / "nan.tif", np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32))
    with pytest.raises(DataError, match="NaN"):
        read_image(tmp_path / "nan.tif")
    tifffile.imwrite(tmp_path / "big.tif", RAMP * 4095)
    with pytest.raises(DataError, match=r"from 0 to 4095; they have to lie in \[0, 1\]"):
        read_image(tmp_path / "big.tif")


@pytest.mark.parametrize("write", [tifffile.imwrite, lambda path, image: Image.fromarray(image).save(path)])
def test_a_tiff_without_a_width_is_refused(tmp_path, write):
    path = tmp_path / "a.tif"  # tifffile divides by zero in one of these and finds no pixels in the other
    write(path, np.zeros((8, 8), np.uint8))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        content[file.pages.first.tags["ImageWidth"].offset + 2] = 0  # a type that does not exist
    path.write_bytes(content)
    with pytest.raises(DataError, match="not an image that can be read"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_truncated_files_are_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_image(path)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(DataError, match="not an image"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty \(0 bytes\)"):
        read_image(tmp_path / "b.png")
    with pytest.raises(DataError, match="Cannot read"):
        read_image(tmp_path / "c.png")


@given(st.integers(8, 80), st.integers(8, 80), st.integers(32, 70), st.integers(32, 70))
def test_resizing_keeps_a_constant_and_never_crops(h, w, height, width):
    pixels = np.full((h, w, 3), 0.25, np.float32)
    out = resize(pixels, (height, width))
    assert out.shape == (height, width, 3)
    np.testing.assert_allclose(out, 0.25, atol=1e-6)


def test_sizes():
    assert parse_size("256") == parse_size(256) == (256, 256)
    assert parse_size("192x320") == parse_size((192, 320)) == (192, 320)
    for wrong in ("x", "16", "1x2x3", "-256"):
        with pytest.raises(ParameterError, match="give N or HxW"):
            parse_size(wrong)


def test_batches_are_re_iterable_and_in_order(glass):
    paths = tuple(s.path for s in read_folder(glass).samples[:10])
    batches = ImageBatches(paths, (64, 64), 4)
    assert [len(b) for b in batches] == [len(b) for b in batches] == [4, 4, 2]
    assert len(batches) == 3
    first = resize(read_image(paths[4]), (64, 64))
    np.testing.assert_array_equal(list(batches)[1][0].permute(1, 2, 0), first)


def _image(path, size=32, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path.name).encode()))
    image = rng.integers(0, 255, (size, size), np.uint8) if value is None else np.full((size, size), value, np.uint8)
    cv2.imwrite(str(path), image)


def test_five_folders(glass):
    data = read_folder(glass)
    assert data.layout == "five folders"
    assert {s.type for s in data.samples if s.label == "abnormal"} == {"bold-line", "seed", "stone", "scratch"}
    assert all(s.mask and s.mask.is_file() for s in data.samples if s.label == "abnormal")
    split = plan_split(data)
    assert len(split.test) == 14
    assert len(split.select) == 4
    assert {s.path for s in split.fit} | {s.path for s in split.calibrate} == {
        s.path for s in data.samples if s.label == "normal" and s.split == "train"
    }


def test_mvtec(tmp_path):
    _image(tmp_path / "train/good/1.png")
    _image(tmp_path / "test/good/2.png")
    _image(tmp_path / "test/crack/3.png")
    _image(tmp_path / "test/crack/4.png")
    _image(tmp_path / "ground_truth/crack/3_mask.png")
    _image(tmp_path / "ground_truth/crack/9_mask.png")
    data = read_folder(tmp_path)
    assert data.layout == "MVTec"
    assert [(s.label, s.type, bool(s.mask)) for s in data.samples[2:]] == [
        ("abnormal", "crack", True),
        ("abnormal", "crack", False),
    ]
    assert "1 masks have no image and are ignored: 9_mask.png." in data.notes
    assert any("1 defective test images have no mask" in note and "4.png" in note for note in data.notes)


def test_plain(tmp_path):
    for n in range(50):
        _image(tmp_path / f"normal/{n}.png")
    _image(tmp_path / "abnormal/chip/a.png")
    _image(tmp_path / "mask/chip/a.png")
    data = read_folder(tmp_path)
    assert data.layout == "plain"
    split = plan_split(data)
    assert sum(s.label == "normal" for s in split.test) == 10
    assert split.test[-1].mask is not None
    shutil.rmtree(tmp_path / "abnormal")
    only_normal = read_folder(tmp_path)
    assert any("No defective test images" in note for note in only_normal.notes)
    assert plan_split(only_normal).test == ()


def test_csv(tmp_path):
    for name in "abc":
        _image(tmp_path / f"{name}.png")
    table = tmp_path / "data.csv"
    table.write_text(
        "path,label,split,type,mask,group\na.png,normal,train,,,g1\nb.png,normal,,,,g2\nc.png,abnormal,test,chip,,\n"
    )
    data = read_folder(table)
    assert [(s.label, s.split, s.type, s.group) for s in data.samples] == [
        ("normal", "train", None, "g1"),
        ("normal", None, None, "g2"),
        ("abnormal", "test", "chip", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "lacks the column path"),
        ("path,label\na.png,0\n", "line 2: label is '0'; allowed are normal, good, ok for normal, and abnormal, bad"),
        ("path,label,split\na.png,normal,val\n", "line 2: split is 'val'"),
        ("path,label\nzz.png,normal\n", "names 1 files that do not exist: zz.png"),
        ("path,label\n", "no normal images"),
    ],
)
def test_csv_mistakes(tmp_path, text, message):
    _image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path / "d.csv")


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_folder(tmp_path / "absent")
    with pytest.raises(
        DataError, match=r"is empty; known layouts are:[\s\S]*five folders[\s\S]*MVTec[\s\S]*plain[\s\S]*CSV"
    ):
        read_folder(tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match=r"is unknown: found pictures/; known layouts"):
        read_folder(tmp_path)
    (tmp_path / "normal").mkdir()
    with pytest.raises(DataError, match="no normal images"):
        read_folder(tmp_path)


def test_a_folder_of_images_is_of_good_parts_and_says_so(tmp_path):
    for name in ("a.png", "b.PNG", ".hidden.png"):
        _image(tmp_path / name)
    (tmp_path / "raw.dng").write_bytes(b"II*\0")
    (tmp_path / "notes").mkdir()
    found = read_folder(tmp_path)
    assert [(s.path.name, s.label, s.split) for s in found.samples] == [
        ("a.png", "normal", None),
        ("b.PNG", "normal", None),
    ]
    assert found.notes[0] == f"2 images lie in '{tmp_path}' itself: all are taken as images of good parts."
    assert any("raw.dng" in note for note in found.notes)
    with pytest.raises(DataError, match="is unknown: found"):
        read_folder(tmp_path, training_required=False)  # labels are what is asked for, and nothing tells them
    _image(tmp_path / "notes" / "c.png")
    with pytest.raises(DataError, match=r"is unknown: found [\s\S]*good images"):
        read_folder(tmp_path)  # a folder's name may say what is in it


def test_bad_files_are_named_skipped_and_counted(tmp_path):
    for n in range(3):
        _image(tmp_path / f"normal/{n}.png")
    (tmp_path / "normal/bad.png").write_text("no image")
    _image(tmp_path / "normal/flat.png", value=7)
    checked = verify(read_folder(tmp_path))
    assert len(checked.samples.samples) == 3
    assert any("2 files are skipped" in n and "bad.png" in n and "flat.png" in n for n in checked.samples.notes)
    for n in range(3):
        (tmp_path / f"normal/{n}.png").write_text("no image")
    with pytest.raises(DataError, match="None of the normal images"):
        verify(read_folder(tmp_path))


def test_the_same_bytes_in_train_and_test(tmp_path):
    for n in range(25):
        _image(tmp_path / f"normal_train/{n}.png")
    shutil.copy(tmp_path / "normal_train/3.png", tmp_path / "copy.png")
    (tmp_path / "normal_test").mkdir()
    shutil.move(tmp_path / "copy.png", tmp_path / "normal_test/copy.png")
    checked = verify(read_folder(tmp_path))
    notes = note_duplicates(plan_split(checked.samples), checked)
    assert "1 test images are also training images" in notes[0]
    assert "3.png = copy.png" in notes[0]


def _again(image, how):
    """The same photo as it comes back from elsewhere."""
    if how == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1], cv2.IMREAD_COLOR)
    if how == "brighter":
        return cv2.convertScaleAbs(image, alpha=1.1, beta=5)
    return cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("how", ["jpeg", "brighter", "smaller"])
@pytest.mark.parametrize("role", ["normal_test", "abnormal_test", "normal_train"])
def test_near_duplicates_across_roles_are_told(tmp_path, how, role):
    draw_data_set(tmp_path, seed=0, n_train=40, n_test=4, n_per_defect=2)
    shutil.move(tmp_path / "abnormal_test/stone_2_000.png", tmp_path / "normal_train/photo.png")
    photo = cv2.imread(str(tmp_path / "normal_train/photo.png"))  # has more than noise in it
    before = verify(read_folder(tmp_path))
    assert note_duplicates(plan_split(before.samples), before) == ()  # two panes of one glass are no duplicates
    cv2.imwrite(str(tmp_path / role / "again.png"), _again(photo, how))
    checked = verify(read_folder(tmp_path))
    split = plan_split(checked.samples)
    notes = " ".join(note_duplicates(split, checked))
    apart = {s.path.name for s in split.calibrate} & {"photo.png", "again.png"}
    if role == "normal_train" and len(apart) != 1:
        assert "photo.png = again.png" not in notes  # both in one role: harmless
    else:
        assert "look the same as" in notes
        assert "again.png" in notes


def _samples(count, groups=None):
    from pathlib import Path

    return Samples(
        Path("x"),
        "test",
        tuple(
            Sample(Path(f"{n:04d}"), "normal", "train", group=str(n % groups) if groups else None) for n in range(count)
        ),
    )


@given(st.integers(19, 300), st.integers(0, 5), st.one_of(st.none(), st.integers(2, 30)))
def test_splits_are_disjoint_complete_and_keep_groups(count, seed, groups):
    data = _samples(count, groups)
    split = plan_split(data, seed=seed)
    assert split == plan_split(data, seed=seed)
    assert sorted(s.path for s, _ in split.roles()) == [s.path for s in data.samples]
    if split.folds is None:
        assert count_groups(split.calibrate) >= min_calibration_images(0.05)
        assert len(split.fit) >= len(split.calibrate)
        assert groups or len(split.calibrate) == round(count / 5)  # no more is taken from learning
        if groups:
            assert not {s.group for s in split.fit} & {s.group for s in split.calibrate}
    else:
        folds = assign_folds(split.fit, split.folds, seed)
        assert set(folds) == set(range(split.folds))
        if groups:
            assert len({(s.group, n) for s, n in zip(split.fit, folds, strict=True)}) == len(
                {s.group for s in split.fit}
            )


def _draw_by_counting_again(samples, count, rng):
    """Whole groups at random, counted anew for each: slow and obvious."""
    groups = sorted({s.group for s in samples})
    drawn, taken = set(), 0
    for k in rng.permutation(len(groups)):
        if taken < count:
            drawn.add(groups[k])
            taken += sum(s.group == groups[k] for s in samples)
    return {s.path for s in samples if s.group in drawn}


@given(st.integers(100, 300), st.integers(0, 5), st.integers(2, 60))
def test_draws_are_those_of_counting_every_group_again(count, seed, groups):
    data = _samples(count, groups)
    expected = _draw_by_counting_again(data.samples, round(count / 5), np.random.default_rng(seed))
    split = plan_split(data, seed=seed)
    if split.folds is None and count_groups(s for s in data.samples if s.path in expected) >= 19:
        assert {s.path for s in split.calibrate} == expected
    elif split.folds is None:  # as many more as hold the 19 groups that 5 % need
        assert {s.path for s in split.calibrate} > expected
        assert count_groups(split.calibrate) == 19
    else:
        drawn = {s.group for s in data.samples if s.path in expected}
        assert count - len(expected) < len(expected) or len(drawn) < min_calibration_images(0.05)


def test_planning_looks_at_every_image_a_few_times_whatever_their_number(monkeypatch):
    looks = 0
    group_key = splits._group_key

    def count_looks(sample):
        nonlocal looks
        looks += 1
        return group_key(sample)

    monkeypatch.setattr(splits, "_group_key", count_looks)
    plan_split(_samples(3000))
    assert looks <= 5 * 3000


def test_too_few_normals_says_how_many_and_what_is_possible():
    with pytest.raises(DataError, match=r"12 normal training images are too few .* needs 19; .* with 12 is 0.077"):
        plan_split(_samples(12))
    plan_split(_samples(12), false_reject=0.077)


def test_splits_csv_round_trip(glass):
    split = plan_split(read_folder(glass))
    back = read_splits_csv(splits_csv(split, glass), glass, None)
    assert [(s.path, r, s.label, s.type, s.mask) for s, r in back.roles()] == [
        (s.path, r, s.label, s.type, s.mask) for s, r in split.roles()
    ]


def test_groups_on_both_sides_are_noted(tmp_path):
    rows = [f"{n}.png,normal,train,,,g{n}" for n in range(25)] + ["25.png,normal,test,,,g3"]
    for n in range(26):
        _image(tmp_path / f"{n}.png")
    (tmp_path / "d.csv").write_text("path,label,split,type,mask,group\n" + "\n".join(rows))
    assert "1 groups are in both training and test" in plan_split(read_folder(tmp_path / "d.csv")).notes[0]
