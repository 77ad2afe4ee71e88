"""Whom the client trusts: how it is decided, how it begins, and which chains hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from fakes.certificates import make_intermediate, make_root
from fakes.step_ca import FakeCa, serving

from online.home import Home
from online.https import parse_ca_url
from online.trust import TokenHint, bootstrap, check_chain, resolve
from shared import keys
from shared.errors import PeerFailed, RequestRejected
from shared.keys import KeyKind
from shared.pem import certificate_pem

NOW = datetime.now(UTC)


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    directory = tmp_path / "server"
    directory.mkdir()
    with serving(FakeCa(), directory) as ca:
        yield ca


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    return Home(path=tmp_path / "home")


def _files(home: Home) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in home.path.rglob("*") if each.is_file()}


def test_bootstrap_makes_a_home_that_resolves(ca: FakeCa, home: Home) -> None:
    """After bootstrap a command without options must know address and root, and reach the CA."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    trust = resolve(home)
    assert (str(trust.url), trust.roots) == (ca.url, (ca.root,))
    assert trust.client().health() == "ok"
    assert home.defaults.parent.stat().st_mode & 0o077 == 0


def test_bootstrap_again_changes_nothing(ca: FakeCa, home: Home) -> None:
    """A configuration tool runs the same command every time; that must not fail."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    before = _files(home)
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    assert _files(home) == before


def test_bootstrap_does_not_replace_trust_in_silence(ca: FakeCa, home: Home) -> None:
    """A mistyped home must not make a machine trust another CA."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    before = _files(home)
    for url, wanted in ((ca.url, "00" * 32), ("https://other.local", ca.fingerprint)):
        with pytest.raises(RequestRejected, match="already trusts another"):
            bootstrap(home, ca_url=url, wanted=wanted, force=False)
    assert _files(home) == before


def test_the_home_of_a_ca_keeps_its_root(ca: FakeCa, home: Home) -> None:
    """Even --force must not put another root under a node that issues."""
    home.root_certificate.parent.mkdir(parents=True)
    home.root_certificate.write_bytes(certificate_pem(make_root()[0]))
    home.config.parent.mkdir()
    home.config.write_text("{}")
    before = _files(home)
    with pytest.raises(RequestRejected, match="its own root"):
        bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=True)
    assert _files(home) == before


def test_another_ca_by_force(ca: FakeCa, home: Home) -> None:
    """An operator who says so may move a machine to another CA."""
    home.defaults.parent.mkdir(parents=True)
    home.defaults.write_text(json.dumps({"ca-url": "https://old.local", "fingerprint": "00" * 32}))
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=True)
    assert resolve(home).roots == (ca.root,)


def test_a_home_may_be_moved(ca: FakeCa, home: Home) -> None:
    """defaults.json names the root absolutely; the moved copy must find its own."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    moved = Home(path=home.path.with_name("moved"))
    home.path.rename(moved.path)
    assert resolve(moved).roots == (ca.root,)


def test_bootstrap_with_a_wrong_fingerprint_leaves_nothing(ca: FakeCa, home: Home) -> None:
    """A home half made would be taken for a bootstrapped one by the next command."""
    ca.overrides[f"/root/{'00' * 32}"] = (200, {"ca": certificate_pem(ca.root).decode()})
    with pytest.raises(PeerFailed, match="another fingerprint"):
        bootstrap(home, ca_url=ca.url, wanted="00" * 32, force=False)
    assert not home.path.exists()


def test_a_token_alone_is_enough(ca: FakeCa, home: Home) -> None:
    """A new machine with nothing but a token must find the CA and prove its root by the token's fingerprint."""
    trust = resolve(home, token=TokenHint(url=parse_ca_url(ca.url), fingerprint=ca.fingerprint))
    assert (str(trust.url), trust.roots) == (ca.url, (ca.root,))
    assert not home.path.exists()


def test_a_token_for_another_ca_is_not_sent(ca: FakeCa, home: Home) -> None:
    """The wrong CA would see the token, and may be a thief."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    with pytest.raises(RequestRejected, match="another root"):
        resolve(home, token=TokenHint(url=parse_ca_url(ca.url), fingerprint="00" * 32))


def test_options_win_over_defaults(ca: FakeCa, home: Home, tmp_path: Path) -> None:
    """An operator who names a CA on the command line means that one."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    other, _ = make_root()
    file = tmp_path / "other.crt"
    file.write_bytes(certificate_pem(other))
    trust = resolve(home, ca_url="https://other.local", root=file)
    assert (str(trust.url), trust.roots) == ("https://other.local", (other,))


def test_a_root_that_is_not_the_pinned_one_is_refused(ca: FakeCa, home: Home) -> None:
    """Whoever may write certs/ but not config/ must not be able to swap the root."""
    bootstrap(home, ca_url=ca.url, wanted=ca.fingerprint, force=False)
    home.root_certificate.write_bytes(certificate_pem(make_root()[0]))
    with pytest.raises(RequestRejected, match="pins"):
        resolve(home)


