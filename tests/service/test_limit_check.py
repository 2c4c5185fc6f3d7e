"""Limits that would reject every good part, or none: asked for twice, and with a reason."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from pellucid.errors import ParameterError
from pellucid.records.limits import Limit
from pellucid.service.access.accounts import Account, RoleError
from pellucid.service.app import create_app, create_service
from pellucid.service.limit_check import UnconfirmedLimitError, check_limit
from pellucid.service.settings import read_settings
from service.access.asking import ask

SCORES = (1.0, 2.0, 3.0, 4.0)
CALIBRATED = Limit(3.5, 3.0, 0.25, SCORES, "conformal")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, "would reject every good part: all 4"),
        (0.0, "would reject every good part"),
        (-5.0, "would reject every good part"),
        (-1e308, "would reject every good part"),
        (5e-324, "would reject every good part"),
        (math.nextafter(1.0, 0.0), "would reject every good part"),
        (4.0, "would reject no good part"),
        (4.1, "score from 1 to 4"),
        (1e308, "would reject no good part"),
        (1.7976931348623157e308, "might pass defects"),
    ],
)
def test_extreme_limits_are_asked_for_twice(value, words):
    with pytest.raises(UnconfirmedLimitError, match=words):
        check_limit(CALIBRATED, value, "a reason", False)
    for reason in ("", "  "):
        with pytest.raises(ParameterError, match="Give a reason"):
            check_limit(CALIBRATED, value, reason, True)
    check_limit(CALIBRATED, value, "a reason", True)


@pytest.mark.parametrize("value", [1.0, 1.1, 3.5, 3.999])
def test_usual_limits_need_no_word(value):
    check_limit(CALIBRATED, value, "", False)


@pytest.mark.parametrize("calibrated", [0.5, 4.5])
def test_what_the_calibration_chose_is_never_extreme(calibrated):
    limit = Limit(calibrated, 3.0, 0.25, SCORES, "conformal")
    check_limit(limit, calibrated, "", False)
    check_limit(limit, (calibrated + 2.5) / 2, "", False)


def test_a_model_without_scores_cannot_say():
    limit = Limit(3.5, 3.0, 0.25, (), "f1")
    check_limit(limit, 3.5, "", False)
    with pytest.raises(UnconfirmedLimitError, match="holds no scores"):
        check_limit(limit, 3.6, "", False)


@pytest.fixture(scope="module")
def app(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    (folder / "models").mkdir()
    shutil.copy(model, folder / "models" / "pane.pellucid")
    settings = {"models": folder / "models", "record": folder / "record", "pages": False, "runtime": "torch"}
    return create_app(create_service(read_settings(settings)))


def _put(app, content: object):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return ask(app, "/models/pane/limit", "PUT", body=body, content_type="application/json")


@pytest.mark.parametrize("value", [-5, 0, 5e-324, 1e308])
def test_over_http(app, value):
    before = ask(app, "/models/pane/limit").json()
    refused = _put(app, {"value": value})
    assert refused.status == 409
    assert "held-out good images score from" in refused.json()["detail"]
    assert _put(app, {"value": value, "confirm": True}).status == 422
    assert ask(app, "/models/pane/limit").json() == before, "nothing has moved"
    assert _put(app, {"value": value, "confirm": True, "reason": "the line stands still"}).json()["value"] == value
    assert _put(app, {"value": None}).json()["value"] == before["calibrated"], "the way back is never asked about"


@pytest.mark.parametrize(
    "content", [b'{"value": NaN}', b'{"value": Infinity}', b'{"value": -Infinity}', b'{"value": 1e999}']
)
def test_no_numbers_are_no_limits(app, content):
    confirmed = content.replace(b"}", b', "confirm": true, "reason": "r"}')
    assert (_put(app, content).status, _put(app, confirmed).status) == (422, 422)


def test_the_parts_check_the_role_themselves(app):
    """Whoever calls: a route, a page's handler, or what is written next year."""
    service = app.state.service
    operator = Account(name="sara", role="operator", key_sha256="a" * 64)
    for act in (
        lambda: service.registry.set_limit("pane", 1.0, operator, "r", confirmed=True),
        lambda: service.registry.reload("pane", operator),
        lambda: service.trainings.start("d", "n", ["padim"], 64, 0.1, operator),
        lambda: service.trainings.cancel(operator),
    ):
        with pytest.raises(RoleError, match="'sara' is an operator: an engineer has to do this"):
            act()
