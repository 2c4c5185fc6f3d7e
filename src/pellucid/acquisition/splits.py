"""Roles: who is fitted on, calibrates, selects, tests; disjoint, whole groups only, seeded, written down."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pellucid._io.files import csv_text
from pellucid._io.names import named_path, printable
from pellucid.errors import DataError, ParameterError, join_names
from pellucid.records import Role, Sample, Samples, Split

TEST_SHARE = 0.2  # of normal images that the layout assigns to no split
CALIBRATION_SHARE = 0.2  # of normal training images
MAX_CALIBRATION_SHARE = 1 / 3  # of them, where a fifth holds too few groups
MAX_FOLDS = 5  # that calibrate where normal images are few


def check_rate(false_reject: float) -> float:
    """Check a false-reject rate and return it.

    Args:
        false_reject: share of good images that may be rejected, in (0, 1).

    Raises:
        ParameterError: it is not between 0 and 1.
    """
    if not 0 < false_reject < 1:
        raise ParameterError(f"A false-reject rate of {false_reject:g} is not allowed: give one between 0 and 1.")
    return false_reject


def check_confidence(confidence: float | None) -> float | None:
    """Check a confidence and return it.

    Args:
        confidence: share of models that keep their rate, in (0, 1); None: they keep it on average.

    Raises:
        ParameterError: it is not between 0 and 1.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise ParameterError(f"A confidence of {confidence:g} is not allowed: give one between 0 and 1, as in 0.95.")
    return confidence


def min_calibration_images(false_reject: float, confidence: float | None = None) -> int:
    """Compute how many calibration images, or groups of them, a conformal limit needs.

    That is n >= 1 / rate - 1 for a rate that is kept on average, and (1 - rate)^n <= 1 - confidence for one that is
    kept with confidence: the highest of n scores is then high enough.

    Args:
        false_reject: share of good images that may be rejected, in (0, 1).
        confidence: share of models that keep it, in (0, 1); None: they keep it on average.

    Example:
        >>> [min_calibration_images(rate, 0.95) for rate in (0.05, 0.02, 0.01)]
        [59, 149, 299]
    """
    if confidence is None:
        return math.ceil(1 / false_reject - 1 - 1e-9)
    return math.ceil(math.log(1 - confidence) / math.log1p(-false_reject) - 1e-9)


def count_groups(samples: Iterable[Sample]) -> int:
    """Count what is independent of each other: groups, and images that are in none.

    Args:
        samples: images.
    """
    return len({_group_key(s) for s in samples})


