"""The service under load, beside `pellucid inspect` on the same files, in one run.

    python -m benchmarks.service_load MODEL IMAGES [--seconds 60] [--clients 32]

The clients' process shares the cores, as a camera's program would. One after the other, with nothing else running:
`inspect` on files without and with result pictures, clients that send an image when they have their answer, one that
sends 20 a second, and `inspect` again. Memory is the service's resident set.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from itertools import cycle
from pathlib import Path

from benchmarks._timing import append_row, resident_mb
from pellucid.acquisition.files import image_files

RESULTS = Path(__file__).with_suffix(".csv")
SETTLING_S = 5.0  # after which memory has to stay flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="Model file.")
    parser.add_argument("images", type=Path, help="Folder of images.")
    parser.add_argument("--seconds", type=float, default=60, help="Of load; the steady part takes a third of that.")
    parser.add_argument("--clients", type=int, default=32, help="That send an image when they have their answer.")
    parser.add_argument("--rate", type=float, default=20, help="Requests a second of the steady part.")
    args = parser.parse_args()
    row = measure(args)
    append_row(RESULTS, row)


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Measure `inspect`, the service under load, the service at a steady rate, and `inspect` again; return a row."""
    files = image_files(args.images)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "models").mkdir()
        (folder / "models" / "glass.pellucid").write_bytes(args.model.read_bytes())
        direct = [_inspect(args.model, files, folder / "out")]
        port = _free_port()
        command = [sys.executable, "-m", "pellucid", "serve", "--port", str(port)]
        service = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            _wait(port)
            requests = [_request(file) for file in files]
            load = asyncio.run(_load(port, requests, args.clients, args.seconds, service.pid))
            steady = asyncio.run(_steady(port, requests, args.rate, args.seconds / 3))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
        direct.append(_inspect(args.model, files, folder / "out"))
    plain, drawn = (statistics.median(rates) for rates in zip(*direct, strict=True))
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "images": len(files),
        "inspect_per_s": round(plain, 1),
        "inspect_with_pictures_per_s": round(drawn, 1),
        "service_per_s": round(load["per_s"], 1),
        "share": round(load["per_s"] / plain, 3),
        "statuses": json.dumps(load["statuses"]),
        "load_p50_ms": round(load["p50"], 1),
        "load_p95_ms": round(load["p95"], 1),
        "rss_settled_mb": round(load["rss"][0], 1),
        "rss_highest_mb": round(load["rss"][1], 1),
        "rss_growth": round(load["rss"][1] / load["rss"][0] - 1, 4),
        "steady_rate": args.rate,
        "steady_p50_ms": round(steady["p50"], 1),
        "steady_p95_ms": round(steady["p95"], 1),
        "steady_statuses": json.dumps(steady["statuses"]),
    }


def _inspect(model: Path, files: list[Path], out: Path) -> tuple[float, float]:
    """Images in a second without and with pictures, by the command's own loop, without its start."""
    code = """if True:
        import sys, time
        from pathlib import Path
        from pellucid._io.files import write_bytes
        from pellucid.models.load import load

        inspector, out = load(sys.argv[1], "openvino"), Path(sys.argv[2])
        files = [Path(file) for file in sys.argv[3:]]

        def draw(number, found):
            write_bytes(out / f"{number}.png", found.png())

        list(inspector.inspect_many(files[:32]))
        for finish in (None, draw):
            start = time.perf_counter()
            count = len(list(inspector.inspect_many(files * 4, finish=finish)))
            print(count / (time.perf_counter() - start))
    """
    command = [sys.executable, "-c", code, str(model), str(out), *map(str, files)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    plain, drawn = (float(line) for line in said.split())
    return plain, drawn


def _request(file: Path) -> bytes:
    border = b"----pellucid"
    body = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--%s--\r\n' % (
        *(border, file.name.encode(), file.read_bytes(), border),
    )
    head = (
        b"POST /inspect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=%s\r\n"
        b"Content-Length: %d\r\n\r\n" % (border, len(body))
    )
    return head + body


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head.split()[1])


async def _load(port: int, requests: list[bytes], clients: int, seconds: float, process: int) -> dict:
    """So many clients, each sending the next image when it has its answer."""
    images, statuses, taken, memory = cycle(requests), Counter(), [], []
    start = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - start < seconds:
            begun = time.perf_counter()
            status = await _send(reader, writer, next(images))
            statuses[status] += 1
            taken.append(time.perf_counter() - begun)
        writer.close()

    async def weigh() -> None:
        while time.perf_counter() - start < seconds:
            await asyncio.sleep(0.5)
            memory.append((time.perf_counter() - start, resident_mb(process)))

    await asyncio.gather(weigh(), *(client() for _ in range(clients)))
    elapsed = time.perf_counter() - start
    settled = [mb for at, mb in memory if at >= SETTLING_S]
    return {
        "per_s": statuses[200] / elapsed,
        "statuses": dict(statuses),
        "rss": (settled[0], max(settled)),
        **_percentiles(taken),
    }


async def _steady(port: int, requests: list[bytes], rate: float, seconds: float) -> dict:
    """An image every so often, whether the one before has been answered or not; times count from when it was due."""
    statuses, taken, images = Counter(), [], cycle(requests)

    async def one(due: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        statuses[await _send(reader, writer, next(images))] += 1
        taken.append(time.perf_counter() - due)
        writer.close()

    start, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return {"statuses": dict(statuses), **_percentiles(taken)}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": cuts[49] * 1000, "p95": cuts[94] * 1000}


def _wait(port: int) -> None:
    import httpx

    for _ in range(120):
        time.sleep(0.5)
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                return
        except httpx.HTTPError:
            continue
    raise SystemExit("the service did not become ready")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
