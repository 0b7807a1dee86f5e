"""Names that tools write are recognised, names that people write are not, and what changes in its place never is."""

from __future__ import annotations

import hashlib
import random
import string
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.semantics.versioned import AssetNames, By, Versioned, is_never_immutable, recognise, verifies

ORDINARY: Final = [
    line
    for line in (Path(__file__).parent / "ordinary_names.txt").read_text().splitlines()
    if line and not line.startswith("# ")
]


def test_no_ordinary_name_is_taken_for_a_versioned_one() -> None:
    assert len(ORDINARY) > 500
    assert [path for path in ORDINARY if recognise(path) is not None] == []


@pytest.mark.parametrize(
    ("path", "by", "token"),
    [
        # Wherever they are. webpack and what is made of it
        ("/main.a41120f2d42398e3b625.js", By.PATTERN, "a41120f2d42398e3b625"),
        ("/480.d5129ebba20020fc8389.js", By.PATTERN, "d5129ebba20020fc8389"),
        ("/d5129ebba20020fc8389.js", By.PATTERN, "d5129ebba20020fc8389"),
        ("/93e119a5b527c5b30fbd.png", By.PATTERN, "93e119a5b527c5b30fbd"),
        ("/static/js/main.9a9c897c.chunk.js", By.PATTERN, "9a9c897c"),
        ("/static/js/main.9a9c897c.chunk.js.map", By.PATTERN, "9a9c897c"),
        ("/static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg", By.PATTERN, "6ce24c58023cc2f8fd88fe9d219db6c6"),
        ("/js/chunk-vendors.3f2a9c1b.js", By.PATTERN, "3f2a9c1b"),
        ("/img/logo.82b9c7a5.png", By.PATTERN, "82b9c7a5"),
        ("/fonts/inter.82b9c7a5.woff2", By.PATTERN, "82b9c7a5"),
        ("/assets/js/3f8f4758.9a9c897c.js", By.PATTERN, "9a9c897c"),
        ("/packs/js/application-0c8c6c0909f9cc2f1234.js", By.PATTERN, "0c8c6c0909f9cc2f1234"),
        ("/app-0c8c6c0909f9cc2f1234.js", By.PATTERN, "0c8c6c0909f9cc2f1234"),
        ("/build/p-9a9c897c.entry.js", By.PATTERN, "9a9c897c"),
        # Parcel
        ("/bundlers.968876a1.js", By.PATTERN, "968876a1"),
        ("/i.f625993e.png", By.PATTERN, "f625993e"),
        # esbuild, Angular
        ("/chunk-2ADT4KFJ.js", By.PATTERN, "2ADT4KFJ"),
        ("/chunk-VBAKFPDR.js", By.PATTERN, "VBAKFPDR"),
        ("/main-XDEHKY4V.css", By.PATTERN, "XDEHKY4V"),
        ("/polyfills-FFHMD2TL.js", By.PATTERN, "FFHMD2TL"),
        ("/styles-ABCDEFGH.css", By.PATTERN, "ABCDEFGH"),
        ("/out/app-B5Q3AXYZ.js", By.PATTERN, "B5Q3AXYZ"),
        ("/dist/logo-B5Q3AXYZ.png", By.PATTERN, "B5Q3AXYZ"),
        # Django and WhiteNoise; Rails, Phoenix, Hugo, Middleman, gulp-rev, workbox
        ("/static/css/base.3b1f2a9c0d4e.css", By.PATTERN, "3b1f2a9c0d4e"),
        ("/static/m.js.8a80554c91d9.map", By.PATTERN, "8a80554c91d9"),
        ("/static/img/logo.3b1f2a9c0d4e.png", By.PATTERN, "3b1f2a9c0d4e"),
        ("/assets/app-9b5f244c.css", By.PATTERN, "9b5f244c"),
        ("/assets/logo-9b5f244c.png", By.PATTERN, "9b5f244c"),
        ("/assets/lib-9b5f244c.digested.js", By.PATTERN, "9b5f244c"),
        (f"/assets/application-{'0f' * 32}.js", By.PATTERN, "0f" * 32),
        (f"/assets/app-{'0f' * 16}.js", By.PATTERN, "0f" * 16),
        (f"/css/main.min.{'0f' * 32}.css", By.PATTERN, "0f" * 32),
        (f"/css/main.{'0f' * 64}.css", By.PATTERN, "0f" * 64),
        ("/js/unicorn-d41d8cd98f.js", By.PATTERN, "d41d8cd98f"),
        ("/workbox-3f2a9c1b.js", By.PATTERN, "3f2a9c1b"),
        # Next.js
        ("/_next/static/chunks/3241-0c8c6c0909f9cc2f.js", By.PATTERN, "0c8c6c0909f9cc2f"),
        ("/_next/static/chunks/app/%5Bslug%5D/page-0c8c6c0909f9cc2f.js", By.PATTERN, "0c8c6c0909f9cc2f"),
        ("/_next/static/css/0c8c6c0909f9cc2f.css", By.PATTERN, "0c8c6c0909f9cc2f"),
        ("/_next/static/media/e4af272ccee01ff0-s.p.woff2", By.PATTERN, "e4af272ccee01ff0"),
        ("/_next/static/media/logo.9b5f244c.png", By.PATTERN, "9b5f244c"),
        ("/_next/static/chunks/0d_ks0ow7ur6m.js", By.DIRECTORY, "0d_ks0ow7ur6m"),
        ("/_next/static/chunks/3qfy96eoyh-ek.js", By.DIRECTORY, "3qfy96eoyh-ek"),
        ("/_next/static/chunks/turbopack-2u1d16houkiyo.js", By.DIRECTORY, "2u1d16houkiyo"),
        ("/_next/static/media/photo.0nz-_d3wzut2u.png", By.DIRECTORY, "0nz-_d3wzut2u"),
        # Vite and Rollup, in directories that a tool fills
        ("/assets/index-Dh9alFxD.js", By.DIRECTORY, "Dh9alFxD"),
        ("/assets/lazy-Du6otGov.js", By.DIRECTORY, "Du6otGov"),
        ("/assets/i--mSX2pIB.png", By.DIRECTORY, "-mSX2pIB"),
        ("/assets/resolve-tsconfig-ru_qwUC7.js", By.DIRECTORY, "ru_qwUC7"),
        ("/assets/regex-Bb-uIrCY.js", By.DIRECTORY, "Bb-uIrCY"),
        ("/build/assets/app-Dh9alFxD.css", By.DIRECTORY, "Dh9alFxD"),
        ("/assets/guide_index.md.Dh9alFxD.lean.js", By.DIRECTORY, "Dh9alFxD"),
        # Those whose directories hold nothing else
        ("/_app/immutable/chunks/Dh9alFxD.js", By.DIRECTORY, "Dh9alFxD"),
        ("/_app/immutable/nodes/0.BkXyzAbc.js", By.DIRECTORY, "BkXyzAbc"),
        ("/_app/immutable/entry/start.-fh3k_Dx.js", By.DIRECTORY, "-fh3k_Dx"),
        ("/base/_app/immutable/assets/0.Dh9alFxD.css", By.DIRECTORY, "Dh9alFxD"),
        ("/_nuxt/Dh9alFxD.js", By.DIRECTORY, "Dh9alFxD"),
        ("/_nuxt/entry.Dh9alFxD.css", By.DIRECTORY, "Dh9alFxD"),
        ("/_astro/hoisted.Dh9alFxD.js", By.DIRECTORY, "Dh9alFxD"),
        ("/_astro/photo.D5fs9G9E_ZkqGMx.webp", By.DIRECTORY, "D5fs9G9E_ZkqGMx"),
        ("/_framework/dotnet.runtime.8rp2vxvaqg.js", By.DIRECTORY, "8rp2vxvaqg"),
    ],
)  # fmt: skip
def test_what_tools_write_is_recognised(path: str, by: By, token: str) -> None:
    assert recognise(path) == Versioned(by, token)


