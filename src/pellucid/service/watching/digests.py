"""A set of digests that takes the same memory from its first to its millionth one, because it forgets some."""

from __future__ import annotations

from array import array


class ForgetfulDigests:
    """Remembers the last digest that fell into each of its slots, as a direct-mapped cache does.

    Args:
        slots: for one digest each, at least 2; all memory, 8 bytes a slot, is taken at once.
    """

    def __init__(self, slots: int) -> None:
        self._slots = array("q", [0]) * slots
        self._slots[0] = 1  # no digest falls into a slot where another one belongs: this says that it is empty

    def __contains__(self, digest: int) -> bool:
        return self._slots[digest % len(self._slots)] == digest

    def add(self, digest: int) -> None:
        """Remember a digest of 64 bits, signed; it may take the place of another one."""
        self._slots[digest % len(self._slots)] = digest
