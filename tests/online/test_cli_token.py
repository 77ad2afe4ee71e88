"""``online token``: each kind of token is what its CA accepts, and nothing more; offline means without any network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.node import PROVISIONER_PASSWORD, NodeHome, make_home

from online.cli import cli
from online.config import load_config
from online.enrol import make_csr
from online.jose import jwe, jws
from online.jose.jwk import PrivateJwk
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry, open_token
from online.tokens import Audiences, VerifiedToken, csr_confirmation
from shared import durable, keys
from shared.errors import Unauthenticated
from shared.keys import KeyKind
from shared.keystore import private_key_pem

ROOT = Path(__file__).parents[2]


def can_leave_the_network() -> bool:
    """Tell whether a process may be run without any network."""
    try:
        return subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The node's machine; no node runs."""

    home: NodeHome
    directory: Path

    def run(self, *arguments: str, status: int = 0, home: str | None = None) -> Result:
        """Run ``online token``."""
        environment = {"COLDROOT_HOME": home or str(self.home.path), "COLDROOT_DEBUG": "1"}
        result = CliRunner().invoke(cli, ["token", *arguments], env=environment)
        assert result.exit_code == status, result.output
        return result

    def mint(self, *arguments: str, home: str | None = None) -> str:
        """Mint a token with the provisioner's password."""
        return self.run(*arguments, "--password-file", str(self.directory / "password"), home=home).stdout.strip()

    def judge(
        self, token: str, operation: Operation = Operation.SIGN, *, later: timedelta = timedelta(0)
    ) -> VerifiedToken:
        """Verify a token as the node would."""
        config = load_config(self.home.config)
        return Registry(config.provisioners).authorize(
            operation, open_token(token), audiences=Audiences.of(config.dns_names), now=datetime.now(UTC) + later
        )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A home and the provisioner's password beside it."""
    directory = tmp_path_factory.mktemp("desk")
    durable.write_new(directory / "password", PROVISIONER_PASSWORD, mode=durable.PRIVATE)
    return Desk(home=make_home(directory / "home"), directory=directory)


def claims(token: str) -> dict[str, Any]:
    return dict(jws.split_unverified(token, key_members=frozenset({"x5cInsecure"})).claims)


def test_a_token_minted_offline_is_accepted(desk: Desk) -> None:
    """An operator at the node's machine needs no running node to let somebody in."""
    token = desk.mint("foo.local", "--offline", "--san", "foo.local", "--san", "10.0.0.7")
    verified = desk.judge(token)
    assert (verified.subject, verified.sans) == ("foo.local", ("foo.local", "10.0.0.7"))
    assert claims(token)["aud"] == "https://localhost/sign"
    assert claims(token)["sha"] == desk.home.fingerprint


@pytest.mark.skipif(not can_leave_the_network(), reason="unshare -n is not allowed here")
@pytest.mark.parametrize("bare", [False, True])
def test_offline_is_without_any_network(desk: Desk, bare: bool) -> None:
    """In a process without a network, not even loopback, every attempt at contact would fail."""
    options: tuple[str, ...] = ("--password-file", str(desk.directory / "password"))
    home = str(desk.home.path)
    if bare:
        options = ("--key", _key_file(desk, "unshared.jwk"), "--issuer", "admin", "--root", str(desk.home.root))
        options, home = (*options, "--ca-url", "https://localhost:9000"), str(desk.directory / "no-home")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "online", "token", "foo.local", "--offline", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLDROOT_HOME": home},
        capture_output=True,
        text=True,
        check=False,
        cwd=desk.directory,
    )
    assert done.returncode == 0, done.stderr
    assert desk.judge(done.stdout.strip()).subject == "foo.local"


def _key_file(desk: Desk, name: str) -> str:
    path = desk.directory / name
    if not path.exists():
        durable.write_new(path, desk.home.signer.to_json_bytes(), mode=durable.PRIVATE)
    return str(path)


