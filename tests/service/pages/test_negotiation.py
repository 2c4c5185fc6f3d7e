"""The same addresses answer data to programs and pages to browsers."""

from __future__ import annotations

import pytest
from serving import served, serving_folder
from starlette.datastructures import Headers

from pellucid.service.access.accounts import add_account
from pellucid.service.access.answers import wants_page

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.fixture(scope="module")
def service(model, tmp_path_factory):
    with served(serving_folder(tmp_path_factory.mktemp("negotiated"), model), ready=False) as running:
        yield running


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (BROWSER, True),
        ("TEXT/HTML", True),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("application/json, text/html", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=much", False),
        ("image/avif,image/webp,*/*;q=0.8", False),
    ],
)
def test_browsers_name_html(accept, is_page):
    assert wants_page(Headers({"accept": accept} if accept else {})) == is_page


@pytest.mark.parametrize(
    ("address", "page", "status"),
    [
        ("/review", "review", 404),
        ("/train", "train", 404),
        ("/inspect", "inspect", 405),
        ("/models", "models", 200),
        ("/models/", "models", 307),
        ("/models/pane", "models?model=pane", 404),
        ("/models/pane/limit", "models?model=pane", 200),
        ("/trends?model=pane&hours=8", "trends?model=pane", 200),
        ("/inspections?verdict=reject", "review", 200),
        ("/inspections/12", "review?inspection=12", 404),
        ("/comparisons", "models", 200),
        ("/changes", "models", 200),
        ("/trainings", "train", 200),
    ],
)
def test_an_address_leads_browsers_to_its_page(service, address, page, status):
    there = service.http.get(address, headers={"accept": BROWSER})
    assert (there.status_code, there.headers["location"]) == (303, f"/ui/{page}")
    assert there.headers["vary"] == "Accept, Accept-Language, Cookie"
    persian = service.http.get(address, headers={"accept": BROWSER, "accept-language": "fa-IR,fa;q=0.9"})
    assert persian.headers["location"] == f"/ui/fa/{page}"
    data = service.http.get(address)
    assert (data.status_code, data.headers["vary"]) == (status, "Accept")
    assert status == 307 or data.headers["content-type"] == "application/json"


@pytest.mark.parametrize("address", ["/nowhere", "/inspections/7/picture", "/inspections/none"])
def test_errors_are_pages_to_browsers(service, address):
    data = service.http.get(address)
    assert list(data.json()) == ["detail"]
    for language, direction in (("en", "ltr"), ("fa", "rtl")):
        page = service.http.get(
            address, headers={"accept": BROWSER, "accept-language": language, "cookie": "theme=dark"}
        )
        assert page.status_code == data.status_code
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["vary"] == "Accept, Accept-Language, Cookie"
        assert f'<html lang="{language}" dir="{direction}">' in page.text
        assert '<body class="body--dark">' in page.text
    assert ("بازرسی ۷ وجود ندارد." in page.text) == address.endswith("picture")
    if data.status_code == 422:
        assert f'<p lang="en" dir="ltr">{data.json()["detail"]}</p>' in page.text, "what is not known in Persian"


def test_what_somebody_typed_is_text_in_the_page_of_an_error(service):
    page = service.http.get("/inspections?verdict=%3Cscript%3Ealert(1)%3C/script%3E", headers={"accept": "text/html"})
    assert page.status_code == 303, "to the page, which does not read it"
    refused = service.http.get("/nowhere", headers={"accept": "text/html", "host": "<script>alert(1)</script>"})
    assert refused.status_code == 400
    assert "<script>alert" not in refused.text
    foreign = service.http.get("/", headers={"accept": "text/html", "origin": "http://evil.example"})
    assert (foreign.status_code, "A page of &#x27;http://evil.example&#x27; may not" in foreign.text) == (403, True)


def test_strangers_are_led_to_the_login(model, tmp_path):
    folder = serving_folder(tmp_path, model)
    add_account(folder / "accounts.toml", "sara", "operator")
    with served(folder, "--accounts", "accounts.toml", "--no-pages", ready=False) as service:
        browser = service.http.get("/inspections/1", headers={"accept": BROWSER})
        assert (browser.status_code, browser.headers["location"], browser.headers["vary"]) == (303, "/login", "Accept")
        program = service.http.get("/inspections/1")
        assert (program.status_code, program.headers["vary"]) == (401, "Accept")
        assert "needs an account" in program.json()["detail"]
