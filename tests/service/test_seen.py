"""What a watched folder's files are remembered by: in constant memory, and the record knows what was forgotten."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.service.storage.record import Database
from pellucid.service.watching import seen
from pellucid.service.watching.digests import ForgetfulDigests
from pellucid.service.watching.listing import FileState, ImageFile

DIGESTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9)


@pytest.fixture
def database(tmp_path):
    made = Database(f"sqlite:///{tmp_path / 'record.db'}")
    yield made
    made.close()


def a_file(folder: Path, number: int) -> ImageFile:
    return ImageFile(str(folder / f"{number}.png"), FileState(100, number, number, number))


@given(slots=st.integers(2, 9), digests=st.lists(DIGESTS), others=st.lists(DIGESTS))
def test_the_last_digest_of_each_slot_is_remembered(slots, digests, others):
    remembered, expected = ForgetfulDigests(slots), {}
    for digest in digests:
        remembered.add(digest)
        expected[digest % slots] = digest
    for digest in (0, 1, *digests, *others):
        assert (digest in remembered) == (expected.get(digest % slots) == digest)


def test_four_thousand_files_take_no_more_memory_than_two_thousand(database, tmp_path):
    remembering = seen.SeenFiles(tmp_path, database.watched_files)
    tracemalloc.start()
    try:
        held = []
        for number in range(1, 4_001):
            remembering.add(*a_file(tmp_path, number))
            if number % 1_000 == 0:
                remembering.save()
                assert remembering.unseen([a_file(tmp_path, number)], earlier_keys=True) == []
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[-1] - held[1] < 2_000 * 10, "ten bytes a file; a dictionary takes 140"


def test_what_was_forgotten_is_in_the_record(database, tmp_path, monkeypatch):
    monkeypatch.setattr(seen, "REMEMBERED_SLOTS", 2)
    remembering = seen.SeenFiles(tmp_path, database.watched_files)
    files = [a_file(tmp_path, number) for number in range(50)]
    for file in files:
        remembering.add(*file)
    remembering.save()
    assert remembering.unseen([*files, a_file(tmp_path, 50)], earlier_keys=False) == [a_file(tmp_path, 50)]


def test_good_files_do_not_push_out_what_was_refused(database, tmp_path, monkeypatch):
    monkeypatch.setattr(seen, "REMEMBERED_SLOTS", 2)
    monkeypatch.setattr(seen, "MAX_REFUSED", 3)
    remembering = seen.SeenFiles(tmp_path, database.watched_files)
    refused = [a_file(tmp_path, number) for number in range(4)]
    assert all(remembering.refuse(*file) for file in refused)
    assert not remembering.refuse(*refused[-1]), "it is known, so it is not logged again"
    for number in range(10, 60):
        remembering.add(*a_file(tmp_path, number))
    remembering.save()
    assert remembering.refused == 3
    assert remembering.unseen(refused, earlier_keys=False) == refused[:1], "the one that was refused first"
