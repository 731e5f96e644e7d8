from __future__ import annotations

from atlas_webhooks import ReplayGuard, Verifier
from atlas_webhooks.testing import SECRET, delivery

OTHER = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyISE="
IMPORTED = "an imported secret"


def test_a_request_is_first_once() -> None:
    headers, body = delivery(id="evt_1", webhook_id="wh_1")
    guard, verifier = ReplayGuard(), Verifier(SECRET)
    assert guard.first(verifier.verify(headers, body))
    assert not guard.first(verifier.verify(headers, body))
    # Nor under the name of another webhook, or without its id.
    assert not guard.first(verifier.verify({**headers, "X-Atlas-Webhook-Subscription-Id": "wh_2"}, body))
    assert not guard.first(verifier.verify({**headers, "webhook-signature": "", "X-Atlas-Webhook-Event-Id": "evt_2"}, body))


def test_a_later_attempt_is_not_first_where_the_id_is_verified() -> None:
    for secret, first in ((SECRET, False), (IMPORTED, True)):
        guard, verifier = ReplayGuard(), Verifier(secret, tolerance=-1)
        for at, want in ((1_772_442_000, True), (1_772_442_005, first)):
            headers, body = delivery(id="evt_1", secret=secret, at=at)
            assert guard.first(verifier.verify(headers, body)) is want


def test_one_event_of_two_webhooks() -> None:
    guard, verifier = ReplayGuard(), Verifier([SECRET, OTHER])
    for secret, webhook in ((SECRET, "wh_1"), (OTHER, "wh_2")):
        headers, body = delivery(id="evt_1", webhook_id=webhook, secret=secret)
        assert guard.first(verifier.verify(headers, body))


def test_by_the_standard_scheme_what_stands_beside_the_signature_does_not_count() -> None:
    guard, verifier = ReplayGuard(), Verifier(SECRET, scheme="standard")
    headers, body = delivery()
    assert guard.first(verifier.verify(headers, body))
    forged = {**headers, "webhook-signature": headers["webhook-signature"] + " v1,AAAA", "X-Atlas-Webhook-Subscription-Id": "wh_2"}
    assert not guard.first(verifier.verify(forged, body))


def test_a_failed_handler_lets_it_come_again() -> None:
    guard, event = ReplayGuard(), Verifier(SECRET).verify(*delivery())
    assert guard.first(event)
    guard.forget(event)
    assert guard.first(event)


def test_time_and_memory_are_bounded() -> None:
    clock = [0.0]
    guard = ReplayGuard(seconds=10, most=9, now=lambda: clock[0])
    events = [Verifier(SECRET, tolerance=-1).verify(*delivery(at=1_772_442_000 + n)) for n in range(4)]
    assert all(map(guard.first, events[:3]))
    assert not guard.first(events[2])
    assert guard.first(events[3])  # the first is forgotten for it
    assert guard.first(events[0])
    clock[0] = 10
    assert guard.first(events[3])


def test_two_events_of_one_text_in_one_millisecond() -> None:
    guard, verifier = ReplayGuard(), Verifier(SECRET, tolerance=-1)
    for _ in range(2):
        assert guard.first(verifier.verify(*delivery(at=1_772_442_000)))
