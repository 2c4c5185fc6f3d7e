"""Which images show the same thing: frames of a burst, one photo stored twice, tiles and crops that overlap.

An image is compared by its *detail*: what is left of it without its light, clipped, so that a bold edge counts no more
than fine texture. Two looks at it: the whole at a small size, which finds a photo at another size, quality or
brightness, noisier or mirrored; and landmarks, the most striking places at full size, of which images that overlap
share several at one offset. Both are whitened over the set, so that what its images have in common tells nothing, and
unrelated images correlate by chance alone: what counts as alike is far outside of that, on glass of any contrast.

Vectors are compared in blocks, and many of them only within cells of similar ones (an inverted file: Jégou et al.,
"Product quantization for nearest neighbor search", PAMI 2011), so that time grows with the number of images and
memory does not run away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pellucid.acquisition.images import Pixels, Size

Plane = NDArray[np.float32]  # (H, W), grey
Vectors = NDArray[np.float32]  # (n, d), each of length one or zero
Pairs = NDArray[np.int64]  # (m, 2), numbers of vectors or images, the lower first

WHOLE_SIDE_PX = 32  # that the whole image is looked at in
WHOLE_FREQUENCIES = 24  # in each direction; the highest are mostly noise
MAX_LANDMARK_SIDE_PX = 256  # larger images are halved until they fit
LANDMARK_BLUR_PX = 1.5  # half a pixel of offset, and noise, may not matter
LANDMARKS = 24  # of an image, at most
PATCH_SIDE_PX = 32  # around a landmark
PATCH_FREQUENCIES = 10  # in each direction
MIN_LANDMARK_DISTANCE_PX = 4
CLIP = 2.5  # robust standard deviations of the detail

MIN_WHOLE_CORRELATION = 0.5  # of images that show the same, at least; with one bold defect each, others reach 0.48
CHANCE_DEVIATIONS = 8.0  # of the correlation of unrelated images, which has to be exceeded as well
MIN_COMMON_SHARE = 0.3  # of the detail that all images of one part have in common
CONTENT_BAND, NOISE_BAND = (6, 10), (16, 24)  # frequencies: of a camera's noise the first have half of the power
MAX_NOISE_CONTRAST = 1.2  # of the first to the second where noise is all that differs; content has 1.6 or more
MIN_LANDMARK_CORRELATION = 0.55
MIN_SHARED_LANDMARKS = 3  # at one offset
MAX_OFFSET_DIFFERENCE_PX = 2
MIN_OFFSET_PX = 6  # from which on landmarks have moved: they are no part of the machine
MAX_PARTNERS = 16  # kept of an image that looks like many others: groups need no more
LARGE_GROUP = 10  # images; what more than these, and more than a tenth of all, share may belong to the machine
CELL_SIZE = 4096  # vectors, about; fewer than four cells are one
CELLS_PER_VECTOR = 2
BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is on an image, in 6 kB: enough to recognise it, or a part of it, in another one.

    Attributes:
        whole: detail of the whole image, (32, 32), in fiftieths of its robust standard deviation.
        patches: detail around each landmark, its lowest frequencies, (n, 100).
        places: x and y of each landmark, (n, 2), px of the image, halved if it is large.
    """

    whole: NDArray[np.int8]
    patches: NDArray[np.float16]
    places: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Likeness:
    """Which images of a set show the same thing.

    Attributes:
        pairs: their numbers, two by two, each pair once.
        undecided: numbers of the images of each large group that looks alike without moving, and differs by more than
            noise: frames of a long burst under a light that changes, or parts in front of the same dirt.
    """

    pairs: Pairs
    undecided: tuple[NDArray[np.int64], ...] = ()


