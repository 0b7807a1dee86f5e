from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from edgecache.errors import ConfigError, StoreError
from edgecache.http.ranges import ContentRange
from edgecache.semantics.stored import Basis, Birth, CacheKey, Freshness, Selecting, StoredResponse, Validators
from edgecache.stores.body import MemoryBody
from edgecache.stores.record import CHUNK, Layout, Record, RecordCodec
from edgecache.stores.seal import Seal
from tests.stores.contract import key, response

SECRET: Final = b"a secret of some length"
ENCRYPTION_KEY: Final = b"an encryption key"

PLAIN: Final = RecordCodec("ns", SECRET)
ENCRYPTED: Final = RecordCodec("ns", SECRET, (ENCRYPTION_KEY,))
CODECS: Final = pytest.mark.parametrize("codec", [PLAIN, ENCRYPTED], ids=["plain", "encrypted"])


def record_of(stored: StoredResponse, codec: RecordCodec = PLAIN) -> Record:
    """The record of a response whose body is in this process's memory."""
    inline = b"".join(stored.body.local or ())
    return codec.record(stored, Layout(len(inline), digest_of(inline, codec)), inline)


def digest_of(content: bytes, codec: RecordCodec = PLAIN) -> bytes:
    digest = codec.content()
    digest.update(content)
    return digest.digest()


def identity(stored: StoredResponse, codec: RecordCodec = PLAIN) -> bytes:
    return codec.identity(stored, digest_of(b"".join(stored.body.local or ()), codec))


