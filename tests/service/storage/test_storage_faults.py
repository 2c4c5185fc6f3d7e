"""What is left after kills, a full disk, a database that goes away, and with two workers."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
from serving import full_disk, rows_of, served, serving_folder, wait_until

from pellucid.acquisition.files import image_files


def test_killed_under_load_it_has_kept_every_answer_once(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    answered: list[tuple[int, str]] = []

    def client(service, number):
        with httpx.Client(base_url=service.url, timeout=300) as http:
            for k in range(500):
                part = f"{number}-{k}"
                try:
                    answer = http.post(
                        "/inspect",
                        files={"files": good.read_bytes()},
                        params={"part_id": part},
                        headers={"Idempotency-Key": part},
                    )
                except httpx.HTTPError:
                    return
                answered.append((answer.json()["items"][0]["id"], part))

    for _ in range(2):
        with served(folder, "--no-pages", env=cache) as service:
            threads = [threading.Thread(target=client, args=(service, n)) for n in range(8)]
            for thread in threads:
                thread.start()
            target = len(answered) + 24
            wait_until(lambda: len(answered) >= target)  # noqa: B023
            service.kill()
            for thread in threads:
                thread.join()
    with served(folder, "--no-pages", env=cache) as service:
        kept = {row["id"]: row["part_id"] for row in rows_of(folder)}
        assert dict(answered).items() <= kept.items()
        assert len(kept.values()) == len(set(kept.values())), "none twice"
        for number, _ in answered[::10]:
            assert service.http.get(f"/inspections/{number}/picture").content == good.read_bytes()
        part = answered[0][1]
        sent = {"files": {"files": good.read_bytes()}, "params": {"part_id": part}}
        again = service.http.post("/inspect", **sent, headers={"Idempotency-Key": part})
        assert again.json()["items"][0]["id"] == answered[0][0]


def test_a_full_disk_is_told_and_survived(model, cache, tmp_path, glass):
    folder = serving_folder(tmp_path, model)
    files = image_files(glass / "normal_test")
    with full_disk(folder / "record", 3), served(folder, "--no-pages", env=cache) as service:
        statuses = Counter()
        for _ in range(60):
            answer = service.inspect(*files[:4])
            statuses[answer.status_code] += 1
            if answer.status_code == 507:
                break
        assert answer.status_code == 507, statuses
        assert "space" in answer.json()["detail"]
        assert service.http.get("/health").status_code == 200
        assert service.http.get("/inspections").json()["items"]
        rows = rows_of(folder)
        kept = {row["picture"] for row in rows} | {row["map"] for row in rows}
        for path in (folder / "record" / "pictures").glob("*/*"):
            assert path.relative_to(folder / "record" / "pictures").as_posix() in kept, "no half of anything is left"
        for path in list((folder / "record" / "pictures").glob("*/*"))[:40]:
            path.unlink()
        assert service.inspect(files[0]).status_code == 200
        assert "Traceback" not in service.log()


def test_two_workers_keep_one_record(postgres, model, cache, tmp_path, good, bad):
    folder = serving_folder(tmp_path, model)
    options = ("--no-pages", "--database", postgres.url)
    with served(folder, *options, env=cache) as one, served(folder, *options, env=cache) as two:

        def send(number):
            worker = (one, two)[number % 2]
            key = f"both-{number // 2}"  # each key goes to both
            return httpx.post(
                worker.url + "/inspect",
                files={"files": good.read_bytes()},
                headers={"Idempotency-Key": key},
                timeout=300,
            ).json()

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(send, range(80)))
        assert answers[::2] == answers[1::2], "whoever was asked, the answer is the same"
        numbers = {answer["items"][0]["id"] for answer in answers}
        assert len(numbers) == 40
        for worker in (one, two):
            found = worker.http.get("/inspections", params={"count": 500}).json()["items"]
            assert {i["id"] for i in found} == numbers
        one.http.put("/models/pane/limit", json={"value": 0.001, "confirm": True, "reason": "a test"})
        wait_until(lambda: two.inspect(good).json()["items"][0]["verdict"] == "reject")
        assert two.http.get("/models/pane/limit").json()["value"] == 0.001
        item = two.inspect(bad).json()["items"][0]
        one.http.put(f"/inspections/{item['id']}/decision", json={"decision": "defect", "type": "stone"})
        assert two.http.get(f"/inspections/{item['id']}").json()["type"] == "stone"
        assert one.http.get(f"/inspections/{item['id']}/picture").content == bad.read_bytes()


def test_a_database_that_goes_and_comes_back(postgres, model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", "--database", postgres.url, env=cache) as service:
        first = service.inspect(good).json()["items"][0]["id"]
        postgres.stop()
        try:
            answer = service.inspect(good)
            assert answer.status_code == 503
            assert "cannot be used now" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
            ready = service.http.get("/ready")
            assert ready.status_code == 503
            assert ready.json()["reasons"]
            assert service.http.get("/health").status_code == 200
        finally:
            postgres.start()
        wait_until(lambda: service.http.get("/ready").status_code == 200)
        assert service.inspect(good).json()["items"][0]["id"] > first
        assert service.http.get(f"/inspections/{first}").status_code == 200
        rows = service.http.get("/inspections").json()["items"]
        pictures = list((folder / "record" / "pictures").glob("*/*"))
        mine = [r for r in rows if r["id"] >= first]
        assert len(pictures) == 2 * len(mine), "what was not kept left no file"
        assert "Traceback" not in service.log()
