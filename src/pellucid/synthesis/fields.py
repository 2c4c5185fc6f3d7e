"""Grey fields from formulas: ten kinds of noise and pattern, and formulas that combine them at random.

Nothing here is photographed. One seed gives one field, on any machine with the same NumPy and OpenCV. Variety of
programs teaches more than many images of one (Baradad et al., "Procedural Image Programs for Representation Learning",
NeurIPS 2022, arXiv 2211.16412); so :func:`formula` draws a small program first and what it computes after. Every field
is float32 (size, size) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]  # (size, size) in [0, 1]


def stretch(field: NDArray[np.floating]) -> Field:
    """Linearly to [0, 1]; a constant field becomes zero."""
    low, high = float(field.min()), float(field.max())
    return ((field - low) / max(high - low, 1e-9)).astype(np.float32)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number in [low, high] whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def blur(field: NDArray[np.floating] | NDArray[np.uint8], sigma: float) -> Field:
    """Gaussian blur of ``sigma`` px."""
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), sigma), np.float32)


def slow_noise(rng: Generator, size: int, knots: int) -> NDArray[np.float32]:
    """Smooth noise (size, size) of about unit variance through ``knots`` random values a side."""
    coarse = rng.normal(0, 1, (knots, knots)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _turned(size: int, angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates in px along ``angle`` and across it."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _noise(rng: Generator, amplitude: NDArray[np.floating], size: int) -> Field:
    """Gaussian noise of the given spectrum of amplitudes (size, size // 2 + 1)."""
    return stretch(np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape)), s=(size, size)))


def power_law(rng: Generator, size: int) -> Field:
    """Noise whose power falls as 1/f^beta, optionally stretched along one direction."""
    beta, stretched, angle = rng.uniform(0.5, 3.5), np.exp(rng.normal(0, 0.7)), rng.uniform(0, np.pi)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    u, v = fx * np.cos(angle) + fy * np.sin(angle), (fy * np.cos(angle) - fx * np.sin(angle)) * stretched
    radius = np.sqrt(u * u + v * v)
    radius[0, 0] = np.inf  # no mean
    return _noise(rng, radius ** (-beta / 2), size)


def grain(rng: Generator, size: int) -> Field:
    """Noise of one band of frequencies, from all directions or about one."""
    frequency, width = log_uniform(rng, 0.01, 0.5), rng.uniform(0.15, 0.9)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    radius = np.sqrt(fx * fx + fy * fy)
    radius[0, 0] = 1e-6
    amplitude = np.exp(-0.5 * (np.log(radius / frequency) / width) ** 2)
    if rng.random() < 0.5:
        off = np.arctan2(fy, fx) - rng.uniform(0, np.pi)
        amplitude = amplitude * np.exp(rng.uniform(0.3, 8) * (np.cos(2 * off) - 1))
    return _noise(rng, amplitude, size)


def grating(rng: Generator, size: int) -> Field:
    """Parallel waves, bent by slow noise; sine, square or saw profile; sometimes two crossed."""
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 3)):
        along, _ = _turned(size, rng.uniform(0, np.pi))
        phase = along / log_uniform(rng, 3, 80) + slow_noise(rng, size, 6) * rng.choice([0.0, 0.2, 1.0])
        profile = rng.integers(3)
        wave = np.sin(2 * np.pi * phase)
        if profile == 1:
            wave = np.tanh(wave * 6 + rng.uniform(-3, 3))
        elif profile == 2:
            wave = phase % 1.0
        field += wave.astype(np.float32)
    return stretch(field)


def cells(rng: Generator, size: int) -> Field:
    """Voronoi cells: distance to the nearest point, a random tone per cell, or the walls between cells."""
    points = int(log_uniform(rng, 6, 900))
    ground = np.full((size, size), 255, np.uint8)
    ground[rng.integers(0, size, points), rng.integers(0, size, points)] = 0
    distance, labels = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tone = rng.random(int(labels.max()) + 1).astype(np.float32)[labels]
    kind = rng.integers(3)
    if kind == 0:
        return stretch(np.asarray(distance, np.float32))
    if kind == 1:
        return np.asarray(tone, np.float32)
    return blur((cv2.Laplacian(tone, cv2.CV_32F) != 0).astype(np.float32), rng.uniform(0.6, 2.0))


