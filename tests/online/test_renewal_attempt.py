"""One attempt, from the files to the files: what is written besides the pair, and that nothing is half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from fakes.step_ca import Answer, FakeCa, serving

from online.https import parse_ca_url
from online.renewal.attempt import refresh_outputs, renew_pair
from online.renewal.install import install_pair
from online.renewal.outputs import Outputs
from online.renewal.pair import Pair
from online.trust import Trust
from shared import keys
from shared.errors import ColdrootError, PeerFailed, RequestRejected, StoreFailed, Unauthenticated
from shared.keys import KeyKind, PrivateKey
from shared.keystore import private_key_pem
from shared.pem import load_certificates

PASSWORD = b"of the key"


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    directory = tmp_path / "server"
    directory.mkdir()
    with serving(FakeCa(), directory) as running:
        yield running


@pytest.fixture(name="trust")
def _trust(ca: FakeCa) -> Trust:
    return Trust(url=parse_ca_url(ca.url), roots=(ca.root,))


def write_pair(
    ca: FakeCa,
    directory: Path,
    *,
    key: PrivateKey | None = None,
    ago: timedelta = timedelta(hours=17),
    password: bytes | None = None,
    **said: object,
) -> Pair:
    key = key or keys.generate(KeyKind.EC_P256)
    crt, key_file = directory / "foo.crt", directory / "foo.key"
    chain = ca.leaf(key.public_key(), "foo.local", begin=datetime.now(UTC) - ago)
    install_pair(crt, key_file, chain, private_key_pem(key, password), overwrite=False)
    ca.token_renewal = (key.public_key(), ("foo.local",))
    return Pair(name="foo", certificate=crt, key=str(key_file), **said)  # type: ignore[arg-type]


def secret(prompt: str) -> bytes:
    del prompt
    return PASSWORD


def attempt(pair: Pair, trust: Trust) -> bool:
    """Renew, insist that the files match, and tell whether the key is a new one."""
    renewed = renew_pair(pair, trust, secret, now=datetime.now(UTC))
    assert pair.key_file is not None
    content = pair.key_file.read_bytes()
    key = load_pem_private_key(content, PASSWORD if b"ENCRYPTED" in content else None)
    (leaf, *_) = load_certificates(pair.certificate.read_bytes())
    assert leaf == renewed.new != renewed.old
    assert leaf.public_key() == key.public_key()
    assert renewed.rekeyed is (renewed.new.public_key() != renewed.old.public_key())
    return renewed.rekeyed


def test_renewed_and_rekeyed(ca: FakeCa, trust: Trust, tmp_path: Path) -> None:
    """step's rekeying daemon renews and never rekeys: the key that was to live a day lives for ever."""
    assert not attempt(write_pair(ca, tmp_path), trust)
    other = tmp_path / "other"
    other.mkdir()
    assert attempt(write_pair(ca, other, rekey=True), trust)