def plan_split(
    samples: Samples,
    *,
    false_reject: float = 0.05,
    confidence: float | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> Split:
    """Give every sample its role.

    A fifth of the normal training images calibrates. Where these are enough for the false-reject rate but of too few
    groups, it is as many more, up to a third, as hold enough. Where that is too few, calibration goes by folds instead:
    all normals calibrate and all are learned from, at several times the fit. Where all of them are too few groups, that
    is noted, and the limit promises no more than they allow. A detector that can leave images out learns from all of
    them and calibrates on all, whatever their roles; so that all detectors of a comparison are tested on the same
    images, the roles do not depend on it. Defective training images only ever select. Normal images
    that the layout assigns to neither side are drawn for testing when there are defects to test against.

    Args:
        samples: a data set.
        false_reject: share of good images that may be rejected, in (0, 1); it says how many have to calibrate.
        confidence: share of models that keep this rate, in (0, 1), which takes more of them; None: on average.
        folds: calibrate by so many folds, however many normals there are; None: only where they are few.
        seed: seed of every draw, at least 0.

    Returns:
        Four disjoint roles; no group is in both ``fit`` and ``calibrate``.

    Raises:
        DataError: fewer normal images than the false-reject rate needs, or fewer groups than the confidence needs.
        ParameterError: the rate or the confidence is not between 0 and 1, or there are fewer groups than folds.
    """
    check_rate(false_reject)
    check_confidence(confidence)
    rng = np.random.default_rng(seed)
    train, test = _draw_test(samples, rng)
    need = min_calibration_images(false_reject, confidence)
    if confidence is not None:
        _check_enough(train, false_reject, confidence)
    if len(train) < need:
        raise DataError(
            f"{len(train)} normal training images are too few for a false-reject rate of {false_reject:g}, which needs"
            f" {need}; the lowest rate possible with {len(train)} is {_lowest_rate(len(train)):g}."
        )
    fifth, third = (round(share * len(train)) for share in (CALIBRATION_SHARE, MAX_CALIBRATION_SHARE))
    calibrate, fit = _draw_groups(train, fifth, rng, min_groups=need if fifth >= need else 0, max_samples=third)
    if folds is not None:
        calibrate, fit = [], train
        _check_folds(folds, train)
    elif count_groups(calibrate) < need or len(fit) < len(calibrate):
        calibrate, fit, folds = [], train, min(MAX_FOLDS, max(2, count_groups(train)))
    return Split(
        fit=tuple(fit),
        calibrate=tuple(calibrate),
        select=tuple(s for s in samples.samples if s.label == "abnormal" and s.split == "train"),
        test=tuple(test),
        folds=folds,
        notes=(*_note_few_groups(train, false_reject), *_note_shared_groups(fit + calibrate, test)),
    )


def _draw_test(samples: Samples, rng: np.random.Generator) -> tuple[list[Sample], list[Sample]]:
    """The normal training images, and all that is tested on."""
    normal = [s for s in samples.samples if s.label == "normal"]
    test = [s for s in samples.samples if s.split == "test" or (s.label == "abnormal" and s.split is None)]
    free = [s for s in normal if s.split is None]
    if len(normal) < len(samples.samples) and not any(s.label == "normal" for s in test):
        drawn, free = _draw_groups(free, round(TEST_SHARE * len(free)), rng)
        test = drawn + test
    return [s for s in normal if s.split == "train"] + free, test


def assign_folds(samples: Sequence[Sample], folds: int, seed: int) -> list[int]:
    """Assign a fold to each sample: groups are kept whole, folds as even as the groups allow; only one is torn apart.

    Args:
        samples: what is divided.
        folds: how many folds, at least 2.
        seed: seed of the draw, at least 0.

    Returns:
        A number from 0 to ``folds`` - 1 for each sample.
    """
    numbers = group_numbers(samples)
    groups = sorted(set(numbers))
    order = np.random.default_rng(seed).permutation(len(groups))
    fold = {groups[k]: i % folds for i, k in enumerate(order)}
    return [fold[number] for number in numbers]


def group_numbers(samples: Sequence[Sample]) -> list[int]:
    """Number the groups, from 0 in the order of their names; where all images are of one group, each gets its own.

    Args:
        samples: images, all different.

    Returns:
        The number of each image's group.
    """
    keys = [_group_key(s) for s in samples]
    if len(set(keys)) == 1:
        keys = [str(s.path) for s in samples]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return [numbers[key] for key in keys]


def splits_csv(split: Split, root: Path) -> str:
    """Format a split as CSV text with the columns path,role,label,type,group,mask.

    Args:
        split: who does what.
        root: the data's folder or CSV file; paths are relative to it where possible, with forward slashes.
    """
    rows = []
    for sample, role in split.roles():
        mask = path_in_data(sample.mask, root) if sample.mask else ""
        rows.append((path_in_data(sample.path, root), role, sample.label, sample.type or "", sample.group or "", mask))
    return csv_text(("path", "role", "label", "type", "group", "mask"), rows)


def read_splits_csv(text: str, root: Path, folds: int | None) -> Split:
    """Read what :func:`splits_csv` wrote.

    Args:
        text: the CSV.
        root: the data's folder or CSV file, to which its paths are relative.
        folds: how many folds calibrate; None where calibration images are held out.
    """
    roles: dict[Role, list[Sample]] = {"fit": [], "calibrate": [], "select": [], "test": []}
    for row in csv.DictReader(io.StringIO(text)):
        base = root if root.is_dir() else root.parent
        role: Role = row["role"]  # type: ignore[assignment]
        roles[role].append(
            Sample(
                named_path(str(base / row["path"])),
                "normal" if row["label"] == "normal" else "abnormal",
                type=row["type"] or None,
                mask=named_path(str(base / row["mask"])) if row["mask"] else None,
                group=row["group"] or None,
            )
        )
    fit, calibrate, select, test = (tuple(samples) for samples in roles.values())
    return Split(fit, calibrate, select, test, folds=folds)


def path_in_data(path: Path, root: Path) -> str:
    """Format a path as users know it: relative to the data, with forward slashes, printable.

    Args:
        path: of an image or a mask; one outside the data stays as it is.
        root: the data's folder or CSV file.
    """
    base = root if root.is_dir() else root.parent
    return printable((path.relative_to(base) if path.is_relative_to(base) else path).as_posix())


def _group_key(sample: Sample) -> str:
    """What may not be torn apart: the group, or the image itself."""
    return f"group {sample.group}" if sample.group is not None else f"image {sample.path}"


def _draw_groups(
    samples: list[Sample], count: int, rng: np.random.Generator, *, min_groups: int = 0, max_samples: int = 0
) -> tuple[list[Sample], list[Sample]]:
    """Draw whole groups at random: (drawn, rest), each in reading order.

    They are drawn until ``count`` samples are reached, and on until ``min_groups`` are or ``max_samples`` are.
    """
    sizes = Counter(_group_key(s) for s in samples)
    groups = sorted(sizes)
    drawn: set[str] = set()
    drawn_samples = 0
    for k in rng.permutation(len(groups)):
        if drawn_samples >= count and (len(drawn) >= min_groups or drawn_samples >= max_samples):
            break
        drawn.add(groups[k])
        drawn_samples += sizes[groups[k]]
    return [s for s in samples if _group_key(s) in drawn], [s for s in samples if _group_key(s) not in drawn]


def _lowest_rate(count: int) -> float:
    """The smallest rate that ``count`` images can promise, rounded up to what one would type."""
    return math.ceil(1000 / (count + 1)) / 1000


def _check_folds(folds: int, train: Sequence[Sample]) -> None:
    """Refuse a number of folds that the normal images cannot be divided into."""
    most = len(set(group_numbers(train)))
    if not 2 <= folds <= most:
        raise ParameterError(
            f"{folds} folds are not allowed: give at least 2, and at most {most}, the number of normal training images"
            " that are independent of each other."
        )


def _check_enough(train: Sequence[Sample], false_reject: float, confidence: float) -> None:
    """Refuse a confidence that needs more normal parts than there are, and say what they could promise."""
    groups, need = count_groups(train), min_calibration_images(false_reject, confidence)
    if groups < need:
        lowest = math.ceil(1000 * (1 - (1 - confidence) ** (1 / max(groups, 1)))) / 1000
        raise DataError(
            f"There are {groups} normal training images that are independent of each other, too few for a false-reject"
            f" rate of {false_reject:g} with confidence {confidence:g}, which needs {need}: take images of"
            f" {need - groups} more parts, or ask for what {groups} can promise, {lowest:g} with this confidence"
            + (f" or {_lowest_rate(groups):g} on average." if groups >= 1 else ".")
        )


def _note_few_groups(train: Sequence[Sample], false_reject: float) -> tuple[str, ...]:
    """Say why a rate of false rejects is not promised, and what is missing."""
    groups, need = count_groups(train), min_calibration_images(false_reject)
    if groups >= need:
        return ()
    said = f"The {len(train)} normal training images"
    if groups == 1:
        return (
            f"{said} all show one part or photo, so nothing is promised for others: take images of {need - 1} more"
            " parts.",
        )
    return (
        f"{said} show only {groups} parts or photos, and {need} are needed for {false_reject:.1%} false rejects, so"
        f" that is not promised: take images of {need - groups} more, or allow {_lowest_rate(groups):.1%}.",
    )


def _note_shared_groups(train: Sequence[Sample], test: Sequence[Sample]) -> tuple[str, ...]:
    both = {s.group for s in train if s.group} & {s.group for s in test if s.group}
    if not both:
        return ()
    return (f"{len(both)} groups are in both training and test, so the test is too easy: {join_names(sorted(both))}.",)
