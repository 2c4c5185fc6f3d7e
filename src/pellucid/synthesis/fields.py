"""Grey fields that are computed: nine kinds of noise and pattern, and random programs that combine them.

Nothing here is photographed. One seed gives one field, on any machine with the same NumPy and OpenCV. Variety of
programs teaches more than many images of one (Baradad et al., "Procedural Image Programs for Representation Learning",
NeurIPS 2022, arXiv 2211.16412); so :func:`random_program` draws a small program and computes it. Every field
is float32 (size, size) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]  # (size, size) in [0, 1]


def rescale_to_unit(field: NDArray[np.floating]) -> Field:
    """Rescale a field linearly to [0, 1]; a constant one becomes zero."""
    low, high = float(field.min()), float(field.max())
    return ((field - low) / max(high - low, 1e-9)).astype(np.float32)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw a number in [low, high] whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def blur(field: NDArray[np.floating] | NDArray[np.uint8], sigma: float) -> Field:
    """Blur a field by a Gaussian of ``sigma`` px."""
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), sigma), np.float32)


def smooth_noise(rng: Generator, size: int, knots: int) -> NDArray[np.float32]:
    """Draw smooth noise (size, size) of about unit variance through ``knots`` random values a side."""
    coarse = rng.normal(0, 1, (knots, knots)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _rotated_coordinates(size: int, angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the coordinates of every pixel along ``angle`` (radians) and across it, px."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _noise_of_spectrum(rng: Generator, amplitude: NDArray[np.floating], size: int) -> Field:
    """Draw Gaussian noise of a spectrum of amplitudes (size, size // 2 + 1)."""
    return rescale_to_unit(np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape)), s=(size, size)))


def power_law_noise(rng: Generator, size: int) -> Field:
    """Draw noise whose power falls as 1/f^beta, stretched along one direction."""
    beta, stretched, angle = rng.uniform(0.5, 3.5), np.exp(rng.normal(0, 0.7)), rng.uniform(0, np.pi)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    u, v = fx * np.cos(angle) + fy * np.sin(angle), (fy * np.cos(angle) - fx * np.sin(angle)) * stretched
    radius = np.sqrt(u * u + v * v)
    radius[0, 0] = np.inf  # no mean
    return _noise_of_spectrum(rng, radius ** (-beta / 2), size)


def band_noise(rng: Generator, size: int) -> Field:
    """Draw noise of one band of frequencies, from all directions or about one."""
    frequency, width = log_uniform(rng, 0.01, 0.5), rng.uniform(0.15, 0.9)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    radius = np.sqrt(fx * fx + fy * fy)
    radius[0, 0] = 1e-6
    amplitude = np.exp(-0.5 * (np.log(radius / frequency) / width) ** 2)
    if rng.random() < 0.5:
        off = np.arctan2(fy, fx) - rng.uniform(0, np.pi)
        amplitude = amplitude * np.exp(rng.uniform(0.3, 8) * (np.cos(2 * off) - 1))
    return _noise_of_spectrum(rng, amplitude, size)


def grating(rng: Generator, size: int) -> Field:
    """Draw parallel waves, bent by smooth noise; of sine, square or saw profile; sometimes two crossed."""
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 3)):
        along, _ = _rotated_coordinates(size, rng.uniform(0, np.pi))
        phase = along / log_uniform(rng, 3, 80) + smooth_noise(rng, size, 6) * rng.choice([0.0, 0.2, 1.0])
        profile = rng.integers(3)
        wave = np.sin(2 * np.pi * phase)
        if profile == 1:
            wave = np.tanh(wave * 6 + rng.uniform(-3, 3))
        elif profile == 2:
            wave = phase % 1.0
        field += wave.astype(np.float32)
    return rescale_to_unit(field)


def voronoi_cells(rng: Generator, size: int) -> Field:
    """Draw Voronoi cells: distance to the nearest point, a random tone for each cell, or the walls between cells."""
    points = int(log_uniform(rng, 6, 900))
    ground = np.full((size, size), 255, np.uint8)
    ground[rng.integers(0, size, points), rng.integers(0, size, points)] = 0
    distance, labels = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tone = rng.random(int(labels.max()) + 1).astype(np.float32)[labels]
    kind = rng.integers(3)
    if kind == 0:
        return rescale_to_unit(np.asarray(distance, np.float32))
    if kind == 1:
        return np.asarray(tone, np.float32)
    return blur((cv2.Laplacian(tone, cv2.CV_32F) != 0).astype(np.float32), rng.uniform(0.6, 2.0))