@pytest.mark.parametrize("form", ["jwk", "jwe", "pem", "encrypted pem"])
def test_a_bare_key_in_any_form(desk: Desk, form: str) -> None:
    """The key that an operator keeps apart from the node works in each form that it is kept in."""
    signer = desk.home.signer
    path = desk.directory / f"{form}.key"
    content = {
        "jwk": signer.to_json_bytes(),
        "jwe": jwe.encrypt(signer.to_json_bytes(), PROVISIONER_PASSWORD, rng=os.urandom, p2c=1000).encode(),
        "pem": private_key_pem(signer.key, None),
        "encrypted pem": private_key_pem(signer.key, PROVISIONER_PASSWORD),
    }[form]
    durable.write_new(path, content, mode=durable.PRIVATE)
    verified = desk.judge(desk.mint("foo.local", "--offline", "--key", str(path)))
    assert verified.provisioner.name == "admin"


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_bare_key_of_any_kind(desk: Desk, kind: KeyKind) -> None:
    """EC, RSA and Ed25519 keys each sign with their own algorithm, under their thumbprint."""
    key = PrivateJwk.of(keys.generate(kind))
    path = desk.directory / f"{kind}.jwk"
    durable.write_new(path, key.to_json_bytes(), mode=durable.PRIVATE)
    token = desk.mint("foo.local", "--offline", "--key", str(path), "--issuer", "somebody")
    assert jws.verify(jws.split_unverified(token), key.key.public_key())["iss"] == "somebody"
    assert jws.split_unverified(token).kid == key.kid
    renamed = desk.mint("foo.local", "--offline", "--key", str(path), "--issuer", "somebody", "--kid", "mine")
    assert jws.split_unverified(renamed).kid == "mine"


def test_a_bare_key_that_is_nobodys(desk: Desk) -> None:
    """A token that no provisioner stands behind is told where it is minted, not where it is refused."""
    path = desk.directory / "nobody.jwk"
    durable.write_new(path, PrivateJwk.of(keys.generate(KeyKind.EC_P256)).to_json_bytes(), mode=durable.PRIVATE)
    refused = desk.run("foo.local", "--offline", "--key", str(path), status=1)
    assert "provisioner.unknown" in refused.stderr
    path.chmod(0o644)
    assert "file.exposed" in desk.run("foo.local", "--offline", "--key", str(path), status=1).stderr


def test_the_times_of_a_token(desk: Desk) -> None:
    """A token for later must not work now, and one for half an hour must work until then and no longer."""
    soon = desk.mint("foo.local", "--offline", "--not-before", "10m", "--not-after", "20m")
    with pytest.raises(Unauthenticated):
        desk.judge(soon)
    desk.judge(soon, later=timedelta(minutes=15))
    with pytest.raises(Unauthenticated):
        desk.judge(soon, later=timedelta(minutes=22))
    long = desk.mint("foo.local", "--offline", "--not-after", "1h")
    desk.judge(long, later=timedelta(minutes=59))
    for options in (("--not-after", "61m"), ("--not-after", "5s"), ("--not-before", "40m"), ("--not-after", "-1m")):
        assert "token.lifetime" in desk.run("foo.local", "--offline", *options, *_password(desk), status=1).stderr


def _password(desk: Desk) -> tuple[str, str]:
    return "--password-file", str(desk.directory / "password")


def test_the_certificates_times(desk: Desk) -> None:
    """Who mints the token decides how long its holder is certified, at most."""
    token = desk.mint("foo.local", "--offline", "--cert-not-before", "1m", "--cert-not-after", "8h")
    assert claims(token)["cert"] == {"notBefore": "1m", "notAfter": "8h"}
    begin, end = desk.judge(token).window()
    assert end - begin == timedelta(hours=8)
    fixed = desk.mint("foo.local", "--offline", "--cert-not-after", "2030-01-01T00:00:00Z")
    assert desk.judge(fixed).window()[1] == datetime(2030, 1, 1, tzinfo=UTC)
    assert "cert" not in claims(desk.mint("foo.local", "--offline"))
    refused = desk.run("foo.local", "--offline", "--cert-not-after", "soon", *_password(desk), status=1)
    assert "time.malformed" in refused.stderr


def test_a_token_for_one_request(desk: Desk) -> None:
    """A token that is stolen on its way is worth nothing without the request's key."""
    csr = make_csr(keys.generate(KeyKind.EC_P256), "foo.local", ["foo.local"])
    path = desk.directory / "foo.csr"
    path.write_bytes(csr.public_bytes(Encoding.PEM))
    for options in (("--cnf-file", str(path)), ("--cnf", csr_confirmation(csr))):
        assert desk.judge(desk.mint("foo.local", "--offline", *options)).cnf == csr_confirmation(csr)
    for digest in ("", "abc", "A" * 44, "!" * 43):
        assert "token.confirmation" in desk.run("foo.local", "--offline", "--cnf", digest, status=1).stderr


