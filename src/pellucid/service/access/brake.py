"""A brake on guessing keys."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
import time
from collections import OrderedDict

MAX_WRONG_KEYS = 10  # from one address within the period
PERIOD_S = 60.0
MAX_ADDRESSES = 4096  # that are remembered, the latest ones
MAX_GOOD_KEYS = 4096


class BrakedError(Exception):
    """An address has tried too many wrong keys; ``seconds`` until it may try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many wrong keys came from this address: try again in {seconds} s.")
        self.seconds = seconds


class WrongKeyBrake:
    """Counts wrong keys by address; after so many, no key that is new from there is even looked at.

    A key that was right from the same address goes on to be: behind a proxy, all senders have one address, and a
    stranger's guesses must not stop the line.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()  # moments, of time.monotonic()
        self._good: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: str, key: str) -> None:
        """Find out whether a key may be tried.

        Raises:
            BrakedError: too many wrong ones came from there.
        """
        network = _network(address)
        now = time.monotonic()
        with self._lock:
            moments = [moment for moment in self._wrong.get(network, ()) if now - moment < PERIOD_S]
            if len(moments) >= MAX_WRONG_KEYS and (network, _digest(key)) not in self._good:
                raise BrakedError(math.ceil(PERIOD_S - (now - moments[0])))

    def note(self, address: str, key: str, *, right: bool) -> None:
        """Count a key that was tried."""
        network = _network(address)
        with self._lock:
            if right:
                self._good[network, _digest(key)] = None
                self._good.move_to_end((network, _digest(key)))
                if len(self._good) > MAX_GOOD_KEYS:
                    self._good.popitem(last=False)
                return
            moments = self._wrong.setdefault(network, [])
            self._wrong.move_to_end(network)
            moments[:] = [*moments, time.monotonic()][-MAX_WRONG_KEYS:]
            if len(self._wrong) > MAX_ADDRESSES:
                self._wrong.popitem(last=False)


def _network(address: str) -> str:
    """Take the part of an address that a sender cannot choose: of IPv6, the first 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
