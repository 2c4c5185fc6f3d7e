"""Finds what is new in a folder: by the system's events where it has them, and by listing it all."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pellucid._io.names import printable
from pellucid.acquisition.files import is_hidden
from pellucid.service.watching.events import FolderEvent, FolderEvents
from pellucid.service.watching.finished import is_local
from pellucid.service.watching.listing import ImageFile, Listing, is_image_name, state_of

log = logging.getLogger("pellucid.watch")
LOOK_PERIOD_S = 0.3  # between looks
LISTING_PAUSE_FACTOR = 3  # times as long as listing the folder took, it is not listed again: a quarter of a core
EVENTS_PERIOD_S = 30.0  # between listings where the system tells what is new
EVENTS_PAUSE_FACTOR = 20
MAX_NAMED = 1_000  # problems of entries that are remembered as logged
Take = Callable[[Iterable[ImageFile], bool], None]


class FileFinder:
    """Finds images in a folder, again and again.

    On the file systems of Linux itself, events tell at once what is new, however many files there are, and listing is
    a safety net. Elsewhere, as on a share that other machines write to, the folder is listed all the time, for a
    bounded share of it.

    Args:
        folder: to look into, and the folders below it.
        excluded: one below it that is not looked into; none by default.

    Attributes:
        local: whether only this machine's kernel changes the folder.
        away: why the folder cannot be listed now; empty when it can.
        listing_s: seconds that listing took last.
        passed_over: entries that were, when it was listed last, by why.
    """

    def __init__(self, folder: Path, excluded: Path | None = None) -> None:
        self._folder, self._excluded = folder, excluded
        self._events: FolderEvents | None = None
        self._identity: tuple[int, int] | None = None  # device and inode of the folder that is listened to
        self._list_at = 0.0  # time.monotonic() when the folder is listed next
        self._named: dict[str, None] = {}  # problems that were logged
        self.local = False
        self.away = ""
        self.listing_s = 0.0
        self.passed_over: Counter[str] = Counter()

    def look(self, take: Take, *, everything: bool) -> bool:
        """Find files; returns whether all of the folder was listed.

        Args:
            take: called with files, and whether they were renamed into place, so that they are whole.
            everything: list the folder though it is not yet time.
        """
        try:
            self._notice_replaced_folder()
            self._tell_of_return()
            if everything or time.monotonic() >= self._list_at:
                self._list(take)
                listed = True
            else:
                listed = False
                self._take_events(take)
        except OSError as error:  # of the folder itself: a share that was unmounted, a folder that was removed
            self._identity = None
            reason = error.strerror or str(error)
            if self.away != reason:
                log.warning("'%s' cannot be listed (%s): it is waited for", printable(str(self._folder)), reason)
            self.away = reason
            return False
        except Exception:
            self._list_at = 0.0  # what was found could not be taken: it is found again
            raise
        return listed

    def close(self) -> None:
        """Listen no more."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _notice_replaced_folder(self) -> None:
        """Begin anew when the folder is another one: mounted, unmounted, or made again."""
        status = self._folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity == self._identity:
            return
        self.close()
        self._list_at, self.local = 0.0, is_local(self._folder)
        if self.local:
            try:
                self._events = FolderEvents()
            except OSError as error:
                self._lose_events(error)
        self._identity = identity

    def _tell_of_return(self) -> None:
        """Notice that the folder can be listed again, before that is done: it may take long.

        Raises:
            OSError: it cannot.
        """
        if self.away:
            with os.scandir(self._folder):
                pass
            log.info("'%s' is there again", printable(str(self._folder)))
            self.away = ""

    def _list(self, take: Take) -> None:
        start = time.monotonic()
        listing = Listing(self._folder, self._excluded, entering=self._listen)
        take(listing.images(), False)
        self._name(listing.problems)
        self.listing_s, self.passed_over = time.monotonic() - start, listing.passed_over
        period_s, factor = (
            (LOOK_PERIOD_S, LISTING_PAUSE_FACTOR) if self._events is None else (EVENTS_PERIOD_S, EVENTS_PAUSE_FACTOR)
        )
        self._list_at = time.monotonic() + max(period_s, factor * self.listing_s)

    def _listen(self, folder: str) -> None:
        """Ask for a folder's events before it is listed, so that nothing falls between."""
        if self._events is None:
            return
        try:
            self._events.add(folder)
        except (FileNotFoundError, PermissionError):
            return  # listing it finds that out as well
        except OSError as error:
            self._lose_events(error)

    def _lose_events(self, error: OSError) -> None:
        log.warning("the system's events are not used (%s): the folder is listed more often", error.strerror or error)
        self.close()
        self._list_at = 0.0

    def _take_events(self, take: Take) -> None:
        """Take the files that the system says are new or changed."""
        if self._events is None:
            return
        events = self._events.read()
        if events is None:
            self._list_at = 0.0
            return
        for event in events:
            if event.is_folder:
                self._take_folder(event.path, take)
        take(_images(event for event in events if event.moved_in), True)
        take(_images(event for event in events if not event.moved_in), False)

    def _take_folder(self, path: str, take: Take) -> None:
        """Take what lies in a folder that has just appeared."""
        if is_hidden(Path(path).name) or Path(path) == self._excluded:
            return
        listing = Listing(self._folder, self._excluded, entering=self._listen)
        take(listing.images(path), False)
        self._name(listing.problems)

    def _name(self, problems: Iterable[str]) -> None:
        """Log problems that have not been logged yet."""
        for problem in problems:
            if problem not in self._named:
                log.warning("not inspected: %s", problem)
                self._named[problem] = None
                if len(self._named) > MAX_NAMED:
                    del self._named[next(iter(self._named))]


def _images(events: Iterable[FolderEvent]) -> Iterator[ImageFile]:
    """Go through the images of events; what cannot be looked at is left for the next listing to name."""
    for event in events:
        if event.is_folder or not is_image_name(Path(event.path).name):
            continue
        try:
            status = Path(event.path).stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield ImageFile(event.path, state_of(status))