text = st.text(max_size=20)
latin = st.text(st.characters(max_codepoint=255), max_size=20)
number = st.floats(allow_nan=False)
whole = st.integers(0, 2**63)
fieldless = st.builds(
    StoredResponse,
    key=text.map(CacheKey),
    status=st.integers(100, 999),
    fields=st.lists(st.tuples(latin, latin), max_size=5).map(tuple),
    body=st.binary(max_size=50).map(lambda content: MemoryBody((content,))),
    freshness=st.builds(
        Freshness,
        number,
        number,
        number,
        number,
        number,
        number,
        st.sampled_from(Basis),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    birth=st.builds(Birth, st.binary(max_size=16), whole),
    selecting=st.lists(st.tuples(text, st.none() | text), max_size=3).map(
        lambda pairs: Selecting(tuple(name for name, _ in pairs), tuple(value for _, value in pairs))
    ),
    validators=st.builds(Validators, st.none() | latin, st.none() | latin),
    content_range=st.none() | st.builds(ContentRange, whole, whole, st.none() | whole),
    tags=st.frozensets(text, max_size=3),
    response_time=number,
    uri=text,
    rendered=st.binary(max_size=50),
)


@CODECS
@given(stored=fieldless)
def test_a_record_comes_back_as_it_was(codec: RecordCodec, stored: StoredResponse) -> None:
    record = record_of(stored, codec)
    sealed = codec.encode(record)
    decoded = codec.decode(sealed, stored.key)
    assert decoded == record
    back = decoded.response(stored.body)
    assert back == stored
    assert (back.rendered, back.birth, decoded.inline) == (stored.rendered, stored.birth, record.inline)
    assert back.freshness == stored.freshness


@given(stored=fieldless)
def test_equal_records_are_equal_bytes(stored: StoredResponse) -> None:
    sealed = PLAIN.encode(record_of(stored))
    assert PLAIN.encode(PLAIN.decode(sealed, stored.key)) == sealed


@CODECS
@given(noise=st.binary(max_size=300))
def test_any_bytes_are_no_record(codec: RecordCodec, noise: bytes) -> None:
    for start in (b"", b"EC\x01\x00", b"EC\x01\x01"):
        with pytest.raises(StoreError):
            codec.decode(start + noise, key("a"))


@given(content=st.binary(max_size=200))
def test_any_content_rightly_sealed_is_a_record_or_an_error(content: bytes) -> None:
    sealed = Seal(SECRET).close((b"record", b"ns", PLAIN.name(key("a")).encode()), content)
    with pytest.raises(StoreError):
        PLAIN.decode(sealed, key("a"))


def mutants(sealed: bytes) -> Iterator[bytes]:
    for at in range(len(sealed)):
        yield sealed[:at] + bytes((sealed[at] ^ 0xFF,)) + sealed[at + 1 :]
        yield sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        yield sealed[:at]
    yield sealed + b"\0"
    yield sealed + sealed


@CODECS
@pytest.mark.parametrize("body", [b"", b"hello" * 20], ids=["empty", "inline"])
def test_every_flipped_byte_and_every_truncation_is_noticed(codec: RecordCodec, body: bytes) -> None:
    sealed = codec.encode(record_of(response(body=body), codec))
    assert codec.decode(sealed, key("a")).inline == body
    for mutant in mutants(sealed):
        with pytest.raises(StoreError):
            codec.decode(mutant, key("a"))


@CODECS
def test_every_flipped_byte_and_every_truncation_of_a_chunk_is_noticed(codec: RecordCodec) -> None:
    layout = Layout(CHUNK + 40, b"", codec.new_body_id())
    sealed = codec.close_chunk(key("a"), layout, 1, b"c" * 40)
    assert codec.open_chunk(key("a"), layout, 1, sealed) == b"c" * 40
    for mutant in mutants(sealed):
        with pytest.raises(StoreError):
            codec.open_chunk(key("a"), layout, 1, mutant)


@CODECS
def test_a_chunk_opens_in_its_own_place_only(codec: RecordCodec) -> None:
    layout = Layout(3 * CHUNK, b"", codec.new_body_id())
    sealed = codec.close_chunk(key("a"), layout, 1, b"content")
    places = [
        (key("b"), layout, 1),
        (key("a"), layout, 0),
        (key("a"), layout, 2),
        (key("a"), replace(layout, size=3 * CHUNK + 1), 1),
        (key("a"), replace(layout, body_id=codec.new_body_id()), 1),
    ]
    for place in places:
        with pytest.raises(StoreError):
            codec.open_chunk(*place, sealed)
    with pytest.raises(StoreError):
        codec.decode(sealed, key("a"))


@CODECS
def test_a_record_opens_under_its_own_key_only(codec: RecordCodec) -> None:
    sealed = codec.encode(record_of(response("a"), codec))
    with pytest.raises(StoreError):
        codec.decode(sealed, key("b"))


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (RecordCodec("other", SECRET), PLAIN),
        (RecordCodec("ns", b"another secret of some length"), PLAIN),
        (RecordCodec("other", SECRET, (ENCRYPTION_KEY,)), ENCRYPTED),
        (RecordCodec("ns", SECRET, (b"another encryption key",)), ENCRYPTED),
        (ENCRYPTED, PLAIN),
    ],
    ids=["namespace", "secret", "namespace, encrypted", "encryption key", "no encryption key"],
)
def test_what_others_wrote_is_no_record(writer: RecordCodec, reader: RecordCodec) -> None:
    with pytest.raises(StoreError):
        reader.decode(writer.encode(record_of(response(), writer)), key("a"))


def test_encryption_keys_rotate_without_a_gap() -> None:
    new = b"the next encryption key"
    both = RecordCodec("ns", SECRET, (new, ENCRYPTION_KEY))
    old_record = ENCRYPTED.encode(record_of(response()))
    new_record = both.encode(record_of(response()))
    assert both.decode(old_record, key("a")) == both.decode(new_record, key("a"))
    assert RecordCodec("ns", SECRET, (new,)).decode(new_record, key("a")) == record_of(response())
    with pytest.raises(StoreError):
        ENCRYPTED.decode(new_record, key("a"))
    assert both.decode(PLAIN.encode(record_of(response())), key("a")) == record_of(response())


def test_an_encrypted_record_shows_nothing_and_never_repeats() -> None:
    first, second = (ENCRYPTED.encode(record_of(response(body=b"canary" * 10))) for _ in range(2))
    assert first != second
    assert b"canary" not in first
    assert b"example.com" not in first


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_no_record(version: int) -> None:
    sealed = bytearray(PLAIN.encode(record_of(response())))
    sealed[2] = version
    with pytest.raises(StoreError):
        PLAIN.decode(bytes(sealed), key("a"))


