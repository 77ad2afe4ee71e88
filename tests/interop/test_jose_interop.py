"""The real step CLI as judge: it must read what we write, and we what it writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.tokens import AUDIENCES

from online.config import load_config
from online.jose import jwe, jws
from online.jose.jwk import PrivateJwk, parse_private_jwk, thumbprint
from online.provisioners.jwk import JwkProvisioner
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry, open_token
from online.tokens import Audiences, VerifiedToken, mint_revoke_token, mint_sign_token, offline_audience
from shared import keys
from shared.errors import Unsupported
from shared.keys import KeyKind

STEP = shutil.which("step")
PASSWORD = b"correct horse"

pytestmark = pytest.mark.skipif(STEP is None, reason="the step CLI is not on PATH")


class Step:
    """The step CLI with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = folder / "password"
        self.password.write_bytes(PASSWORD)
        self.password.chmod(0o600)

    def __call__(self, *arguments: str, given: str = "") -> str:
        """Run a command and return what it prints; a failure shows its stderr."""
        assert STEP is not None
        done = subprocess.run(
            [STEP, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "STEPPATH": str(self.folder)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def ca_json(self) -> Path:
        """The configuration that ``step ca init`` wrote."""
        return self.folder / "config" / "ca.json"

    def token(self, *arguments: str) -> str:
        """Mint a token offline with the provisioner's password from its file."""
        return self("ca", "token", "--offline", "--password-file", str(self.password), *arguments)


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Step:
    """Return a step with a fresh standalone CA."""
    made = Step(tmp_path_factory.mktemp("step"))
    made(
        "ca", "init", "--name", "x", "--dns", "localhost", "--address", ":0", "--provisioner", "admin",
        "--password-file", str(made.password), "--provisioner-password-file", str(made.password),
        "--deployment-type", "standalone",
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def registry(step: Step) -> Registry:
    """Return the provisioners of step's ca.json, once its database is one of ours."""
    document = json.loads(step.ca_json.read_text())
    document["db"] = {"type": "sqlite", "dataSource": "db/coldroot.db"}
    path = step.folder / "config" / "ours.json"
    path.write_text(json.dumps(document))
    return Registry(load_config(path).provisioners)


def verify(registry: Registry, token: str, operation: Operation) -> VerifiedToken:
    """Verify as a CA named localhost."""
    return registry.authorize(
        operation, open_token(token), audiences=Audiences.of(("localhost",)), now=datetime.now(UTC)
    )


def provisioner_key(registry: Registry) -> PrivateJwk:
    """Decrypt step's provisioner key with our JWE."""
    encrypted = registry.by_name("admin").encrypted_key
    assert encrypted is not None
    return parse_private_jwk(jwe.decrypt(encrypted, PASSWORD))


def test_steps_ca_json_lacks_nothing_but_the_database(step: Step, registry: Registry) -> None:
    """Switching: only badger is refused, by name and with what to write instead; all the rest is read."""
    with pytest.raises(Unsupported) as caught:
        load_config(step.ca_json)
    assert caught.value.code == "config.unsupported-database"
    assert "badger" in caught.value.message
    assert caught.value.hint is not None
    assert "sqlite" in caught.value.hint
    listed = json.loads(step.ca_json.read_text())["authority"]["provisioners"]
    assert [registry.by_name("admin").public_json()] == listed


def test_a_token_of_step_passes(step: Step, registry: Registry) -> None:
    """A token minted by the CLI, offline, with several names, is accepted for what it says."""
    verified = verify(registry, step.token("foo.local", "--san", "foo.local", "--san", "10.0.0.1"), Operation.SIGN)
    assert verified.subject == "foo.local"
    assert verified.sans == ("foo.local", "10.0.0.1")


def test_a_revoke_token_of_step_passes(step: Step, registry: Registry) -> None:
    """The other operation, with the serial as subject."""
    verified = verify(registry, step.token("1234", "--revoke"), Operation.REVOKE)
    assert (verified.subject, verified.sans) == ("1234", ())


def test_steps_latest_and_longest_token_passes(step: Step, registry: Registry) -> None:
    """The CLI's own limits are ours: an hour of life is accepted."""
    verify(registry, step.token("foo.local", "--not-after", "60m"), Operation.SIGN)


def decoded(step: Step, token: str) -> dict[str, Any]:
    """Let the CLI take a token apart."""
    found: dict[str, Any] = json.loads(step("crypto", "jwt", "inspect", "--insecure", given=token))
    return found


@pytest.mark.parametrize("operation", [Operation.SIGN, Operation.REVOKE])
def test_our_tokens_look_like_steps(step: Step, registry: Registry, operation: Operation) -> None:
    """Same header, same claims, same values; only the ID, the times and the signature differ."""
    signer, now = provisioner_key(registry), datetime.now(UTC)
    fingerprint = json.loads((step.folder / "config" / "defaults.json").read_text())["fingerprint"]
    to = offline_audience("localhost", operation)
    if operation is Operation.SIGN:
        theirs = decoded(step, step.token("foo.local"))
        ours = mint_sign_token(
            signer, issuer="admin", audience=to, subject="foo.local", sans=[],
            root_fingerprint=fingerprint, now=now, rng=os.urandom,
        )  # fmt: skip
    else:
        theirs = decoded(step, step.token("1234", "--revoke"))
        ours = mint_revoke_token(
            signer, issuer="admin", audience=to, serial=1234, root_fingerprint=fingerprint, now=now, rng=os.urandom
        )
    mine = decoded(step, ours)
    assert mine["header"] == theirs["header"]
    assert set(mine["payload"]) == set(theirs["payload"])
    passing = {"jti", "iat", "nbf", "exp"}
    for name in set(theirs["payload"]) - passing:
        assert mine["payload"][name] == theirs["payload"][name], name
    for each in (mine["payload"], theirs["payload"]):
        assert (each["exp"] - each["nbf"], each["iat"], len(each["jti"])) == (300, each["nbf"], 64)


@pytest.mark.parametrize("kind", KeyKind)
def test_step_verifies_our_signatures(step: Step, tmp_path: Path, kind: KeyKind) -> None:
    """For every kind of key, by the CLI's own JWT verification with our public JWK."""
    signer = PrivateJwk.of(keys.generate(kind))
    public = tmp_path / "public.json"
    public.write_text(json.dumps(signer.public().to_json()))
    token = mint_sign_token(
        signer, issuer="admin", audience="https://localhost/sign", subject="foo.local", sans=[],
        root_fingerprint="ab" * 32, now=datetime.now(UTC), rng=os.urandom,
    )  # fmt: skip
    step(
        "crypto",
        "jwt",
        "verify",
        "--key",
        str(public),
        "--iss",
        "admin",
        "--aud",
        "https://localhost/sign",
        given=token,
    )


def test_step_decrypts_our_jwe(step: Step) -> None:
    """The published key of a provisioner of ours must open in ``step ca token``."""
    signer = PrivateJwk.of(keys.generate(KeyKind.EC_P256))
    encrypted = jwe.encrypt(signer.to_json_bytes(), PASSWORD, rng=os.urandom)
    opened = step("crypto", "jwe", "decrypt", "--password-file", str(step.password), given=encrypted)
    assert json.loads(opened) == json.loads(signer.to_json_bytes())


@pytest.mark.parametrize(
    "options", [("EC", "--curve", "P-256"), ("EC", "--curve", "P-384"), ("EC", "--curve", "P-521"), ("RSA",), ("OKP",)]
)
def test_we_decrypt_steps_jwk(step: Step, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A key that ``step crypto jwk create`` made, for every kind, with the identifier that step computed."""
    public, private = tmp_path / "public.json", tmp_path / "private.json"
    step("crypto", "jwk", "create", str(public), str(private), "--kty", *options, "--password-file", str(step.password))
    document = json.loads(private.read_text())
    token = ".".join(document[part] for part in ("protected", "encrypted_key", "iv", "ciphertext", "tag"))
    key = parse_private_jwk(jwe.decrypt(token, PASSWORD))
    assert key.public().to_json() == json.loads(public.read_text())
    assert key.kid == thumbprint(key.key.public_key())


def test_a_provisioner_of_ours_serves_step(step: Step, registry: Registry, tmp_path: Path) -> None:
    """step mints with a key that we made and encrypted, from a ca.json that we rendered the entry of."""
    del registry
    signer = PrivateJwk.of(keys.generate(KeyKind.EC_P256))
    mine = JwkProvisioner(
        name="mine",
        key=signer.public(),
        encrypted_key=jwe.encrypt(signer.to_json_bytes(), PASSWORD, rng=os.urandom),
    )
    document = json.loads(step.ca_json.read_text())
    document["authority"]["provisioners"] = [mine.public_json()]
    path = tmp_path / "ca.json"
    path.write_text(json.dumps(document))
    token = step.token("foo.local", "--ca-config", str(path), "--provisioner", "mine")
    assert jws.verify(jws.split_unverified(token), signer.key.public_key())["iss"] == "mine"
    assert verify(Registry([mine]), token, Operation.SIGN).provisioner is mine


def test_a_token_for_another_host_does_not_pass(step: Step, registry: Registry) -> None:
    """The same token at a CA of another name: step's audience is as binding as ours."""
    with pytest.raises(Exception, match="not meant for this CA"):
        registry.authorize(
            Operation.SIGN, open_token(step.token("foo.local")), audiences=AUDIENCES, now=datetime.now(UTC)
        )