def sparse_noise(rng: Generator, size: int) -> Field:
    """Draw few bright grains of one size on black."""
    density = log_uniform(rng, 0.0005, 0.05)
    grains = (rng.random((size, size)) < density) * rng.random((size, size))
    return rescale_to_unit(blur(grains, rng.uniform(0.6, 4.0)))


def repeated_patch(rng: Generator, size: int) -> Field:
    """Repeat a small seamless patch of noise, as in cloth, mesh and print; rows may be shifted or bent."""
    side = int(log_uniform(rng, 6, 64))
    patch = cv2.GaussianBlur(power_law_noise(rng, side), (0, 0), rng.uniform(0.3, 1.5), borderType=cv2.BORDER_REFLECT)
    along, across = _rotated_coordinates(size, rng.uniform(0, np.pi))
    zoom = rng.uniform(0.7, 1.6)
    u, v = along * zoom + smooth_noise(rng, size, 5) * rng.choice([0.0, 3.0, 10.0]), across * zoom
    u += np.floor(v / side) * side * rng.choice([0.0, 0.5, 0.3])
    wrapped = cv2.copyMakeBorder(patch, 0, 1, 0, 1, cv2.BORDER_WRAP)
    field = cv2.remap(wrapped, (u % side).astype(np.float32), (v % side).astype(np.float32), cv2.INTER_LINEAR)
    return rescale_to_unit(np.asarray(field, np.float32))


def fibres(rng: Generator, size: int) -> Field:
    """Draw thin, bent strokes, from combed to tangled, as of hair, grass and brushed metal."""
    field = np.zeros((size, size), np.uint8)
    angle, spread, length = rng.uniform(0, np.pi), rng.choice([0.1, 0.4, 3.0]), log_uniform(rng, 6, 120)
    thickness = 1 if rng.random() < 0.7 else 2
    for _ in range(int(log_uniform(rng, 30, 1500))):
        turn = angle + rng.normal(0, spread) + rng.normal(0, 0.15, 5).cumsum()
        path = rng.uniform(0, size, 2) + np.stack([np.cos(turn), np.sin(turn)], 1).cumsum(0) * length / 5
        tone = int(rng.integers(60, 256))
        cv2.polylines(field, [(path * 16).astype(np.int32)], False, tone, thickness, cv2.LINE_AA, 4)
    return rescale_to_unit(blur(field, rng.uniform(0.3, 1.2)))


def bricks(rng: Generator, size: int) -> Field:
    """Draw bricks or planks of one tone each, with joints between them; straight or bent."""
    along, across = _rotated_coordinates(size, rng.choice([0.0, 0.0, rng.uniform(0, np.pi)]))
    bend = rng.choice([0.0, 2.0, 6.0])
    u, v = along + bend * smooth_noise(rng, size, 9), across + bend * smooth_noise(rng, size, 9)
    height = log_uniform(rng, 8, 90)
    width = height * rng.uniform(0.8, 4)
    row = np.floor(v / height)
    u = u + row * width * rng.choice([0.0, 0.5, 0.37])
    column = np.floor(u / width)
    distance = np.minimum(np.minimum(u % width, width - u % width), np.minimum(v % height, height - v % height))
    inside = np.clip((distance - rng.uniform(0.5, 0.12 * height + 1)) / rng.uniform(0.6, 4), 0, 1)
    tone = rng.random(4096)[(row * 57 + column * 131).astype(np.int64) % 4096]
    return rescale_to_unit(inside * (1 + rng.uniform(0, 1.5) * (tone - 0.5)))


def _fill_ellipse(
    field: Field, centre: NDArray[np.floating], axes: tuple[float, float], angle: float, tone: float
) -> None:
    """Draw a filled ellipse into a field, lengths in px, the angle in degrees. OpenCV takes sixteenths of a pixel."""
    middle = (int(centre[0] * 16), int(centre[1] * 16))
    reach = (max(int(axes[0] * 16), 8), max(int(axes[1] * 16), 8))
    cv2.ellipse(field, middle, reach, angle, 0, 360, tone, -1, cv2.LINE_AA, 4)


