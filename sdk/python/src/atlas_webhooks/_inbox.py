"""Each event once, in order, without gaps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Literal, Optional, Protocol

from ._client import Client, FedEvent
from ._errors import WebhookError
from ._event import Event

Outcome = Literal["done", "duplicate"]


class Store(Protocol):
    """Remembers what was done, for all processes of a receiver."""

    def position(self, webhook_id: str) -> Optional[int]:
        """The highest sequence of a webhook's events that were done, None before the first."""

    def once(self, webhook_id: str, event_id: str, sequence: int, run: Callable[[Any], None]) -> Outcome:
        """Calls ``run`` unless the event was done before, and remembers that it is done.

        If ``run`` raises, nothing is remembered and what it raised is raised. While another call is at
        the same event, it waits for that one's end or raises :class:`Full`. ``run`` gets what its
        effects can be written with so that they and the memory are one: a database's transaction, or None.
        """


@dataclass(frozen=True)
class Gap:
    """Sequences of a webhook, from first to last, that were neither sent nor to be had so far."""

    webhook_id: str
    first: int
    last: int
    reason: Literal["no client", "purged", "not there"]


class Inbox:
    """Passes each event on once, and in the order of the webhook's sequence.

    ``handler(event, db)`` is called within the store's transaction ``db``: what it writes there happens
    once, whatever crashes. ``take`` is the handler for an adapter. Events that come again are ignored.

    The sequence of each webhook is watched. Where an event is missing, ``client`` fetches it from the
    server's feed before the one that came, so that the order holds; an event whose handler fails holds
    up those behind it until it succeeds. Without a client what is missing is passed to ``on_gap`` and
    not waited for: should it come later, it is done then. ``on_gap`` also hears what the feed no longer has.

    The first event of a webhook that the store sees begins its sequence.
    """

    def __init__(
        self,
        store: Store,
        handler: Callable[[Event, Any], Any],
        *,
        client: Optional[Client] = None,
        on_gap: Callable[[Gap], Any] = lambda gap: None,
        unverified_ids: bool = False,
    ) -> None:
        self._store, self._handler, self._client, self._on_gap = store, handler, client, on_gap
        self._unverified_ids = unverified_ids

    def take(self, event: Event) -> None:
        """Does an event, and before it those that are missing. Returns when it is done, now or before.

        Raises what the handler raises: then the event is to come again. An event whose id is not
        verified is refused, because a repetition under another id would count as new, unless
        ``unverified_ids`` allows it for secrets that cannot verify it.
        """
        if not event.id_verified and not self._unverified_ids:
            raise WebhookError("id_missing", "webhook-signature does not vouch for the event's id: allow unverified_ids, or use a secret of whsec_ and base64")
        if event.sequence:
            self._catch_up(event)
        self._once(event)

    def catch_up(self, webhook_id: str) -> int:
        """Does what the feed has and this receiver has not, as after an outage. Returns how many."""
        if self._client is None:
            raise ValueError("there is no client to fetch with")
        after = self._store.position(webhook_id)
        return sum(self._once(event) == "done" for event in self._feed(webhook_id, after or 0))

    def _catch_up(self, event: Event) -> None:
        position = self._store.position(event.webhook_id)
        if position is None or event.sequence <= position + 1:
            return
        if self._client is None:
            self._on_gap(Gap(event.webhook_id, position + 1, event.sequence - 1, "no client"))
            return
        for missing in self._feed(event.webhook_id, position, event.sequence):
            self._once(missing)

    def _feed(self, webhook_id: str, position: int, until: Optional[int] = None) -> Iterator[Event]:
        """The feed's events between two sequences. Holes in it are reported."""
        assert self._client is not None
        next = position + 1
        for fed in self._client.pull(webhook_id, position):
            last = fed.sequence if until is None else min(fed.sequence, until)
            if last > next and (position > 0 or until is not None):
                self._on_gap(Gap(webhook_id, next, last - 1, "purged"))
            next = fed.sequence + 1
            if until is not None and fed.sequence >= until:
                return
            yield _event(webhook_id, fed)
        if until is not None and next < until:
            self._on_gap(Gap(webhook_id, next, until - 1, "not there"))

    def _once(self, event: Event) -> Outcome:
        return self._store.once(event.webhook_id, event.id, event.sequence, lambda db: self._handler(event, db))


def _event(webhook_id: str, fed: FedEvent) -> Event:
    """An event of the feed: what the server says over a connection that it is known by."""
    return Event(
        topic=fed.topic,
        data=fed.data,
        data_text=fed.data_text,
        signed_at=datetime.fromtimestamp(time.time(), timezone.utc),
        id=fed.id,
        id_verified=True,
        signature="",
        webhook_id=webhook_id,
        object_id=fed.object_id,
        sequence=fed.sequence,
    )
