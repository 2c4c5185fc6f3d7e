"""What a detector has that can learn from labelled defects by itself: one more method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import Tensor

from pellucid.detectors._base import Images


@runtime_checkable
class LearnsDefects(Protocol):
    """A :class:`Detector` that trains a network on labelled defects, too; all others get a head beside them.

    What it learned before it goes on from: networks keep their architecture, so that every tensor of its state can be
    mixed with what it was before.
    """

    def learn_defects(self, images: Images, defects: Iterable[Tensor]) -> None:
        """Go on learning, from normal images and labelled defects together; it was fitted on the normal ones.

        Everything that is random is drawn from its seed. The backbone stays what it is.

        Args:
            images: re-iterable of float32 batches (B, 3, H, W) in [0, 1].
            defects: batches (B, 4, H, W), each read once: images, and as fourth channel how much of every pixel is
                defective, in [0, 1], or -1 in all of them where nobody knows.
        """
