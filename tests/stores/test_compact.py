"""A compacted response is the response, in less memory."""

from __future__ import annotations

import pytest
from msgspec.structs import fields, replace

from edgecache.http.field_lines import FieldLines
from edgecache.http.message import fields_of, render_fields, render_status_line
from edgecache.semantics.stored import Birth, Freshness, Selecting, StoredResponse, Validators
from edgecache.stores.compact import Compactor, ReadValidators
from tests.stores.contract import key, response, variant


def copied(number: float) -> float:
    return float(str(number))


def one_of_many(name: str) -> StoredResponse:
    """Return a response whose parts are objects of its own."""
    lasting = {one.name: copied(60.5) for one in fields(Freshness) if one.type is float}
    made = response(
        name,
        freshness=Freshness(**lasting),  # type: ignore[arg-type]
        birth=Birth(b"epoch", 7),
        selecting=Selecting(("".join(["accept-", "language"]),), ("".join(["d", "e"]),)),
        tags=frozenset({"".join(["product", ":1"])}),
        validators=Validators('"v1"', "".join(["Mon, 23 Nov 2026 00:00:00", " GMT"])),
    )
    return replace(made, rendered=render_status_line(made.status) + render_fields(made.fields))


@pytest.mark.parametrize(
    "given",
    [
        response(),
        variant(None),
        one_of_many("a"),
        response(tags=frozenset()),
        response(rendered=b""),
        response(fields=()),
        response(fields=tuple(fields_of([("X-Thing", "1")]).items())),
        response(fields=(("No: field", "line\r\n"), ("\u0100", ""))),
        response(validators=Validators()),
    ],
)
def test_it_is_equal_and_stays_so(given: StoredResponse) -> None:
    compactor = Compactor()
    made = compactor.compacted(given)
    for one in fields(StoredResponse):
        assert getattr(made, one.name) == getattr(given, one.name)
    assert made == given
    assert compactor.compacted(made) == given
    assert compactor.compacted(made).fields is made.fields
    assert made.body is given.body


def test_what_is_in_common_is_kept_once() -> None:
    compactor = Compactor()
    a, b = (compactor.compacted(one_of_many(name)) for name in "ab")
    for one in fields(Freshness):
        if one.name != "generated_at":
            assert getattr(a.freshness, one.name) is getattr(b.freshness, one.name), one.name
    assert a.birth is b.birth
    assert a.selecting is b.selecting
    assert min(a.tags) is min(b.tags)


def test_fields_are_kept_as_the_head_that_is_there_anyway() -> None:
    made = Compactor().compacted(one_of_many("a"))
    assert isinstance(made.fields, FieldLines)
    assert made.fields.lines is made.rendered


LINES = (("ETag", '"v1"'), ("x", "etag: no"), ("LAST-modified", "Mon, 23 Nov 2026 00:00:00 GMT"), ("ETag", '"v2"'))


@pytest.mark.parametrize(
    ("validators", "is_read"),
    [
        (Validators('"v1"', "Mon, 23 Nov 2026 00:00:00 GMT"), True),
        (Validators('"v2"', "Mon, 23 Nov 2026 00:00:00 GMT"), False),  # not what the fields say first
        (Validators('"v1"', None), False),
        (Validators(), False),
    ],
)
def test_validators_are_read_from_the_fields_where_they_are_there(validators: Validators, is_read: bool) -> None:
    made = Compactor().compacted(response(fields=LINES, validators=validators))
    assert isinstance(made.validators, ReadValidators) == is_read
    assert made.validators == validators
    assert validators == made.validators
    assert hash(made.validators) == hash(validators)
    assert bool(made.validators) == bool(validators)
    assert (made.validators.etag, made.validators.last_modified) == (validators.etag, validators.last_modified)
    assert made.validators != Validators("another")
    assert Compactor().compacted(made).validators is made.validators


def test_no_validators_are_read_from_fields_that_have_none() -> None:
    made = Compactor().compacted(response(fields=(("A", "1"),), validators=Validators()))
    assert isinstance(made.validators, ReadValidators)
    assert not made.validators


def test_what_never_repeats_makes_it_forget() -> None:
    compactor = Compactor()
    for number in range(5000):
        birth = Birth(b"epoch", number)
        lifetime = Freshness(0.0, lifetime=float(number))
        tags = frozenset({f"product:{number}"})
        made = compactor.compacted(response("a", key=key("a"), birth=birth, freshness=lifetime, tags=tags))
        assert (made.birth, made.freshness, made.tags) == (birth, lifetime, tags)
    known = (compactor._births, compactor._numbers, compactor._selecting, compactor._tags)
    assert all(len(each) <= 1024 for each in known)
