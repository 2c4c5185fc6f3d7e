"""The log: a line for an event, and nothing that looks like one but is a name."""

from __future__ import annotations

import io
import logging
import re

import pytest

from pellucid.errors import DataError
from pellucid.service.logs import LOG_FORMAT, LineFormatter

FORGED = "2026-11-26 12:00:00,000 INFO pellucid.service: FORGED"


@pytest.fixture
def logged():
    """A logger, and what it has written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(LOG_FORMAT))
    logger = logging.Logger(
        "test_logs"
    )  # no child of the root's, whose records pytest keeps: it cannot send surrogates
    logger.addHandler(handler)
    return logger, stream


@pytest.mark.parametrize(
    "end",
    [
        "\n",
        "\r",
        "\r\n",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u2028",
        "\u2029",
        "\x1b[2K\r",
        "\x00\n",
        "\udcff\n",
        "\u202e\n",
    ],
    ids=lambda end: "-".join(f"{ord(character):04x}" for character in end),
)
def test_a_name_stays_in_its_line(logged, end):
    logger, stream = logged
    logger.warning("not inspected: %s", f"a{end}{FORGED}")
    try:
        raise DataError(f"'a{end}{FORGED}' is not an image.")
    except DataError:
        logger.exception("unforeseen: %s", f"a{end}{FORGED}")
    try:
        raise ValueError(f"a{end}{FORGED}")
    except ValueError:
        logger.exception("unforeseen", stack_info=True)
    text = stream.getvalue()
    text.encode()
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", text) == []
    events = [line for line in text.splitlines() if not line.startswith("    ")]
    assert len(events) == 3
    assert not any(re.match(r"\S+ \S+ INFO", line) for line in events)