def test_a_token_that_revokes(desk: Desk) -> None:
    """It says the serial in decimal, as the page shows, and does nothing else."""
    token = desk.mint("--revoke", "0xff", "--offline")
    assert desk.judge(token, Operation.REVOKE).subject == "255"
    assert set(claims(token)) == {"aud", "exp", "iat", "iss", "jti", "nbf", "sha", "sub"}
    with pytest.raises(Unauthenticated):
        desk.judge(token)


def test_a_token_that_renews(desk: Desk) -> None:
    """The holder of a certificate and its key mints it without a provisioner."""
    from fakes.leaves import sloppy_leaf  # noqa: PLC0415 (one certificate, here only)

    key = keys.generate(KeyKind.EC_P256)
    leaf = sloppy_leaf(desk.home.pki, public_key=key.public_key(), common="foo.local")
    crt, key_file = desk.directory / "renew.crt", desk.directory / "renew.key"
    crt.write_bytes(leaf.public_bytes(Encoding.PEM))
    durable.write_new(key_file, private_key_pem(key, None), mode=durable.PRIVATE)
    pair = ("--x5c-cert", str(crt), "--x5c-key", str(key_file))
    token = desk.run("--renew", "foo.local", "--offline", *pair).stdout.strip()
    assert claims(token)["aud"] == "https://localhost/renew"
    assert claims(token)["sub"] == "foo.local"
    with_address = desk.run(
        "--renew", "foo.local", *pair, "--ca-url", "https://ca.local", "--root", str(desk.home.root)
    )
    assert claims(with_address.stdout.strip())["aud"] == "https://ca.local/renew"
    assert "not for bar.local" in desk.run("--renew", "bar.local", "--offline", *pair, status=1).stderr


def test_the_output_file_is_private_and_exclusive(desk: Desk) -> None:
    """A token in a file that others read, or over something else, is given away or destroys it."""
    file = desk.directory / "foo.token"
    assert desk.mint("foo.local", "--offline", "--output-file", str(file)) == ""
    assert file.stat().st_mode & 0o777 == 0o600
    first = file.read_text()
    desk.judge(first.strip())
    assert (
        "file.exists"
        in desk.run("foo.local", "--offline", "--output-file", str(file), *_password(desk), status=1).stderr
    )
    assert file.read_text() == first
    desk.mint("foo.local", "--offline", "--output-file", str(file), "--force")
    assert file.read_text() != first


def test_ids_are_fresh(desk: Desk) -> None:
    """Two tokens of one second with one ID would burn each other."""
    tokens = [desk.mint("foo.local", "--offline") for _ in range(3)]
    assert len({claims(each)["jti"] for each in tokens}) == 3
    assert all(len(claims(each)["jti"]) == 64 for each in tokens)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--revoke", "1", "--renew"),
        ("--revoke", "1", "--san", "x"),
        ("--revoke", "1", "--cert-not-after", "1h"),
        ("--renew", "x", "--cnf", "y"),
        ("--renew", "x", "--not-after", "1h"),
        ("--renew", "x", "--offline"),
        ("x", "--cnf", "y", "--cnf-file", "z"),
        ("x", "--key", "k", "--x5c-cert", "c", "--x5c-key", "k"),
        ("x", "--offline", "--key", "k", "--ca-url", "https://ca.local"),
    ],
)
def test_what_contradicts_itself_is_wrong_usage(desk: Desk, arguments: tuple[str, ...]) -> None:
    """An option that is passed over in silence gives another token than was asked for."""
    desk.run(*arguments, status=2)


def test_no_secret_is_said(desk: Desk) -> None:
    """Neither the key nor the password may be in what is printed beside the token."""
    key = _key_file(desk, "silent.jwk")
    said = desk.run("foo.local", "--offline", "--key", key)
    secret = json.loads(Path(key).read_text())["d"]
    assert secret not in said.output
    assert said.stdout.count("\n") == 1


def test_times_are_judged_before_anybody_is_asked(tmp_path: Path) -> None:
    """Without this, a wrong time would be told only after a CA was reached and a password typed."""
    arguments = ["token", "foo.local", "--not-after", "99h", "--ca-url", "https://192.0.2.1", "--home", str(tmp_path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert "a token lives from" in result.output
