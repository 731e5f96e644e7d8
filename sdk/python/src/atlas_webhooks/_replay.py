"""Requests that arrive twice."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

from ._event import Event
from ._verify import DEFAULT_TOLERANCE


class ReplayGuard:
    """Remembers in memory which requests were taken, so that none is taken twice.

    A request is known by its webhook and id where webhook-signature vouches for the id, else by its
    signature. ``seconds`` should be twice the verifier's tolerance at least: an older request is refused
    anyway. ``most`` bounds the memory: beyond it the oldest is forgotten. Several processes each have
    their own, which ends with them.
    """

    def __init__(
        self,
        *,
        seconds: float = 2 * DEFAULT_TOLERANCE,
        most: int = 100_000,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.seconds, self.most, self.now = seconds, most, now
        self._lock = threading.Lock()
        self._taken: dict[Any, float] = {}  # in the order of time

    def first(self, event: Event) -> bool:
        """Whether the event's request was not taken before. It is taken now."""
        now = self.now()
        with self._lock:
            self._forget_old(now)
            if any(key in self._taken for key in _identity(event)):
                return False
            self._taken.update((key, now) for key in _keys(event))
        return True

    def forget(self, event: Event) -> None:
        """Lets the event come again, because its handler failed."""
        with self._lock:
            for key in _keys(event):
                self._taken.pop(key, None)

    def _forget_old(self, now: float) -> None:
        while self._taken:
            key = next(iter(self._taken))
            if len(self._taken) < self.most and self._taken[key] > now - self.seconds:
                return
            del self._taken[key]


def _identity(event: Event) -> list[Any]:
    """What an event must not have in common with one that was taken.

    Two events of the same text, signed in the same millisecond, have one signature, so it counts for
    itself only where the id is not verified. With the id it tells a request that is repeated under the
    name of another webhook, which nobody signs.
    """
    if event.id_verified:
        return [(event.id, event.signature), (event.id, event.webhook_id)]
    return [event.signature]


def _keys(event: Event) -> list[Any]:
    return [event.signature, *_identity(event)]  # the signature, should it be repeated without its id
