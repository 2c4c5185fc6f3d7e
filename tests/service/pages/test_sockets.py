"""Events on the websockets of pages, as a browser's console could send them: nobody does what their role forbids."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import shutil
import time
from dataclasses import dataclass
from types import SimpleNamespace

import httpx
import pytest
import socketio
from serving import served, serving_folder, wait_until

from pellucid.acquisition.folders import image_files
from pellucid.service.access.accounts import Accounts, add_account

QUIET_S = 1.5  # after which an event that was sent would have had its effect


@dataclass(frozen=True)
class OpenPage:
    """A page as a browser has it: its number, and what may be clicked."""

    client: str
    listeners: list[tuple[int, str, str]]  # element, listener, event
    text: str


class Person:
    """Somebody with an account, a browser's session, and sockets."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=300, headers={"accept": "text/html"})
        self.url = url
        assert self.http.post("/session", json={"key": key}).status_code == 200

    @property
    def cookie(self) -> str:
        return f"pellucid={self.http.cookies['pellucid']}"

    def open(self, page: str) -> OpenPage:
        text = self.http.get(f"/ui/{page}").text
        client = re.search(r"client_id['\"]?: ?['\"]([0-9a-f-]{36})", html.unescape(text))[1]
        elements = json.loads(html.unescape(re.search(r"String\.raw`(.*?)`", text, re.DOTALL)[1]))
        listeners = [
            (int(number), event["listener_id"], event["type"])
            for number, element in elements.items()
            for event in element.get("events", [])
        ]
        return OpenPage(client, listeners, text)

    async def socket(self, page: OpenPage | None) -> socketio.AsyncClient:
        """Connect as the page's script does."""
        socket = socketio.AsyncClient(reconnection=False)
        query = {"client_id": page.client, "next_message_id": 0, "implicit_handshake": "true"} if page else {}
        query |= {"tab_id": "t", "document_id": "d"} if page else {}
        await socket.connect(
            f"{self.url}?{httpx.QueryParams(query)}",
            headers={"Cookie": self.cookie},
            socketio_path="/ui/_nicegui_ws/socket.io",
            transports=["websocket"],
        )
        return socket


async def _fire(socket, page: OpenPage, kinds=("click",)) -> None:
    """Send everything that could be clicked, twice: what a first click enables is enabled."""
    for _ in range(2):
        for element, listener, kind in page.listeners:
            if kind in kinds and socket.connected:
                message = {"id": element, "client_id": page.client, "listener_id": listener, "args": ["null"]}
                await socket.emit("event", message)
        await asyncio.sleep(QUIET_S / 2)


@pytest.fixture(scope="module")
def accounts_file(tmp_path_factory):
    return tmp_path_factory.mktemp("accounts") / "accounts.toml"


@pytest.fixture(scope="module")
def keys(accounts_file):
    return {name: add_account(accounts_file, name, "engineer") for name in ("engineer", "boss")} | {
        "operator": add_account(accounts_file, "operator", "operator")
    }


@pytest.fixture(scope="module")
def service(model, glass, keys, accounts_file, tmp_path_factory):
    folder = serving_folder(tmp_path_factory.mktemp("sockets"), model)
    shutil.copytree(glass, folder / "data" / "panes")
    options = ("--accounts", str(accounts_file), "--data", "data")
    with served(folder, *options, ready=False) as running:
        running.http.headers["authorization"] = f"Bearer {keys['boss']}"
        wait_until(lambda: running.http.get("/ready").status_code == 200)
        running.inspect(image_files(glass / "normal_test")[0], model="pane")
        yield running


@pytest.fixture
def people(service, keys):
    made = SimpleNamespace(**{name: Person(service.url, key) for name, key in keys.items()})
    yield made
    for person in vars(made).values():
        person.http.close()


def _state(service) -> tuple:
    """All that a role may be needed for."""
    http = service.http
    data = sorted(path.name for path in (service.folder / "data").iterdir())
    trainings = [(item["name"], item["state"]) for item in http.get("/trainings").json()["items"]]
    return http.get("/changes").json()["items"], http.get("/models/pane/limit").json()["value"], trainings, data


def test_an_engineers_own_clicks_do_what_they_say(service, people):
    """What the tests below rely on: events sent like this are obeyed."""
    page = people.engineer.open("models")
    before = _state(service)

    async def click() -> None:
        socket = await people.engineer.socket(page)
        await _fire(socket, page)
        while _state(service)[0] == before[0]:  # until the test's own time is over
            await asyncio.sleep(0.1)
        await asyncio.sleep(QUIET_S)  # so that no click is left for the next test
        await socket.disconnect()

    asyncio.run(asyncio.wait_for(click(), 300))


@pytest.mark.parametrize(
    ("page", "running"),
    [("models", False), ("train", False), ("train", True), ("review", False), ("inspect", False), ("trends", False)],
)
def test_whatever_an_operator_sends_changes_nothing(service, people, page, running):
    if running:
        request = {"data": "panes", "name": "long", "detectors": ["stfpm"], "image_size": 256}
        assert service.http.post("/trainings", json=request).status_code == 201
    opened = people.operator.open(page)
    before = _state(service)

    async def click() -> None:
        socket = await people.operator.socket(opened)
        await _fire(socket, opened)
        with contextlib.suppress(Exception):
            await socket.disconnect()

    try:
        asyncio.run(click())
        after = _state(service)
        assert after[0] == before[0]
        assert after[1] == before[1]
        assert after[3] == before[3]
        assert [state for _, state in after[2]] == [state for _, state in before[2]]
    finally:
        if running:
            service.http.delete("/trainings")


