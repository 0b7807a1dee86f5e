"""What only the whole body tells: an entity tag of our own, and whether a name says the truth."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edgecache.http.conditional import Precondition, evaluate
from edgecache.semantics.finishing import Examined, examined, finished, is_worth_examining, made_tag
from edgecache.semantics.policy import Policy, Strategy
from edgecache.semantics.reason import Reason
from edgecache.semantics.stored import Basis, StoredResponse
from edgecache.semantics.validation import condition, freshen
from edgecache.semantics.versioned import By, Versioned
from tests.semantics.build import BIRTH, NOW, date, partial, request, response, stored

TAGS = Policy(etag=True)
PROOFS = Policy(verified=Strategy.IMMUTABLE)
BODY = b"the content of a script" * 100
MD5 = hashlib.md5(BODY).hexdigest()
BY_MANIFEST = Versioned(By.MANIFEST, MD5[:12], hashes_content=True)
BY_PATTERN = Versioned(By.PATTERN, MD5[:12])
TYPED = "Content-Type: text/javascript"
IMMUTABLE = Strategy.IMMUTABLE.cache_control


def whole(
    *lines: str, body: bytes = BODY, policy: Policy = TAGS, named: Versioned | None = None
) -> StoredResponse | Reason:
    """Return what becomes of a response that came whole."""
    made = stored(*lines, body=body, policy=policy)
    if not is_worth_examining(made, policy, named):
        return made
    return finished(made, examined(made, (body,), policy, named), policy)


def kept(*lines: str, body: bytes = BODY, policy: Policy = TAGS, named: Versioned | None = None) -> StoredResponse:
    made = whole(*lines, body=body, policy=policy, named=named)
    assert isinstance(made, StoredResponse)
    return made


def tag(*lines: str, body: bytes = BODY, policy: Policy = TAGS) -> str | None:
    return kept(*lines, body=body, policy=policy).shown().fields.get("etag")


# ----------------------------------------------------------------------------------------------------- entity tags


def test_a_tag_is_strong_and_says_nothing_but_the_content() -> None:
    made = tag(TYPED)
    assert made is not None
    assert made.startswith('"')
    assert len(made) == 24
    assert tag(TYPED, f"Last-Modified: {date()}", "Cache-Control: max-age=5", "Server: another") == made
    assert tag(TYPED, body=BODY + b" ") != made
    assert tag("Content-Type: text/plain") != made
    assert tag(TYPED, "Content-Encoding: gzip") != made


@pytest.mark.parametrize("given", ['"theirs"', 'W/"theirs"', "unquoted"])
def test_the_origins_tag_is_left_alone(given: str) -> None:
    made = kept(f"ETag: {given}")
    assert made.shown().fields.getall("etag") == [given]
    assert made_tag(made) is None


@pytest.mark.parametrize(
    ("made", "policy"),
    [
        (stored(), Policy()),
        (stored(status=404), TAGS),
        (partial(0, 4, 10), TAGS),
        (stored(), Policy(verified=Strategy.IMMUTABLE)),
    ],
)
def test_what_gets_no_tag_is_not_looked_at(made: StoredResponse, policy: Policy) -> None:
    assert not is_worth_examining(made, policy, None)


def test_a_tag_of_ours_is_for_clients_and_never_for_the_origin() -> None:
    made = kept(f"Last-Modified: {date(-5)}")
    assert made.validators.etag is None
    assert "etag" not in made.head().fields
    asked = condition(request(), made)
    assert "if-none-match" not in asked.fields
    assert asked.fields["if-modified-since"] == date(-5)
    shown = made_tag(made)
    outcome = evaluate(
        "GET", request(f"If-None-Match: {shown}").fields, etag=shown, last_modified=None, date=None, now=NOW
    )
    assert outcome is Precondition.NOT_MODIFIED


def test_a_304_keeps_it() -> None:
    """The content is the same, so the tag is; a tag in the 304 describes something else."""
    made = kept(f"Last-Modified: {date(-5)}", "Cache-Control: max-age=5")
    answer = response("Cache-Control: max-age=60", 'ETag: "another"', status=304)
    for policy in (TAGS, Policy()):
        again = freshen(request(), made, answer, policy, birth=BIRTH, request_time=NOW + 9, response_time=NOW + 9)
        assert made_tag(again) == made_tag(made)
        assert again.shown().fields.getall("etag") == [made_tag(made)]
        assert again.validators.etag is None
        assert again.freshness.lifetime == 60
    theirs = kept('ETag: "theirs"')
    again = freshen(request(), theirs, answer, TAGS, birth=BIRTH, request_time=NOW + 9, response_time=NOW + 9)
    assert again.shown().fields.getall("etag") == ['"theirs"']


# --------------------------------------------------------------------------------------------------- names that prove


@pytest.mark.parametrize("named", [BY_MANIFEST, BY_PATTERN])
@pytest.mark.parametrize("size", [8, 12, 32])
def test_content_that_is_as_its_name_says_is_immutable(named: Versioned, size: int) -> None:
    named = replace(named, token=MD5[:size])
    made = kept(TYPED, f"Last-Modified: {date(-10)}", policy=PROOFS, named=named)
    assert made.shown().fields["cache-control"] == IMMUTABLE
    assert (made.freshness.basis, made.freshness.lifetime) == (Basis.MAX_AGE, 31_536_000)
    assert made.freshness.immutable
    assert made.head().fields["cache-control"] == IMMUTABLE  # so that a 304 without one changes nothing


@pytest.mark.parametrize("line", ["Cache-Control: max-age=5", "Cache-Control: no-cache", f"Expires: {date(9)}"])
def test_what_the_origin_says_itself_stays(line: str) -> None:
    before = stored(TYPED, line, policy=PROOFS)
    assert kept(TYPED, line, policy=PROOFS, named=BY_MANIFEST).rendered == before.rendered


def test_a_proof_is_worth_more_than_the_strategy_of_a_rule() -> None:
    policy = replace(PROOFS, strategy=Strategy.REVALIDATE)
    line = f"Cache-Control: {Strategy.REVALIDATE.cache_control}"
    assert kept(TYPED, line, policy=policy, named=BY_MANIFEST).shown().fields["cache-control"] == IMMUTABLE
    other = kept(TYPED, line, policy=policy, named=Versioned(By.PATTERN, "0123abcd"))
    assert other.shown().fields["cache-control"] == Strategy.REVALIDATE.cache_control


@pytest.mark.parametrize(
    ("named", "policy", "outcome"),
    [
        (Versioned(By.MANIFEST, "0123456789ab", hashes_content=True), PROOFS, Reason.DIGEST_MISMATCH),
        (Versioned(By.MANIFEST, "0123456789ab", hashes_content=True), Policy(), Reason.DIGEST_MISMATCH),
        (Versioned(By.MANIFEST, "0123456789ab"), PROOFS, None),
        (Versioned(By.PATTERN, "0123456789ab"), PROOFS, None),
        (Versioned(By.DIRECTORY, "DhK3_x9Q"), PROOFS, None),
        (None, PROOFS, None),
    ],
)
def test_content_that_is_not_as_its_name_says(named: Versioned | None, policy: Policy, outcome: Reason | None) -> None:
    """Where a manifest promises it, it is not stored; where it is a guess, nothing follows."""
    before = stored(TYPED, body=BODY, policy=policy)
    found = examined(before, (BODY,), policy, named)
    made = finished(before, found, policy)
    assert made is (outcome or before)


def test_age_and_jitter_stay_what_they_were() -> None:
    policy = Policy(verified=Strategy.IMMUTABLE, edge_ttl=1000, jitter=0.5, early=1.0)
    lines = (TYPED, "Age: 30", "Via: 1.1 another", f"Date: {date(-500)}")
    before = stored(*lines, policy=policy, delay=2.0, body=BODY)
    made = finished(before, Examined(is_as_named=True), policy)
    assert isinstance(made, StoredResponse)
    assert made.freshness == structs.replace(before.freshness, immutable=True)
    assert made.freshness.age(NOW) == 32


# ------------------------------------------------------------------------------------------------------ coded content


def pieces(coded: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(coded[at : at + size] for at in range(0, len(coded), size))


def proof(
    coded: bytes, coding: str, named: Versioned = BY_MANIFEST, policy: Policy = PROOFS, size: int = 7
) -> bool | None:
    made = stored(TYPED, *([f"Content-Encoding: {coding}"] if coding else []), body=coded)
    return examined(made, pieces(coded, size), policy, named).is_as_named


ZIPPED = gzip.compress(BODY)


@pytest.mark.parametrize(
    ("coded", "coding", "outcome"),
    [
        (BODY, "", True),
        (BODY, "identity", True),
        (ZIPPED, "gzip", True),
        (ZIPPED, " X-GZip ", True),
        (gzip.compress(BODY[:50]) + gzip.compress(BODY[50:]), "gzip", True),
        (BODY, "br", None),
        (ZIPPED, "gzip, gzip", None),
        (ZIPPED, "zstd", None),
        (ZIPPED, "", False),
        (ZIPPED[:-1], "gzip", False),
        (ZIPPED[:-9], "gzip", False),
        (ZIPPED + b"more", "gzip", False),
        (b"", "gzip", False),
        (b"nothing of the kind", "gzip", False),
        (zlib.compress(BODY), "gzip", False),
    ],
)  # fmt: skip
def test_the_digest_is_that_of_the_content_without_its_coding(coded: bytes, coding: str, outcome: bool | None) -> None:
    for size in (1, 7, len(coded) or 1):
        assert proof(coded, coding, size=size) is outcome
    assert proof(coded, coding, BY_PATTERN) is (outcome or None)


def test_no_more_is_decoded_than_may_be_stored() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    named = Versioned(By.MANIFEST, hashlib.md5(bytes(10_000_000)).hexdigest()[:12], hashes_content=True)
    assert proof(bomb, "gzip", named, size=len(bomb)) is True
    assert proof(bomb, "gzip", named, replace(PROOFS, max_object=1_000_000), size=len(bomb)) is None


@given(st.binary(max_size=400), st.integers(1, 50), st.booleans())
def test_any_content_has_an_answer(content: bytes, size: int, is_zipped: bool) -> None:
    coded = gzip.compress(content) if is_zipped else content
    named = Versioned(By.MANIFEST, hashlib.sha256(content).hexdigest(), hashes_content=True)
    assert proof(coded, "gzip" if is_zipped else "", named, size=size) is True
    assert proof(content, "gzip", named, size=size) in (True, False)
