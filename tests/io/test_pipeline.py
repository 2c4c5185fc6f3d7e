"""Overlapping operations: order, errors, how much is under way, leaving early; and inspecting that is made of them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest

import pellucid
from pellucid._io.pipeline import Operation, run_pipeline, take_ahead
from pellucid.acquisition.files import image_files
from pellucid.errors import DataError


def results(futures):
    def result(future: Future[int]) -> int | str:
        return str(future.exception()) if future.exception() else future.result()

    return [result(f) for f in futures]


def test_results_come_in_order_whatever_finishes_first():
    def slow_when_even(x: int) -> int:
        time.sleep(0.02 * (x % 2 == 0))
        return x + 100

    operations = Operation(slow_when_even, 3), Operation(lambda x: x * 2, 2)
    assert results(run_pipeline(range(20), *operations)) == [2 * (x + 100) for x in range(20)]


def test_an_error_is_its_items_own_and_skips_the_operations_behind():
    seen = []

    def no_threes(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x

    assert results(run_pipeline(range(6), Operation(no_threes, 2), Operation(lambda x: seen.append(x) or x, 1))) == [
        *(0, 1, 2, "three", 4, 5)
    ]
    assert 3 not in seen


def test_few_items_are_under_way_and_leaving_early_ends_the_threads():
    taken = []
    before = threading.active_count()

    def items():
        for x in range(1000):
            taken.append(x)
            yield x

    stream = run_pipeline(items(), Operation(lambda x: x, 2), Operation(lambda x: x, 1))
    assert next(stream).result() == 0
    assert len(taken) <= 8
    stream.close()
    assert threading.active_count() == before


def test_items_are_taken_ahead_in_order_and_no_further():
    taken, may_end = [], threading.Event()

    def items():
        for x in range(6):
            taken.append(x)
            yield x
        may_end.set()

    ahead = take_ahead(items(), 2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(taken) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert taken == [0, 1, 2]  # the one that was asked for, and two
    assert not may_end.is_set()
    assert list(ahead) == [1, 2, 3, 4, 5]


def test_an_error_is_raised_where_its_item_would_have_been():
    def items():
        yield 1
        raise DataError("no row 2")

    ahead = take_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(DataError, match="no row 2"):
        next(ahead)


def test_leaving_early_does_not_wait_for_an_item_that_never_comes():
    never, left = threading.Event(), threading.Event()

    def items():
        try:
            yield 1
            never.wait()
            yield 2
        finally:
            left.set()

    ahead = take_ahead(items())
    assert next(ahead) == 1
    ahead.close()
    assert not left.is_set()
    never.set()
    assert left.wait(5), "the thread goes on after its next item"


@pytest.fixture(scope="module")
def inspector(glass):
    return pellucid.fit(glass, "dfm", image_size=64, false_reject=0.1)


@pytest.fixture(scope="module")
def files(glass):
    return [
        *image_files(glass / "normal_test"),
        *image_files(glass / "abnormal_test"),
        *image_files(glass / "normal_train"),
    ]


@pytest.mark.parametrize("runtime", ["torch", "openvino", "onnx"])
def test_many_are_inspected_as_each_would_be(inspector, files, tmp_path, runtime):
    model = tmp_path / "m.pellucid"
    inspector.save(model)
    loaded = pellucid.load(model, runtime)
    finished = {}

    def finish(number, found):
        assert found.pixels is None  # not to be kept in memory; drawing reads the file again
        assert found.path == files[number]
        finished[number] = found

    found = list(loaded.inspect_many(files, finish=finish))
    assert [i.path for i in found] == files
    assert [finished[n] for n in range(len(files))] == found
    for one in found[::7]:
        alone = loaded.inspect(one.path)
        assert one.score == pytest.approx(alone.score, rel=1e-4)
        assert (one.verdict, one.p_value) == (alone.verdict, alone.p_value)
        np.testing.assert_allclose(one.map, alone.map, atol=1e-4 * float(alone.map.max()))


def test_a_bad_file_among_many_is_left_out_or_raised(inspector, files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    skipped = []
    found = list(inspector.inspect_many([files[0], bad, files[1]], skip=skipped.append))
    assert [i.path for i in found] == files[:2]
    assert [str(error) for error in skipped] == [f"'{bad}' is empty (0 bytes)."]
    with pytest.raises(DataError, match="is empty"):
        list(inspector.inspect_many([files[0], bad, files[1]]))
