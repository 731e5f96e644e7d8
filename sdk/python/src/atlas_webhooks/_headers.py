"""The headers of a request, in every shape that servers hand out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

Getter = Callable[[str], Optional[str]]
"""Gives the first value of a header by its name in lower case, or None."""


def reader(source: Any) -> Getter:
    """Makes a getter of headers.

    The source is a mapping of names in any case to texts, bytes or lists of them; pairs of name and
    value, also as bytes; a WSGI environ or Django's META; an ASGI scope; a serverless event; or an
    object with ``items()``, as the headers of http.server, requests and Starlette. What is none of
    these has no headers: a stranger's request cannot make verification stumble.
    """
    if isinstance(source, Mapping):
        inner = [source.get(name) for name in ("headers", "multiValueHeaders")]
        if any(map(_holds_headers, inner)):  # an ASGI scope, a serverless event
            return _collect(pair for part in inner for pair in _pairs(part)).get
    return _collect(_pairs(source)).get


def _holds_headers(value: Any) -> bool:
    return isinstance(value, Mapping) or bool(value) and isinstance(value, list) and isinstance(value[0], (tuple, list))


def _pairs(source: Any) -> Iterable[Any]:
    items = getattr(source, "items", None)
    if callable(items):
        return items()  # type: ignore[no-any-return]
    return source if isinstance(source, Iterable) and not isinstance(source, (str, bytes)) else ()


def _collect(pairs: Iterable[Any]) -> dict[str, str]:
    collected: dict[str, str] = {}
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            continue
        name, value = _text(pair[0]).lower(), pair[1]
        if name.startswith("http_"):
            name = name[5:].replace("_", "-")
        if name not in collected and name.startswith(("x-atlas-webhook-", "webhook-")):
            if isinstance(value, (list, tuple)):
                if not value:
                    continue
                value = value[0]
            collected[name] = _text(value)
    return collected


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1")
    return "" if value is None else str(value)