def sparse_noise(rng: Generator, size: int) -> Field:
    """Few bright grains of one size on black."""
    density = log_uniform(rng, 0.0005, 0.05)
    grains = (rng.random((size, size)) < density) * rng.random((size, size))
    return stretch(blur(grains, rng.uniform(0.6, 4.0)))


def weave(rng: Generator, size: int) -> Field:
    """A small seamless patch of noise, repeated: cloth, mesh, print; the rows may be shifted or bent."""
    side = int(log_uniform(rng, 6, 64))
    patch = cv2.GaussianBlur(power_law(rng, side), (0, 0), rng.uniform(0.3, 1.5), borderType=cv2.BORDER_REFLECT)
    along, across = _turned(size, rng.uniform(0, np.pi))
    zoom = rng.uniform(0.7, 1.6)
    u, v = along * zoom + slow_noise(rng, size, 5) * rng.choice([0.0, 3.0, 10.0]), across * zoom
    u += np.floor(v / side) * side * rng.choice([0.0, 0.5, 0.3])
    wrapped = cv2.copyMakeBorder(patch, 0, 1, 0, 1, cv2.BORDER_WRAP)
    field = cv2.remap(wrapped, (u % side).astype(np.float32), (v % side).astype(np.float32), cv2.INTER_LINEAR)
    return stretch(np.asarray(field, np.float32))


def fibres(rng: Generator, size: int) -> Field:
    """Thin, bent strokes, from combed to tangled: hair, grass, brushed metal."""
    field = np.zeros((size, size), np.uint8)
    angle, spread, length = rng.uniform(0, np.pi), rng.choice([0.1, 0.4, 3.0]), log_uniform(rng, 6, 120)
    thickness = 1 if rng.random() < 0.7 else 2
    for _ in range(int(log_uniform(rng, 30, 1500))):
        turn = angle + rng.normal(0, spread) + rng.normal(0, 0.15, 5).cumsum()
        path = rng.uniform(0, size, 2) + np.stack([np.cos(turn), np.sin(turn)], 1).cumsum(0) * length / 5
        tone = int(rng.integers(60, 256))
        cv2.polylines(field, [(path * 16).astype(np.int32)], False, tone, thickness, cv2.LINE_AA, 4)
    return stretch(blur(field, rng.uniform(0.3, 1.2)))


def tiles(rng: Generator, size: int) -> Field:
    """Bricks, tiles or planks of one tone each, with joints between them; straight or bent."""
    along, across = _turned(size, rng.choice([0.0, 0.0, rng.uniform(0, np.pi)]))
    bend = rng.choice([0.0, 2.0, 6.0])
    u, v = along + bend * slow_noise(rng, size, 9), across + bend * slow_noise(rng, size, 9)
    height = log_uniform(rng, 8, 90)
    width = height * rng.uniform(0.8, 4)
    row = np.floor(v / height)
    u = u + row * width * rng.choice([0.0, 0.5, 0.37])
    column = np.floor(u / width)
    distance = np.minimum(np.minimum(u % width, width - u % width), np.minimum(v % height, height - v % height))
    inside = np.clip((distance - rng.uniform(0.5, 0.12 * height + 1)) / rng.uniform(0.6, 4), 0, 1)
    tone = rng.random(4096)[(row * 57 + column * 131).astype(np.int64) % 4096]
    return stretch(inside * (1 + rng.uniform(0, 1.5) * (tone - 0.5)))


def _ellipse(field: Field, centre: NDArray[np.floating], axes: tuple[float, float], angle: float, tone: float) -> None:
    """Filled, in place; lengths in px, the angle in degrees. OpenCV takes sixteenths of a pixel."""
    middle = (int(centre[0] * 16), int(centre[1] * 16))
    reach = (max(int(axes[0] * 16), 8), max(int(axes[1] * 16), 8))
    cv2.ellipse(field, middle, reach, angle, 0, 360, tone, -1, cv2.LINE_AA, 4)


