"""Raw rows from a pipe, a socket or a file that grows to bands: as a line camera gives them, while it gives them."""

from __future__ import annotations

import io
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.bands import BAND_ROWS, Band, Remarks, check_rows, to_bands
from pellucid.acquisition.images import FULL_BITS, check_regular
from pellucid.errors import DataError, ParameterError

COUNTER_BYTES = 4  # before each row that has a number, little-endian
MAX_LOST_ROWS = 4096  # in one place; more are another width, or another camera
QUEUED_BLOCKS = 2  # that are read ahead; then the sender has to wait
QUIET_SECONDS = 5.0  # that a file has not grown for when it is complete
POLL_SECONDS = 0.05  # between two looks at a file that grows
CONNECT_SECONDS = 10.0
SOCKET_SCHEME = "tcp"
MAX_READ_BYTES = 2**20  # at a time


class ByteStream(Protocol):
    """Where rows come from."""

    def read(self, size: int, /) -> bytes:
        """Wait for as many bytes; fewer mean that no more will come."""

    def close(self) -> None:
        """Let go of it."""


class RawRows:
    """An image whose rows come one after the other, without a head; it can be read once.

    A thread reads ahead, two bands at most: whoever sends more waits, and nothing is lost. A last row that is not
    complete is left out. Where rows are numbered, those that are missing are filled with the row before them. Both are
    remarks.

    Attributes:
        path: what messages call it.
        width: px.
        height: rows that are read; None: all that come.
        rows: of a band.
        bits: significant bits of a value, 8 to 16; above 8, a value is two bytes, little-endian.
        channels: 1, or 3 for red, green and blue, pixel by pixel.
        line_numbers: whether each row begins with its number, 32 bits, little-endian.
        remarks: what was unusual about it, as far as it was read.
    """

    def __init__(
        self,
        stream: ByteStream,
        path: Path,
        width: int,
        *,
        bits: int = 8,
        channels: int = 1,
        line_numbers: bool = False,
        height: int | None = None,
        rows: int = BAND_ROWS,
    ) -> None:
        """Take a stream; nothing is read from it yet.

        Raises:
            ParameterError: a number is not allowed.
        """
        check_rows(rows)
        if width < 1 or (height is not None and height < 1):
            raise ParameterError(f"Rows of {width} px, {height} of them, are no image: give at least 1 of each.")
        if not 8 <= bits <= FULL_BITS:
            raise ParameterError(f"bits={bits} is not allowed: raw rows have 8 to {FULL_BITS} significant bits.")
        if channels not in (1, 3):
            raise ParameterError(f"channels={channels} is not allowed: raw rows have 1, or 3 for red, green and blue.")
        self.stream, self.path, self.width, self.height, self.rows = stream, path, width, height, rows
        self.bits, self.channels, self.line_numbers = bits, channels, line_numbers
        self.remarks = Remarks()

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, its number included."""
        values = self.width * self.channels
        return values * (1 if self.bits == 8 else 2) + (COUNTER_BYTES if self.line_numbers else 0)

    def __iter__(self) -> Iterator[Band]:
        yield from to_bands(self._parts(), self.rows, self.path, self.bits, self.remarks)

    def _parts(self) -> Iterator[NDArray[Any]]:
        """Rows as values, with those that are missing filled."""
        arrived, before = 0, None
        for block in _read_ahead(self.stream, self.rows * self.row_bytes):
            if left := len(block) % self.row_bytes:
                self.remarks.add(
                    f"It ended within row {arrived + len(block) // self.row_bytes}, after {left} of {self.row_bytes}"
                    " bytes: that row is left out."
                )
            raw = np.frombuffer(block, np.uint8, len(block) - left).reshape(-1, self.row_bytes)
            if not len(raw):
                break
            values, numbers = self._decode(raw)
            if self.line_numbers:
                values, before = self._fill(values, numbers, arrived, before), (values[-1], int(numbers[-1]))
            wanted = len(values) if self.height is None else min(len(values), self.height - arrived)
            arrived += wanted
            yield values[:wanted]
            if arrived == self.height:
                break
        self._conclude(arrived)

    def _conclude(self, arrived: int) -> None:
        """Say what was missing."""
        if not arrived:
            raise DataError(f"'{self.path}' ended before its first row of {self.row_bytes} bytes.")
        if self.height is not None and arrived < self.height:
            self.remarks.add(f"It ended after {arrived} of {self.height} rows.")
        if lost := sum(count for _, count in self.remarks.filled):
            self.remarks.add(
                f"{lost} of its rows did not arrive, the first of them row {self.remarks.filled[0][0]}: each is filled"
                " with the row before it."
            )

    def _decode(self, raw: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Values (h, W) or (h, W, 3), and the number of each row, (h,)."""
        at = COUNTER_BYTES if self.line_numbers else 0
        values = np.ascontiguousarray(raw[:, at:]).view("u1" if self.bits == 8 else "<u2")
        numbers = np.ascontiguousarray(raw[:, :at]).view("<u4").ravel().astype(np.int64)
        shape = (len(raw), self.width) if self.channels == 1 else (len(raw), self.width, self.channels)
        return values.reshape(shape), numbers

    def _fill(
        self, values: NDArray[Any], numbers: NDArray[np.int64], top: int, before: tuple[NDArray[Any], int] | None
    ) -> NDArray[Any]:
        """Put the row before it where a number is missing; ``before`` is the last one that came, with its number."""
        last = int(numbers[0]) - 1 if before is None else before[1]
        lost = (np.diff(numbers, prepend=last) - 1) % 2**32  # they begin anew after the highest
        if lost.sum() > MAX_LOST_ROWS:
            worst = int(lost.argmax())
            earlier = numbers[worst - 1] if worst else last
            raise DataError(
                f"'{self.path}' has row number {numbers[worst]} after {earlier}: either its rows are not {self.width}"
                f" px of {self.bits} bits and {self.channels} channels, or the camera began anew."
            )
        if not lost.any():
            return values
        for at in np.flatnonzero(lost):
            self.remarks.filled.append((top + int(at) + int(lost[:at].sum()), int(lost[at])))
        first = values[0] if before is None else before[0]
        repeats = np.append(lost, 0) + 1  # of each row: as often as rows behind it are missing, and once more
        return np.repeat(np.concatenate([first[None], values]), repeats, axis=0)[1:]


