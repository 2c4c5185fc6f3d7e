"""Who gets in: accounts, roles, sessions, other sites."""

from __future__ import annotations

import socket

from serving import served, serving_folder, wait_until


def test_accounts_and_roles(model, cache, tmp_path, keys, good):
    folder = serving_folder(tmp_path, model)
    with served(
        folder, "--accounts", str(keys["file"]), "--host", "0.0.0.0", "--no-pages", env=cache, ready=False
    ) as service:
        assert service.http.get("/inspections").status_code == 401
        assert service.inspect(good).status_code == 401
        assert service.http.get("/inspections", headers={"authorization": "Bearer wrong"}).status_code == 401
        operator, engineer = ({"authorization": f"Bearer {keys[name]}"} for name in ("operator", "engineer"))
        wait_until(lambda: service.http.get("/ready", headers=operator).status_code == 200)
        sent = service.http.post("/inspect", files={"files": good.read_bytes()}, headers=operator).json()["items"][0]
        assert sent["account"] == "operator"
        decided = service.http.put(f"/inspections/{sent['id']}/decision", json={"decision": "ok"}, headers=operator)
        assert decided.json()["decided_by"] == "operator"
        for verb, path, body in (("PUT", "/models/pane/limit", {"value": None}), ("POST", "/models/pane/reload", None)):
            refused = service.http.request(verb, path, json=body, headers=operator)
            assert refused.status_code == 403
            assert "an engineer" in refused.json()["detail"]
            assert service.http.request(verb, path, json=body, headers=engineer).status_code == 200
        assert {c["who"] for c in service.http.get("/changes", headers=operator).json()["items"]} == {"engineer"}
        assert service.http.post("/session", json={"key": "wrong"}).status_code == 401
        answer = service.http.post("/session", json={"key": keys["operator"]})
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie.lower() for word in ("httponly", "samesite=strict"))
        assert service.http.get("/inspections").status_code == 200, "the browser is logged in"
        service.http.cookies.set("pellucid", "forged.cookie.value")
        assert service.http.get("/inspections").status_code == 401
        text = service.log() + keys["file"].read_text()
        assert keys["operator"] not in text
        assert keys["engineer"] not in text


def test_other_sites_stay_out(service, good):
    files = {"files": {"files": good.read_bytes()}}
    refused = service.http.post("/inspect", **files, headers={"origin": "http://evil.example"})
    assert refused.status_code == 403
    assert "evil.example" in refused.json()["detail"]
    assert service.http.post("/inspect", **files, headers={"origin": service.url}).status_code == 200
    rebound = service.http.get("/inspections", headers={"host": "evil.example"})
    assert rebound.status_code == 403, "a name that was pointed at this machine"
    answer = service.http.get("/inspections")
    for header in ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"):
        assert header in answer.headers


def test_the_token_of_the_environment(model, cache, tmp_path):
    folder = serving_folder(tmp_path, model)
    token = "a-token-of-the-environment"
    with served(folder, "--no-pages", env={**cache, "PELLUCID_TOKEN": token}, ready=False) as service:
        assert service.http.get("/models").status_code == 401
        assert service.http.get("/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert token not in service.log()


def test_nothing_listens_beyond_this_machine(service):
    port = int(service.url.rsplit(":", 1)[1])
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {
        "127.0.0.1",
        "127.0.1.1",
    }
    for address in addresses:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, port)) != 0