@pytest.mark.parametrize("kind", [KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
def test_a_new_key_is_like_the_old_one(ca: FakeCa, trust: Trust, tmp_path: Path, kind: KeyKind) -> None:
    """Its kind, its size and its password were chosen once; a rekey that dropped them would weaken it in silence."""
    key = keys.generate(kind, rsa_bits=3072)
    pair = write_pair(ca, tmp_path, key=key, password=PASSWORD, rekey=True)
    assert attempt(pair, trust)
    assert pair.key_file is not None
    content = pair.key_file.read_bytes()
    assert b"ENCRYPTED PRIVATE KEY" in content
    new = load_pem_private_key(content, PASSWORD)
    assert keys.kind_of(new) is kind  # type: ignore[arg-type]
    assert getattr(new, "key_size", 0) == getattr(key, "key_size", 0)


def test_an_expired_one_rekeys_by_token_or_at_least_renews(ca: FakeCa, trust: Trust, tmp_path: Path) -> None:
    """A step-ca rekeys by TLS only, which lets no expired certificate in: renewed by token, it can rekey next time."""
    pair = write_pair(ca, tmp_path, ago=timedelta(hours=30), rekey=True)
    ca.overrides["/rekey"] = (400, {"status": 400, "message": "missing client certificate"})
    assert not attempt(pair, trust)
    del ca.overrides["/rekey"]
    assert attempt(pair, trust)
    # While it lives a refusal is a refusal: nothing is renewed behind the operator's back.
    ca.overrides["/rekey"] = (403, {"status": 403, "message": "no"})
    with pytest.raises(ColdrootError, match="403"):
        renew_pair(pair, trust, secret, now=datetime.now(UTC))


def outputs(directory: Path) -> Outputs:
    password = directory / "p12.pw"
    if not password.exists():
        password.touch(mode=0o600)
        password.write_text("of the file\n")
    return Outputs(combined=directory / "foo.pem", pkcs12=directory / "foo.p12", pkcs12_password_file=password)


def check_outputs(pair: Pair) -> None:
    """Insist that both further files hold the pair, and that nobody else may read them."""
    assert pair.outputs.combined is not None
    assert pair.outputs.pkcs12 is not None
    assert pair.key_file is not None
    assert pair.outputs.combined.read_bytes() == pair.certificate.read_bytes() + pair.key_file.read_bytes()
    key, leaf, others = pkcs12.load_key_and_certificates(pair.outputs.pkcs12.read_bytes(), b"of the file")
    assert key is not None
    assert leaf is not None
    assert (leaf, *others) == load_certificates(pair.certificate.read_bytes())
    assert key.public_key() == leaf.public_key()
    for file in (pair.outputs.combined, pair.outputs.pkcs12):
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("rekey", [False, True])
def test_further_files_follow_the_pair(ca: FakeCa, trust: Trust, tmp_path: Path, *, rekey: bool) -> None:
    """HAProxy reads one PEM file and Java one PKCS#12 file: a renewal that leaves them behind renewed nothing."""
    pair = write_pair(ca, tmp_path, rekey=rekey, outputs=outputs(tmp_path))
    attempt(pair, trust)
    check_outputs(pair)
    attempt(pair, trust)
    check_outputs(pair)


def test_files_left_behind_are_found_out(ca: FakeCa, trust: Trust, tmp_path: Path) -> None:
    """A run that was killed after the pair leaves the old further files; those that are right are not touched."""
    pair = write_pair(ca, tmp_path, outputs=outputs(tmp_path))
    refresh_outputs(pair, secret)
    check_outputs(pair)
    assert pair.outputs.pkcs12 is not None
    before = pair.outputs.pkcs12.stat().st_ino
    refresh_outputs(pair, secret)
    assert pair.outputs.pkcs12.stat().st_ino == before
    attempt(Pair(name="foo", certificate=pair.certificate, key=pair.key), trust)
    refresh_outputs(pair, secret)
    check_outputs(pair)
    pair.outputs.pkcs12.write_bytes(b"broken")
    refresh_outputs(pair, secret)
    check_outputs(pair)


def test_what_cannot_be_written_is_told_before_the_ca_is_asked(ca: FakeCa, tmp_path: Path) -> None:
    """A certificate that nobody can install is one more that could be stolen."""
    pair = write_pair(ca, tmp_path, outputs=Outputs(combined=tmp_path / "no" / "foo.pem"))
    with pytest.raises(RequestRejected, match="does not exist"):
        pair.check_outputs()
    with pytest.raises(RequestRejected, match="go together"):
        Outputs(pkcs12=tmp_path / "foo.p12")


def test_failures_change_nothing(ca: FakeCa, trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong password, a broken pair, a CA that is away, a disk that is full: the old pair, whole."""
    pair = write_pair(ca, tmp_path, password=PASSWORD, rekey=True, outputs=outputs(tmp_path))

    def content() -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}

    before = content()
    with pytest.raises(Unauthenticated):
        renew_pair(pair, trust, lambda _: b"wrong", now=datetime.now(UTC))
    ca.overrides["/rekey"] = (503, {"status": 503, "message": "later"})
    with pytest.raises(PeerFailed):
        renew_pair(pair, trust, secret, now=datetime.now(UTC))
    del ca.overrides["/rekey"]

    def full(*arguments: object, **named: object) -> None:
        del arguments, named
        raise StoreFailed("file.write-failed", "no space")

    with monkeypatch.context() as patch:
        patch.setattr("shared.durable.Staging.add", full)
        with pytest.raises(StoreFailed):
            renew_pair(pair, trust, secret, now=datetime.now(UTC))
    assert content() == before
    assert pair.key_file is not None
    pair.key_file.write_bytes(private_key_pem(keys.generate(KeyKind.EC_P256), None))
    with pytest.raises(RequestRejected, match="belong together"):
        renew_pair(pair, trust, secret, now=datetime.now(UTC))


@pytest.mark.parametrize("layout", ["plain", "versioned"])
@pytest.mark.parametrize("rekey", [False, True], ids=["renew", "rekey"])
def test_without_room_no_ca_is_asked(
    ca: FakeCa, trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, *, rekey: bool
) -> None:
    """An answer that nobody can keep makes the certificate in use look stolen at the next attempt, and be revoked."""
    (tmp_path / "pair").mkdir()
    (tmp_path / "current").symlink_to("pair")
    pair = write_pair(ca, tmp_path / ("current" if layout == "versioned" else "pair"), rekey=rekey)

    def full(*arguments: object, **named: object) -> None:
        del arguments, named
        raise StoreFailed("file.write-failed", "no space")

    with monkeypatch.context() as patch:
        patch.setattr("shared.durable._write_all", full)
        with pytest.raises(StoreFailed):
            renew_pair(pair, trust, secret, now=datetime.now(UTC))
    assert not ca.requests
    attempt(pair, trust)
    assert not [each for each in (*tmp_path.iterdir(), *(tmp_path / "pair").iterdir()) if each.name[0] == "."]


class Overtaken(FakeCa):
    """A CA during whose answer something happens."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def answer(self, path: str, body: dict[str, object], peer: x509.Certificate | None) -> Answer:
        happen, self.meanwhile = self.meanwhile, lambda: None
        happen()
        return super().answer(path, body, peer)


@pytest.mark.parametrize("layout", ["plain", "versioned", "two-directories"])
@pytest.mark.parametrize("rekey", [False, True], ids=["renew", "rekey"])
def test_a_pair_that_was_rekeyed_meanwhile_stays_a_pair(tmp_path: Path, layout: str, *, rekey: bool) -> None:
    """Else the renewed certificate, for the old key, would lie beside the new key, and no server could start."""
    directory = tmp_path / "pair"
    directory.mkdir()
    (tmp_path / "server").mkdir()
    if layout == "versioned":
        (tmp_path / "current").symlink_to("pair")
        directory = tmp_path / "current"
    with serving(Overtaken(), tmp_path / "server") as ca:
        assert isinstance(ca, Overtaken)
        trust = Trust(url=parse_ca_url(ca.url), roots=(ca.root,))
        pair = write_pair(ca, directory, ago=timedelta(hours=1), rekey=rekey)
        if layout == "two-directories":
            (tmp_path / "keys").mkdir()
            place = tmp_path / "keys" / "foo.key"
            assert pair.key_file is not None
            pair.key_file.rename(place)
            pair = replace(pair, key=str(place))
        ca.meanwhile = lambda: attempt(replace(pair, rekey=True), trust)
        with pytest.raises(RequestRejected, match="replaced by another program"):
            renew_pair(pair, trust, secret, now=datetime.now(UTC))
        # ``attempt`` insists that certificate and key match before and after.
        assert attempt(pair, trust) is rekey


def test_a_rekey_that_got_half_way_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    """Its key lies there already and its certificate not yet: ours would fit the key of before."""
    (tmp_path / "server").mkdir()
    with serving(Overtaken(), tmp_path / "server") as ca:
        assert isinstance(ca, Overtaken)
        trust = Trust(url=parse_ca_url(ca.url), roots=(ca.root,))
        pair = write_pair(ca, tmp_path, ago=timedelta(hours=1))
        before = pair.certificate.read_bytes()
        ca.meanwhile = (tmp_path / ".foo.key.pending").touch
        with pytest.raises(RequestRejected, match="replaced by another program"):
            renew_pair(pair, trust, secret, now=datetime.now(UTC))
        assert pair.certificate.read_bytes() == before
