"""Back-pressure, time, stopping."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
from serving import rows_of, served, serving_folder, wait_until

from service.odd_files import png_bytes


def test_too_much_at_once_is_told_to_come_back(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", "--max-requests", "2", env=cache) as service:
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: service.inspect(good), range(120)))
        counts = Counter(answer.status_code for answer in answers)
        assert set(counts) == {200, 429}
        busy = next(answer for answer in answers if answer.status_code == 429)
        assert int(busy.headers["retry-after"]) >= 1
        assert "try again" in busy.json()["detail"]
        assert len(rows_of(folder)) == counts[200]
        text = service.http.get("/metrics").text
        assert f"pellucid_refused_total {counts[429]}.0" in text
        inspected = re.findall(r'pellucid_inspections_total\{model="pane",verdict="\w+"\} (\d+)', text)
        assert sum(map(int, inspected)) == counts[200]
        assert "pellucid_requests_under_way 0.0" in text


def test_requests_that_are_too_large(model, cache, tmp_path):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", "--request-mb", "1", "--megapixels", "0.5", env=cache) as service:
        answer = service.inspect(("big.png", bytes(1_500_000)))
        assert answer.status_code == 413
        assert "1 MB" in answer.json()["detail"]

        def stream():
            for _ in range(40):
                yield bytes(50_000)

        answer = service.http.post("/inspect", content=stream(), headers={"content-type": "image/png"})
        assert answer.status_code == 413, "a body of unknown length is counted"
        answer = service.inspect(("wide.png", png_bytes(np.zeros((800, 800), np.uint8))))
        assert answer.status_code == 413
        assert "0.5 megapixels" in answer.json()["detail"]


def test_a_request_is_given_up_after_its_time(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", "--timeout", "0.0001", env=cache) as service:
        answer = service.inspect(good)
        assert answer.status_code == 504
        assert "within 0.0001 s" in answer.json()["detail"]
        assert service.http.get("/health").status_code == 200


def test_a_stop_finishes_what_was_accepted(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service, ThreadPoolExecutor(32) as pool:
        sent = [
            pool.submit(lambda: httpx.post(service.url + "/inspect", files={"files": good.read_bytes()}, timeout=300))
            for _ in range(200)
        ]
        wait_until(lambda: len(rows_of(folder)) >= 20)
        service.stop()
        assert "stopped: all that was taken in" in service.log()
        done = [future for future in sent if future.exception() is None and future.result().status_code == 200]
        numbers = [f.result().json()["items"][0]["id"] for f in done]
    assert len(numbers) >= 20
    assert set(numbers) == {row["id"] for row in rows_of(folder)}, "an answer for every row, a row for every answer"