@pytest.mark.parametrize(("defaults", "code"), [({}, "trust.no-ca-url"), ({"ca-url": "https://ca"}, "trust.no-root")])
def test_an_empty_home_says_what_to_do(home: Home, defaults: dict[str, str], code: str) -> None:
    """A newcomer's first command must name bootstrap, not a missing file."""
    home.defaults.parent.mkdir(parents=True)
    home.defaults.write_text(json.dumps(defaults))
    with pytest.raises(RequestRejected) as caught:
        resolve(home)
    assert caught.value.code == code
    assert "bootstrap" in (caught.value.hint or "")


@pytest.fixture(name="chain", scope="module")
def _chain() -> tuple[FakeCa, tuple[x509.Certificate, ...]]:
    ca = FakeCa()
    return ca, ca.leaf(keys.generate(KeyKind.EC_P256).public_key(), "foo.local")


def test_a_good_chain_holds(chain: tuple[FakeCa, tuple[x509.Certificate, ...]]) -> None:
    """The rule must let through what the CA really sends."""
    ca, good = chain
    check_chain(good, (make_root()[0], ca.root), now=datetime.now(UTC))


def test_broken_chains(chain: tuple[FakeCa, tuple[x509.Certificate, ...]]) -> None:
    """Empty, without its intermediate, in the wrong order, or under another root: none may be installed."""
    ca, good = chain
    for broken in ((), good[:1], good[::-1], (*good, make_root()[0])):
        with pytest.raises(PeerFailed):
            check_chain(broken, (ca.root,), now=datetime.now(UTC))
    with pytest.raises(PeerFailed, match="not signed by a trusted root"):
        check_chain(good, (make_root()[0],), now=datetime.now(UTC))


def test_a_leaf_signs_nothing() -> None:
    """The classic: a certificate below an ordinary leaf, whose signature is perfectly good."""
    ca = FakeCa()
    key = keys.generate(KeyKind.EC_P256)
    leaf = ca.leaf(key.public_key(), "foo.local")[0]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "victim.local")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(leaf.subject).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(NOW - timedelta(hours=1))
    forged = builder.not_valid_after(NOW + timedelta(hours=1)).sign(key, keys.signature_hash(KeyKind.EC_P256))
    with pytest.raises(PeerFailed, match="may not sign"):
        check_chain((forged, leaf, ca.intermediate), (ca.root,), now=datetime.now(UTC))


def test_a_path_length_counts() -> None:
    """A root of path length 1 allows one CA below it, not two."""
    root, root_key = make_root()
    middle, middle_key = make_intermediate(root, root_key)
    key = keys.generate(KeyKind.EC_P256)
    builder = x509.CertificateBuilder().issuer_name(middle.subject).serial_number(2).public_key(key.public_key())
    builder = builder.subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Sub")]))
    builder = builder.not_valid_before(middle.not_valid_before_utc).not_valid_after(middle.not_valid_after_utc)
    for extension in middle.extensions:
        if isinstance(extension.value, x509.BasicConstraints | x509.KeyUsage):
            builder = builder.add_extension(extension.value, extension.critical)
    sub = builder.sign(middle_key, keys.signature_hash(KeyKind.EC_P256))
    with pytest.raises(PeerFailed, match="fewer CAs"):
        check_chain((_below(sub, key), sub, middle), (root,), now=middle.not_valid_before_utc + timedelta(days=1))


def _below(issuer: x509.Certificate, key: keys.PrivateKey) -> x509.Certificate:
    builder = x509.CertificateBuilder().issuer_name(issuer.subject).serial_number(3).public_key(key.public_key())
    builder = builder.subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf.local")]))
    builder = builder.not_valid_before(issuer.not_valid_before_utc).not_valid_after(issuer.not_valid_after_utc)
    return builder.sign(key, keys.signature_hash(KeyKind.EC_P256))


@pytest.mark.parametrize("shift", [timedelta(days=-2), timedelta(days=3)])
def test_dates_count(chain: tuple[FakeCa, tuple[x509.Certificate, ...]], shift: timedelta) -> None:
    """A replayed old answer, or one from the future, is no certificate for now."""
    ca, good = chain
    with pytest.raises(PeerFailed, match="not valid now"):
        check_chain(good, (ca.root,), now=NOW + shift)


def test_a_clock_a_minute_behind_is_forgiven(chain: tuple[FakeCa, tuple[x509.Certificate, ...]]) -> None:
    """CA and client never agree to the second; a fresh certificate must not be refused for it."""
    ca, good = chain
    check_chain(good, (ca.root,), now=good[0].not_valid_before_utc - timedelta(seconds=90))
