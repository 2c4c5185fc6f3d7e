"""Raw rows from pipes, sockets and files that grow: every row arrives, and what did not is told."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.acquisition import row_streams
from pellucid.acquisition.row_streams import GrowingFile, RawRows, open_stream
from pellucid.errors import DataError, ParameterError

LINE = Path("line")


def raw(values, numbers=None):
    """Rows as a camera sends them."""
    kind = "<u2" if values.dtype == np.uint16 else "u1"
    counted = [b"" if numbers is None else int(n).to_bytes(4, "little") for n in (numbers or [0] * len(values))]
    return b"".join(head + row.astype(kind).tobytes() for head, row in zip(counted, values, strict=True))


def read(content, width, **options):
    rows = RawRows(io.BytesIO(content), LINE, width, **options)
    bands = list(rows)
    assert [band.top for band in bands] == list(range(0, bands[-1].top + 1, rows.rows))
    return np.concatenate([band.pixels for band in bands]), rows.remarks


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(8, 16),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 50),
    width=st.integers(1, 20),
    rows=st.integers(1, 60),
    numbered=st.booleans(),
)
def test_rows_are_the_pixels_that_were_sent(bits, channels, height, width, rows, numbered):
    rng = np.random.default_rng(height)
    values = rng.integers(0, 2**bits, (height, width, channels)).astype(np.uint8 if bits == 8 else np.uint16)
    numbers = [(2**32 - 5 + k) % 2**32 for k in range(height)] if numbered else None
    found, remarks = read(raw(values, numbers), width, bits=bits, channels=channels, rows=rows, line_numbers=numbered)
    assert np.array_equal(found, np.broadcast_to(values / np.float32(2**bits - 1), (height, width, 3)))
    assert remarks.warnings == []
    assert remarks.peak == (None if bits == 8 else values.max())


@settings(max_examples=60, deadline=None)
@given(arrives=st.lists(st.booleans(), min_size=1, max_size=40).filter(any), rows=st.integers(1, 50))
def test_rows_that_were_lost_are_those_before_them(arrives, rows):
    values = np.arange(len(arrives) * 3, dtype=np.uint8).reshape(-1, 3)
    numbers = [k for k, there in enumerate(arrives) if there]
    found, remarks = read(raw(values[numbers], [n + 7 for n in numbers]), 3, rows=rows, line_numbers=True)
    first, last = numbers[0], numbers[-1]
    source = [max(k for k in numbers if k <= row) for row in range(first, last + 1)]
    assert np.array_equal(found[..., 0], values[source] / np.float32(255))
    filled = [top + k for top, count in remarks.filled for k in range(count)]
    assert filled == [row - first for row in range(first, last + 1) if not arrives[row]]
    assert bool(remarks.warnings) == bool(filled)


def test_what_is_missing_is_told():
    values = np.arange(40, dtype=np.uint8).reshape(10, 4)
    found, remarks = read(raw(values)[:-1], 4)
    assert len(found) == 9
    assert remarks.warnings == ["It ended within row 9, after 3 of 4 bytes: that row is left out."]
    _, remarks = read(raw(values[[0, 1, 5]], [4, 5, 9]), 4, line_numbers=True)
    assert remarks.warnings == [
        "3 of its rows did not arrive, the first of them row 2: each is filled with the row before it."
    ]
    found, remarks = read(raw(values), 4, height=7, rows=4)
    assert (len(found), remarks.warnings) == (7, [])
    _, remarks = read(raw(values), 4, height=12)
    assert remarks.warnings == ["It ended after 10 of 12 rows."]
    for content in (b"", b"abc"):
        with pytest.raises(DataError, match="'line' ended before its first row of 4 bytes"):
            list(RawRows(io.BytesIO(content), LINE, 4))


@pytest.mark.parametrize("numbers", [[3, 3], [3, 2], [1, 2, 100_000]])
def test_numbers_that_make_no_sense_are_refused(numbers):
    values = np.zeros((len(numbers), 4), np.uint8)
    with pytest.raises(
        DataError, match=rf"has row number {numbers[-1]} after {numbers[-2]}: either its rows are not 4"
    ):
        read(raw(values, numbers), 4, line_numbers=True)


def test_what_is_not_allowed():
    for options, message in (
        ({"width": 0}, "Rows of 0 px, None of them, are no image"),
        ({"width": 4, "bits": 7}, "bits=7 is not allowed: raw rows have 8 to 16"),
        ({"width": 4, "channels": 2}, "channels=2 is not allowed: raw rows have 1, or 3"),
        ({"width": 4, "rows": 0}, "rows=0"),
    ):
        with pytest.raises(ParameterError, match=message):
            RawRows(io.BytesIO(), LINE, **options)
    with pytest.raises(DataError, match="values up to 4096"):
        read(raw(np.full((2, 4), 4096, np.uint16)), 4, bits=12)


class Counted(io.BytesIO):
    def read(self, size=-1):
        block = super().read(size)
        self.count = getattr(self, "count", 0) + len(block)
        return block


def test_nothing_is_read_far_ahead_of_who_takes_it():
    stream = Counted(bytes(1000 * 10))
    bands = iter(RawRows(stream, LINE, 10, rows=10))
    next(bands)
    time.sleep(0.3)
    assert stream.count <= (2 + row_streams.QUEUED_BLOCKS) * 100
    assert 1 + len(list(bands)) == 100


def test_a_pipe_waits_and_loses_nothing():
    code = (
        "import sys; from pathlib import Path; import time; from pellucid.acquisition.row_streams import *\n"
        "s = open_stream('-')\n"
        "for band in RawRows(s, Path('-'), 1000, rows=16):\n"
        "    time.sleep(0.01); print(band.top, int(band.pixels[:, 0, 0].sum() * 255 + 0.5))"
    )
    values = np.arange(800, dtype=np.int64)[:, None] % 256 + np.zeros((1, 1000), np.int64)
    done = subprocess.run(
        [sys.executable, "-c", code], input=raw(values.astype(np.uint8)), capture_output=True, check=True
    )
    told = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert told == [(top, int(values[top : top + 16, 0].sum())) for top in range(0, 800, 16)]


def test_who_stops_early_ends_without_waiting():
    read_end, write_end = os.pipe()
    code = (
        "import sys; from pathlib import Path; from pellucid.acquisition.row_streams import *\n"
        "next(iter(RawRows(open_stream('-'), Path('-'), 4, rows=1))); print('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=read_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.write(write_end, b"abcd")  # and the pipe stays open
        out, err = process.communicate(timeout=30)
    os.close(read_end)
    os.close(write_end)
    assert (out.split(), err, process.returncode) == ([b"done"], b"", 0)


def test_a_terminal_gives_no_rows(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(DataError, match="Standard input is a terminal"):
        open_stream("-")


def serve(answer):
    """A server for one connection; returns its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def run():
        connection, _ = server.accept()
        with server, connection:
            answer(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return f"tcp://127.0.0.1:{server.getsockname()[1]}", thread


def test_rows_by_a_socket():
    values = np.random.default_rng(0).integers(0, 256, (300, 500)).astype(np.uint8)
    address, thread = serve(lambda connection: connection.sendall(raw(values)))
    found = np.concatenate([band.pixels for band in RawRows(open_stream(address), Path(address), 500, rows=32)])
    thread.join()
    assert np.array_equal(found[..., 0], values / np.float32(255))


def test_a_socket_that_cannot_be_reached_or_breaks():
    for address in ("tcp://", "tcp://host", "tcp://host:abc", "tcp://:5"):
        with pytest.raises(ParameterError, match="is no address: write tcp://HOST:PORT"):
            open_stream(address)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DataError, match=f"Cannot connect to tcp://127.0.0.1:{port}: "):
        open_stream(f"tcp://127.0.0.1:{port}")

    def reset(connection):
        connection.sendall(bytes(100))
        time.sleep(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing breaks it

    address, thread = serve(reset)
    with pytest.raises(DataError, match=f"The connection to {address} broke"):
        list(RawRows(open_stream(address), Path(address), 50, rows=10))
    thread.join()


def test_a_file_is_followed_while_it_grows(tmp_path):
    path = tmp_path / "sheet.raw"
    values = np.random.default_rng(0).integers(0, 256, (60, 50)).astype(np.uint8)
    content = raw(values)
    path.write_bytes(content[:70])

    def write():
        with path.open("ab") as file:
            for at in range(70, len(content), 333):
                time.sleep(0.02)
                file.write(content[at : at + 333])
                file.flush()

    thread = threading.Thread(target=write)
    thread.start()
    found = np.concatenate([band.pixels for band in RawRows(GrowingFile(path, 1.5), path, 50, rows=7)])
    thread.join()
    assert np.array_equal(found[..., 0], values / np.float32(255))


def test_files_that_cannot_be_followed(tmp_path):
    path = tmp_path / "sheet.raw"
    with pytest.raises(DataError, match="Cannot read"):
        open_stream(str(path))
    path.write_bytes(bytes(100))
    with pytest.raises(ParameterError, match="quiet_seconds=-1 is not allowed"):
        open_stream(str(path), -1)
    file = open_stream(str(path), 5)
    assert file.read(100) == bytes(100)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="was cut short while it was read"):
        file.read(1)
    file.close()
