"""Which mask belongs to which image, by their paths: the same mechanism for every layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import PurePath
from unicodedata import normalize

Parts = tuple[str, ...]  # of a path, normalised, the file without its suffix

_IMAGE_SUFFIX = re.compile(r"\.(png|jpe?g|bmp|tiff?|webp|jp2|p[bgp]m)$", re.I)  # as in pane.png.json
_MASK_WORD = re.compile(r"(?<=.)[ _.-](masks?|gt|labels?|seg|segmentation|ground[ _-]?truth)$", re.I)


def pair(images: Sequence[PurePath], truths: Sequence[PurePath], preferred: Collection[int]) -> dict[int, int]:
    """Pair files with images: by the longest common end of their paths first, by a stem that occurs once last.

    ``mask/crack/000.png`` belongs to ``abnormal_test/crack/000.png`` whatever else is called 000. A stem may end in
    a word for mask, as in ``000_mask``, ``000_gt`` or ``000_label``; one that is equal comes first. Where two files
    or two images fit equally well, none is paired, and a file in ``crack`` is never paired with an image elsewhere
    if there are images in a ``crack``.

    Args:
        images: their paths.
        truths: paths of masks, or of images as annotation files name them.
        preferred: indices of the images that are meant where others have the same name: the defective ones.

    Returns:
        Index of the image, by index of its truth.
    """
    ends = [path_parts(path) for path in images]
    folders = {path.parent.name for path in images} - {""}
    equal, similar = [path_parts(path) for path in truths], [_parts(path, _stem_without_mask_word) for path in truths]
    pairs: dict[int, int] = {}
    paired_images: set[int] = set()
    for depth in range(max(map(len, ends), default=0), 0, -1):
        by_tail = _group(enumerate(ends), depth)
        for ends_of_truths in (equal, similar):
            unpaired = ((n, parts) for n, parts in enumerate(ends_of_truths) if n not in pairs)
            for tail, waiting in _group(unpaired, depth).items():
                fitting = by_tail.get(tail, [])
                fitting = [n for n in fitting if n in preferred] or fitting
                if len(waiting) != 1 or len(fitting) != 1 or fitting[0] in paired_images:
                    continue
                if depth > 1 or truths[waiting[0]].parent.name not in folders:
                    pairs[waiting[0]] = fitting[0]
                    paired_images.add(fitting[0])
    return pairs


def share_a_stem(images: Iterable[PurePath], truths: Sequence[PurePath]) -> list[bool]:
    """Tell for each truth whether an image has its name, in whatever folder."""
    stems = {_stem(path) for path in images}
    return [_stem(path) in stems or _stem_without_mask_word(path) in stems for path in truths]


def lie_beside(paths: Sequence[PurePath]) -> list[bool]:
    """Tell for each file whether it is named as a mask of another in its folder: ``a_mask.png`` beside ``a.png``."""
    known = {path_parts(path) for path in paths}
    return [
        (*folder, _MASK_WORD.sub("", stem)) in known and _MASK_WORD.search(stem) is not None
        for *folder, stem in map(path_parts, paths)
    ]


def common_tail(one: PurePath, other: PurePath) -> int:
    """Count the last parts of two paths that agree; the suffix of the file does not count."""
    mine, theirs = path_parts(one), path_parts(other)
    agreeing = 0
    while agreeing < min(len(mine), len(theirs)) and mine[-1 - agreeing] == theirs[-1 - agreeing]:
        agreeing += 1
    return agreeing


def path_parts(path: PurePath) -> Parts:
    """Return the parts of a path as they are compared: composed characters, the file without its suffix."""
    return _parts(path, _stem)


def _parts(path: PurePath, stem_of: Callable[[PurePath], str]) -> Parts:
    return (*(normalize("NFC", part) for part in path.parent.parts), stem_of(path))


def _stem(path: PurePath) -> str:
    return normalize("NFC", path.stem)


def _stem_without_mask_word(path: PurePath) -> str:
    return _MASK_WORD.sub("", _IMAGE_SUFFIX.sub("", _stem(path)))


def _group(parts: Iterable[tuple[int, Parts]], depth: int) -> dict[Parts, list[int]]:
    """Indices by the last parts of their paths; a path that is too short has none."""
    groups: dict[Parts, list[int]] = {}
    for n, path in parts:
        if len(path) >= depth:
            groups.setdefault(path[-depth:], []).append(n)
    return groups
