"""Drawn pictures: surfaces of several layers, shapes on them, and plain surfaces with lines and specks.

Nothing here is photographed. One seed gives one image, on any machine with the same NumPy and OpenCV. The ideas follow
work on learning to see from noise and procedures (Baradad et al., NeurIPS 2021, arXiv 2106.05963; Kataoka et al.,
ACCV 2020).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pellucid.synthesis.fields import blur, log_uniform, power_law_noise, random_program, smooth_noise, smooth_step

ColourField = NDArray[np.float32]  # (size, size, 3), RGB in [0, 1]


def texture(rng: Generator, size: int, depth: int = 2) -> ColourField:
    """Draw a field in two to five similar colours; contrast and colourfulness are random, faint ones included.

    Args:
        rng: decides everything.
        size: side, px.
        depth: of the field's program, at least 0.
    """
    field = random_program(rng, size, depth)
    count, contrast = int(rng.integers(2, 6)), log_uniform(rng, 0.03, 0.7)
    base = rng.uniform(0.1, 0.9) + rng.random() * (rng.random(3) - 0.5)
    tones = rng.normal(0, 1, (count, 1)) + rng.normal(0, rng.choice([0.0, 0.15, 0.5, 1.0]), (count, 3))
    palette, levels = (base + contrast / 2 * tones).clip(0, 1), np.linspace(0, 1, count)
    return np.stack([np.interp(field, levels, palette[:, c]) for c in range(3)], -1).astype(np.float32)


def _layered_surface(rng: Generator, size: int) -> ColourField:
    """Draw textures in layers, the upper ones in patches; grain, stains and shading over all of them."""
    image = texture(rng, size, depth=int(rng.integers(1, 4)))
    for _ in range(rng.integers(0, 3)):
        patches = smooth_step(rng, power_law_noise(rng, size) if rng.random() < 0.6 else random_program(rng, size, 1))
        image += patches[..., None] * np.float32(rng.uniform(0.2, 1)) * (texture(rng, size) - image)
    for _ in range(rng.integers(0, 3)):
        image *= 1 + np.float32(log_uniform(rng, 0.02, 0.6)) * (
            random_program(rng, size, 1)[..., None] - np.float32(0.5)
        )
    return image


def _shape_mask(rng: Generator, size: int) -> NDArray[np.uint8]:
    """Draw one shape, 255 inside: ellipse, polygon, stroke or ring, from 2 px to half the image."""
    mask = np.zeros((size, size), np.uint8)
    centre = rng.integers(0, size, 2)
    radius = log_uniform(rng, 1.5, size / 3)
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


def _illumination(rng: Generator, size: int) -> NDArray[np.float32]:
    """Draw the light on a surface, smooth factors (size, size, 1) around one."""
    return (1 + rng.uniform(0, 0.25) * smooth_noise(rng, size, 3))[..., None].astype(np.float32)


def _surface_with_shapes(rng: Generator, size: int) -> ColourField:
    """Draw a surface with up to 90 shapes of other textures on it."""
    image = _layered_surface(rng, size)
    fills = [texture(rng, size, depth=1) for _ in range(rng.integers(1, 4))]
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


def _plain_surface(rng: Generator, size: int) -> ColourField:
    """Draw a nearly flat surface, as panes and cast parts have: long lines, thin scratches, specks and rings of any
    contrast, some reflected light."""
    ground = power_law_noise(rng, size) if rng.random() < 0.7 else texture(rng, size).mean(2)
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
            radius = int(16 * log_uniform(rng, 0.7, 9))
            cv2.circle(cover, middle, radius, 255, thickness, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.3, 1.2)) if rng.random() < 0.5 else cover
        contrast = rng.choice((-1, 1)) * log_uniform(rng, 0.01, 0.4)
        image = image * (1 + contrast * soft.astype(np.float32) / 255)
    if rng.random() < 0.3:  # a reflection
        image = image + rng.uniform(0.02, 0.3) * power_law_noise(rng, size) ** np.float32(rng.uniform(2, 6))
    tint = 1 + rng.normal(0, 0.1, 3) * (rng.random() < 0.5)
    return np.asarray(image[..., None] * tint, np.float32)


def scene(rng: Generator, size: int = 256) -> ColourField:
    """Draw a surface, one with shapes on it, or a plain one; without noise, lit, sometimes blurred, sometimes grey.

    Args:
        rng: decides everything: one seed gives one scene.
        size: side, px.
    """
    draw = (_plain_surface, _layered_surface, _surface_with_shapes)[rng.choice(3, p=(0.3, 0.4, 0.3))]
    image = draw(rng, size) * _illumination(rng, size)
    if rng.random() < 0.4:
        image = blur(image, rng.uniform(0.4, 1.8))
    if rng.random() < 0.35:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    return np.asarray(np.clip(image, 0, 1), np.float32)