def fingerprint(pixels: Pixels) -> Fingerprint:
    """Compute what an image is recognised by.

    Args:
        pixels: (H, W, 3) in [0, 1].
    """
    grey: Plane = np.asarray(pixels.mean(2), np.float32)
    small = _shrink(grey, (WHOLE_SIDE_PX, WHOLE_SIDE_PX))
    while max(grey.shape) > MAX_LANDMARK_SIDE_PX and min(grey.shape) > 1:
        grey = _shrink(grey, (grey.shape[0] // 2, grey.shape[1] // 2))
    patches, places = _landmarks(_detail(_blur(grey, LANDMARK_BLUR_PX), 8.0))
    return Fingerprint(np.round(50 * _detail(small, 2.0)).astype(np.int8), patches, places)


def find_alike(fingerprints: Sequence[Fingerprint]) -> Likeness:
    """Find which images of a set show the same thing, in whole or in part.

    What many images share may as well be dirt in front of a camera. It is the same thing only if no more than noise
    differs, or nothing at all; otherwise it is undecided. Of an image that looks like more than 16 others the nearest
    16 are told: that puts them together.

    Args:
        fingerprints: of every image.
    """
    count = len(fingerprints)
    if count < 2:
        return Likeness(np.zeros((0, 2), np.int64))
    spectra = _spectra(np.stack([f.whole for f in fingerprints]))
    if _show_one_thing(spectra):
        return Likeness(np.stack([np.arange(count - 1), np.arange(1, count)], 1))
    moved, unmoved = _overlaps(fingerprints)
    in_place = np.concatenate([_same_wholes(spectra), unmoved])
    group = connected(in_place, count)
    sizes = np.bincount(group, minlength=count)
    undecided = []
    for large in np.nonzero(sizes > max(LARGE_GROUP, count // 10))[0]:
        if not _only_noise_differs(spectra[group == large]):
            in_place = in_place[group[in_place[:, 0]] != large]
            undecided.append(np.nonzero(group == large)[0])
    return Likeness(np.unique(np.concatenate([in_place, moved, _equal(fingerprints)]), axis=0), tuple(undecided))


def connected(pairs: Pairs, count: int) -> NDArray[np.int64]:
    """Number the groups that pairs join ``count`` images to: (count,), a group for each image."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _equal(fingerprints: Sequence[Fingerprint]) -> Pairs:
    """Each image whose every detail is that of an earlier one, with the first such: a frame that was stored again."""
    first: dict[bytes, int] = {}
    pairs = []
    for number, one in enumerate(fingerprints):
        content = b"".join(part.tobytes() for part in (one.whole, one.patches, one.places))
        if one.whole.any() and (earlier := first.setdefault(content, number)) != number:
            pairs.append((earlier, number))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _shrink(grey: Plane, size: Size) -> Plane:
    return np.asarray(cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.float32)


def _blur(grey: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _detail(grey: Plane, sigma: float) -> Plane:
    """An image (H, W) without what is larger than ``sigma`` px, in robust standard deviations, clipped."""
    detail = grey - _blur(grey, sigma)
    detail -= np.median(detail)
    scale = max(1.4826 * float(np.median(np.abs(detail))), 0.25 * float(detail.std()))
    if scale < 1e-6:  # nothing but rounding
        return np.zeros_like(detail)
    return np.asarray(np.clip(detail / scale, -CLIP, CLIP), np.float32)


def _landmarks(detail: Plane) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """The most striking places of an image's detail, as patches and their centres."""
    half = PATCH_SIDE_PX // 2
    nothing = np.zeros((0, PATCH_FREQUENCIES**2), np.float16), np.zeros((0, 2), np.int16)
    if min(detail.shape) <= PATCH_SIDE_PX:
        return nothing
    strength = cv2.cornerMinEigenVal(detail, 7)  # a line looks the same all along: it tells no place
    neighbourhood = np.ones((2 * MIN_LANDMARK_DISTANCE_PX + 1,) * 2, np.uint8)
    peaks = (strength == cv2.dilate(strength, neighbourhood)) & (strength > 0)
    inside = np.zeros_like(peaks)
    inside[half : detail.shape[0] - half + 1, half : detail.shape[1] - half + 1] = True
    y, x = np.nonzero(peaks & inside)
    strongest = np.argsort(-strength[y, x], kind="stable")[:LANDMARKS]
    if not len(strongest):
        return nothing
    y, x = y[strongest], x[strongest]
    windows = np.stack([detail[v - half : v + half, u - half : u + half] for v, u in zip(y, x, strict=True)])
    frequencies = dctn(windows, axes=(1, 2), norm="ortho")[:, :PATCH_FREQUENCIES, :PATCH_FREQUENCIES]
    return frequencies.reshape(len(y), -1).astype(np.float16), np.stack([x, y], 1).astype(np.int16)


# --- the whole image -------------------------------------------------------------------------------------------------


def _spectra(details: NDArray[np.int8]) -> NDArray[np.float32]:
    """Lower frequencies of every whole image, (n, 24, 24), of length one."""
    rows = range(0, len(details), BLOCK_ROWS)
    blocks = [dctn(details[k : k + BLOCK_ROWS].astype(np.float32), axes=(1, 2), norm="ortho") for k in rows]
    spectra = np.concatenate([block[:, :WHOLE_FREQUENCIES, :WHOLE_FREQUENCIES] for block in blocks])
    return _normalised(spectra.reshape(len(spectra), -1)).reshape(spectra.shape)


def _show_one_thing(spectra: NDArray[np.float32]) -> bool:
    """Whether all images are of one part: they have much in common, and nothing but noise differs."""
    return float((spectra.mean(0) ** 2).sum()) >= MIN_COMMON_SHARE and _only_noise_differs(spectra)


def _only_noise_differs(spectra: NDArray[np.float32]) -> bool:
    """Whether what differs between images has a camera's noise's spectrum, which is flat, or that of things."""
    power = spectra.var(0)
    radius = np.hypot(*np.mgrid[:WHOLE_FREQUENCIES, :WHOLE_FREQUENCIES])
    content, noise = (power[(radius >= low) & (radius < high)].mean() for low, high in (CONTENT_BAND, NOISE_BAND))
    return bool(content < MAX_NOISE_CONTRAST * noise)


def _same_wholes(spectra: NDArray[np.float32]) -> Pairs:
    """Pairs of images that are alike as a whole, upright, mirrored or turned by half."""
    power = cv2.blur((spectra**2).mean(0), (3, 3))
    whitened = (spectra / np.sqrt(np.maximum(power, 1e-4 * power.max() + 1e-12))).reshape(len(spectra), -1)
    whitened = _normalised(whitened)
    own = _normalised(whitened - whitened.mean(0) * whitened.any(1, keepdims=True))
    threshold = max(MIN_WHOLE_CORRELATION, _chance(own))
    signs = np.where(np.arange(WHOLE_FREQUENCIES) % 2, -1, 1)  # a cosine that is odd changes its sign in a mirror
    found = []
    for down, across in ((1, 1), (1, signs), (signs, 1), (signs, signs)):
        mirror = np.ones((WHOLE_FREQUENCIES, WHOLE_FREQUENCIES), np.float32) * across * np.reshape(down, (-1, 1))
        found.append(_similar(own, threshold, others=own * mirror.ravel()))
    return np.concatenate(found)


def _chance(vectors: Vectors) -> float:
    """What unrelated vectors of a set may reach: far outside of how most pairs correlate."""
    some = vectors[:: -(-len(vectors) // BLOCK_ROWS)]
    correlations = (some @ some.T)[np.triu_indices(len(some), 1)]
    middle = float(np.median(correlations))
    return middle + CHANCE_DEVIATIONS * 1.4826 * float(np.median(np.abs(correlations - middle)))


# --- parts of the image ----------------------------------------------------------------------------------------------


def _overlaps(fingerprints: Sequence[Fingerprint]) -> tuple[Pairs, Pairs]:
    """Pairs of images that share several landmarks at one offset: those that have moved, and those in place."""
    count = len(fingerprints)
    image = np.repeat(np.arange(count), [len(f.places) for f in fingerprints])
    places = np.concatenate([f.places for f in fingerprints]).astype(np.int64)
    patches = np.concatenate([f.patches for f in fingerprints]).astype(np.float32)
    if not len(patches):
        return np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
    patches -= patches.mean(0)
    patches = _normalised(patches / np.maximum(patches.std(0), 1e-6))
    one, other = _similar(patches, MIN_LANDMARK_CORRELATION, image=image, most=max(LARGE_GROUP, count // 10)).T
    pair = image[one] * count + image[other]
    order = np.argsort(pair, kind="stable")
    pair, place, offset = pair[order], places[one][order], (places[one] - places[other])[order]
    pairs, starts, counts = np.unique(pair, return_index=True, return_counts=True)
    moved: list[tuple[int, int]] = []
    unmoved: list[tuple[int, int]] = []
    for k in np.nonzero(counts >= MIN_SHARED_LANDMARKS)[0]:
        found = slice(starts[k], starts[k] + counts[k])
        agreed = _agreed(offset[found], place[found])
        if agreed is not None:
            (moved if agreed >= MIN_OFFSET_PX else unmoved).append(divmod(int(pairs[k]), count))
    return np.array(moved, np.int64).reshape(-1, 2), np.array(unmoved, np.int64).reshape(-1, 2)


def _agreed(offsets: NDArray[np.int64], places: NDArray[np.int64]) -> int | None:
    """The offset that enough landmarks at ``places`` (n, 2) agree on, spread over more than one object; px."""
    near = np.abs(offsets[:, None] - offsets[None]).max(2) <= MAX_OFFSET_DIFFERENCE_PX
    best = near.sum(1).argmax()
    agreeing = places[near[best]]
    if len(agreeing) < MIN_SHARED_LANDMARKS or np.ptp(agreeing, axis=0).max() < PATCH_SIDE_PX:
        return None
    return int(np.abs(offsets[best]).max())


# --- the search ------------------------------------------------------------------------------------------------------


def _similar(
    vectors: Vectors,
    threshold: float,
    *,
    others: Vectors | None = None,
    image: NDArray[np.int64] | None = None,
    most: int | None = None,
) -> Pairs:
    """Pairs of vectors that correlate by ``threshold`` or more.

    Args:
        vectors: (n, d).
        threshold: above 0.
        others: what they are compared with, (n, d), a vector each; themselves where it is not given.
        image: of each vector, (n,); those of one image are not compared.
        most: a vector like more others than these is passed over; where it is not given its nearest ones are kept.
    """
    image = np.arange(len(vectors)) if image is None else image
    found = [np.zeros((0, 2), np.int64)]
    everything = np.arange(len(vectors))
    for own, cell in _cells(vectors) if others is None else [(everything, everything)]:
        compared = (vectors if others is None else others)[cell]
        for start in range(0, len(own), BLOCK_ROWS):
            rows = own[start : start + BLOCK_ROWS]
            correlation = vectors[rows] @ compared.T
            row, column = np.divmod(np.flatnonzero(correlation >= threshold), len(cell))
            apart = image[rows[row]] != image[cell[column]]
            row, column = row[apart], column[apart]
            if most is None:
                best = np.lexsort((-correlation[row, column], row))
                row, column = row[best], column[best]
                kept = np.arange(len(row)) - np.searchsorted(row, row) < MAX_PARTNERS
            else:
                kept = np.bincount(row, minlength=len(rows))[row] <= most
            found.append(np.stack([rows[row[kept]], cell[column[kept]]], 1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _cells(vectors: Vectors) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Numbers of vectors that are near each other: those nearest to a centre, and what they are compared with.

    Each is compared with all to which its centre is the nearest or the second; where vectors are few, with all.
    """
    count = len(vectors) // CELL_SIZE
    if count < 4:
        return [(np.arange(len(vectors)),) * 2]
    centres = vectors[:: -(-len(vectors) // count)]
    nearest = np.concatenate(
        [
            np.argsort(-(vectors[k : k + BLOCK_ROWS] @ centres.T), axis=1)[:, :CELLS_PER_VECTOR]
            for k in range(0, len(vectors), BLOCK_ROWS)
        ]
    )
    return [(np.nonzero(nearest[:, 0] == k)[0], np.nonzero((nearest == k).any(1))[0]) for k in range(len(centres))]


def _normalised(vectors: Vectors) -> Vectors:
    """Vectors of length one; what has no length stays as it is."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 1e-6, length, 1), np.float32)