def _read_ahead(stream: ByteStream, size: int) -> Iterator[bytes]:
    """Read blocks of some bytes in a thread, a few ahead of the caller; the last is shorter."""
    blocks: queue.Queue[bytes | Exception] = queue.Queue(QUEUED_BLOCKS)
    stopped = threading.Event()

    def put(block: bytes | Exception) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                blocks.put(block, timeout=POLL_SECONDS)
                return

    def read() -> None:
        try:
            while not stopped.is_set():
                block = stream.read(size)
                put(block)
                if len(block) < size:
                    return
        except Exception as error:  # whatever it is, the caller gets it
            put(error)

    threading.Thread(target=read, name="row reader", daemon=True).start()
    try:
        while True:
            block = blocks.get()
            if isinstance(block, Exception):
                raise block
            yield block
            if len(block) < size:
                return
    finally:
        stopped.set()
        stream.close()


class GrowingFile:
    """A file that is read while another program writes it; it is complete when it has not grown for some time."""

    def __init__(self, path: Path, quiet_seconds: float = QUIET_SECONDS) -> None:
        """Take a file; it is opened when it is read.

        Raises:
            DataError: it is missing or no regular file.
            ParameterError: the time is below 0.
        """
        if quiet_seconds < 0:
            raise ParameterError(f"quiet_seconds={quiet_seconds} is not allowed: give 0 or more.")
        check_regular(path)
        self.path, self.quiet_seconds = path, quiet_seconds
        self._file: io.FileIO | None = None
        self._closed = threading.Event()

    def read(self, size: int, /) -> bytes:
        """Wait for as many bytes; fewer mean that the file is complete.

        Raises:
            DataError: it cannot be read, or was cut short.
        """
        if self._file is None:
            try:
                self._file = self.path.open("rb", buffering=0)
            except OSError as error:
                raise DataError(f"Cannot read '{self.path}': {error.strerror or error}.") from None
        read, grown = bytearray(), time.monotonic()
        while len(read) < size and not self._closed.is_set():
            if new := self._file.read(size - len(read)):
                read += new
                grown = time.monotonic()
            elif self.path.stat().st_size < self._file.tell():
                raise DataError(f"'{self.path}' was cut short while it was read: write every image to a new file.")
            elif time.monotonic() - grown >= self.quiet_seconds:
                break
            else:
                self._closed.wait(POLL_SECONDS)
        return bytes(read)

    def close(self) -> None:
        """Let go of it."""
        self._closed.set()
        if self._file is not None:
            self._file.close()


class _Socket:
    """A connection that rows come by."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not (host and port):
            raise ParameterError(f"'{address}' is no address: write tcp://HOST:PORT, as in tcp://192.168.0.7:5000.")
        self._address = address
        try:
            self._socket = socket.create_connection((host, port), CONNECT_SECONDS)
        except OSError as error:
            raise DataError(f"Cannot connect to {address}: {error.strerror or error}.") from None
        self._socket.settimeout(None)  # the line may stand still

    def read(self, size: int, /) -> bytes:
        try:
            return _read_fully(self._socket.recv, size)
        except OSError as error:
            raise DataError(f"The connection to {self._address} broke: {error.strerror or error}.") from None

    def close(self) -> None:
        with suppress(OSError):  # it is broken already
            self._socket.shutdown(socket.SHUT_RDWR)  # ends a read that waits
        self._socket.close()


class _StandardInput:
    """What is piped into this process, unbuffered: a thread that waits in a buffer would hold its lock at the end."""

    def read(self, size: int, /) -> bytes:
        buffer = sys.stdin.buffer
        return _read_fully(getattr(buffer, "raw", buffer).read, size)

    def close(self) -> None:
        pass


def _read_fully(read: Callable[[int], bytes | None], size: int) -> bytes:
    """Read until there are as many bytes, or no more will come."""
    block = bytearray()
    while len(block) < size and (new := read(min(size - len(block), MAX_READ_BYTES))):
        block += new
    return bytes(block)


def open_stream(place: str, quiet_seconds: float = QUIET_SECONDS) -> ByteStream:
    """Open what raw rows come from.

    Args:
        place: ``-`` for standard input, ``tcp://HOST:PORT`` for a socket that is connected to, or a file's path.
        quiet_seconds: that a file has not grown for when it is complete.

    Raises:
        DataError: there is nothing to read from.
        ParameterError: the address, or the time, is not understood.
    """
    if place == "-":
        if sys.stdin.isatty():
            raise DataError("Standard input is a terminal: pipe the rows into it.")
        return _StandardInput()
    if place.startswith(f"{SOCKET_SCHEME}://"):
        return _Socket(place)
    return GrowingFile(Path(place), quiet_seconds)
