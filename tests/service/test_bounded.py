"""What a running service is bounded by, whatever comes: time, connections, memory, and the threads that are busy."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving import rows_of, served, serving_folder, wait_until

from service.odd_files import png_bytes

resource = pytest.importorskip("resource", reason="limits of a process are set as on Unix")
TIMEOUT_S = 10
HEADERS_TIMEOUT_S = 4
PERIODS = f"""
import pellucid.service.access.deadlines as deadlines, pellucid.service.storage.engine as engine
deadlines.HEADERS_TIMEOUT_S, engine.SQLITE_LOCK_TIMEOUT_S = {HEADERS_TIMEOUT_S}, {TIMEOUT_S + 5}
"""
MEMORY_MB = 400
LARGE = png_bytes(np.full((1_750, 1_750), 127, np.uint8))  # 270 MB of memory while it is inspected
TOO_LARGE = png_bytes(np.full((2_200, 2_200), 127, np.uint8))
SMALL = png_bytes(np.full((64, 64), 127, np.uint8))
LINE = b"\r\nHost: 127.0.0.1\r\n"
STALLED = {  # what is sent, before nothing more is
    "64 MB announced, 3 bytes sent": b"POST /inspect HTTP/1.1" + LINE + b"Content-Length: 64000000\r\n\r\nabc",
    "nothing of the body": b"POST /inspect HTTP/1.1" + LINE + b"Content-Length: 64000000\r\n\r\n",
    "of 10 bytes, 9 sent": b"POST /inspect HTTP/1.1" + LINE + b"Content-Length: 10\r\n\r\n123456789",
    "chunks": b"POST /inspect HTTP/1.1" + LINE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "half a chunk": b"POST /inspect HTTP/1.1" + LINE + b"Transfer-Encoding: chunked\r\n\r\nffff\r\nabc",
    "a form": b"POST /inspect HTTP/1.1"
    + LINE
    + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n"
    + b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc',
    "a picture but for its end": b"POST /inspect HTTP/1.1" + LINE + b"Content-Length: 900000\r\n\r\n" + bytes(800_000),
    "json": b"PUT /models/pane/limit HTTP/1.1"
    + LINE
    + b'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"v',
    "a key before log-in": b"POST /session HTTP/1.1"
    + LINE
    + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n",
}
HALF_SENT = {  # headers that do not end
    "nothing": b"",
    "half a line": b"POST /insp",
    "no end of headers": b"POST /inspect HTTP/1.1" + LINE,
    "half a header": b"GET /ready HTTP/1.1\r\nHost: 127.0",
    "a second request": b"GET /health HTTP/1.1" + LINE + b"\r\nGET /heal",
}


@pytest.fixture(scope="module")
def bounded(model, cache, tmp_path_factory):
    folder = serving_folder(tmp_path_factory.mktemp("bounded"), model)
    (folder / "line").mkdir()
    options = {"--timeout": TIMEOUT_S, "--max-requests": 8, "--max-queued-mb": 20, "--memory-mb": MEMORY_MB}
    spelled = [str(word) for option in options.items() for word in option]
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, allowed[1]))
    try:
        with served(folder, "--no-pages", "--watch", "line", *spelled, env=cache, fault=PERIODS) as service:
            resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
            yield service
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)


@pytest.fixture(scope="module")
def large(bounded):
    """The number of a large picture that was inspected."""
    wait_until(lambda: "pellucid_requests_under_way 0.0" in bounded.http.get("/metrics").text)
    return _post(bounded, LARGE).json()["items"][0]["id"]


@contextmanager
def _sockets(service, contents):
    """Connections that have sent something, and send nothing more."""
    opened = []
    for content in contents:
        connection = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=300)
        opened.append(connection)
        connection.sendall(content)
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


def _all_of(connection) -> bytes:
    """What comes until the service closes the connection."""
    pieces = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def _watched(service, name: str) -> list:
    return [row for row in rows_of(service.folder) if row["file"] == name]


@pytest.fixture(scope="module")
def stalled(bounded):
    """What is answered to eight of each that stop in the middle of a body, and how the line fares meanwhile."""
    contents = [content for content in STALLED.values() for _ in range(8)]
    start = time.monotonic()
    with _sockets(bounded, contents) as connections:
        meanwhile = bounded.inspect(("a.png", SMALL)).status_code
        (bounded.folder / "line" / "while-stalled.png").write_bytes(SMALL)
        wait_until(lambda: _watched(bounded, "while-stalled.png"))
        watched_s = time.monotonic() - start
        answers = [_all_of(connection) for connection in connections]
    seconds = time.monotonic() - start
    return (
        meanwhile,
        watched_s,
        seconds,
        dict(zip(STALLED, (answers[k : k + 8] for k in range(0, 99, 8)), strict=False)),
    )


@pytest.mark.parametrize("name", STALLED)
def test_a_body_has_a_deadline(stalled, name):
    *_, seconds, answers = stalled
    assert seconds < TIMEOUT_S + 120, "they would stay for ever"
    for answer in answers[name]:
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 408 "), answer
        assert b"connection: close" in head
        assert f"did not come: it has {TIMEOUT_S} s from its start".encode() in answer


def test_uploads_that_stall_stop_nobody(stalled):
    meanwhile, watched_s, *_ = stalled
    assert meanwhile == 200
    assert watched_s < TIMEOUT_S


def test_headers_have_a_deadline(bounded):
    start = time.monotonic()
    with _sockets(bounded, HALF_SENT.values()) as connections:
        answers = dict(zip(HALF_SENT, map(_all_of, connections), strict=True))
    assert HEADERS_TIMEOUT_S / 2 < time.monotonic() - start < 120
    assert answers.pop("a second request").count(b"HTTP/1.1 200") == 1
    assert set(answers.values()) == {b""}


def test_a_connection_that_is_used_stays(bounded):
    with httpx.Client(base_url=bounded.url, timeout=300) as client:
        for _ in range(4):
            time.sleep(HEADERS_TIMEOUT_S / 3)
            assert client.get("/health").status_code == 200


@pytest.mark.parametrize("content", [b"", b"POST /inspect HTTP/1.1" + LINE])
def test_more_connections_than_open_files_lock_nobody_out(bounded, content):
    with _sockets(bounded, [content] * 300):
        for _ in range(3):
            assert httpx.post(bounded.url + "/inspect", content=SMALL, timeout=300).status_code == 200
    assert "156 connections are open, as many as may be" in bounded.log()


def _post(service, content: bytes) -> httpx.Response:
    return httpx.post(service.url + "/inspect", content=content, timeout=300)


def _peak_mb(service, act) -> tuple[float, object]:
    """The most memory beyond what was there before, and what comes of it."""

    def status(field: str) -> float:
        lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))

    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("a process's peak of memory is read as on Linux")
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")
    before = status("VmRSS")
    found = act()
    return status("VmHWM") - before, found


@pytest.mark.parametrize(
    "contents",
    [[LARGE], [LARGE] * 3, [LARGE] * 8, [LARGE, SMALL] * 4, [SMALL] * 7 + [LARGE]],
    ids=["one", "three", "eight", "mixed", "a late one"],
)
def test_memory_is_bounded_by_pixels(bounded, contents):
    wait_until(lambda: "pellucid_requests_under_way 0.0" in bounded.http.get("/metrics").text)

    def send() -> Counter[int]:
        with ThreadPoolExecutor(len(contents)) as pool:
            return Counter(answer.status_code for answer in pool.map(lambda c: _post(bounded, c), contents))

    extra_mb, answers = _peak_mb(bounded, send)
    assert set(answers) <= {200, 504}, "on a slow machine some are given up"
    assert extra_mb < MEMORY_MB * 1.3, "eight at once took 1.7 GB before"


def test_an_image_beyond_the_whole_budget_is_refused(bounded):
    answer = _post(bounded, TOO_LARGE)
    assert answer.status_code == 413
    assert "2200 x 2200 pixels and takes 426 MB of memory to inspect; 400 MB are allowed" in answer.json()["detail"]
    assert "--memory-mb" in answer.json()["detail"]
    several = bounded.inspect(("big.png", TOO_LARGE), ("small.png", SMALL))
    assert several.status_code == 207
    assert [item.get("status") for item in several.json()["items"]] == [413, None]


def test_the_budget_is_said_at_the_start(bounded):
    assert "images may take 400 MB of memory together (--memory-mb)" in bounded.log()


@pytest.mark.parametrize(("part", "count"), [("overlay", 5), ("overlay", 30), ("thumbnail", 60), ("picture", 10)])
def test_pictures_are_drawn_a_few_at_a_time(bounded, large, part, count):
    def look() -> list[httpx.Response]:
        with ThreadPoolExecutor(count) as pool:
            address = f"{bounded.url}/inspections/{large}/{part}"
            return list(pool.map(lambda _: httpx.get(address, timeout=300), range(count)))

    extra_mb, answers = _peak_mb(bounded, look)
    counts = Counter(answer.status_code for answer in answers)
    assert counts[200] >= min(count, 5)
    assert set(counts) <= {200, 429}
    assert counts[429] == 0 or part == "overlay"
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
    assert extra_mb < 260, "one took 280 MB before, and five at once 1,400"


def test_a_request_counts_until_its_threads_are_done(bounded):
    """A database that does not answer: whoever is given up is not followed by more than there are places."""
    wait_until(lambda: "pellucid_requests_under_way 0.0" in bounded.http.get("/metrics").text)
    lock = sqlite3.connect(bounded.folder / "record" / "record.db", isolation_level=None)
    before = len(rows_of(bounded.folder))
    lock.execute("BEGIN IMMEDIATE")
    try:
        with ThreadPoolExecutor(40) as pool:
            answers = Counter(answer.status_code for answer in pool.map(lambda _: _post(bounded, SMALL), range(40)))
            assert set(answers) <= {429, 503, 504}
            assert answers[504] + answers[503] == 8, "as many as may be under way"
            assert answers[429] == 32
            under_way = bounded.http.get("/metrics").text
            assert "pellucid_requests_under_way 0.0" not in under_way, "the threads are still busy"
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    wait_until(lambda: "pellucid_requests_under_way 0.0" in bounded.http.get("/metrics").text)
    assert bounded.inspect(("a.png", SMALL)).status_code == 200
    assert before < len(rows_of(bounded.folder)) <= before + 1 + 8
