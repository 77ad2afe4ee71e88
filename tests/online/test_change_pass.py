"""``online change-pass``: the key survives whatever goes wrong, and OpenSSL reads what is written."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from online import change_pass
from online.cli import cli
from online.jose import b64, jwe, jwe_file
from online.jose.jwk import PrivateJwk
from online.key_file import KeyFile, parse_key_file, render_key_file
from shared import durable, keys
from shared.errors import ColdrootError, Fatal, RequestRejected, StoreFailed, Unauthenticated, Unsupported
from shared.keys import KeyKind, PrivateKey, spki
from shared.keystore import KeyCipher, SecretCallback, load_private_key, private_key_pem

OLD, NEW = b"old password", b"new password"
KEY = keys.generate(KeyKind.EC_P256)
SIGNER = PrivateJwk.of(KEY)


def nobody(prompt: str) -> bytes:
    raise AssertionError(f"no secret was to be asked for: {prompt}")


def answer(secret: bytes) -> SecretCallback:
    return lambda _: secret


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    for name, secret in (("old", OLD), ("new", NEW), ("wrong", b"wrong")):
        private(tmp_path / name, secret + b"\n")
    return tmp_path


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def run(directory: Path, *arguments: str) -> Result:
    """Run in the directory with the usual password files."""
    files = ("--password-file", str(directory / "old"), "--new-password-file", str(directory / "new"))
    return CliRunner().invoke(cli, ["change-pass", *arguments, *files])


def encrypted(key: PrivateKey = KEY, password: bytes = OLD) -> bytes:
    return private_key_pem(key, password, rounds=1000)


def assert_opens(path: Path, password: bytes, key: PrivateKey = KEY) -> None:
    found = parse_key_file(path.read_bytes(), answer(password), what="key file").key
    assert spki(found.public_key()) == spki(key.public_key())


def listing(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()}


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_kind_of_key(directory: Path, kind: KeyKind) -> None:
    """A key that the new password does not open is a lost CA; OpenSSL must open it without us."""
    key = keys.generate(kind)
    path = private(directory / "ca.key", encrypted(key))
    assert run(directory, str(path)).exit_code == 0
    public = openssl("pkey", "-in", str(path), "-passin", f"file:{directory / 'new'}", "-pubout", "-outform", "DER")
    assert public == spki(key.public_key())
    with pytest.raises(Unauthenticated):
        load_private_key(path.read_bytes(), answer(OLD), what="key file")


@pytest.mark.parametrize("cipher", [None, *KeyCipher])
def test_ciphers(directory: Path, cipher: KeyCipher | None) -> None:
    """The page offers 128, 192 and 256 bits; the default is the longest, and the file says what it is."""
    path = private(directory / "ca.key", encrypted())
    chosen = ("--cipher", cipher.value) if cipher is not None else ()
    assert run(directory, str(path), *chosen).exit_code == 0
    assert_opens(path, NEW)
    parsed = openssl("asn1parse", "-in", str(path)).decode()
    assert f"aes-{(cipher or KeyCipher.AES256).value.removeprefix('aes')}-cbc" in parsed
    assert f":{600_000:06X}\n" in parsed
    assert openssl("pkey", "-in", str(path), "-passin", f"file:{directory / 'new'}", "-noout") == b""


@pytest.mark.parametrize("cipher", ["-aes128", "-aes192", "-aes256", "-des3"])
@pytest.mark.parametrize("kind", [KeyKind.EC_P384, KeyKind.RSA])
def test_legacy_pem_becomes_pkcs8(directory: Path, cipher: str, kind: KeyKind) -> None:
    """step-ca's own key files have Proc-Type headers, whose key derivation is one round of MD5."""
    key = keys.generate(kind)
    plain = private_key_pem(key, None)
    legacy = openssl("pkey", "-traditional", cipher, "-passout", f"pass:{OLD.decode()}", stdin=plain)
    assert b"Proc-Type: 4,ENCRYPTED" in legacy
    path = private(directory / "ca.key", legacy)
    assert run(directory, str(path)).exit_code == 0
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert_opens(path, NEW, key)


@given(st.binary(max_size=40), st.binary(max_size=80))
@settings(max_examples=60, deadline=None)
def test_a_damaged_legacy_file_is_told(password: bytes, sealed: bytes) -> None:
    """AES-192 is decrypted by code of ours: whatever the block holds, the answer is one of our errors."""
    body = base64.encodebytes(sealed) or b"\n"
    block = b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-192-CBC," + b"0A" * 16
    block += b"\n\n" + body + b"-----END EC PRIVATE KEY-----\n"
    with pytest.raises(ColdrootError):
        load_private_key(block, answer(password), what="key file")


def test_a_key_in_the_clear_gets_a_password(directory: Path) -> None:
    """Nobody is asked for a password that does not exist."""
    path = private(directory / "ca.key", private_key_pem(KEY, None))
    change_pass.change_password(str(path), old=nobody, new=answer(NEW))
    assert_opens(path, NEW)


