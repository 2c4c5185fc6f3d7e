"""What belongs together: images of one group never sit in two roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pellucid.acquisition.file_names import groups_in_names
from pellucid.acquisition.likeness import connected
from pellucid.errors import join_names
from pellucid.records import Sample, Samples


def with_groups(
    samples: Samples, alike: Sequence[tuple[Path, Path]], undecided: Sequence[Sequence[Path]] = ()
) -> Samples:
    """Put into one group what file names or the images themselves tell to be one thing.

    A group that the data set gives is never changed, and where it gives any, names are not looked at. Images are put
    together if they may be learned from; what is like a test image is told, see ``note_duplicates``.

    Args:
        samples: a data set.
        alike: paths of images that show the same, two by two.
        undecided: paths of images that may show the same, group by group; this is said, and they are left apart.

    Returns:
        The samples with their groups, and notes about those that were found.
    """
    items = samples.samples
    given = any(s.group for s in items)
    names, notes = ({}, ()) if given else groups_in_names(items)
    learned = {s.path: n for n, s in enumerate(items) if s.label == "normal" and s.split != "test"}
    like = [
        (learned[one], learned[other])
        for one, other in alike
        if one in learned and other in learned and not (items[learned[one]].group and items[learned[other]].group)
    ]
    named: dict[str, int] = {}
    notes += _note_undecided(samples, undecided, set(names))
    pairs = [*like, *((named.setdefault(names[s.path], n), n) for n, s in enumerate(items) if s.path in names)]
    if not pairs:
        return replace(samples, notes=(*samples.notes, *notes))
    members = defaultdict(list)
    for n, group in enumerate(connected(np.array(pairs, np.int64), len(items))):
        members[int(group)].append(n)
    found = {
        n: name for same in members.values() if len(same) > 1 for name in [_name(items, same, names)] for n in same
    }
    grouped = tuple(replace(s, group=s.group or found.get(n)) for n, s in enumerate(items))
    return replace(samples, samples=grouped, notes=(*samples.notes, *notes, *_note_alike(items, like)))


def _name(items: Sequence[Sample], members: Sequence[int], names: dict[Path, str]) -> str:
    """What a group is called: as the data set or a file's name does, or by its first image."""
    known = [items[n].group for n in members] + [names.get(items[n].path) for n in members]
    return next((name for name in known if name), f"like {items[members[0]].path.name}")


def _note_alike(items: Sequence[Sample], pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    if not pairs:
        return ()
    group = connected(np.array(pairs, np.int64), len(items))
    sizes = np.bincount(group)
    count, groups = int(sizes[sizes > 1].sum()), int((sizes > 1).sum())
    shown = join_names([f"{items[one].path.name} = {items[other].path.name}" for one, other in pairs])
    return (
        f"{count} normal training images show the same as another one (frames of a burst, a photo stored twice, tiles"
        f" that overlap) and are kept together, in {groups} groups: {shown}.",
    )


def _note_undecided(samples: Samples, undecided: Sequence[Sequence[Path]], named: set[Path]) -> tuple[str, ...]:
    """Say which normal training images without a group may be frames of one part."""
    free = {s.path for s in samples.samples if s.label == "normal" and s.split != "test" and not s.group} - named
    found = [members for group in undecided if len(members := [path for path in group if path in free]) > 1]
    if not found:
        return ()
    count, shown = sum(map(len, found)), join_names([f"{one.name} = {other.name}" for one, other, *_ in found])
    return (
        f"{count} normal training images look alike, in {len(found)} groups, and more than noise differs: {shown}. They"
        " count as parts of their own. If they are frames of one part, the promised rate does not hold: say which"
        " belong together in the column `group` of a CSV file.",
    )
