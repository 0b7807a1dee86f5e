"""``decide`` against ``naive``, a second reading of the RFC that shares no code with it."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from edgecache.http.message import RequestHead, ResponseHead
from edgecache.semantics.policy import DEFAULT, Policy
from edgecache.semantics.reuse import Complete, Decision, Forward, Refuse, Serve, ServeStale, Validate, decide
from edgecache.semantics.stored import StoredResponse
from tests.semantics import messages
from tests.semantics.build import NOW, date, request, response, store
from tests.semantics.naive import ALL, Answer, Departure, Kept, answer


def _answer_of(decision: Decision, now: float) -> Answer:
    match decision:
        case Serve(stored):
            return Answer.FRESH if stored.freshness.is_fresh(now) else Answer.STALE
        case ServeStale():
            return Answer.STALE
        case Validate():
            return Answer.VALIDATE
        case Refuse():
            return Answer.REFUSE
        case Forward() | Complete():
            return Answer.NO_MATCH


def _store(kept: Kept, policy: Policy) -> StoredResponse:
    delay = kept.response_time - kept.request_time
    return store(kept.response, of=kept.request, policy=policy, at=kept.response_time, delay=delay)


def _both(asked: RequestHead, exchanges: list[Kept], policy: Policy, now: float) -> tuple[Answer, Answer]:
    candidates = [_store(kept, policy) for kept in exchanges]
    return _answer_of(decide(asked, candidates, policy, now), now), answer(asked, exchanges, policy, now, ALL)


instants = st.sampled_from([0.0, 0.5, 1.0, 4.0, 5.0, 5.5, 9.0, 10.0, 14.5, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 59.5])


exchanges = st.builds(
    lambda asked, head, at, delay: Kept(asked, head, NOW + at - delay, NOW + at),
    messages.requests(methods=["GET"], is_conditional=False),
    messages.response_heads(),
    st.sampled_from([0.0, 0.5, 3.0, 5.0]),
    st.sampled_from([0.0, 0.0, 1.0, 2.5]),
)


@settings(max_examples=500)
@given(asked=messages.requests(), kept=exchanges, policy=messages.policies, later=instants)
def test_one_stored_response(asked: RequestHead, kept: Kept, policy: Policy, later: float) -> None:
    made, expected = _both(asked, [kept], policy, kept.response_time + later)
    event(made.name)
    assert made is expected


@settings(max_examples=300)
@given(
    asked=messages.requests(),
    several=st.lists(exchanges, min_size=2, max_size=3, unique_by=lambda kept: kept.response_time),
    policy=messages.policies,
    later=instants,
)
def test_several_stored_responses(asked: RequestHead, several: list[Kept], policy: Policy, later: float) -> None:
    made, expected = _both(asked, several, policy, NOW + 5 + later)
    event(made.name)
    assert made is expected


# The same request again, so that what varies matches, and what decides are the numbers.
@settings(max_examples=500)
@given(
    asked=messages.requests(methods=["GET"], is_conditional=False),
    head=messages.response_heads(statuses=[200]),
    policy=messages.policies,
    later=instants,
)
def test_the_same_request_again(asked: RequestHead, head: ResponseHead, policy: Policy, later: float) -> None:
    made, expected = _both(asked, [Kept(asked, head, NOW, NOW)], policy, NOW + later)
    event(made.name)
    assert made is expected


# ---------------------------------------------------------------------------------------------------- departures

_SKEWED = f"Date: {date(-1000)}"

DEPARTURES: dict[Departure, tuple[RequestHead, list[Kept], Policy, float, Answer, Answer]] = {
    Departure.SHARED_LIFETIME_WITH_GRACE: (
        request(),
        [Kept(request(), response("Cache-Control: s-maxage=10, stale-while-revalidate=10"), NOW, NOW)],
        DEFAULT,
        NOW + 15,
        Answer.VALIDATE,
        Answer.STALE,
    ),
    Departure.IMMUTABLE: (
        request("Cache-Control: max-age=0"),
        [Kept(request(), response("Cache-Control: max-age=10, immutable"), NOW, NOW)],
        DEFAULT,
        NOW + 5,
        Answer.VALIDATE,
        Answer.FRESH,
    ),
    Departure.LANGUAGE: (
        request("Accept-Language: de, en;q=0.5"),
        [
            Kept(
                request("Accept-Language: de"),
                response("Cache-Control: max-age=10", "Vary: Accept-Language", "Content-Language: de"),
                NOW,
                NOW,
            )
        ],
        DEFAULT,
        NOW,
        Answer.NO_MATCH,
        Answer.FRESH,
    ),
    Departure.TRUST_AGE: (
        request(),
        [Kept(request(), response("Cache-Control: max-age=10", _SKEWED), NOW, NOW)],
        DEFAULT,
        NOW,
        Answer.VALIDATE,
        Answer.FRESH,
    ),
    Departure.DISTRUST_INVALID_AGE: (
        request(),
        [Kept(request(), response("Cache-Control: max-age=10", "Age: old"), NOW, NOW)],
        DEFAULT,
        NOW,
        Answer.FRESH,
        Answer.VALIDATE,
    ),
    Departure.WINDOWS_ARE_HALF_OPEN: (
        request(),
        [Kept(request(), response("Cache-Control: max-age=10, stale-while-revalidate=10"), NOW, NOW)],
        DEFAULT,
        NOW + 20,
        Answer.STALE,
        Answer.VALIDATE,
    ),
    Departure.PRAGMA_OF_RESPONSES: (
        request(),
        [Kept(request(), response(f"Last-Modified: {date(-1000)}", "Pragma: no-cache"), NOW, NOW)],
        DEFAULT,
        NOW,
        Answer.FRESH,
        Answer.VALIDATE,
    ),
    Departure.NO_NEGATIVE_LIFETIME: (
        request(),
        [Kept(request(), response("Cache-Control: stale-while-revalidate=10", f"Expires: {date(-20)}"), NOW, NOW)],
        DEFAULT,
        NOW + 5,
        Answer.VALIDATE,
        Answer.STALE,
    ),
    Departure.LATEST_RECEIVED: (
        request(),
        [
            Kept(request(), response("Cache-Control: max-age=10", f"Date: {date(50)}"), NOW, NOW),
            Kept(request(), response("Cache-Control: max-age=60", f"Date: {date(1)}"), NOW + 1, NOW + 1),
        ],
        DEFAULT,
        NOW + 20,
        Answer.VALIDATE,
        Answer.FRESH,
    ),
    Departure.OPERATOR_IGNORES_RELOADS: (
        request("Cache-Control: no-cache"),
        [Kept(request(), response("Cache-Control: max-age=10"), NOW, NOW)],
        Policy(honour_reload=False),
        NOW,
        Answer.VALIDATE,
        Answer.FRESH,
    ),
}


@pytest.mark.parametrize("departure", Departure)
def test_each_departure_makes_a_difference(departure: Departure) -> None:
    asked, stored, policy, now, by_the_letter, here = DEPARTURES[departure]
    assert answer(asked, stored, policy, now) is by_the_letter
    assert answer(asked, stored, policy, now, [departure]) is here
    assert _both(asked, stored, policy, now) == (here, here)