@pytest.mark.parametrize(
    ("path", "token"),
    [
        ("/assets/user-5f1e2d3c.png", "5f1e2d3c"),
        ("/assets/swatch-00ff88cc.svg", "00ff88cc"),
        ("/js/opening-e2e4e7e5.js", "e2e4e7e5"),
        ("/js/lib-WIN32X64.js", "WIN32X64"),
        ("/_nuxt/ProductListing.js", "ProductListing"),
    ],
)
def test_what_cannot_be_told_from_a_digest_is_taken_for_one(path: str, token: str) -> None:
    found = recognise(path)
    assert found is not None
    assert found.token == token


@pytest.mark.parametrize(
    "path",
    [
        "/assets/index-abcdefgh.js",  # small letters alone
        "/assets/index-ABCDEFGH.js",
        "/assets/index-PYFYbEnh.js",  # two humps would be a word's
        "/lazy-PYFYbEnh.js",  # base64url, and no directory says that it was built
        "/main.1234567890.js",
        "/main.abcdefab.js",
        "/3f2a9c1b.js",  # too short to be a whole name
        "/assets/app-aBcD12x.js",  # Symfony's seven characters
    ],
)
def test_what_tools_write_is_missed_where_people_write_the_same(path: str) -> None:
    assert recognise(path) is None


