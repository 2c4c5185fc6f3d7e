"""Writing: a file is old or new, never half, whoever kills, fills the disk, or writes the same name as well."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pellucid._io.files import (
    check_writable,
    csv_text,
    make_private,
    plain_cell,
    replacing,
    write_bytes,
    write_text,
)
from pellucid.errors import DiskFullError, OutputError

SIZE_BYTES = 300_000
WRITE_FOR_EVER = """
import hashlib, sys
from pathlib import Path
from pellucid._io.files import write_bytes

number = 0
while True:
    body = str(number).encode() * (int(sys.argv[2]) // len(str(number)))
    write_bytes(Path(sys.argv[1]), hashlib.sha256(body).digest() + body)
    number += 1
    if number == 3:
        print("writing", flush=True)
"""


def signed(number: int) -> bytes:
    """Content that says itself whether it is whole."""
    body = str(number).encode() * SIZE_BYTES
    return hashlib.sha256(body).digest() + body


def is_whole(content: bytes) -> bool:
    return hashlib.sha256(content[32:]).digest() == content[:32]


def start_writing(path: Path) -> subprocess.Popen[str]:
    """Start a process that writes one file over and over, and wait until it is at it."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(path), str(SIZE_BYTES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.fixture
def fsynced(monkeypatch):
    """What is brought to the disk, as (``file`` or ``folder``, inode), and every rename, in order."""
    calls = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor):
        found = os.fstat(descriptor)
        calls.append(("folder" if stat.S_ISDIR(found.st_mode) else "file", found.st_ino))
        fsync(descriptor)

    def record_replace(path, target):
        calls.append(("rename", 0))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    return calls


@pytest.mark.skipif(sys.platform == "win32", reason="Windows brings no folders to the disk")
def test_the_file_is_on_the_disk_before_its_name_and_the_name_before_the_call_returns(tmp_path, fsynced):
    write_bytes(tmp_path / "a.txt", b"a")
    inode = (tmp_path / "a.txt").stat().st_ino
    assert fsynced == [("file", inode), ("rename", 0), ("folder", tmp_path.stat().st_ino)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows brings no folders to the disk")
def test_folders_that_were_made_are_on_the_disk_too(tmp_path, fsynced):
    write_bytes(tmp_path / "new/deep/a.txt", b"a")
    synced = [inode for kind, inode in fsynced if kind == "folder"]
    assert synced == [path.stat().st_ino for path in (tmp_path / "new/deep", tmp_path / "new", tmp_path)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows brings no folders to the disk")
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EINVAL, None), (errno.ENOTSUP, None), (errno.EIO, OutputError), (errno.ENOSPC, DiskFullError)],
)
def test_a_folder_that_cannot_be_brought_to_the_disk(tmp_path, monkeypatch, number, error):
    fsync = os.fsync

    def fail_for_folders(descriptor):
        if os.fstat(descriptor).st_ino == tmp_path.stat().st_ino:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    if error is None:  # network drives cannot, and there is nothing that could be done about it
        write_bytes(tmp_path / "a.txt", b"a")
    else:
        with pytest.raises(error, match=f"Cannot write '.*a.txt': {os.strerror(number)}"):
            write_bytes(tmp_path / "a.txt", b"a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_threads_that_write_one_name_do_not_meet(tmp_path):
    path, ended = tmp_path / "a.bin", threading.Event()
    write_bytes(path, signed(0))
    seen = []

    def read() -> None:
        while not ended.is_set():
            seen.append(is_whole(path.read_bytes()))

    def write(number: int) -> None:
        for turn in range(10):
            write_bytes(path, signed(number + turn))

    if sys.platform == "win32":  # a file that is open cannot be replaced there
        ended.set()
    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(1, 9)))  # raises what a thread raised
    finally:
        ended.set()
        reader.join()
    assert all(seen)
    assert is_whole(path.read_bytes())
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_write_one_name_do_not_meet(tmp_path):
    path = tmp_path / "a.bin"
    processes = [start_writing(path) for _ in range(2)]
    try:
        time.sleep(0.5)
        assert [process.poll() for process in processes] == [None, None]
        assert is_whole(path.read_bytes())
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_killed_process_leaves_the_old_file_or_the_new_one(tmp_path):
    path, rng = tmp_path / "a.bin", random.Random(0)
    for _ in range(4):
        process = start_writing(path)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert is_whole(path.read_bytes())
    write_bytes(path, b"next")  # whatever was left behind does not stand in the way
    assert path.read_bytes() == b"next"


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is of POSIX")
def test_a_disk_that_fills_up_leaves_the_old_file_alone(tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; from pellucid._io.files import write_bytes;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "write_bytes(Path(sys.argv[1]), bytes(5000))"
    )
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "OutputError: Cannot write" in done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a.txt", b"a")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file/below.txt", tmp_path / "file/deep/below.txt"):
        with pytest.raises(OutputError, match="Cannot write"):
            check_writable(path)
    with pytest.raises(OutputError, match="it is a folder"):
        check_writable(tmp_path)
    assert (tmp_path / "file").read_text() == "old"