def test_in_the_clear_only_when_asked_twice(directory: Path) -> None:
    """A key without a password must be nobody's slip."""
    path = private(directory / "ca.key", encrypted())
    before = path.read_bytes()
    old = ("--password-file", str(directory / "old"))
    for arguments in (
        ["--no-password"],
        ["--no-password", "--insecure", "--new-password-file", str(directory / "new")],
    ):
        assert CliRunner().invoke(cli, ["change-pass", str(path), *old, *arguments]).exit_code == 2
    assert path.read_bytes() == before
    done = CliRunner().invoke(cli, ["change-pass", str(path), *old, "--no-password", "--insecure"])
    assert done.exit_code == 0
    assert path.read_bytes() == private_key_pem(KEY, None)


@pytest.mark.parametrize("form", ["pem", "legacy", "jwe", "json"])
def test_a_wrong_password_changes_nothing(directory: Path, form: str) -> None:
    """The commonest mistake must be the most harmless one, and must not ask for a new password first."""
    locked = jwe.encrypt(SIGNER.to_json_bytes(), OLD, rng=os.urandom, p2c=1000)
    content = {
        "pem": encrypted(),
        "legacy": openssl("pkey", "-traditional", "-aes128", "-passout", f"pass:{OLD.decode()}",
                          stdin=private_key_pem(KEY, None)),
        "jwe": locked.encode(),
        "json": jwe_file.file_form(locked),
    }[form]  # fmt: skip
    path = private(directory / "ca.key", content)
    before = listing(directory)
    with pytest.raises(Unauthenticated):
        change_pass.change_password(str(path), old=answer(b"wrong"), new=nobody)
    result = CliRunner().invoke(
        cli, ["change-pass", str(path), "--password-file", str(directory / "wrong"), "--new-password-file", "none"]
    )
    assert result.exit_code == 1
    assert "wrong-password]" in result.stderr
    assert "wrong\n" not in result.stderr
    assert listing(directory) == before


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_owner_and_mode_stay(directory: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root changes the password of the service user's key: the service must still be able to read it."""
    path = private(directory / "ca.key", encrypted())
    path.chmod(mode)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, user, group: given.append((user, group)))
    change_pass.change_password(str(path), old=answer(OLD), new=answer(NEW))
    assert given == [(path.stat().st_uid, path.stat().st_gid)]
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_owner_stays_for_real(directory: Path) -> None:
    """The same without a stand-in, where the kernel decides."""
    path = private(directory / "ca.key", encrypted())
    os.chown(path, 12345, 54321)
    assert run(directory, str(path)).exit_code == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_owner_that_cannot_be_kept_stops_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that silently changed hands would stop the CA at its next start."""
    path = private(directory / "ca.key", encrypted())
    before = listing(directory)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(StoreFailed, match="Operation not permitted"):
        change_pass.change_password(str(path), old=answer(OLD), new=answer(NEW))
    assert listing(directory) == before


def test_out_leaves_the_key_alone(directory: Path) -> None:
    """A copy for somebody else must not change the original, nor overwrite another file."""
    path, out = private(directory / "ca.key", encrypted()), directory / "copy.key"
    before = path.read_bytes()
    assert run(directory, str(path), "--out", str(out)).exit_code == 0
    assert path.read_bytes() == before
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert_opens(out, NEW)
    result = run(directory, str(path), "--out", str(out))
    assert result.exit_code == 1
    assert "[file.exists]" in result.stderr
    assert run(directory, str(path), "--out", str(out), "--force").exit_code == 0


def test_what_is_not_a_private_file_is_refused(directory: Path) -> None:
    """An exposed key, a link and a token's key each need another remedy than a new password."""
    path = private(directory / "ca.key", encrypted())
    link = directory / "link.key"
    link.symlink_to(path)
    path.chmod(0o640)
    for argument, code in (
        (str(path), "file.exposed"),
        (str(link), "file.is-link"),
        (str(directory / "none"), "file.missing"),
        (str(directory), "file.not-regular"),
        ("pkcs11:token=ca;object=key", "change-pass.hsm"),
    ):
        result = run(directory, argument)
        assert result.exit_code == 1
        assert f"[{code}]" in result.stderr


def test_full_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a key file would be the end of the CA; the old file must be whole, and nothing be left beside it."""
    path = private(directory / "ca.key", encrypted())
    before = listing(directory)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreFailed):
        change_pass.change_password(str(path), old=answer(OLD), new=answer(NEW))
    assert listing(directory) == before


def test_a_file_that_would_not_open_never_replaces_the_key(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only copy of a key is replaced by something proven, whatever bug makes the new content."""
    path = private(directory / "ca.key", encrypted())
    before = path.read_bytes()
    other = encrypted(keys.generate(KeyKind.EC_P256), NEW)
    monkeypatch.setattr(change_pass, "render_key_file", lambda *_, **__: other)
    with pytest.raises(Fatal):
        change_pass.change_password(str(path), old=answer(OLD), new=answer(NEW))
    assert path.read_bytes() == before


def test_an_empty_new_password_is_refused(directory: Path) -> None:
    """It would look encrypted and protect nothing."""
    for content in (encrypted(), SIGNER.to_json_bytes()):
        path = private(directory / "ca.key", content)
        with pytest.raises(RequestRejected, match="empty"):
            change_pass.change_password(str(path), old=answer(OLD), new=answer(b""))
        assert path.read_bytes() == content


