"""Images from formulas: power-law noise, warped gratings, cells, sparse noise, and shapes filled with them.

Nothing here is photographed. One seed gives one image, on any machine with the same NumPy and OpenCV. The ideas follow
work on learning to see from noise and procedures (Baradad et al., NeurIPS 2021, arXiv 2106.05963; Kataoka et al.,
ACCV 2020); every field is float32 (size, size) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]  # (size, size) in [0, 1]
Image = NDArray[np.float32]  # (size, size, 3) in [0, 1]


def _stretch(field: NDArray[np.floating]) -> Field:
    """Linearly to [0, 1]; a constant field becomes zero."""
    low, high = float(field.min()), float(field.max())
    return ((field - low) / max(high - low, 1e-9)).astype(np.float32)


def power_law(rng: Generator, size: int) -> Field:
    """Noise whose power falls as 1/f^beta, optionally stretched along one direction."""
    beta, stretch, angle = rng.uniform(0.5, 3.5), np.exp(rng.normal(0, 0.7)), rng.uniform(0, np.pi)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    u, v = fx * np.cos(angle) + fy * np.sin(angle), (fy * np.cos(angle) - fx * np.sin(angle)) * stretch
    radius = np.sqrt(u * u + v * v)
    radius[0, 0] = np.inf  # no mean
    spectrum = np.exp(2j * np.pi * rng.random(radius.shape)) * radius ** (-beta / 2)
    return _stretch(np.fft.irfft2(spectrum, s=(size, size)))


def grating(rng: Generator, size: int) -> Field:
    """Parallel waves, bent by slow noise; sine, square or saw profile; sometimes two crossed."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 3)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(80)))
        bend = cv2.resize(rng.normal(0, 1, (6, 6)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        phase = (x * np.cos(angle) + y * np.sin(angle)) / period + bend * rng.choice([0.0, 0.2, 1.0])
        profile = rng.integers(3)
        wave = np.sin(2 * np.pi * phase)
        if profile == 1:
            wave = np.tanh(wave * 6 + rng.uniform(-3, 3))
        elif profile == 2:
            wave = phase % 1.0
        field += wave.astype(np.float32)
    return _stretch(field)


def cells(rng: Generator, size: int) -> Field:
    """Voronoi cells: distance to the nearest point, a random tone per cell, or the walls between cells."""
    points = int(np.exp(rng.uniform(np.log(6), np.log(900))))
    ground = np.full((size, size), 255, np.uint8)
    ground[rng.integers(0, size, points), rng.integers(0, size, points)] = 0
    distance, labels = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tone = rng.random(int(labels.max()) + 1).astype(np.float32)[labels]
    kind = rng.integers(3)
    if kind == 0:
        return _stretch(np.asarray(distance, np.float32))
    if kind == 1:
        return np.asarray(tone, np.float32)
    walls = (cv2.Laplacian(tone, cv2.CV_32F) != 0).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(walls, (0, 0), rng.uniform(0.6, 2.0)), np.float32)


def sparse_noise(rng: Generator, size: int) -> Field:
    """Few bright grains of one size on black."""
    density = np.exp(rng.uniform(np.log(0.0005), np.log(0.05)))
    grains = (rng.random((size, size)) < density) * rng.random((size, size))
    return _stretch(cv2.GaussianBlur(grains.astype(np.float32), (0, 0), rng.uniform(0.6, 4.0)))


def weave(rng: Generator, size: int) -> Field:
    """A small seamless patch of noise, repeated: cloth, mesh, print; the rows may be shifted or bent."""
    side = int(np.exp(rng.uniform(np.log(6), np.log(64))))
    patch = cv2.GaussianBlur(power_law(rng, side), (0, 0), rng.uniform(0.3, 1.5), borderType=cv2.BORDER_REFLECT)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, zoom = rng.uniform(0, np.pi), rng.uniform(0.7, 1.6)
    bend = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    u = (x * np.cos(angle) + y * np.sin(angle)) * zoom + bend * rng.choice([0.0, 3.0, 10.0])
    v = (y * np.cos(angle) - x * np.sin(angle)) * zoom
    u += np.floor(v / side) * side * rng.choice([0.0, 0.5, 0.3])
    wrapped = cv2.copyMakeBorder(patch, 0, 1, 0, 1, cv2.BORDER_WRAP)
    field = cv2.remap(wrapped, (u % side).astype(np.float32), (v % side).astype(np.float32), cv2.INTER_LINEAR)
    return _stretch(np.asarray(field, np.float32))


def relief(rng: Generator, size: int) -> Field:
    """Another field as a surface, lit from one side."""
    height = FLAT[rng.integers(len(FLAT))](rng, size)
    height = np.asarray(cv2.GaussianBlur(height, (0, 0), np.exp(rng.uniform(np.log(0.6), np.log(5)))), np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    return _stretch(np.tanh(slope / (slope.std() * np.exp(rng.uniform(-0.5, 1.5)) + 1e-6)))


FLAT: tuple[Callable[[Generator, int], Field], ...] = (power_law, grating, cells, sparse_noise, weave)
FIELDS = (*FLAT, relief)


def texture(rng: Generator, size: int) -> Image:
    """One field (or the mean or product of two) between two colours whose contrast is random, faint ones included."""
    field: NDArray[np.floating] = FIELDS[rng.integers(len(FIELDS))](rng, size)
    if rng.random() < 0.4:
        other = FIELDS[rng.integers(len(FIELDS))](rng, size)
        field = field * other if rng.random() < 0.5 else (field + other) / 2
    if rng.random() < 0.3:
        field = field ** np.float32(np.exp(rng.normal(0, 0.7)))
    base, tint = rng.random(3), rng.normal(0, 1, 3)
    if rng.random() < 0.5:  # half of the textures are tones of one colour
        tint[:] = tint[0]
    contrast = np.exp(rng.uniform(np.log(0.03), np.log(0.7)))
    low, high = base - contrast * tint / 2, base + contrast * tint / 2
    return np.asarray(np.clip(low + field[..., None] * (high - low), 0, 1), np.float32)


def _shape_mask(rng: Generator, size: int) -> NDArray[np.uint8]:
    """One random shape, 255 inside: ellipse, polygon, stroke or ring, from 2 px to half the image."""
    mask = np.zeros((size, size), np.uint8)
    centre = rng.integers(0, size, 2)
    radius = np.exp(rng.uniform(np.log(1.5), np.log(size / 3)))
    kind = rng.integers(5)
    middle = (int(centre[0]), int(centre[1]))
    axes = (max(int(radius), 1), max(int(radius * rng.uniform(0.3, 1)), 1))
    if kind == 0:
        cv2.ellipse(mask, middle, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    elif kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        reach = radius * rng.uniform(0.4, 1, len(angles))
        corners = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    elif kind == 2:
        cv2.ellipse(mask, middle, axes, rng.uniform(0, 180), 0, 360, 255, int(rng.integers(1, 6)), cv2.LINE_AA)
    else:  # strokes twice as often: scratches and edges are what the detectors have to see
        steps = rng.normal(0, 0.25, 12).cumsum() + rng.uniform(0, 2 * np.pi)
        path = centre + np.stack([np.cos(steps), np.sin(steps)], 1).cumsum(0) * radius / 6
        cv2.polylines(mask, [path.astype(np.int32)], False, 255, int(rng.integers(1, 6)), cv2.LINE_AA)
    return mask


def _light(rng: Generator, size: int) -> NDArray[np.float32]:
    """A smooth multiplicative light field (size, size, 1) around one."""
    coarse = rng.normal(0, 1, (3, 3)).astype(np.float32)
    field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return (1 + rng.uniform(0, 0.25) * field)[..., None]


def _composite(rng: Generator, size: int) -> Image:
    """A texture with up to 90 shapes of other textures on it."""
    image = texture(rng, size)
    fills = [texture(rng, size) for _ in range(rng.integers(1, 5))]
    for _ in range(int(91 * rng.random() ** 2)):  # few shapes are as common as many
        mask = _shape_mask(rng, size)
        x, y, w, h = cv2.boundingRect(mask)
        if w == 0 or h == 0:
            continue
        here = np.s_[y : y + h, x : x + w]
        alpha = mask[here][..., None].astype(np.float32) * np.float32(rng.uniform(0.3, 1) / 255)
        fill = np.roll(fills[rng.integers(len(fills))], tuple(rng.integers(0, size, 2)), (0, 1))[here]
        image[here] += alpha * (fill - image[here])
    return image


def _quiet(rng: Generator, size: int) -> Image:
    """A nearly flat surface, as panes and cast parts are: long lines, thin scratches, specks and rings of any
    contrast, some reflected light."""
    ground = _stretch(power_law(rng, size)) if rng.random() < 0.7 else texture(rng, size).mean(2)
    image = rng.uniform(0.15, 0.85) + np.exp(rng.uniform(np.log(0.005), np.log(0.2))) * (ground - ground.mean())
    angle = rng.uniform(0, np.pi)
    for _ in range(rng.integers(0, 40)):
        cover = np.zeros((size, size), np.uint8)
        at, kind = rng.uniform(0, size, 2), rng.integers(5)
        middle = (int(at[0] * 16), int(at[1] * 16))  # cv2 takes sixteenths of a pixel
        if kind == 0:  # a line right across, nearly parallel to the others
            along = angle + rng.normal(0, 0.03)
            reach = np.array([np.cos(along), np.sin(along)]) * 2 * size
            ends = [((at + s * reach) * 16).astype(int).tolist() for s in (-1, 1)]
            cv2.line(cover, ends[0], ends[1], 255, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
        elif kind <= 2:  # a scratch
            turn = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.1, 20).cumsum()
            path = at + np.stack([np.cos(turn), np.sin(turn)], 1).cumsum(0) * rng.uniform(0.3, 5)
            cv2.polylines(cover, [(path * 16).astype(np.int32)], False, 255, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
        else:  # a speck or a ring
            thickness = -1 if kind == 3 else int(rng.integers(1, 3))
            radius = int(16 * np.exp(rng.uniform(np.log(0.7), np.log(9))))
            cv2.circle(cover, middle, radius, 255, thickness, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.3, 1.2)) if rng.random() < 0.5 else cover
        contrast = rng.choice((-1, 1)) * np.exp(rng.uniform(np.log(0.01), np.log(0.4)))
        image = image * (1 + contrast * soft.astype(np.float32) / 255)
    if rng.random() < 0.3:  # a reflection
        image = image + rng.uniform(0.02, 0.3) * _stretch(power_law(rng, size)) ** np.float32(rng.uniform(2, 6))
    tint = 1 + rng.normal(0, 0.1, 3) * (rng.random() < 0.5)
    return np.asarray(image[..., None] * tint, np.float32)


def scene(rng: Generator, size: int = 256) -> Image:
    """A busy or a quiet picture without noise, lit, sometimes blurred, sometimes grey."""
    image = (_quiet if rng.random() < 0.3 else _composite)(rng, size)
    image *= _light(rng, size)
    if rng.random() < 0.4:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8)), np.float32)
    if rng.random() < 0.35:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    return np.clip(image, 0, 1).astype(np.float32)
