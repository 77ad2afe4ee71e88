"""``online import``: only the answer to this home's own request gets in, and it gets in whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.ceremony_reply import certify_request, reply_bundle
from fakes.certificates import make_root

from online.adopt import adopt
from online.establish import Wishes, establish
from online.home import Home, load_defaults
from shared import durable, keys
from shared.crossing import transfer
from shared.crossing.bundle import digest
from shared.crossing.words import parse_words
from shared.errors import ColdrootError, RequestRejected, StoreFailed, Unauthenticated
from shared.keys import KeyKind, fingerprint
from shared.pem import certificate_pem, load_certificate
from shared.profile import Profile, Role

NOW = datetime.now(UTC)
ROOT, ROOT_KEY = make_root(begin=NOW - timedelta(days=1))
WISHES = Wishes(
    name="Acme", dns_names=("localhost",), address=":9000", provisioner="admin", key_password=b"one",
    provisioner_password=b"two",
)  # fmt: skip


def _secret(prompt: str) -> bytes:
    del prompt
    return b"one"


@pytest.fixture(name="template", scope="module")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("adopt")
    establish(Home(path=directory / "home"), directory / "crossing", WISHES, pin=_secret)
    return directory / "home"


@pytest.fixture(name="home")
def _home(template: Path, tmp_path: Path) -> Home:
    shutil.copytree(template, tmp_path / "home")
    return Home(path=tmp_path / "home")


def _write(home: Home, data: bytes) -> list[Path]:
    directory = home.path.parent / "crossing"
    directory.mkdir()
    with durable.Staging() as staging:
        return transfer.stage_bundle(staging, directory, "reply", data)


def _good(home: Home) -> bytes:
    request = home.request.read_bytes()
    return reply_bundle(request, ROOT, certify_request(request, ROOT, ROOT_KEY))


def _state(home: Home) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in home.path.rglob("*") if each.is_file()}


@pytest.mark.parametrize("media", [slice(0, 1), slice(1, None), slice(None)])
def test_a_good_reply_is_installed(home: Home, media: slice) -> None:
    """By file, by images in any order, and by both: root, intermediate and pin are there, the words are right."""
    data = _good(home)
    paths = _write(home, data)[media][::-1]
    adopted = adopt(home, paths, pinned=fingerprint(ROOT), secret=_secret, now=NOW)
    assert not adopted.again
    assert load_certificate(home.root_certificate.read_bytes()) == adopted.root == ROOT
    assert load_certificate(home.intermediate_certificate.read_bytes()) == adopted.intermediate
    defaults = load_defaults(home)
    assert (defaults.fingerprint, defaults.ca_url) == (fingerprint(ROOT), "https://localhost:9000")
    assert parse_words(adopted.words) == digest(data)


def test_the_same_reply_again_is_no_error(home: Home) -> None:
    """A demo or a configuration tool that runs twice must not fail, and must not touch the files."""
    paths = _write(home, _good(home))[:1]
    adopt(home, paths, pinned=fingerprint(ROOT), secret=_secret, now=NOW)
    before = _state(home)
    assert adopt(home, paths, pinned=None, secret=_secret, now=NOW).again
    assert _state(home) == before


def test_another_certificate_does_not_replace_the_first(home: Home) -> None:
    """Even a second signature over the same request must not change the running CA in silence."""
    paths = _write(home, _good(home))[:1]
    adopt(home, paths, pinned=fingerprint(ROOT), secret=_secret, now=NOW)
    before = _state(home)
    paths[0].write_bytes(_good(home))
    with pytest.raises(RequestRejected) as caught:
        adopt(home, paths, pinned=None, secret=_secret, now=NOW)
    assert caught.value.code == "import.exists"
    assert _state(home) == before


def test_without_a_pin_nothing_is_believed(home: Home) -> None:
    """The reply itself must never say which root to trust."""
    _refused(home, _good(home), "import.no-pin", pinned=None)


def test_a_pin_of_init_holds_against_the_option(home: Home) -> None:
    """Two different pins mean that somebody is mistaken: neither wins."""
    home.root_certificate.write_bytes(certificate_pem(make_root()[0]))
    _refused(home, _good(home), "import.other-root", pinned=fingerprint(ROOT))


def _foreign_root(home: Home) -> bytes:
    root, key = make_root(begin=NOW - timedelta(days=1))
    request = home.request.read_bytes()
    return reply_bundle(request, root, certify_request(request, root, key))


def _signed_by_another(home: Home) -> bytes:
    # The names fit, only the signature does not.
    request = home.request.read_bytes()
    fake_root, fake_key = make_root(begin=NOW - timedelta(days=1))
    return reply_bundle(request, ROOT, certify_request(request, fake_root, fake_key))


def _other_request(home: Home) -> bytes:
    request = home.request.read_bytes()
    return reply_bundle(request, ROOT, certify_request(request, ROOT, ROOT_KEY), in_reply_to=os.urandom(32).hex())


def _other_key(home: Home) -> bytes:
    request = home.request.read_bytes()
    key = keys.generate(KeyKind.EC_P256).public_key()
    return reply_bundle(request, ROOT, certify_request(request, ROOT, ROOT_KEY, key=key))


def _may_have_cas_below(home: Home) -> bytes:
    request = home.request.read_bytes()
    loose = Profile(name="loose", role=Role.INTERMEDIATE, longest=timedelta(days=3653), path_length=1)
    return reply_bundle(request, ROOT, certify_request(request, ROOT, ROOT_KEY, profile=loose))


def _root_as_intermediate(home: Home) -> bytes:
    return reply_bundle(home.request.read_bytes(), ROOT, ROOT)


def _expired(home: Home) -> bytes:
    request = home.request.read_bytes()
    begin = NOW - timedelta(hours=20)
    return reply_bundle(request, ROOT, certify_request(request, ROOT, ROOT_KEY, begin=begin, life=timedelta(hours=1)))


def _not_a_root(home: Home) -> bytes:
    request = home.request.read_bytes()
    intermediate = certify_request(request, ROOT, ROOT_KEY)
    return reply_bundle(request, intermediate, intermediate)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_foreign_root, "import.other-root"),
        (_signed_by_another, "import.signature"),
        (_other_request, "import.other-request"),
        (_other_key, "import.other-key"),
        (_may_have_cas_below, "import.profile"),
        (_root_as_intermediate, "import.profile"),
        (_expired, "import.dates"),
        (_not_a_root, "import.other-root"),
    ],
)
def test_any_other_reply_changes_nothing(home: Home, make: Callable[[Home], bytes], code: str) -> None:
    """Each is what a mixed-up or malicious courier could bring; none may leave a byte behind."""
    _refused(home, make(home), code, pinned=fingerprint(ROOT))


def test_a_pinned_certificate_that_is_no_root_is_refused(home: Home) -> None:
    """Even with the fingerprint of an intermediate given by mistake, trust must start at a root."""
    request = home.request.read_bytes()
    intermediate = certify_request(request, ROOT, ROOT_KEY)
    data = reply_bundle(request, intermediate, intermediate)
    _refused(home, data, "import.root", pinned=fingerprint(intermediate))


def test_a_request_is_no_reply(home: Home) -> None:
    """Our own request brought back must not pass for its answer."""
    _refused(home, home.request.read_bytes(), "bundle.wrong-purpose", pinned=fingerprint(ROOT))


def test_a_tampered_bundle_is_refused(home: Home) -> None:
    """One changed byte anywhere must be noticed."""
    paths = _write(home, _good(home))
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 2] ^= 1
    paths[0].write_bytes(content)
    before = _state(home)
    with pytest.raises(RequestRejected):
        adopt(home, paths[:1], pinned=fingerprint(ROOT), secret=_secret, now=NOW)
    assert _state(home) == before


def test_a_wrong_password_is_named(home: Home) -> None:
    """The key could not be compared, so nothing is installed."""
    paths = _write(home, _good(home))[:1]
    before = _state(home)
    with pytest.raises(Unauthenticated, match="password"):
        adopt(home, paths, pinned=fingerprint(ROOT), secret=lambda _: b"wrong", now=NOW)
    assert _state(home) == before


def test_a_home_without_init_is_named(tmp_path: Path) -> None:
    """Import into the wrong home must say that there is no node, not invent one."""
    with pytest.raises(RequestRejected, match=r"ca\.json does not exist"):
        adopt(Home(path=tmp_path), [], pinned=None, secret=_secret, now=NOW)


def test_a_full_disk_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root without its intermediate, or a pin without its root, would be a torn installation."""
    paths = _write(home, _good(home))[:1]
    before = _state(home)
    left = iter([True, True, False])

    def add(self: durable.Staging, path: Path, content: bytes, **keywords: object) -> None:
        if not next(left):
            raise StoreFailed("file.write-failed", "no space")
        real(self, path, content, **keywords)  # type: ignore[arg-type]

    real = durable.Staging.add
    monkeypatch.setattr(durable.Staging, "add", add)
    with pytest.raises(StoreFailed):
        adopt(home, paths, pinned=fingerprint(ROOT), secret=_secret, now=NOW)
    assert _state(home) == before


def _refused(home: Home, data: bytes, code: str, *, pinned: str | None) -> None:
    paths = _write(home, data)[:1]
    before = _state(home)
    with pytest.raises(ColdrootError) as caught:
        adopt(home, paths, pinned=pinned, secret=_secret, now=NOW)
    assert caught.value.code == code
    assert _state(home) == before
