"""Features that may not fit into memory."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import OutputError


class DiskTensor(AbstractContextManager["DiskTensor"]):
    """A matrix (N, D) in a temporary file, appended to and then read in parts, so that memory does not grow with N.

    Index it as a tensor, by a slice of rows or by a tensor of their indices. The file lies where the environment
    variable TMPDIR says, ``/tmp`` by default, and goes when the context is left.

    Args:
        device: where rows are taken to when they are read.
        dtype: what they are kept in and read as, ``torch.float32`` or ``torch.float16``.

    Example:
        >>> with DiskTensor(torch.device("cpu")) as rows:
        ...     rows.append(torch.eye(3))
        ...     rows[1:2]
        tensor([[0., 1., 0.]])
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.device, self.dtype, self.shape = device, dtype, (0, 0)
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, rows: Tensor) -> None:
        """Write rows (n, D) behind the others.

        Raises:
            OutputError: the file has no room.
        """
        try:
            self.file.write(rows.to("cpu", self.dtype).contiguous().numpy().data)
            self.file.flush()
        except OSError as error:
            raise OutputError(
                f"The features do not fit into the temporary folder '{tempfile.gettempdir()}' ({error.strerror}): make"
                " room there, or name another folder in the environment variable TMPDIR."
            ) from None
        self.shape = (self.shape[0] + len(rows), rows.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            found = torch.empty(stop - start, self.shape[1], dtype=self.dtype)
            self._read(found.numpy(), start)
        else:
            found = torch.empty(len(rows), self.shape[1], dtype=self.dtype)
            for into, row in zip(found.numpy(), rows.tolist(), strict=True):
                self._read(into, row)
        return found.to(self.device)

    def _read(self, into: NDArray[Any], start: int) -> None:
        """Read rows from ``start`` on. The file is not mapped: its pages would count as this process's memory."""
        self.file.seek(start * self.shape[1] * into.itemsize)
        self.file.readinto(into.data)