def sealed_head(members: list[Any], inline: bytes = b"hello") -> bytes:
    head = msgspec.msgpack.encode(members)
    content = len(head).to_bytes(4, "big") + head + inline
    return Seal(SECRET).close((b"record", b"ns", PLAIN.name(key("a")).encode()), content)


def test_a_head_with_members_from_the_future_is_read() -> None:
    record = record_of(response())
    members = [*msgspec.structs.astuple(record.head), "something new", [1, 2]]
    assert PLAIN.decode(sealed_head(members), key("a")) == record


@pytest.mark.parametrize("member", range(18))
def test_a_head_with_a_member_of_another_type_is_none(member: int) -> None:
    members: list[Any] = list(msgspec.structs.astuple(record_of(response()).head))
    members[member] = {"a": "map"}
    with pytest.raises(StoreError):
        PLAIN.decode(sealed_head(members), key("a"))


def test_a_record_that_contradicts_itself_is_none() -> None:
    members: list[Any] = list(msgspec.structs.astuple(record_of(response()).head))
    for inline, changes in ((b"hell", {}), (b"", {}), (b"hello", {17: b"i" * 16}), (b"", {17: b"i"}), (b"", {15: -1})):
        changed = [changes.get(at, member) for at, member in enumerate(members)]
        with pytest.raises(StoreError):
            PLAIN.decode(sealed_head(changed, inline), key("a"))


@pytest.mark.parametrize(
    "changes",
    [{"uri": "\ud800"}, {"birth": Birth(b"", 2**70)}, {"fields": (("a", "\udcff"),)}, {"key": CacheKey("\ud800")}],
    ids=["uri", "sequence", "fields", "key"],
)
def test_what_has_no_encoding_is_an_error(changes: dict[str, Any]) -> None:
    stored = response(**changes)
    with pytest.raises(StoreError):
        PLAIN.encode(record_of(stored))
    if "birth" not in changes:
        with pytest.raises(StoreError):
            identity(stored)


CHANGES: Final[list[dict[str, Any]]] = [
    {"key": key("b")},
    {"status": 203},
    {"fields": ()},
    {"body": b"hellO"},
    {"freshness": Freshness(1000.5, 61.0)},
    {"selecting": Selecting(("a",), (None,))},
    {"selecting": Selecting(("a",), ("",))},
    {"validators": Validators()},
    {"validators": Validators('"v1"')},
    {"content_range": ContentRange(0, 4, None)},
    {"content_range": ContentRange(0, 4, 10)},
    {"tags": frozenset()},
    {"response_time": 1.0},
    {"uri": "b"},
]


def test_an_identity_belongs_to_one_response() -> None:
    identities = [identity(response(**changes)) for changes in ({}, *CHANGES)]
    assert len(set(identities)) == len(identities)


def test_an_identity_does_not_ask_how_values_are_held() -> None:
    class Name(str):
        __slots__ = ()

    same = response(
        body=b"",
        fields=tuple((Name(name), value) for name, value in response().fields),
        freshness=structs.replace(response().freshness, lifetime=60),
        birth=Birth(b"moved on", 9),
        rendered=b"other",
    )
    same = structs.replace(same, body=MemoryBody((b"he", b"llo")))
    assert identity(same) == identity(response())


def test_names_and_slots_are_keyed() -> None:
    other = RecordCodec("ns", b"another secret of some length")
    names = {codec.name(key(name)) for codec in (PLAIN, other) for name in "ab"}
    assert len(names) == 4
    selectings = [
        Selecting(),
        Selecting(("a",), (None,)),
        Selecting(("a",), ("",)),
        Selecting(("a", "b"), ("x", "y")),
        Selecting(("a",), ("x",)),
    ]
    slots = [PLAIN.slot(selecting) for selecting in selectings]
    assert len(set(slots)) == len(slots)


@pytest.mark.parametrize(("secret", "keys"), [(b"short", ()), (SECRET, (b"short",)), (SECRET, (ENCRYPTION_KEY,) * 3)])
def test_weak_secrets_are_refused(secret: bytes, keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ConfigError):
        RecordCodec("ns", secret, keys)


