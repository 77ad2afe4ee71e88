"""PKCS#12 and the further files of online certificate: by the command line, judged by OpenSSL and Java."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12 as reader
from fakes.place import Place, serving_place
from fakes.step_ca import FakeCa

from online.pkcs12 import Sealing, identity_file, trust_file
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind
from shared.keystore import load_private_key
from shared.pem import load_certificates


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving_place(tmp_path_factory.mktemp("place")) as place:
        yield place


def _openssl_opens(path: Path, password: Path, *options: str) -> str:
    done = subprocess.run(
        ["openssl", "pkcs12", "-in", str(path), "-passin", f"file:{password}", "-nodes", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("legacy", [False, True])
def test_p12_of_a_pair(place: Place, tmp_path: Path, legacy: bool) -> None:
    """OpenSSL must find key, leaf, intermediate and the added root, in new and in old encryption."""
    out = tmp_path / "foo.p12"
    options = ("--legacy",) if legacy else ()
    pair = (place.path("foo.crt"), place.path("foo.key"), "--ca", place.path("root.crt"))
    result = place.run("p12", str(out), *pair, "--password-file", place.path("password"), *options)
    assert result.exit_code == 0, result.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = _openssl_opens(out, place.directory / "password", *(("-legacy",) if legacy else ()))
    assert text.count("BEGIN CERTIFICATE") == 3
    found = load_private_key(text[text.index("-----BEGIN PRIVATE") :].partition("-----BEGIN CERT")[0].encode(),
                             lambda _: b"", what="key")  # fmt: skip
    assert keys.spki(found.public_key()) == keys.spki(place.key.public_key())
    assert "[file.exists]" in place.run("p12", str(out), *pair, "--password-file", place.path("password")).stderr
    assert place.run("p12", str(out), *pair, "--password-file", place.path("password"), "-f").exit_code == 0


@pytest.mark.parametrize("kind", list(KeyKind))
def test_p12_of_every_kind(kind: KeyKind) -> None:
    """Every kind of key that is certified must fit into the file."""
    ca, key = FakeCa(), keys.generate(kind)
    chain = ca.leaf(key.public_key(), "foo.local")
    opened = reader.load_pkcs12(identity_file(chain, key, Sealing(password=b"horse")), b"horse")
    assert opened.key is not None
    assert opened.cert is not None
    assert opened.cert.certificate == chain[0]
    assert [each.certificate for each in opened.additional_certs] == [ca.intermediate]


def test_p12_as_a_trust_store(place: Place, tmp_path: Path) -> None:
    """Java takes a certificate for trusted only with an attribute of its own."""
    out = tmp_path / "trust.p12"
    result = place.run("p12", str(out), "--ca", place.path("root.crt"), "--password-file", place.path("password"))
    assert result.exit_code == 0, result.stderr
    if shutil.which("keytool"):
        listed = subprocess.run(
            ["keytool", "-list", "-keystore", str(out), "-storepass", "correct horse", "-storetype", "PKCS12"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "trustedCertEntry" in listed.stdout


def test_p12_unencrypted_only_when_asked_twice(place: Place, tmp_path: Path) -> None:
    """A key in the clear must be nobody's slip."""
    arguments = ("p12", str(tmp_path / "foo.p12"), place.path("foo.crt"), place.path("foo.key"), "--no-password")
    assert place.run(*arguments).exit_code == 2
    assert place.run(*arguments, "--insecure", "--password-file", place.path("password")).exit_code == 2
    assert not (tmp_path / "foo.p12").exists()
    assert place.run(*arguments, "--insecure").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ((), 2, "--ca"),
        (("foo.crt",), 2, "neither"),
        (("foo.crt", "foo.crt"), 1, "key.not-pem"),
        (("foo.crt", "none.key"), 1, "file.missing"),
        (("other.crt", "foo.key"), 1, "pkcs12.pair"),
    ],
)
def test_p12_refusals_leave_no_file(
    place: Place, tmp_path: Path, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    """A certificate with another's key would be found out only where it is installed."""
    (place.directory / "foo.crt").chmod(0o600)
    paths = map(place.path, arguments)
    result = place.run("p12", str(tmp_path / "foo.p12"), *paths, "--password-file", place.path("password"))
    assert result.exit_code == status
    assert complaint in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_p12_passwords_are_not_empty() -> None:
    """An empty password and none are two different files, and both are readable by anybody."""
    with pytest.raises(RequestRejected, match="empty"):
        trust_file([FakeCa().root], Sealing(password=b""))
    assert "horse" not in repr(Sealing(password=b"horse"))


def test_certificate_with_further_files(place: Place, tmp_path: Path) -> None:
    """Some servers want one file: PKCS#12 or PEM with everything, as private as the key in it."""
    out = {name: str(tmp_path / name) for name in ("a.crt", "a.key", "a.p12", "a.pem")}
    further = ("--p12", out["a.p12"], "--p12-password-file", place.path("password"), "--pem", out["a.pem"])
    pair = (out["a.crt"], out["a.key"])
    result = place.run("certificate", "a.local", *pair, *further, "--no-bundle", "--token", place.token("a.local"))
    assert result.exit_code == 0, result.stderr
    assert len(load_certificates((tmp_path / "a.crt").read_bytes())) == 1
    key = (tmp_path / "a.key").read_bytes()
    combined = (tmp_path / "a.pem").read_bytes()
    assert combined.endswith(key)
    assert len(load_certificates(combined.removesuffix(key))) == 2
    opened = reader.load_pkcs12((tmp_path / "a.p12").read_bytes(), b"correct horse")
    assert opened.cert is not None
    assert opened.cert.certificate == load_certificates((tmp_path / "a.crt").read_bytes())[0]
    for name in ("a.key", "a.p12", "a.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "status", "complaint"),
    [
        (("--p12-password-file", "password"), 2, "--p12"),
        (("--pem", "a.crt"), 1, "output.same-file"),
        (("--pem", "a.p12", "--p12", "a.p12", "--p12-password-file", "password"), 1, "output.same-file"),
        (("--pem", "none/a.pem"), 1, "file.no-directory"),
        (("--p12", "a.p12"), 1, "terminal.missing"),
    ],
)
def test_further_files_are_looked_at_before_the_token_is_spent(
    place: Place, tmp_path: Path, options: tuple[str, ...], status: int, complaint: str
) -> None:
    """A token is good once; a typing error must not cost it."""
    asked = len(place.ca.requests)
    paths = [each if each.startswith("--") else str(tmp_path / each) for each in options]
    paths = [place.path("password") if each.endswith("/password") else each for each in paths]
    pair = (str(tmp_path / "a.crt"), str(tmp_path / "a.key"))
    result = place.run("certificate", "a.local", *pair, *paths, "--token", place.token("a.local"))
    assert result.exit_code == status
    assert complaint in result.stderr
    assert len(place.ca.requests) == asked
    assert list(tmp_path.iterdir()) == []
