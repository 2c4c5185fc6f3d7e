"""Zones of a model: the limit is placed for what counts, and every way to inspect says the same."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import pellucid
from pellucid import cli
from pellucid.acquisition.files import image_files
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.calibration import HeldOutScore, choose_limit
from pellucid.errors import DataError
from pellucid.limits.conformal import calibrate
from pellucid.records import Sample, Split
from pellucid.regions.zones import EVERYTHING, Zones

CENTRE = Zones(margin=100)  # of images of 256 px


@pytest.fixture(scope="module")
def plan(glass):
    return pellucid.Plan.from_data(glass, false_reject=0.1)


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """A drawing of the right half, at half the images' size."""
    half = np.zeros((128, 128), np.uint8)
    half[:, 64:] = 255
    path = tmp_path_factory.mktemp("zones") / "right.png"
    cv2.imwrite(str(path), half)
    return path


def fit(plan, zones: Zones = EVERYTHING):
    return pellucid.fit(plan, "padim", image_size=64, false_reject=0.1, n_features=20, zones=zones)


@pytest.fixture(scope="module")
def plain(plan):
    return fit(plan)


@pytest.fixture(scope="module")
def zoned(plan, right):
    return fit(plan, Zones.read(ignore=[right], margin=8, min_area=30))


@pytest.fixture(scope="module")
def tested(glass):
    return image_files(glass / "abnormal_test") + image_files(glass / "normal_test")


def test_the_limit_is_placed_for_what_counts(plain, zoned):
    assert zoned.limit.pixel < plain.limit.pixel
    assert zoned.limit.value <= plain.limit.value
    assert zoned.limit.scores == plain.limit.scores, "what the detector said of good images"


def test_what_is_ignored_on_top_only_accepts_more(plain, tested):
    for path in tested:
        both = [one.inspect(path) for one in (plain, replace(plain, zones=CENTRE))]
        assert both[0].score == both[1].score
        assert both[0].p_value == both[1].p_value
        assert (both[0].verdict, both[1].verdict) != ("ok", "reject")
    found = [replace(plain, zones=CENTRE).inspect(path) for path in tested]
    assert any(one.ignored and one.verdict == "ok" for one in found)
    assert any(one.verdict == "reject" for one in found)


def test_a_model_keeps_its_zones_in_every_runtime(zoned, tested, tmp_path):
    zoned.save(tmp_path / "m.pellucid")
    zoned.export(tmp_path / "exported")
    expected = [zoned.inspect(path) for path in tested]
    assert any(one.ignored for one in expected)
    for path in ("m.pellucid", "exported"):
        loaded = pellucid.load(tmp_path / path)
        assert loaded.zones == zoned.zones
        for one, other in zip(expected, loaded.inspect_many(tested), strict=True):
            assert other.verdict == one.verdict
            assert [i.reason for i in other.ignored] == [i.reason for i in one.ignored]
            assert [d.area_px for d in other.defects] == pytest.approx([d.area_px for d in one.defects], rel=0.02)


def test_zones_that_do_not_fit_the_images_stop_a_fit_before_it_begins(plan):
    wide = Zones._drawn(np.ones((10, 30), bool), margin=0, min_area=0)
    with pytest.raises(DataError, match="drawn on 30x10 px, which is of another shape than 256x256 px"):
        fit(plan, wide)


def test_a_test_counts_verdicts(plain, glass):
    inspector = replace(plain, zones=CENTRE)
    result = pellucid.evaluate(inspector, glass)
    rejected = dict.fromkeys(("normal", "abnormal"), 0)
    for one in result.scored:
        rejected[one.sample.label] += one.inspection.verdict == "reject"
    assert any(one.inspection.ignored and one.inspection.verdict == "ok" for one in result.scored)
    assert result.metrics["false_rejects"] == rejected["normal"]
    assert result.metrics["defectives"] - result.metrics["escapes"] == rejected["abnormal"]
    assert sum(part["escapes"] for part in result.by["type"].values()) == result.metrics["escapes"]