@settings(max_examples=30)
@given(first=st.binary(max_size=60), second=st.binary(max_size=60))
def test_parts_of_a_context_do_not_run_into_each_other(first: bytes, second: bytes) -> None:
    seal, joined = Seal(SECRET), first + second
    sealed = seal.close((first, second), b"content")
    for cut in range(len(joined) + 1):
        if cut != len(first):
            with pytest.raises(StoreError):
                seal.open((joined[:cut], joined[cut:]), sealed)
    with pytest.raises(StoreError):
        seal.open((joined,), sealed)


def fixed_entropy() -> RecordCodec:
    numbers = itertools.count()
    return RecordCodec("ns", SECRET, (ENCRYPTION_KEY,), entropy=lambda size: next(numbers).to_bytes(size, "big"))


GOLDEN_RECORD: Final = record_of(response(content_range=ContentRange(0, 4, 10), status=206))
GOLDEN_LAYOUT: Final = Layout(CHUNK + 5, b"", bytes(range(16)))
GOLDEN: Final = {
    "record": (
        "4543010000000163dc0013b568747470733a2f2f6578616d706c652e636f6d2f61c40565706f63680792a4686f6d65a97072"
        "6f647563743a31ccce9492ac436f6e74656e742d54797065aa746578742f706c61696e92a95365742d5468696e67a2c3a992"
        "a97365742d7468696e67a5616761696e92a5456d707479a09fcb408f440000000000cb404e000000000000cb401400000000"
        "0000cb4018000000000000cb401c000000000000cb4020000000000000a46e6f6e65c2c2c3cb0000000000000000cb000000"
        "0000000000cb0000000000000000cb0000000000000000c29090a422763122bd4d6f6e2c203233204e6f7620323032362030"
        "303a30303a303020474d549300040acb408f460000000000b568747470733a2f2f6578616d706c652e636f6d2f61c42b4854"
        "54502f312e3120323030204f4b0d0a436f6e74656e742d547970653a20746578742f706c61696e0d0a05c4100bca44b2f6d7"
        "2a47b892c8f8211cb20cc400c268656c6c6f6c55516c9f565985c85a42259bfbcfa4"
    ),
    "encrypted record": (
        "4543010121bbd7040000000000000000000000003de8e90e51255932ac081a0afde63b17473a2581cddd1bc8515f0df7888c"
        "da52018626f4ec8a3e666eb0ee28cc669635f86dcf9c2bcdca2b865ddb32ba6b4cf3f50c72445abac3b52917080b8cda7a98"
        "689a7b51fcd71bc1d23243aa635dd005fb63c8e83ce9a19547d1120b7b6274c5dfbe7a17a9a7bded811f34fe6bc8454ab4b5"
        "13a489ace90e195d9af71bcd417321ac3de0f52767a9f2aa4cc9bd05157ca55e7c58bf8297aaee8a57180f0d0e47bb5f4ae3"
        "abaf6e755652a899cfffed6041ae37022d342d55eadf24fabed5f650b88e5bc0a01cb21275d6067b73abb689d29a1a317a8a"
        "0494b2516eb766de37aec80e2ff4fa7c60ee4ad55466781aa2e0ad20d6890fe3d491888cdc26938449ea72111acd84784099"
        "3cd0cd7cc1ff2c8628aa70f864a0678c03d8522d492d6d61406cd91add2e4feb22c51fc112d29a57502a342add7c97142765"
        "840fbcab2137067b39963b90f75090a70837d48b05ea6dd0958aef7ff11218d7891988d6a2cf3efa9a02aeb3469507bbccbb"
    ),
    "chunk": "4543010068656c6c6f2e3e9503c80ffcfc9a008d16072c422f",
    "encrypted chunk": "4543010121bbd704000000000000000000000001f8537c1d3e09c902d8ddbf84fd9c73cdc3347c0089",
    "name": "a7758c1c6a3ba71545dabd06e12943c6",
    "slot": "97e8e15b2d7f2461063efc4a8c2f2055",
    "identity": "15559c234ead0853edda278f70cb83e8",
}
"""What version 1 writes. Members may be appended; any other change would empty the stores of everyone who updates."""