# ---------------------------------------------------------------------------------------------------------- manifests


def test_a_manifest_is_believed_before_the_name() -> None:
    listed = Versioned(By.MANIFEST, "12345678", hashes_content=True)
    names = AssetNames.of({"/static/app.12345678.js": listed, "/static/data.json": listed})
    assert recognise("/static/app.12345678.js", names) == listed
    assert recognise("/static/data.json", names) == listed
    assert recognise("/static/app.12345678.js") is None
    assert recognise("/app.12345678.js", names) is None
    assert recognise("/static/app.3f2a9c1b.js", names) == Versioned(By.PATTERN, "3f2a9c1b")
    assert len(names) == 2
    assert "/static/data.json" in names


def test_a_manifest_makes_nothing_versioned_that_is_never_immutable() -> None:
    names = AssetNames.of({path: Versioned(By.MANIFEST, "3f2a9c1b") for path in ("/sw.js", "/", "/a.html", "/a.js")})
    assert set(names.listed) == {"/a.js"}


def test_without_a_manifest_nothing_is_listed() -> None:
    assert len(AssetNames()) == 0


# ------------------------------------------------------------------------------------------------------ what never is


@pytest.mark.parametrize(
    "path",
    [
        "/", "", "*", "/about", "/a.b/c", "/v1.2", "/users/", "/.htaccess/",
        "/index.html", "/a.HTM", "/a.php", "/a.php5", "/a.aspx", "/a.jsp", "/a.cgi", "/a.do", "/a.xhtml",
        "/index.php/a.js",
        "/app.3f2a9c1b.html", "/assets/index-Dh9alFxD.html",
        "/sw.js", "/a/sw.js", "/my-sw.js", "/sw.min.js", "/service-worker.js", "/serviceworker.js",
        "/service_worker.mjs",
        "/Service-Worker.js", "/service-worker-assets.js", "/firebase-messaging-sw.js", "/pwabuilder-sw.js",
        "/ngsw-worker.js", "/safety-worker.js", "/OneSignalSDKWorker.js", "/mockServiceWorker.js", "/registerSW.js",
        "/manifest.json", "/asset-manifest.json", "/build-manifest.json", "/mix-manifest.json", "/rev-manifest.json",
        "/.vite/manifest.json", "/.vite/ssr-manifest.json", "/assets/.manifest.json", "/manifest.webmanifest",
        "/assets/.sprockets-manifest-0f0f0f.json", "/site.webmanifest", "/a.appcache", "/staticfiles.json",
        "/version.json", "/_app/version.json", "/ngsw.json", "/latest.json", "/_nuxt/builds/latest.json",
        "/blazor.boot.json", "/_framework/blazor.boot.json", "/importmap.json", "/stats.json",
        "/robots.txt", "/ROBOTS.TXT", "/favicon.ico", "/ads.txt", "/sitemap.xml", "/sitemap-2.xml",
        "/sitemap_index.xml",
        "/feed.xml", "/blog.rss", "/blog.atom", "/calendar.ics", "/apple-touch-icon.png", "/browserconfig.xml",
        "/.well-known/security.txt", "/.well-known/acme-challenge/x.css",
        "/remoteEntry.js", "/assets/remoteEntry.js", "/env.js", "/__env.js", "/config.js", "/config.json",
        "/runtime-env.js",
        "/page-data.json", "/page-data/index/page-data.json", "/page-data/sq/d/3f2a9c1b.json",
        "/_next/static/jHEr5EoFgMI81LvM2t3AT/_buildManifest.js", "/_next/static/x/_ssgManifest.js",
        "/_next/static/development/_devPages-3f2a9c1b.js",
        "/_next/data/build/index.json", "/_next/image", "/_next/image/x.3f2a9c1b.png",
        "/live/stream.m3u8", "/live/stream.mpd",
    ],
)  # fmt: skip
def test_what_changes_in_its_place_is_never_immutable(path: str) -> None:
    assert is_never_immutable(path)
    assert recognise(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "/app.js", "/a/b.css", "/logo.png", "/font.woff2", "/a.mp3", "/a.7z", "/a.json", "/a.txt", "/a.xml", "/a.pdf",
        "/sw-3f2a9c1b.js", "/workbox-3f2a9c1b.js", "/swiper.js", "/answer.js", "/config.3f2a9c1b.js", "/manifest.js",
        "/manifest.3f2a9c1b.json", "/assets/manifest-Dh9alFxD.json", "/favicon.3b1f2a9c0d4e.ico", "/html.js", "/do.css",
        "/a.html.js", "/version.3f2a9c1b.js", "/user-settings.js", "/_next/static/chunks/main.js", "/next/data.js",
    ],
)  # fmt: skip
def test_what_may_be_immutable(path: str) -> None:
    assert not is_never_immutable(path)


