"""Groups in file names: tiles of one photo and frames of one burst share the beginning of their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pellucid.records import Sample

MIN_GROUPS = 10  # that bare numbers at the end have to leave: with fewer, the beginning may be a class or a camera
MAX_GAPS = 2  # times as high as the largest group the number of a part may be: some may be missing
UNIQUE_DIGITS = re.compile(r"\d{6}")  # a time or a serial number: the same thing in whichever folder it lies

_BEGINNING = r"(?P<group>.*\d.*?)[-_. ]+"
_ENDS = (  # from the surest: how the end is written, and whether it says by itself that it is a part
    (r"(?:x\d+[-_. ]?y\d+|r\d+[-_. ]?c\d+|row[-_]?\d+[-_. ]?col[-_]?\d+)", True),
    (r"(?:frame|tile|patch|crop|part|piece|shot|view|image|img|cam|copy|f|t|p)[-_. ]?\d{1,5}", True),
    (r"\d{1,5}[-_]\d{1,5}", False),
    (r"\(?(?P<part>\d{1,5})\)?", False),
)
_MANY_PARTS = re.compile(  # a camera, a lot or a day
    r"(?:cam(?:era)?|line|station|lot|batch|shift|day|session|exp|set|series|run)?[-_ ]?\d{1,3}"
    r"|(?:19|20)\d\d[-_]?\d\d[-_]?\d\d",
    re.IGNORECASE,
)
_NUMBERED_WORD = re.compile(r"(?P<word>[^\W\d]+)[-_. ]\d+")
_CLASSES = ("good", "ok", "normal", "bad", "nok", "ng", "defect", "abnormal", "train", "test", "val")


def groups_in_names(samples: Sequence[Sample]) -> tuple[dict[Path, str], tuple[str, ...]]:
    """Find groups in file names: those of all normal training images end in one way, and several begin alike.

    What is beyond doubt is used, what is not is proposed. Running numbers are no groups.

    Args:
        samples: of a data set.

    Returns:
        Groups by path, none where the names say nothing for sure; and a sentence about what was found.
    """
    learned = [s.path for s in samples if s.label == "normal" and s.split != "test"]
    proposal: tuple[str, ...] = ()
    for written, says_part in _ENDS:
        end = re.compile(_BEGINNING + written, re.IGNORECASE)
        groups = _beginnings(end, learned)
        counts = Counter(groups.values())
        if not 1 < len(counts) < len(groups) or not _number_parts(end, groups):
            continue
        beginning = counts.most_common(1)[0][0]
        example = next(path.stem for path, group in groups.items() if group == beginning)
        name = beginning.rpartition("/")[2]
        told = re.sub(r"\d+", "<n>", example[len(name) :])
        found = f"before {told}: {len(counts)} groups, as in {name}"
        if not _are_things(counts, says_part):
            proposal = (
                f"The names of the normal training images may tell what belongs together by what is {found}. If images"
                " of a group show one part or one photo, say so in the group column of a CSV file.",
            )
            continue
        for role in {(s.label, s.split) for s in samples} - {("normal", "train"), ("normal", None)}:
            groups |= _beginnings(end, [s.path for s in samples if (s.label, s.split) == role])
        return groups, (
            f"Files that share the beginning of their name are kept together, {found}. The group column of a CSV file"
            " says it better.",
        )
    return {}, proposal


def _beginnings(end: re.Pattern[str], paths: Iterable[Path]) -> dict[Path, str]:
    """What is before the end of each name, with its folder unless it is unique; nothing if a name ends otherwise."""
    groups = {}
    for path in paths:
        match = end.fullmatch(path.stem)
        if match is None:
            return {}
        name = match["group"]
        groups[path] = name if UNIQUE_DIGITS.search(name) else f"{path.parent.name}/{name}"
    return groups


def _number_parts(end: re.Pattern[str], groups: Mapping[Path, str]) -> bool:
    """Whether bare numbers at the end number parts of a group, from about 0 on, and are no running numbers."""
    if "part" not in end.groupindex:
        return True
    largest = Counter(groups.values()).most_common(1)[0][1]
    return all(int(match["part"]) <= MAX_GAPS * largest for p in groups if (match := end.fullmatch(p.stem)))


def _are_things(groups: Iterable[str], says_part: bool) -> bool:
    """Whether beginnings of names are things that were photographed: neither machines nor classes, and many of them."""
    names = [group.rpartition("/")[2] for group in groups]
    if any(_MANY_PARTS.fullmatch(name) for name in names):
        return False
    words = {match["word"].lower() for name in names if (match := _NUMBERED_WORD.fullmatch(name))}
    return says_part or (len(names) >= MIN_GROUPS and len(words) < 2 and words.isdisjoint(_CLASSES))
