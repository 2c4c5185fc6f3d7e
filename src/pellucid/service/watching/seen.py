"""Which files of a watched folder need no second look: in the record, so that neither memory nor a restart matters."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid._io.names import printable
from pellucid.service.storage.watched import WatchedFiles
from pellucid.service.watching.digests import ForgetfulDigests
from pellucid.service.watching.listing import FileState, ImageFile

REMEMBERED_SLOTS = 1 << 19  # of files dealt with, in memory: 4 MB; the others are asked for
MAX_REFUSED = 50_000  # files that are remembered as not to be inspected, a hundred bytes each
DIGEST_BYTES = 8


class SeenFiles:
    """Remembers the states of files that were dealt with.

    The record alone says what was inspected, by a part's key. This saves reading a file again to find its key: losing
    it costs time and nothing else. Files that cannot be inspected are remembered in memory, until the service ends.

    Args:
        folder: that names are relative to.
        stored: those that outlive the service.
    """

    def __init__(self, folder: Path, stored: WatchedFiles) -> None:
        self._stored = stored
        self._name_from = len(os.path.join(folder, ""))  # noqa: PTH118  where names below it begin
        self._place = os.fsencode(folder.resolve())
        self._remembered = ForgetfulDigests(REMEMBERED_SLOTS)  # that are in the record
        self._unsaved: set[int] = set()
        self._refused: OrderedDict[int, float] = OrderedDict()  # until when, time.monotonic()
        self._lock = threading.RLock()  # of these three: several threads inspect

    @property
    def refused(self) -> int:
        """How many files could not be inspected, as far as that is remembered."""
        return len(self._refused)

    def name(self, path: str) -> str:
        """Spell a file's place below the folder, with slashes."""
        return path[self._name_from :].replace(os.sep, "/")

    def key(self, path: str, content: bytes) -> str:
        """Make the key of a part: the same name with the same content is the same part, and nothing else is."""
        digest = hashlib.sha256(os.fsencode(self.name(path)) + b"\0" + hashlib.sha256(content).digest())
        return f"watch:{digest.hexdigest()}"

    def unseen(self, files: Sequence[ImageFile], *, earlier_keys: bool) -> list[ImageFile]:
        """Leave out the files that were dealt with as they are now.

        Args:
            files: a thousand or so.
            earlier_keys: also leave out what a pellucid before this way of keeping them recorded.

        Raises:
            RecordError: the record cannot be read.
        """
        now = time.monotonic()
        with self._lock:
            found = {self._digest(file): file for file in files}
            unknown = {
                digest: file
                for digest, file in found.items()
                if digest not in self._remembered and self._refused.get(digest, -math.inf) <= now
            }
            known = self._stored.known(unknown) if unknown else []
            if earlier_keys and (others := {d: f for d, f in unknown.items() if d not in set(known)}):
                earlier = self._recorded_earlier(others)
                self._unsaved.update(earlier)
                self.save()
                known += earlier
            for digest in known:
                self._remembered.add(digest)
                del unknown[digest]
        return list(unknown.values())

    def add(self, path: str, state: FileState) -> None:
        """Remember that a file was inspected; :meth:`save` makes it last."""
        digest = self._digest(ImageFile(path, state))
        with self._lock:
            self._unsaved.add(digest)
            self._refused.pop(digest, None)
            self._remembered.add(digest)

    def refuse(self, path: str, state: FileState, retry_s: float = math.inf) -> bool:
        """Remember that a file cannot be inspected as it is; returns whether that is new.

        Args:
            path: of the file.
            state: of it.
            retry_s: seconds until it is looked at again though it has not changed; never by default.
        """
        digest = self._digest(ImageFile(path, state))
        with self._lock:
            is_new = digest not in self._refused
            self._refused[digest] = time.monotonic() + retry_s
            self._refused.move_to_end(digest)
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)
        return is_new

    def save(self) -> None:
        """Store what was added, in one transaction.

        Raises:
            RecordError: the record cannot be written to; it stays for the next time.
        """
        with self._lock:
            if self._unsaved:
                self._stored.add(self._unsaved)
                self._unsaved.clear()

    def _recorded_earlier(self, digests: Mapping[int, ImageFile]) -> list[int]:
        """List the files of which the record has a key of name, size and time."""
        keys = {
            f"watch:{printable(self.name(path))}:{state.size}:{state.mtime_ns}": digest
            for digest, (path, state) in digests.items()
        }
        return [keys[key] for key in self._stored.recorded_keys(keys)]

    def _digest(self, file: ImageFile) -> int:
        """Identify a state of a file of this folder."""
        text = b"%s\0%s\0%s" % (self._place, os.fsencode(self.name(file.path)), repr(tuple(file.state)).encode())
        return int.from_bytes(hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest(), "little", signed=True)