def pebbles(rng: Generator, size: int) -> Field:
    """Draw grains that cover one another, the small ones on top, lit from one side or flat: gravel, terrazzo."""
    field = np.full((size, size), 0.3, np.float32)
    big = log_uniform(rng, 3, 40)
    small = max(1.0, big * rng.uniform(0.05, 0.7))
    count = int(min(1200, size * size / (1.5 * big * small)))
    slim, shade, light = rng.uniform(0.25, 1), rng.uniform(0, 0.6), rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(light), np.sin(light)]) / 4
    for radius in np.sort(np.exp(rng.uniform(np.log(small), np.log(big), count)))[::-1]:
        centre, tone, angle = rng.uniform(-5, size + 5, 2), rng.random() * (1 - shade), rng.uniform(0, 180)
        _fill_ellipse(field, centre, (radius, radius * slim), angle, tone)
        if radius > 2.5 and shade > 0.1:
            lit = (radius * 0.65, radius * slim * 0.65)
            _fill_ellipse(field, centre + towards * radius, lit, angle, tone + shade)
    return rescale_to_unit(blur(field, rng.uniform(0.3, 1.0)))


FIELD_GENERATORS: tuple[Callable[[Generator, int], Field], ...] = (
    power_law_noise,
    band_noise,
    grating,
    voronoi_cells,
    sparse_noise,
    repeated_patch,
    fibres,
    bricks,
    pebbles,
)


def _warp(rng: Generator, field: Field) -> Field:
    """Move pixels by noise."""
    size, reach = len(field), np.float32(log_uniform(rng, 2, 40))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    u, v = (
        rescale_to_unit(smooth_noise(rng, size, int(rng.integers(2, 24))))
        if rng.random() < 0.5
        else power_law_noise(rng, size)
        for _ in range(2)
    )
    x, y = x + (u - 0.5) * reach, y + (v - 0.5) * reach
    moved = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _level_lines(rng: Generator, field: Field) -> Field:
    """Compute the distance from one of the field's levels, whose contours become lines."""
    return rescale_to_unit(np.abs(field - np.quantile(field, rng.uniform(0.2, 0.8))) ** rng.uniform(0.3, 1))


def smooth_step(rng: Generator, field: Field) -> Field:
    """Set a field to zero below one of its levels and to one above it, with a sharp or a soft edge."""
    level, width = np.quantile(field, rng.uniform(0.05, 0.95)), field.std() * log_uniform(rng, 0.02, 1) + 1e-4
    return np.asarray(0.5 + 0.5 * np.tanh((field - level) / width), np.float32)


def _emboss(rng: Generator, field: Field) -> Field:
    """Light a field from one side, as if it were a surface of that height."""
    height, angle = blur(field, log_uniform(rng, 0.5, 5)), rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    return rescale_to_unit(np.tanh(slope / (slope.std() * log_uniform(rng, 0.6, 4) + 1e-6)))


def _level_bands(rng: Generator, field: Field) -> Field:
    """Turn a field's levels into bands, as in wood and marble."""
    return rescale_to_unit(np.sin(blur(field, rng.uniform(0.5, 4)) * log_uniform(rng, 6, 80)))


FIELD_TRANSFORMS: tuple[Callable[[Generator, Field], Field], ...] = (
    _warp,
    _level_lines,
    smooth_step,
    _emboss,
    _level_bands,
)


def _weighted_sum(rng: Generator, one: Field, two: Field) -> Field:
    return rescale_to_unit(one / (one.std() + 1e-3) + log_uniform(rng, 0.1, 1) * two / (two.std() + 1e-3))


def _product(rng: Generator, one: Field, two: Field) -> Field:  # noqa: ARG001 - as the others are called
    return rescale_to_unit(one * two)


def _maximum(rng: Generator, one: Field, two: Field) -> Field:
    return np.asarray(np.maximum(one, (two * rng.uniform(0.7, 1.4)).clip(0, 1)), np.float32)


def _blend(rng: Generator, one: Field, two: Field) -> Field:
    where = smooth_step(rng, power_law_noise(rng, len(one)))
    return one + where * (two - one)


# sums are drawn twice as often as the others
FIELD_COMBINATIONS: tuple[Callable[[Generator, Field, Field], Field], ...] = (
    _weighted_sum,
    _weighted_sum,
    _product,
    _maximum,
    _blend,
)


def random_program(rng: Generator, size: int, depth: int) -> Field:
    """Draw a random program that generates, transforms and combines fields, and compute what it gives.

    Args:
        rng: decides the program and all its parameters.
        size: side of the field, px.
        depth: how many transforms and combinations may be nested, at least 0; with 0 a field is only generated.
    """
    if depth == 0 or rng.random() < 0.2:
        return FIELD_GENERATORS[rng.integers(len(FIELD_GENERATORS))](rng, size)
    field = random_program(rng, size, depth - 1)
    if rng.random() < 0.5:
        return FIELD_TRANSFORMS[rng.integers(len(FIELD_TRANSFORMS))](rng, field)
    return FIELD_COMBINATIONS[rng.integers(len(FIELD_COMBINATIONS))](rng, field, random_program(rng, size, depth - 1))