def test_commands_read_zones_and_list_what_was_ignored(glass, right, tmp_path):
    run = CliRunner()
    model, out = tmp_path / "m.pellucid", tmp_path / "out"
    options = ["--detector", "padim", "--image-size", "64", "--false-reject", "0.1", "--set", "n_features=20"]
    done = run.invoke(cli.app, ["fit", str(glass), "-o", str(model), *options, "--only", str(right), "--margin", "3"])
    assert done.exit_code == 0, done.output
    assert "what counts: 50.0% of the image, what is at least 3 px from its border" in " ".join(done.output.split())
    assert pellucid.load(model).zones == Zones.read(only=[right], margin=3)
    command = ["inspect", str(model), str(glass / "abnormal_test"), "--runtime", "torch", "--margin", "20"]
    shown = run.invoke(cli.app, [*command, "--min-area", "40", "-o", str(out)])
    assert shown.exit_code == 0, shown.output
    rows = list(csv.DictReader((out / "scores.csv").read_text("utf-8").splitlines()))
    lines = run.invoke(cli.app, [*command, "--min-area", "40", "--json"]).stdout.splitlines()
    listed = [json.loads(line) for line in lines if line.startswith("{")]
    inspector = pellucid.load(model)
    inspector = replace(inspector, zones=inspector.zones.and_ignore(Zones(margin=20, min_area=40)))
    for row, one, path in zip(rows, listed, image_files(glass / "abnormal_test"), strict=True):
        found = inspector.inspect(path)
        assert row["verdict"] == one["verdict"] == found.verdict
        assert [part["reason"] for part in one["ignored"]] == [part.reason for part in found.ignored]
        assert [tuple(part["box"]) for part in one["ignored"]] == [part.defect.box for part in found.ignored]
        assert sum(int(part.split()[0]) for part in filter(None, row["ignored"].split(", "))) == len(found.ignored)
    assert any(row["ignored"] and row["verdict"] == "ok" for row in rows)
    assert "ignored: " in shown.output


def split_of(count: int) -> Split:
    return Split((), tuple(Sample(f"{k}.png", "normal") for k in range(count)), (), ())


def chosen(held_out: list[HeldOutScore], rate: float):
    nobody = FittedImages(data_sha256="")
    return choose_limit(
        None, split_of(len(held_out)), (64, 64), nobody, rate, held_out, leaves_out=False, method="conformal"
    )


@pytest.mark.parametrize("loud", [0.0, 0.3, 1.0])  # share of images on which something that is ignored is the highest
def test_good_images_are_rejected_as_rarely_as_promised(loud):
    rng = np.random.default_rng(0)
    rate, count, rounds, rejected, limits = 0.1, 39, 1500, 0, []
    for _ in range(rounds):
        counted = rng.gamma(20, 0.1, count + 1)
        highest = np.maximum(counted, np.where(rng.random(count + 1) < loud, rng.gamma(20, 0.3, count + 1), 0))
        scores = highest * rng.uniform(0.9, 1.1, count + 1)  # a score that is not the map's maximum
        drawn = [HeldOutScore(*map(float, values), 0.0) for values in zip(scores, highest, counted, strict=True)]
        limit = chosen(drawn[:-1], rate)
        limits.append(limit)
        rejected += drawn[-1].score > limit.value and drawn[-1].counts(limit.pixel)
    bound = rate if loud in (0.0, 1.0) else rate + 1 / (count + 1)
    assert rejected / rounds <= bound + 3 * np.sqrt(bound * (1 - bound) / rounds)
    assert rejected / rounds >= rate / 2, "and not much more rarely, so that defects are found"
    plain = [calibrate(limit.scores, limit.scores, rate).value for limit in limits]
    assert np.mean([limit.value for limit in limits]) <= np.mean(plain)


def test_without_zones_the_limit_is_what_it_was():
    rng = np.random.default_rng(0)
    held_out = [HeldOutScore(float(s), float(h), float(h), 0.0) for s, h in rng.normal(0, 3, (40, 2))]
    limit = chosen(held_out, 0.05)
    plain = calibrate([one.score for one in held_out], [one.highest for one in held_out], 0.05)
    assert limit == replace(plain, pixel_median=0.0)