def test_trying_whether_a_file_can_be_written_leaves_it_as_it_was(tmp_path):
    write_text(tmp_path / "new/a.txt", "old\n")
    check_writable(tmp_path / "new/a.txt")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new/a.txt").read_bytes() == b"old\n"


def test_tables_have_unix_line_ends():
    assert csv_text(("a", "b"), [(1, "x,y"), (None, 0.5)]) == 'a,b\n1,"x,y"\n,0.5\n'


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\tword", "'\tword"),
        ("  =1", "'  =1"),
        ("x;=1", "x;'=1"),
        ("x\n=1", "x\n'=1"),
        ("＝1", "'＝1"),
        ("\x00=1", "'\x00=1"),
        ("", ""),
        ("bubble", "bubble"),
        ("A-12+b@c=d", "A-12+b@c=d"),
        ("'=1", "'=1"),
        ("حباب", "حباب"),
    ],
)
def test_no_cell_is_a_formula(text, cell):
    assert plain_cell(text) == cell


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_private_files_are_private_from_their_first_moment(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(stat.S_IMODE(os.fstat(file).st_mode)))
    mask = os.umask(0)
    try:
        write_bytes(tmp_path / "key", b"secret", private=True)
        write_text(tmp_path / "public", "words")
        make_private(tmp_path / "a" / "folder", folder=True)
        make_private(tmp_path / "public", folder=False)
    finally:
        os.umask(mask)
    assert seen[0] == 0o600
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "key", tmp_path / "public")}
    assert found == {"key": 0o600, "public": 0o600}
    assert stat.S_IMODE((tmp_path / "a" / "folder").stat().st_mode) == 0o700
    assert (tmp_path / "public").read_text() == "words"
    (tmp_path / "file").touch()
    for path, is_folder in ((tmp_path / "file", True), (tmp_path / "file" / "below", False)):
        with pytest.raises(OutputError, match="Cannot write"):
            make_private(path, folder=is_folder)


def test_a_file_that_is_written_piece_by_piece_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "sheet.tif"
    with replacing(path) as temporary:
        temporary.write_bytes(b"one")
        assert temporary.parent == path.parent
        assert not path.exists()
    with pytest.raises(ValueError, match="broken"), replacing(path) as temporary:  # noqa: PT012 - as a writer would
        temporary.write_bytes(b"two, half")
        raise ValueError("broken")
    assert path.read_bytes() == b"one"
    assert [p.name for p in path.parent.iterdir()] == ["sheet.tif"]


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EIO, OutputError)])
def test_a_file_that_cannot_be_written_piece_by_piece_is_told(tmp_path, number, kind):
    with pytest.raises(kind, match=r"Cannot write '.*sheet\.tif'"), replacing(tmp_path / "sheet.tif"):
        raise OSError(number, "no")
    assert not list(tmp_path.iterdir())
