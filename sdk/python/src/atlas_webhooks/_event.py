"""What a verified request tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NoReturn, Optional, Union
from urllib.parse import unquote

from ._errors import WebhookError
from ._headers import Getter

Format = Literal["string", "object"]
"""How the published document stands in the body: a webhook's ``data_format``."""


@dataclass
class Event:
    """What a verified request tells.

    ``topic``, ``data`` and ``signed_at`` are authenticated. ``id`` is where ``id_verified`` is true:
    then webhook-signature vouches for it. What follows ``signature`` comes from headers that nobody signs.
    """

    topic: str
    data: Any
    """The published document, parsed: the same in both formats."""
    data_text: str
    """The published document as it was written, for who keeps long numbers or the order of names."""
    signed_at: datetime
    """When this attempt was signed, in UTC."""
    id: str
    """The event's id: the same on every attempt, retry and replay."""
    id_verified: bool
    signature: str
    """The value that was verified. It differs between attempts."""

    webhook_id: str = ""
    object_id: str = ""
    """The object that the event is about, decoded; "" if there is none."""
    attempt: int = 0
    """1, 2, 3 … of this delivery; 0 if the header is missing."""
    sequence: int = 0
    """The gapless count of the events that the webhook matched; 0 if there is none."""
    test: bool = False
    replay: str = ""
    """The replay that caused it, rpl_…; "" for none."""


def read_headers(event: Event, get: Getter) -> None:
    """Fills the fields that nobody signs."""
    event.webhook_id = get("x-atlas-webhook-subscription-id") or ""
    event.object_id = unquote(get("x-atlas-webhook-object-id") or "")
    event.attempt = _count(get("x-atlas-webhook-attempt"))
    event.sequence = _count(get("x-atlas-webhook-sequence"))
    event.test = get("x-atlas-webhook-test") == "true"
    event.replay = get("x-atlas-webhook-replay") or ""


def _count(text: Optional[str]) -> int:
    return int(text) if text and len(text) < 19 and text.isascii() and text.isdigit() else 0


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> Union[int, float]:
    try:
        return int(text)
    except ValueError:  # more digits than Python turns into an integer
        return float(text)


# json.loads without the three numbers that JSON does not have, and with integers of any length.
_json = json.JSONDecoder(parse_constant=_constant, parse_int=_integer)

parse_json = _json.decode
parse_json_at = _json.raw_decode  # gives the value at a place of a text, and where it ends
_SPACE = " \t\r\n"


def parse_body(body: bytes, format: Optional[Format]) -> tuple[str, Any, str]:
    """Reads topic, data and the data's text of a body that was verified."""
    try:
        envelope = members(body.decode())
    except (ValueError, RecursionError) as error:
        raise WebhookError("body_malformed", "the body is genuine but no JSON object with event and data") from error
    topic, data = envelope.get("event"), envelope.get("data")
    if topic is None or data is None or not isinstance(topic[0], str):
        raise WebhookError("body_malformed", "the body is genuine but has no event or no data")
    value, text = data
    if format == "object":
        return topic[0], value, text
    if isinstance(value, str):
        try:
            return topic[0], parse_json(value), value
        except (ValueError, RecursionError):
            pass
    if format == "string":
        raise WebhookError("body_malformed", "the data is no string that holds a JSON document, as data_format: string has it")
    return topic[0], value, text


def members(text: str) -> dict[str, tuple[Any, str]]:
    """The members of a JSON object, each with its own text. Of several with one name the last counts."""
    found: dict[str, tuple[Any, str]] = {}
    at, separator = _skip(text, 0), "{"
    while text[at : at + 1] == separator:
        at = _skip(text, at + 1)
        if separator == "{" and text[at : at + 1] == "}":
            break
        name, at = parse_json_at(text, at)
        at = _skip(text, at)
        if not isinstance(name, str) or text[at : at + 1] != ":":
            raise ValueError("a member's name is expected")
        start = _skip(text, at + 1)
        value, end = parse_json_at(text, start)
        found[name] = value, text[start:end]
        at, separator = _skip(text, end), ","
    if text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        raise ValueError("the end of an object is expected")
    return found


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