SHORTER: Final = {
    "record": (
        "454301000000013ddc0012b568747470733a2f2f6578616d706c652e636f6d2f61c40565706f63680792a4686f6d65a97072"
        "6f647563743a31ccce9492ac436f6e74656e742d54797065aa746578742f706c61696e92a95365742d5468696e67a2c3a992"
        "a97365742d7468696e67a5616761696e92a5456d707479a09acb408f440000000000cb404e000000000000cb401400000000"
        "0000cb4018000000000000cb401c000000000000cb4020000000000000a46e6f6e65c2c2c39090a422763122bd4d6f6e2c20"
        "3233204e6f7620323032362030303a30303a303020474d549300040acb408f460000000000b568747470733a2f2f6578616d"
        "706c652e636f6d2f61c42b485454502f312e3120323030204f4b0d0a436f6e74656e742d547970653a20746578742f706c61"
        "696e0d0a05c4100bca44b2f6d72a47b892c8f8211cb20cc40068656c6c6f159bb892b508f01940686afc2f0919c0"
    ),
    "encrypted record": (
        "4543010121bbd7040000000000000000000000003de8e95051255832ac081a0afde63b17473a2581cddd1bc8515f0df7888c"
        "da52018626f4ec8a3e666eb0ee28cc669635f86dcf9c2bcdca2b865ddb32ba6b4cf3f50c72445abac3b52917080b8cda7a98"
        "689a7b51fcd71bc1d23243aa635dd005fb63c8e83ce9a19547d1120b7b6274c5dfbe7a17a9a7bded841f34fe6bc8454ab4b5"
        "13a489ace90e195d9af71bcd417321ac3de0f52767a9f2aa4cc9bd05157ca55e7c58bf8297aaee8a57180f0d0e47bb5f4ae3"
        "abaf6e2ec6f68aeffedd502de5c01b221f070d1b856204c88ee7c07088beaaf09026822255914bed703b16a16febb7ca37e5"
        "6ab892d635e35cc132b4d51178babb2120b81fcb0d3925158469d2fb82d95507a530ffacee16a3a4b3c90b6f29d1d0230a92"
        "309cf475ddff38c533a227ed8ffb43b93ee6701662d85d58ba184ba341090210df6393856014bbc72932347c9167fb0ba781"
        "b8599eba070f0c48fe684572"
    ),
}
"""What it wrote when a record said less about freshness."""


def written() -> dict[str, str]:
    encrypted = fixed_entropy()
    stored = response(content_range=ContentRange(0, 4, 10), status=206)
    made = {
        "record": PLAIN.encode(GOLDEN_RECORD),
        "encrypted record": encrypted.encode(GOLDEN_RECORD),
        "chunk": PLAIN.close_chunk(key("a"), GOLDEN_LAYOUT, 1, b"hello"),
        "encrypted chunk": encrypted.close_chunk(key("a"), GOLDEN_LAYOUT, 1, b"hello"),
        "name": bytes.fromhex(PLAIN.name(key("a"))),
        "slot": PLAIN.slot(Selecting(("accept-language",), (None,))),
        "identity": identity(stored),
    }
    return {what: content.hex() for what, content in made.items()}


def test_version_1_is_written_as_ever() -> None:
    assert written() == GOLDEN


def test_version_1_is_read_as_ever() -> None:
    golden = {what: bytes.fromhex(content) for what, content in GOLDEN.items()}
    assert PLAIN.decode(golden["record"], key("a")) == GOLDEN_RECORD
    assert ENCRYPTED.decode(golden["encrypted record"], key("a")) == GOLDEN_RECORD
    assert PLAIN.open_chunk(key("a"), GOLDEN_LAYOUT, 1, golden["chunk"]) == b"hello"
    assert ENCRYPTED.open_chunk(key("a"), GOLDEN_LAYOUT, 1, golden["encrypted chunk"]) == b"hello"


def test_what_was_written_with_fewer_members_is_read() -> None:
    shorter = {what: bytes.fromhex(content) for what, content in SHORTER.items()}
    assert PLAIN.decode(shorter["record"], key("a")) == GOLDEN_RECORD
    assert ENCRYPTED.decode(shorter["encrypted record"], key("a")) == GOLDEN_RECORD
