"""Admission: what is counted in is counted out, when the last one is done with it."""

from __future__ import annotations

import pytest

from pellucid.service.admission import Admission, BusyError


def test_a_request_counts_until_all_who_hold_it_are_done():
    admission = Admission(1, 100)
    with admission.request() as request:
        request.begin()
        request.hold()
    assert admission.under_way == 1, "its thread is still busy"
    with pytest.raises(BusyError, match="try again in 1 s"), admission.request():
        pass
    request.release()
    assert admission.under_way == 0
    with admission.request() as another:
        another.begin()
    assert admission.under_way == 0


def test_a_body_that_is_coming_takes_no_ones_place():
    admission = Admission(1, 100)
    with admission.request() as slow, admission.request() as quick:
        slow.add_bytes(3)
        quick.add_bytes(97)
        quick.begin()
        with pytest.raises(BusyError):
            slow.begin()
    assert admission.under_way == 0


@pytest.mark.parametrize(
    ("held", "more", "is_let_in"),
    [
        (0, 100, True),
        (0, 1_000, True),
        (1, 99, True),
        (1, 100, False),
        (100, 0, True),
        (100, 1, False),
        (60, 41, False),
    ],
)
def test_bytes_are_counted_as_they_come(held, more, is_let_in):
    admission = Admission(9, 100)
    with admission.request() as first, admission.request() as second:
        first.add_bytes(held)
        if is_let_in:
            second.add_bytes(more)
        else:
            with pytest.raises(BusyError):
                second.add_bytes(more)
    with admission.request() as request:  # all of them were counted out
        request.add_bytes(100)


def _break_off(admission: Admission) -> None:
    with admission.request() as request:
        request.add_bytes(50)
        request.begin()
        raise ValueError("broken")


def test_an_error_counts_a_request_out():
    admission = Admission(1, 100)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            _break_off(admission)
    assert admission.under_way == 0
