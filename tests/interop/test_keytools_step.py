"""The key and certificate tools against the real ``step``: each reads what the other wrote, and both answer alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.hierarchy import make_pki, make_world
from fakes.live import Live, live

from online.cli import cli
from shared import keys
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

_STEP = shutil.which("step")
pytestmark = pytest.mark.skipif(_STEP is None, reason="the step CLI is not on PATH")

# What step prints and we leave out, with the reason.
_LEFT_OUT = {
    # We verify nothing when we describe, so we do not say "valid: false" either.
    "signature.valid",
    # Ideas of the public web: certificate transparency, validation levels, redacted names.
    "redacted",
    "validation_level",
    "tbs_noct_fingerprint",
    "spki_subject_fingerprint",
    # The constants of the curve that "curve" names.
    *(f"subject_key_info.ecdsa_public_key.{each}" for each in ("b", "gx", "gy", "n", "p")),
}
# What we print and step does not.
_ADDED = {"subject_key_info.ed25519_public_key.pub"}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A folder where both tools work, with the password files ``old`` and ``new``."""

    directory: Path

    def step(self, *arguments: str, stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        assert _STEP is not None
        done = subprocess.run(
            [_STEP, *arguments],
            cwd=self.directory,
            env={"STEPPATH": str(self.directory / "step"), "HOME": str(self.directory), "PATH": os.environ["PATH"]},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def online(self, *arguments: str, stdin: str = "", status: int = 0) -> Result:
        runner = CliRunner(env={"COLDROOT_HOME": str(self.directory / "home")})
        before = Path.cwd()
        os.chdir(self.directory)
        try:
            done = runner.invoke(cli, arguments, input=stdin)
        finally:
            os.chdir(before)
        assert done.exit_code == status, f"{arguments}: {done.exit_code}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Bench:
    for name, secret in (("old", "old password"), ("new", "new password")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    return Bench(directory=tmp_path)


_FILES = ("--password-file", "old", "--new-password-file", "new")
_BACK = ("--password-file", "new", "--new-password-file", "old")
_KINDS = {
    KeyKind.EC_P256: ("--kty", "EC", "--curve", "P-256"),
    KeyKind.EC_P384: ("--kty", "EC", "--curve", "P-384"),
    KeyKind.EC_P521: ("--kty", "EC", "--curve", "P-521"),
    KeyKind.RSA: ("--kty", "RSA", "--size", "2048"),
    KeyKind.ED25519: ("--kty", "OKP", "--curve", "Ed25519"),
}


@pytest.mark.parametrize("kind", list(KeyKind))
def test_pem_keys_go_back_and_forth(bench: Bench, kind: KeyKind) -> None:
    """An operator who switches must be able to switch back, with the same key files."""
    bench.step("crypto", "keypair", "k.pub", "k.pem", "--password-file", "old", *_KINDS[kind])
    before = bench.step("crypto", "key", "public", "k.pem", "--password-file", "old").stdout
    bench.online("change-pass", "k.pem", *_FILES)
    assert (bench.directory / "k.pem").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert bench.step("crypto", "key", "public", "k.pem", "--password-file", "new").stdout == before
    bench.step("crypto", "change-pass", "k.pem", *_BACK, "--force")
    bench.online("crypto", "change-pass", "k.pem", *_FILES)
    assert bench.step("crypto", "key", "public", "k.pem", "--password-file", "new").stdout == before


@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256"])
def test_step_reads_each_cipher(bench: Bench, cipher: str) -> None:
    """The page names three key sizes."""
    bench.step("crypto", "keypair", "k.pub", "k.pem", "--password-file", "old")
    bench.online("change-pass", "k.pem", *_FILES, "--cipher", cipher)
    bench.step("crypto", "key", "public", "k.pem", "--password-file", "new")


@pytest.mark.parametrize("kind", list(KeyKind))
def test_jwks_go_back_and_forth(bench: Bench, kind: KeyKind) -> None:
    """A provisioner's key that step made must stay the same key, by the same name."""
    options = ["--crv" if each == "--curve" else each for each in _KINDS[kind]]
    bench.step("crypto", "jwk", "create", "k.pub", "k.jwk", "--password-file", "old", *options)
    before = json.loads(bench.step("crypto", "jwk", "public", stdin=_opened(bench, "old")).stdout)
    bench.online("change-pass", "k.jwk", *_FILES)
    after = json.loads(bench.step("crypto", "jwk", "public", stdin=_opened(bench, "new")).stdout)
    assert after == before
    bench.step("crypto", "change-pass", "k.jwk", *_BACK, "--force")
    bench.online("change-pass", "k.jwk", "--password-file", "old", "--no-password", "--insecure")
    public = json.loads(bench.step("crypto", "jwk", "public", stdin=(bench.directory / "k.jwk").read_text()).stdout)
    assert public == before


def _opened(bench: Bench, password: str) -> str:
    sealed = (bench.directory / "k.jwk").read_text()
    return bench.step("crypto", "jwe", "decrypt", "--password-file", password, stdin=sealed).stdout


@pytest.mark.parametrize("kind", list(KeyKind))
def test_tokens_of_step_are_verified_alike(bench: Bench, kind: KeyKind) -> None:
    """jwt inspect prints what step prints, and jwt verify says yes and no where step does."""
    options = ["--crv" if each == "--curve" else each for each in _KINDS[kind]]
    bench.step("crypto", "jwk", "create", "k.pub", "k.jwk", "--no-password", "--insecure", *options)
    end = str(int(datetime.now(UTC).timestamp()) + 600)
    about = ("--iss", "me", "--aud", "you", "--sub", "it")
    token = bench.step("crypto", "jwt", "sign", "--key", "k.jwk", *about, "--exp", end).stdout
    both = ("crypto", "jwt", "inspect", "--insecure")
    assert json.loads(bench.online(*both, stdin=token).stdout) == json.loads(bench.step(*both, stdin=token).stdout)
    for extra, status in (
        (("--iss", "me", "--aud", "you"), 0),
        (("--iss", "me", "--aud", "us"), 1),
        (("--iss", "us", "--aud", "you"), 1),
        (("--subtle",), 0),
    ):
        verify = ("crypto", "jwt", "verify", "--key", "k.pub", *extra)
        bench.online(*verify, stdin=token, status=status)
        bench.step(*verify, stdin=token, status=status)
    bench.step("crypto", "jwk", "create", "o.pub", "o.jwk", "--no-password", "--insecure", *options)
    foreign = ("crypto", "jwt", "verify", "--key", "o.pub", "--iss", "me", "--aud", "you")
    bench.online(*foreign, stdin=token, status=1)
    bench.step(*foreign, stdin=token, status=1)


def test_a_set_of_keys_of_step(bench: Bench) -> None:
    """step's own sets are read, the key chosen by the token's kid."""
    for name in ("a", "b"):
        bench.step("crypto", "jwk", "create", f"{name}.pub", f"{name}.jwk", "--no-password", "--insecure")
        bench.step("crypto", "jwk", "keyset", "add", "set.json", stdin=(bench.directory / f"{name}.pub").read_text())
    end = str(int(datetime.now(UTC).timestamp()) + 600)
    about = ("--iss", "me", "--aud", "you", "--sub", "it", "--exp", end)
    token = bench.step("crypto", "jwt", "sign", "--key", "b.jwk", *about).stdout
    verify = ("crypto", "jwt", "verify", "--jwks", "set.json", "--iss", "me", "--aud", "you")
    assert json.loads(bench.online(*verify, stdin=token).stdout) == json.loads(bench.step(*verify, stdin=token).stdout)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: each for name in value for key, each in _flat(value[name], f"{path}.{name}".lstrip(".")).items()}
    return {path: value}


@pytest.mark.parametrize("kind", list(KeyKind))
async def test_descriptions_field_by_field(bench: Bench, kind: KeyKind) -> None:
    """jq lines written for step's JSON must find every field where it was, with the same value."""
    world = make_world(now=datetime.now(UTC), pki=make_pki(now=datetime.now(UTC), kind=kind, root_kind=kind))
    sans = ("a.example.com", "b.example.com", "10.0.0.7", "fd00::1", "me@example.com", "spiffe://a/b")
    chain, _ = await world.leaf(sans=sans, key=keys.generate(kind))
    (bench.directory / "foo.crt").write_bytes(certificate_pem(*chain, world.pki.root))
    line = ("certificate", "inspect", "foo.crt", "--format", "json", "--bundle")
    theirs, ours = json.loads(bench.step(*line).stdout), json.loads(bench.online(*line).stdout)
    assert len(theirs) == len(ours) == 3
    for their, our in zip(theirs, ours, strict=True):
        expected = {path: value for path, value in _flat(their).items() if path not in _LEFT_OUT}
        found = {path: value for path, value in _flat(our).items() if path not in _ADDED}
        # step leaves out some names that are no web site's: IPv6 addresses, URIs of other schemes.
        assert set(expected.pop("names", [])) <= set(found.pop("names"))
        assert found == expected
    short = ("certificate", "inspect", "foo.crt", "--short", "--bundle")
    assert _squeezed(bench.online(*short).stdout) == _squeezed(bench.step(*short).stdout)
    prints = ("certificate", "fingerprint", "foo.crt", "--bundle")
    assert _last_words(bench.online(*prints).stdout) == _last_words(bench.step(*prints).stdout)


def _last_words(text: str) -> list[str]:
    """Return the last word of each line: step puts a number before a fingerprint when there are several."""
    return [line.split()[-1] for line in text.splitlines() if line]


def _squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.parametrize("hours", [1, 12, 16, 23, 25])
async def test_needs_renewal_answers_as_step_does(bench: Bench, hours: int) -> None:
    """The status decides in somebody's timer; it must not change on the day of the switch."""
    now = datetime.now(UTC)
    world = make_world(now=now - timedelta(hours=hours), pki=make_pki(now=now - timedelta(hours=30)))
    chain, _ = await world.leaf()
    (bench.directory / "foo.crt").write_bytes(certificate_pem(*chain))
    for options in (
        ("foo.crt",),
        ("foo.crt", "--bundle"),
        *(("foo.crt", "--expires-in", each) for each in ("0%", "50%", "75%", "100%", "0s", "6h", "30h", "-2h", "x")),
        ("none.crt",),
        ("new",),
        ("foo.crt", "--expires-in", "101%"),
    ):
        ours = CliRunner().invoke(cli, ["needs-renewal", str(bench.directory / options[0]), *options[1:]]).exit_code
        bench.step("certificate", "needs-renewal", *options, status=ours)


async def test_verify_answers_as_step_does(bench: Bench) -> None:
    """The same files, the same yes and no."""
    world = make_world(now=datetime.now(UTC))
    chain, _ = await world.leaf()
    for name, certificates in (
        ("foo.crt", chain),
        ("leaf.crt", chain[:1]),
        ("root.crt", (world.pki.root,)),
        ("other.crt", (make_pki(now=datetime.now(UTC)).root,)),
    ):
        (bench.directory / name).write_bytes(certificate_pem(*certificates))
    for options, status in (
        (("foo.crt", "--roots", "root.crt"), 0),
        (("foo.crt", "--roots", "other.crt,root.crt"), 0),
        (("foo.crt", "--roots", "root.crt", "--host", "a.example.com"), 0),
        (("foo.crt", "--roots", "root.crt", "--host", "b.example.com"), 1),
        (("foo.crt", "--roots", "other.crt"), 1),
        (("leaf.crt", "--roots", "root.crt"), 1),
        (("root.crt", "--roots", "root.crt"), 0),
        (("none.crt", "--roots", "root.crt"), 1),
    ):
        bench.online("certificate", "verify", *options, status=status)
        bench.step("certificate", "verify", *options, status=status)


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("live")) as running:
        yield running


def test_servers_are_seen_alike(bench: Bench, server: Live) -> None:
    """Over TLS, too, both tools see the node's own chain, in the same order."""
    roots = ("--roots", str(server.root))
    for line in (
        ("certificate", "fingerprint", server.url, "--bundle", *roots),
        ("certificate", "inspect", server.url, "--format", "pem", "--bundle", *roots),
    ):
        assert _last_words(bench.online(*line).stdout) == _last_words(bench.step(*line).stdout)
    for command in ("verify", "needs-renewal"):
        status = 1 if command == "needs-renewal" else 0
        bench.online("certificate", command, server.url, *roots, status=status)
        bench.step("certificate", command, server.url, *roots, status=status)


def _packed(bench: Bench, name: str) -> list[str]:
    """Return the PEM blocks that OpenSSL finds in a PKCS#12 file."""
    shown = subprocess.run(
        ["openssl", "pkcs12", "-in", name, "-passin", "file:old", "-nodes"],
        cwd=bench.directory,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(part.partition("\n-----END")[0] for part in shown.split("-----BEGIN ")[1:])


async def test_both_pack_the_same(bench: Bench) -> None:
    """What OpenSSL finds in our PKCS#12 file is what it finds in step's: key, leaf, intermediate."""
    world = make_world(now=datetime.now(UTC))
    key = keys.generate(KeyKind.EC_P256)
    chain, _ = await world.leaf(key=key)
    (bench.directory / "foo.crt").write_bytes(certificate_pem(*chain))
    (bench.directory / "foo.key").write_bytes(private_key_pem(key, None))
    (bench.directory / "foo.key").chmod(0o600)
    line = ("foo.crt", "foo.key", "--password-file", "old")
    bench.step("certificate", "p12", "step.p12", *line)
    bench.online("certificate", "p12", "online.p12", *line)
    assert _packed(bench, "online.p12") == _packed(bench, "step.p12")
    assert len(_packed(bench, "online.p12")) == 3
