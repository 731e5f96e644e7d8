"""A thin client of the server's API: for producers, and for receivers that noticed a gap."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Optional
from urllib.parse import quote, urlencode

from ._event import members, parse_json, parse_json_at

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
MAX_BATCH = 1000


@dataclass
class Publish:
    """An event that is to be published."""

    event: str
    """The topic."""
    data: Any = None
    """The document,"""
    data_text: Optional[str] = None
    """or its JSON text, which reaches receivers as it is written."""
    id: str = ""
    """Makes publishing again harmless. One is made if there is none; give one that you can make again after a crash."""
    object_id: str = ""
    """What the event is about; "" means the data's top-level id."""
    occurred_at: str = ""
    """RFC 3339."""
    company: str = ""
    """"" means the client's."""


class Published(NamedTuple):
    """An event that is on the server's disk."""

    id: str
    duplicate: bool
    """The same event was published before."""


@dataclass
class FedEvent:
    """An event of a webhook's feed."""

    sequence: int
    id: str
    topic: str
    object_id: str
    data: Any
    data_text: str


@dataclass(eq=False)
class Problem(Exception):
    """An answer of the server that is an error (RFC 9457). ``code`` is stable, "" if something before the server answered."""

    status: int
    code: str = ""
    detail: str = ""
    errors: list[dict[str, str]] = field(default_factory=list)
    request_id: str = ""
    retry_after: float = 0

    def __str__(self) -> str:
        return f"{self.code or 'the server answered'} ({self.status})" + (f": {self.detail}" if self.detail else "")


class Client:
    """Calls a server. May be used from several threads.

    A request that failed for a passing reason is repeated, at most ``retries`` times, after a random
    pause that grows, or after the time that the server asks for. That never publishes twice: events
    get their id before they are sent. ``company`` is for operator keys; a company key has its own.
    """

    def __init__(self, url: str, key: str, *, company: str = "", retries: int = 4, timeout: float = 30) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a server, as https://hooks.example.com")
        if not key:
            raise ValueError("there is no key")
        self._url, self._key, self._company = url.rstrip("/"), key, company
        self._retries, self._timeout = retries, timeout
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._sleep = time.sleep

    def publish(self, event: str, data: Any = None, **options: Any) -> Published:
        """Publishes an event. The options are the fields of :class:`Publish`."""
        answer = self._call("POST", "/v1/events", self._line(Publish(event, data, **options)))
        return Published(answer["id"], answer["duplicate"])

    def publish_batch(self, events: Iterable[Publish]) -> list[Published]:
        """Publishes up to 1,000 events: all of them or none."""
        lines = b"\n".join(self._line(event) for event in events)
        answer = self._call("POST", "/v1/events/batch", lines, "application/x-ndjson")
        return [Published(item["id"], item["duplicate"]) for item in answer["data"]]

    def publish_all(self, events: Iterable[Publish], batch: int = MAX_BATCH) -> Iterator[Published]:
        """Publishes any number of events in batches, as the answers are read. Each batch is all or nothing."""
        rest = iter(events)
        for chunk in iter(lambda: list(islice(rest, batch)), []):
            yield from self.publish_batch(chunk)

    def pull(self, webhook_id: str, after: int = 0) -> Iterator[FedEvent]:
        """The events that a webhook matched, in sequence, after a sequence. It ends with the latest."""
        while True:
            path = f"/v1/webhooks/{quote(webhook_id, safe='')}/events?" + urlencode({"after": after, "limit": 250})
            answer = members(self._request("GET", path, None, ""))
            for text in _items(answer["data"][1]):
                item = members(text)
                data, data_text = item["data"]
                after = item["sequence"][0]
                yield FedEvent(after, item["event_id"][0], item["event"][0], item["object_id"][0] or "", data, data_text)
            if answer["data"][0] == []:
                return

    def _line(self, event: Publish) -> bytes:
        head = {
            "company_id": event.company or self._company,
            "event": event.event,
            "id": event.id or _new_id(),
            "object_id": event.object_id,
            "occurred_at": event.occurred_at,
        }
        if event.data_text is None:
            text = json.dumps(event.data, allow_nan=False)
        else:
            parse_json(event.data_text)
            text = event.data_text.replace("\n", " ").replace("\r", " ")  # line breaks between values, in NDJSON
        return (json.dumps({name: value for name, value in head.items() if value})[:-1] + f', "data": {text}}}').encode()

    def _call(self, method: str, path: str, body: Optional[bytes], content_type: str = "application/json") -> Any:
        return json.loads(self._request(method, path, body, content_type))

    def _request(self, method: str, path: str, body: Optional[bytes], content_type: str) -> str:
        """Makes tries until one succeeds or another one cannot help. All of our calls may be carried out twice."""
        n = 0
        while True:
            try:
                return self._once(method, path, body, content_type)
            except Problem as problem:
                passing = problem.status in (429, 502, 503, 504) or problem.code == "idempotency_in_progress"
                if not passing or n >= self._retries or problem.retry_after > _LONGEST_PAUSE:
                    raise
                wait = problem.retry_after
            except OSError:  # URLError and time-outs are some
                if n >= self._retries:
                    raise
                wait = 0
            pause = min(_FIRST_PAUSE * 2**n, _LONGEST_PAUSE)
            self._sleep(max(wait, pause / 2 + random.random() * pause / 2))
            n += 1

    def _once(self, method: str, path: str, body: Optional[bytes], content_type: str) -> str:
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "atlas-webhooks-python"}
        if body is not None:
            headers["Content-Type"] = content_type
        if self._company:
            headers["X-Atlas-Company-Id"] = self._company
        request = urllib.request.Request(self._url + path, body, headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                text: str = response.read().decode()
                return text
        except urllib.error.HTTPError as error:
            with error:
                raise _problem(error.code, error.headers.get("Retry-After"), error.read(1 << 20)) from None


class AsyncClient:
    """:class:`Client` for coroutines: each call runs in a thread."""

    def __init__(self, url: str, key: str, *, company: str = "", retries: int = 4, timeout: float = 30) -> None:
        self._client = Client(url, key, company=company, retries=retries, timeout=timeout)

    async def publish(self, event: str, data: Any = None, **options: Any) -> Published:
        return await asyncio.to_thread(self._client.publish, event, data, **options)

    async def publish_batch(self, events: Iterable[Publish]) -> list[Published]:
        return await asyncio.to_thread(self._client.publish_batch, list(events))

    async def publish_all(self, events: Iterable[Publish], batch: int = MAX_BATCH) -> AsyncIterator[Published]:
        rest = iter(events)
        for chunk in iter(lambda: list(islice(rest, batch)), []):
            for published in await self.publish_batch(chunk):
                yield published


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn a POST into a GET; it is an answer that nobody expects."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _problem(status: int, retry_after: Optional[str], body: bytes) -> Problem:
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
    try:
        said = json.loads(body)
        return Problem(status, said["code"], said["detail"], said.get("errors") or [], said.get("request_id", ""), seconds)
    except (ValueError, KeyError, TypeError):
        return Problem(status, retry_after=seconds)


def _items(text: str) -> Iterator[str]:
    """The texts of an array's items."""
    at = 1
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at >= len(text) - 1:
            return
        _, end = parse_json_at(text, at)
        yield text[at:end]
        at = end


def _new_id() -> str:
    """An id that sorts by time."""
    return f"evt_{int(time.time() * 1000):012x}{secrets.token_hex(10)}"
