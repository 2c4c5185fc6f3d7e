"""Turns: memory is never exceeded, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pellucid.service.turns import MAX_OVERTAKEN, Turn, TurnQueue


def _drained(queue: TurnQueue[str], count: int) -> list[str]:
    """Names in the order of their turns, each done before the next."""
    done = []
    for _ in range(count):
        turn = queue.take()
        done.append(turn.item)
        queue.give_back(turn.memory_bytes)
    return done


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [
        (100, [100] * 6),
        (100, [60] * 8),
        (100, [1] * 200),
        (100, [90, *[5] * 30, 90, *[5] * 30]),
        (100, [*[5] * 60, 100]),
        (7, [1, 2, 3, 4, 5, 6, 7] * 8),
        (1000, [999, 1, 500, 501, 499, 1000, 1] * 5),
        (10, [10, 1] * 20),
    ],
)
def test_memory_is_never_exceeded_and_all_have_their_turn(budget, sizes):
    queue: TurnQueue[int] = TurnQueue(budget)
    lock, used, most, done = threading.Lock(), 0, 0, []

    def work() -> None:
        nonlocal used, most
        while (turn := queue.take()) is not None:
            with lock:
                used += turn.memory_bytes
                most = max(most, used)
            time.sleep(0.001)
            with lock:
                used -= turn.memory_bytes
                done.append(turn.item)
            queue.give_back(turn.memory_bytes)

    with ThreadPoolExecutor(5) as pool:
        workers = [pool.submit(work) for _ in range(5)]
        for number, size in enumerate(sizes):
            queue.put(Turn(number, ("upload", "watch")[number % 2], size))
        queue.close()
        for worker in workers:
            worker.result(120)
    assert sorted(done) == list(range(len(sizes)))
    assert max(sizes) <= most <= budget


def test_small_ones_go_before_a_large_one_that_waits_but_not_for_ever():
    queue: TurnQueue[str] = TurnQueue(100)
    queue.put(Turn("first", "upload", 60))
    first = queue.take()
    queue.put(Turn("large", "upload", 100))
    for number in range(MAX_OVERTAKEN + 10):
        queue.put(Turn(f"small {number}", "upload", 1))
    assert _drained(queue, MAX_OVERTAKEN) == [f"small {number}" for number in range(MAX_OVERTAKEN)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.take)
        time.sleep(0.1)
        assert not waiting.done(), "the large one has been overtaken as often as may be: all wait for it"
        queue.give_back(first.memory_bytes)
        assert waiting.result(120).item == "large"


def test_lanes_take_turns():
    queue: TurnQueue[str] = TurnQueue(100)
    for number in range(64):
        queue.put(Turn(f"upload {number}", "upload", 100))
    for number in range(3):
        queue.put(Turn(f"watch {number}", "watch", 1))
    order = _drained(queue, 67)
    assert [order.index(f"watch {number}") for number in range(3)] == [1, 3, 5]
    assert [name for name in order if name.startswith("upload")] == [f"upload {number}" for number in range(64)]


def test_a_large_one_is_not_starved_by_the_other_lane():
    queue: TurnQueue[str] = TurnQueue(100)
    queue.put(Turn("running", "watch", 10))
    running = queue.take()
    queue.put(Turn("large", "upload", 95))
    for number in range(500):
        queue.put(Turn(f"small {number}", "watch", 10))
    before = 0
    while (turn := queue.take()).item != "large":  # one is always running while the next begins
        queue.give_back(running.memory_bytes)
        running, before = turn, before + 1
        if before == MAX_OVERTAKEN:
            queue.give_back(running.memory_bytes)
            running = Turn("none", "watch", 0)
    assert before == MAX_OVERTAKEN


def test_what_is_dropped_has_no_turn():
    queue: TurnQueue[str] = TurnQueue(10)
    turns = [Turn(name, "upload", 10) for name in "abc"]
    for turn in turns:
        queue.put(turn)
    queue.drop(turns[1])
    queue.drop(turns[1])
    assert _drained(queue, 2) == ["a", "c"]
    queue.close()
    assert queue.take() is None


def test_memory_beside_the_items():
    queue: TurnQueue[str] = TurnQueue(100)
    with queue.memory(1_000, 0.1) as is_taken:
        assert is_taken, "what needs more than there is has it all to itself"
        with queue.memory(1, 0.1) as is_taken_too:
            assert not is_taken_too
        queue.put(Turn("a", "upload", 1))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.take)
            time.sleep(0.1)
            assert not waiting.done()
            with queue.memory(0, 0.1):
                pass
            queue.drop(Turn("never put", "upload", 1))
            queue.close()
            queue.give_back(1)
            assert waiting.result(120).item == "a"