@pytest.mark.parametrize("page", ["models", "train"])
def test_operators_have_no_buttons_for_what_engineers_do(people, page):
    words = {"models": ("Read the file again", "Apply", "Back to the calibrated"), "train": ("Cancel", "play_arrow")}
    for word in words[page]:
        assert word not in people.operator.open(page).text, word
    assert words[page][0] in people.engineer.open(page).text


@pytest.mark.parametrize("whose", ["operator", "boss"])
def test_a_socket_acts_on_no_page_of_another_account(service, people, whose):
    """Nor with its number, nor by introducing itself for it."""
    page, own = people.engineer.open("models"), getattr(people, whose).open("models")
    before = _state(service)

    async def click() -> list[bool]:
        theirs = await people.engineer.socket(page)  # so that the page is alive
        other = getattr(people, whose)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await other.socket(page)
        socket = await other.socket(own)
        hello = {"client_id": page.client, "tab_id": "t", "document_id": "x", "next_message_id": 0}
        answer = await socket.call("handshake", hello)
        await _fire(socket, page)
        states = [bool(answer), socket.connected, theirs.connected]
        for each in (socket, theirs):
            await each.disconnect()
        return states

    assert asyncio.run(click()) == [False, True, True]
    assert _state(service) == before


ODD_MESSAGES = (
    None,
    [],
    7,
    "x",
    {},
    {"client_id": None},
    {"client_id": ["a"]},
    {"client_id": "OWN"},
    {"client_id": "OWN", "id": 99999, "listener_id": "x", "args": ["null"]},
    {"client_id": "OWN", "id": 4, "listener_id": "nobody", "args": ["null"]},
    {"client_id": "OWN", "id": 4, "listener_id": "nobody", "args": ["{"]},
    {"client_id": "OWN", "id": [], "args": 3},
)


@pytest.mark.parametrize("event", ["event", "javascript_response", "ack", "log", "handshake", "unheard_of"])
def test_what_no_page_sends_leaves_no_traceback(service, people, event):
    page = people.operator.open("trends")
    before = len(service.log())

    async def send(message: object) -> None:
        if isinstance(message, dict) and message.get("client_id") == "OWN":
            message = message | {"client_id": page.client}
        socket = await people.operator.socket(page)
        for _ in range(20):
            if socket.connected:
                await socket.emit(event, message)
        await asyncio.sleep(0.1)
        await socket.disconnect()

    for message in ODD_MESSAGES:
        asyncio.run(send(message))
    added = service.log()[before:]
    assert "Traceback" not in added
    assert len(added.splitlines()) <= 2 * len(ODD_MESSAGES)


def test_pages_write_nothing_into_the_log(service, people):
    page = people.operator.open("trends")

    async def send() -> None:
        socket = await people.operator.socket(page)
        for level in ("debug", "info", "warning", "error"):
            forged = {"client_id": page.client, "level": level, "message": "a\n2026-11-26 INFO pellucid: FORGED"}
            await socket.emit("log", forged)
        await asyncio.sleep(QUIET_S / 2)
        await socket.disconnect()

    asyncio.run(send())
    assert "FORGED" not in service.log()


def _log_out(people, _):
    people.engineer.http.delete("/session")


def _remove(_, file):
    accounts = [a for a in Accounts.read(file).members if a.name != "engineer"]
    file.write_text("".join(_block(a.model_dump()) for a in accounts))


def _demote(_, file):
    accounts = [a.model_dump() for a in Accounts.read(file).members]
    file.write_text("".join(_block(a | {"role": "operator"} if a["name"] == "engineer" else a) for a in accounts))


def _new_key(_, file):
    add_account(file, "engineer", "engineer")


def _block(values) -> str:
    return "[[account]]\n" + "".join(f'{name} = "{value}"\n' for name, value in values.items())


@pytest.mark.parametrize("end", [_log_out, _remove, _demote, _new_key])
def test_an_open_socket_ends_with_its_login(service, people, accounts_file, end):
    """Within two seconds, without a message; and an event that is sent at once is not obeyed."""
    page = people.engineer.open("models")
    before, kept = _state(service), accounts_file.read_text()

    async def click() -> None:
        sockets = [await people.engineer.socket(page), await people.engineer.socket(None)]
        bystander = await people.boss.socket(None)
        end(people, accounts_file)
        await asyncio.sleep(0 if end is _log_out else 1.1)  # the file is looked at once a second
        await _fire(sockets[0], page)
        for _ in range(900):
            if any(socket.connected for socket in sockets):
                await asyncio.sleep(0.1)
        assert [socket.connected for socket in (*sockets, bystander)] == [False, False, True]
        await bystander.disconnect()

    try:
        asyncio.run(click())
        assert _state(service) == before
    finally:
        accounts_file.write_text(kept)
        time.sleep(1.1)


def test_requests_cannot_wait_for_events(people):
    """They would outlive their login; there are websockets only."""
    answer = people.operator.http.get("/ui/_nicegui_ws/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 400


def test_a_handshake_without_an_account_is_refused_in_words(service):
    with httpx.Client(base_url=service.url) as http:
        headers = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        path = "/ui/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
        refused = http.get(path, headers=headers)
        assert refused.status_code == 401
        assert "needs an account" in refused.json()["detail"]
        foreign = http.get(path, headers=headers | {"origin": "http://evil.example"})
        assert foreign.status_code == 403


def test_pages_that_are_not_there_and_errors_in_pages(people):
    missing = people.operator.http.get("/ui/nowhere")
    assert missing.status_code == 404
    assert missing.headers["content-type"].startswith("text/html")
    assert list(people.operator.http.get("/ui/nowhere", headers={"accept": "*/*"}).json()) == ["detail"]