# ------------------------------------------------------------------------------------------------------- verification

BODY: Final = (b"body{", b"", b"color:red}")
WHOLE: Final = b"".join(BODY)


@pytest.mark.parametrize(
    ("algorithm", "length"),
    [
        *(("md5", 12), ("md5", 10), ("md5", 8), ("md5", 32), ("sha1", 8), ("sha1", 40), ("sha256", 8), ("sha256", 64)),
        *(("sha384", 96), ("sha512", 128)),
    ],
)
@pytest.mark.parametrize("hashes_content", [True, False])
def test_a_token_that_is_the_digest_of_the_body_is_proof(algorithm: str, length: int, hashes_content: bool) -> None:
    token = hashlib.new(algorithm, WHOLE).hexdigest()[:length]
    assert verifies(token, BODY, hashes_content=hashes_content) is True
    assert verifies(token, iter([WHOLE]), hashes_content=hashes_content) is True
    assert verifies(token, (*BODY, b" "), hashes_content=hashes_content) is (False if hashes_content else None)


@pytest.mark.parametrize("token", ["Dh9alFxD", "2ADT4KFJ", "", "abc", "0" * 129, "3F2A9C1B"])
def test_a_token_that_is_no_hexadecimal_digest_says_nothing(token: str) -> None:
    read: list[bytes] = []
    assert verifies(token, (read.append(piece) or piece for piece in BODY)) is None  # type: ignore[func-returns-value]
    assert verifies(token, BODY, hashes_content=True) is None
    assert read == []


# --------------------------------------------------------------------------------------------------------- properties