def pebbles(rng: Generator, size: int) -> Field:
    """Grains that cover one another, the small ones on top, lit from one side or flat: gravel, leaves, terrazzo."""
    field = np.full((size, size), 0.3, np.float32)
    big = log_uniform(rng, 3, 40)
    small = max(1.0, big * rng.uniform(0.05, 0.7))
    count = int(min(1200, size * size / (1.5 * big * small)))
    slim, shade, light = rng.uniform(0.25, 1), rng.uniform(0, 0.6), rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(light), np.sin(light)]) / 4
    for radius in np.sort(np.exp(rng.uniform(np.log(small), np.log(big), count)))[::-1]:
        centre, tone, angle = rng.uniform(-5, size + 5, 2), rng.random() * (1 - shade), rng.uniform(0, 180)
        _ellipse(field, centre, (radius, radius * slim), angle, tone)
        if radius > 2.5 and shade > 0.1:
            lit = (radius * 0.65, radius * slim * 0.65)
            _ellipse(field, centre + towards * radius, lit, angle, tone + shade)
    return stretch(blur(field, rng.uniform(0.3, 1.0)))


FIELDS: tuple[Callable[[Generator, int], Field], ...] = (
    power_law,
    grain,
    grating,
    cells,
    sparse_noise,
    weave,
    fibres,
    tiles,
    pebbles,
)


def _warp(rng: Generator, field: Field) -> Field:
    """Pixels moved by noise."""
    size, reach = len(field), np.float32(log_uniform(rng, 2, 40))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    u, v = (
        stretch(slow_noise(rng, size, int(rng.integers(2, 24)))) if rng.random() < 0.5 else power_law(rng, size)
        for _ in range(2)
    )
    x, y = x + (u - 0.5) * reach, y + (v - 0.5) * reach
    moved = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _ridges(rng: Generator, field: Field) -> Field:
    """Distance from one of the field's levels, whose contours become lines."""
    return stretch(np.abs(field - np.quantile(field, rng.uniform(0.2, 0.8))) ** rng.uniform(0.3, 1))


def cut(rng: Generator, field: Field) -> Field:
    """Zero below one of the field's levels and one above it, with a sharp or a soft edge."""
    level, width = np.quantile(field, rng.uniform(0.05, 0.95)), field.std() * log_uniform(rng, 0.02, 1) + 1e-4
    return np.asarray(0.5 + 0.5 * np.tanh((field - level) / width), np.float32)


def _relief(rng: Generator, field: Field) -> Field:
    """The field as a surface, lit from one side."""
    height, angle = blur(field, log_uniform(rng, 0.5, 5)), rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    return stretch(np.tanh(slope / (slope.std() * log_uniform(rng, 0.6, 4) + 1e-6)))


def _rings(rng: Generator, field: Field) -> Field:
    """Bands between the field's levels, as in wood and marble."""
    return stretch(np.sin(blur(field, rng.uniform(0.5, 4)) * log_uniform(rng, 6, 80)))


CHANGES: tuple[Callable[[Generator, Field], Field], ...] = (_warp, _ridges, cut, _relief, _rings)


def _sum(rng: Generator, one: Field, two: Field) -> Field:
    return stretch(one / (one.std() + 1e-3) + log_uniform(rng, 0.1, 1) * two / (two.std() + 1e-3))


def _product(rng: Generator, one: Field, two: Field) -> Field:  # noqa: ARG001 - as the others are called
    return stretch(one * two)


def _higher(rng: Generator, one: Field, two: Field) -> Field:
    return np.asarray(np.maximum(one, (two * rng.uniform(0.7, 1.4)).clip(0, 1)), np.float32)


def _patches(rng: Generator, one: Field, two: Field) -> Field:
    where = cut(rng, power_law(rng, len(one)))
    return one + where * (two - one)


# sums are drawn twice as often
UNIONS: tuple[Callable[[Generator, Field, Field], Field], ...] = (_sum, _sum, _product, _higher, _patches)


def formula(rng: Generator, size: int, depth: int) -> Field:
    """What a random program of at most ``depth`` nested steps computes: a field changed, or two joined."""
    if depth == 0 or rng.random() < 0.2:
        return FIELDS[rng.integers(len(FIELDS))](rng, size)
    field = formula(rng, size, depth - 1)
    if rng.random() < 0.5:
        return CHANGES[rng.integers(len(CHANGES))](rng, field)
    return UNIONS[rng.integers(len(UNIONS))](rng, field, formula(rng, size, depth - 1))
