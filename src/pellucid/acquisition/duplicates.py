"""Photos that sit in two roles, whatever their files are called."""

from __future__ import annotations

from collections.abc import Mapping

from pellucid.acquisition.verify import VerifiedData
from pellucid.errors import join_names
from pellucid.records import Role, Split

_CONSEQUENCES: Mapping[tuple[Role, Role], str] = {
    ("fit", "calibrate"): "calibration images are also images that are fitted on, so the limit is too low",
    ("fit", "test"): "test images are also training images, so the test is too easy",
    ("calibrate", "test"): "test images are also calibration images, so the test is too easy",
    ("select", "test"): "test images are also images that models are chosen by, so the test is too easy",
}


def note_duplicates(split: Split, verified: VerifiedData) -> tuple[str, ...]:
    """Warn about every two roles that share a photo: the same bytes, or images that show the same.

    Args:
        split: the roles of ``verified.samples``.
        verified: their hashes, and which are alike.

    Returns:
        A sentence for each pair of roles and kind of sharing; none where all is well.
    """
    roles = {sample.path: role for sample, role in split.roles()}
    first = {(role, verified.hashes[path]): path for path, role in reversed(roles.items())}
    notes = []
    for (one, other), harm in _CONSEQUENCES.items():
        same = {
            path: first[one, verified.hashes[path]]
            for path, role in roles.items()
            if role == other and (one, verified.hashes[path]) in first
        }
        near = {
            theirs: ours
            for pair in verified.alike
            for ours, theirs in (pair, pair[::-1])
            if roles.get(ours) == one and roles.get(theirs) == other and theirs not in same
        }
        for pairs, consequence in ((same, harm), (near, harm.replace("are also", "look the same as", 1))):
            if pairs:
                shown = join_names(f"{ours.name} = {theirs.name}" for theirs, ours in pairs.items())
                notes.append(f"{len(pairs)} {consequence}: {shown}.")
    return tuple(notes)
