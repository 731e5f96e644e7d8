"""What the adapters of all frameworks share."""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Union

from ._errors import WebhookError


class Full(Exception):
    """Raised by a handler that can take no more now: Atlas waits, and sends the event again.

    It is answered 503 with Retry-After. The webhook's other events wait too, and no attempt is used up.
    """

    def __init__(self, retry_after: int = 5) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def answer_to(error: Union[WebhookError, Full]) -> Answer:
    """The answer that refuses: the code as text, which Atlas shows to the webhook's owner."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    if isinstance(error, Full):
        return Answer(503, {**headers, "Retry-After": str(error.retry_after)}, "full\n")
    return Answer(error.status, headers, error.code + "\n")


def read_bounded(read: Callable[[int], bytes], limit: int, length: Optional[int]) -> bytes:
    """Reads a body of at most ``limit`` bytes. ``length`` is what the request announced."""
    if length is not None and length > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while size <= limit:
        chunk = read(limit + 1 - size)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    raise too_large(limit)


class Collected:
    """A body that arrives in chunks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._body = bytearray()

    def add(self, chunk: bytes) -> None:
        if len(self._body) + len(chunk) > self._limit:
            raise too_large(self._limit)
        self._body += chunk

    def body(self) -> bytes:
        return bytes(self._body)


def too_large(limit: int) -> WebhookError:
    return WebhookError("body_too_large", f"the body has more than {limit} bytes")


def unreadable() -> WebhookError:
    return WebhookError("body_unreadable", "the body did not arrive in full")