_hexadecimal = st.sampled_from([8, 10, 12, 16, 20, 32, 40, 64, 96, 128]).flatmap(
    lambda length: st.text("0123456789abcdef", min_size=length, max_size=length)
)
_words = st.lists(st.text("abXY09", min_size=1, max_size=5), min_size=1, max_size=3).map("-".join)
_like_paths = st.lists(
    st.sampled_from(
        [
            *("/", "assets", "_nuxt", "app", "sw", "-", ".", "..", "3f2a9c1b", "Dh9alFxD", "2ADT4KFJ", "js", "min"),
            *("map", "html", "json", "manifest", "%2f", ";", "php", "uploads", "png", "\x00", "é"),
        ]
    ),
    max_size=12,
).map("".join)


@given(path=st.text(max_size=60) | _like_paths)
def test_any_path_has_an_answer_and_what_never_is_is_not_recognised(path: str) -> None:
    found = recognise(path)
    if found is None:
        return
    assert not is_never_immutable(path)
    assert found.token
    assert found.token in path.rpartition("/")[2]
    assert len(found.token) >= 8


@given(path=st.text(max_size=60) | _like_paths)
def test_no_manifest_overrules_what_is_never_immutable(path: str) -> None:
    listed = Versioned(By.MANIFEST, "x")
    found = recognise(path, AssetNames.of({path: listed}))
    assert found == (None if is_never_immutable(path) else listed)


@given(word=_words, token=_hexadecimal, dash=st.sampled_from(".-"), end=st.sampled_from([".js", ".min.css", ".js.map"]))
def test_hexadecimal_is_recognised_exactly_when_it_has_a_digit_and_a_letter(
    word: str, token: str, dash: str, end: str
) -> None:
    found = recognise(f"/x/{word}{dash}{token}{end}")
    mixed = not token.isdigit() and not token.isalpha()
    assert (found == Versioned(By.PATTERN, token)) is mixed


@given(body=st.lists(st.binary(max_size=20), max_size=5), other=st.binary(max_size=20), length=st.integers(8, 128))
def test_how_a_body_is_cut_up_makes_no_difference(body: list[bytes], other: bytes, length: int) -> None:
    whole = b"".join(body)
    token = hashlib.sha256(whole).hexdigest()[:length]
    assert verifies(token, body) is verifies(token, [whole])
    assert verifies(token, [other], hashes_content=True) is (other == whole and len(token) not in (32, 40))


@pytest.mark.parametrize(
    "piece", ["a-", "a.", "3f2a9c1b-", ".min", ".js", "/", "/assets", "A2", "aB1", "x.html", "-s", "sw-", "0a" * 64]
)
def test_a_long_path_is_answered_for_too(piece: str) -> None:
    for length in (250, 4000, 1_000_000):
        path = "/assets/" + piece * (length // len(piece))
        assert recognise(path + ".") is None
        is_never_immutable(path)
        found = recognise(path + "/app.3f2a9c1b.js")
        assert found is None or length <= 4096


def test_how_much_of_what_tools_write_is_recognised() -> None:
    """The share of random digests, as the documentation tells it."""
    dice = random.Random(20)
    hexadecimal, base32 = "0123456789abcdef", string.ascii_uppercase + "234567"
    base64url = string.ascii_letters + string.digits + "-_"

    def share(name: str, alphabet: str, length: int) -> int:
        tokens = ("".join(dice.choices(alphabet, k=length)) for _ in range(4000))
        return round(100 * sum(recognise(name.format(token)) is not None for token in tokens) / 4000)

    assert share("/x/a.{}.js", hexadecimal, 8) == pytest.approx(98, abs=1)
    assert share("/x/a.{}.js", hexadecimal, 12) == pytest.approx(100, abs=1)
    assert share("/chunk-{}.js", base32, 8) == 100
    assert share("/x/a-{}.js", base32, 8) == pytest.approx(75, abs=3)
    assert share("/assets/a-{}.js", base64url, 8) == pytest.approx(56, abs=3)
    assert share("/_nuxt/{}.js", base64url, 8) == pytest.approx(100, abs=1)