def test_secrets_stay_out_of_what_is_shown(directory: Path) -> None:
    """A password in a log outlives its change."""
    path = private(directory / "ca.key", encrypted())
    result = run(directory, str(path))
    assert OLD.decode() not in result.output + result.stderr
    assert NEW.decode() not in result.output + result.stderr
    file = parse_key_file(path.read_bytes(), answer(NEW), what="key file")
    assert "EllipticCurve" not in repr(file)


# JSON Web Keys.


@pytest.mark.parametrize("compact", [True, False])
def test_a_jwk_keeps_every_member(directory: Path, compact: bool) -> None:
    """The kid names the provisioner's key to clients; a lost member would be another key to them."""
    jwk = json.loads(SIGNER.to_json_bytes()) | {"kid": "chosen", "x-note": "kept"}
    locked = jwe.encrypt(json.dumps(jwk).encode(), OLD, rng=os.urandom, p2c=1000)
    path = private(directory / "jwk", locked.encode() if compact else jwe_file.file_form(locked))
    assert run(directory, str(path)).exit_code == 0
    written = path.read_bytes()
    header = json.loads(b64.decode(json.loads(written)["protected"], what="header"))
    assert (header["alg"], header["enc"], header["p2c"]) == ("PBES2-HS256+A128KW", "A256GCM", 600_000)
    opened = jwe.decrypt(jwe_file.compact_form(written, what="key file"), NEW)
    assert json.loads(opened) == jwk


def test_a_jwk_can_lose_its_password(directory: Path) -> None:
    """Some programs read plain keys only; and such a key gets a password the same way."""
    path = private(directory / "jwk", jwe.encrypt(SIGNER.to_json_bytes(), OLD, rng=os.urandom, p2c=1000).encode())
    change_pass.change_password(str(path), old=answer(OLD), new=None)
    assert path.read_bytes() == SIGNER.to_json_bytes() + b"\n"
    change_pass.change_password(str(path), old=nobody, new=answer(NEW))
    assert_opens(path, NEW)


def test_the_cipher_is_for_pem(directory: Path) -> None:
    """An option that does nothing would be believed."""
    path = private(directory / "jwk", SIGNER.to_json_bytes())
    assert "[change-pass.cipher]" in run(directory, str(path), "--cipher", "aes128").stderr
    pem = private(directory / "pem", private_key_pem(KEY, None))
    with pytest.raises(RequestRejected):
        change_pass.change_password(str(pem), old=nobody, new=None, cipher=KeyCipher.AES128)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"\x30\x82",
        b"a.b.c.d.e",
        "ä.b.c.d.e".encode(),
        b'{"ciphertext": 1}',
        b'{"protected": "e30", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
        b'{"protected": "e30", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": "", "aad": "AA"}',
        b'{"kty": "EC"}',
        b'{"kty": "oct", "k": "AAAA"}',
        b"{" * 20_000,
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"x" * 40_000,
    ],
)
def test_what_is_no_key_is_refused_unread(content: bytes) -> None:
    """Nobody shall type a password for a file that cannot be opened with one."""
    with pytest.raises(RequestRejected):
        parse_key_file(content, nobody, what="key file")


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_judged_not_crashed_on(data: bytes) -> None:
    """A damaged file must end in one line, not in a traceback."""
    for content in (data, b"{" + data, b"-----BEGIN " + data, b"e30." + data):
        with pytest.raises(ColdrootError):
            parse_key_file(content, answer(OLD), what="key file")


@given(st.sampled_from(list(KeyCipher)), st.binary(min_size=1, max_size=64))
@settings(max_examples=12, deadline=None)
def test_round_trip(cipher: KeyCipher, password: bytes) -> None:
    """Any password, with zeros and line ends in it, opens what it closed."""
    content = private_key_pem(KEY, password, cipher=cipher, rounds=1000)
    found = parse_key_file(content, answer(password), what="key file")
    assert spki(found.key.public_key()) == spki(KEY.public_key())
    assert render_key_file(KeyFile(key=found.key), None) == private_key_pem(KEY, None)


def test_json_forms_that_the_compact_one_cannot_carry() -> None:
    """A member that is dropped on the way would change what the tag protects."""
    flattened = json.loads(jwe_file.file_form(jwe.encrypt(b"{}", OLD, rng=os.urandom, p2c=1000)))
    for extra in ("unprotected", "header", "recipients", "aad"):
        with pytest.raises(Unsupported):
            jwe_file.compact_form(json.dumps({**flattened, extra: {}}).encode(), what="key file")
    with pytest.raises(RequestRejected, match="larger"):
        jwe_file.compact_form(b"a" * (jwe.LARGEST_JWE + 1), what="key file")


def test_replace_with_an_owner_is_what_it_says(directory: Path) -> None:
    """The room for durable writes gives the owner before the mode: a change of owner may clear bits."""
    path = private(directory / "file", b"old")
    durable.replace(path, b"new", mode=0o640, owner=(path.stat().st_uid, path.stat().st_gid))
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
