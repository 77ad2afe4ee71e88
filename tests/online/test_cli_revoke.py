"""Every way to revoke, by the command line, against two worker processes over real TLS: at once, everywhere, once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.client_story import Shell
from fakes.node import PROVISIONER_PASSWORD, Node, NodeHome, make_home, running

from online.cli.revoke import parse_reason
from online.enrol import make_csr
from online.provisioners.protocol import Operation
from online.tokens import audience, mint_renew_token
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind
from shared.keystore import load_private_key
from shared.pem import load_certificate_der


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An operator on the node's machine, with a client's shell beside it."""

    node: Node
    client: Shell
    operator: Shell
    """The same commands, in the node's own home."""

    def answers(self, stem: str, way: str) -> list[int]:
        """Ask every worker to renew or rekey a certificate; return the statuses, one a worker.

        A worker is known by its own certificate, of which each has another.
        """
        crt, key = self.client.path(f"{stem}.crt"), self.client.path(f"{stem}.key")
        context = ssl.create_default_context(cafile=str(self.node.home.root))
        headers: dict[str, str] = {}
        if way == "token":
            private = load_private_key(Path(key).read_bytes(), lambda _: b"", what="key")
            headers["Authorization"] = "Bearer " + mint_renew_token(
                self.client.read(f"{stem}.crt"),
                private,
                audience=audience(self.node.url, Operation.RENEW),
                now=datetime.now(UTC),
                rng=os.urandom,
            )
        else:
            context.load_cert_chain(crt, key)
        body = b""
        if way == "rekey":
            csr = make_csr(keys.generate(KeyKind.EC_P256), f"{stem}.local", [f"{stem}.local"])
            body = json.dumps({"csr": csr.public_bytes(Encoding.PEM).decode()}).encode()
        seen: dict[int, int] = {}
        workers = self.node.workers()
        for asked in workers:
            # Which worker takes a connection is the kernel's affair: the others are held back.
            others = [worker for worker in workers if worker != asked]
            for other in others:
                os.kill(other, signal.SIGSTOP)
            try:
                connection = http.client.HTTPSConnection("localhost", self.node.port, timeout=20, context=context)
                connection.request("POST", "/rekey" if way == "rekey" else "/renew", body=body, headers=headers)
                assert isinstance(connection.sock, ssl.SSLSocket)
                der = connection.sock.getpeercert(binary_form=True)
                assert der is not None
                seen[load_certificate_der(der).serial_number] = connection.getresponse().status
                connection.close()
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)
        assert len(seen) == len(workers) == 2, "each worker answers once"
        return list(seen.values())

    def serial(self, stem: str) -> str:
        """Return the serial of a certificate as people type it."""
        return str(self.client.read(f"{stem}.crt")[0].serial_number)


def _shell(directory: Path, home: NodeHome, url: str, name: str) -> Shell:
    file = directory / "password"
    file.write_bytes(PROVISIONER_PASSWORD)
    file.chmod(0o600)
    return Shell(directory=directory, url=url, fingerprint=home.fingerprint, password_file=file, home=name)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A node with two workers."""
    home = make_home(tmp_path_factory.mktemp("node") / "home")
    with running(home, workers=2) as node:
        directory = tmp_path_factory.mktemp("client")
        client = _shell(directory, home, node.url, "client-home")
        client.run("bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        yield Desk(node=node, client=client, operator=_shell(directory, home, node.url, str(home.path)))


def by_serial(desk: Desk, stem: str) -> Result:
    return desk.client.run("revoke", desk.serial(stem), *desk.client.password())


def by_certificate(desk: Desk, stem: str) -> Result:
    return desk.client.run(
        "revoke", "--cert", desk.client.path(f"{stem}.crt"), "--key", desk.client.path(f"{stem}.key")
    )


def in_two_steps(desk: Desk, stem: str) -> Result:
    token = desk.client.run("token", "--revoke", desk.serial(stem), *desk.client.password()).stdout.strip()
    return desk.client.run("revoke", "--token", token, desk.serial(stem), home="no-home")


def offline_by_serial(desk: Desk, stem: str) -> Result:
    return desk.operator.run("revoke", "--offline", desk.serial(stem), *desk.operator.password())


def offline_by_certificate(desk: Desk, stem: str) -> Result:
    pair = ("--cert", desk.client.path(f"{stem}.crt"), "--key", desk.client.path(f"{stem}.key"))
    return desk.operator.run("revoke", "--offline", *pair)


def offline_in_two_steps(desk: Desk, stem: str) -> Result:
    token = desk.operator.run("token", "--offline", "--revoke", desk.serial(stem), *desk.operator.password())
    return desk.operator.run("revoke", "--offline", "--token", token.stdout.strip())


WAYS: dict[str, Callable[[Desk, str], Result]] = {
    "by-serial": by_serial,
    "by-certificate": by_certificate,
    "in-two-steps": in_two_steps,
    "offline-by-serial": offline_by_serial,
    "offline-by-certificate": offline_by_certificate,
    "offline-in-two-steps": offline_in_two_steps,
}


@pytest.mark.parametrize("stem", WAYS)
def test_a_revoked_certificate_is_renewed_by_no_worker(desk: Desk, stem: str) -> None:
    """A worker that still renews after the answer keeps a thief's access alive for ever."""
    desk.client.pair(stem)
    assert desk.answers(stem, "mtls") == [201, 201]
    done = WAYS[stem](desk, stem)
    assert done.stdout == f"Certificate with Serial Number {desk.serial(stem)} has been revoked.\n"
    for way in ("mtls", "rekey", "token"):
        assert desk.answers(stem, way) == [401, 401]
    listed = json.loads(desk.operator.run("list", "--serial", desk.serial(stem), "--json").stdout)["certificates"]
    assert [each["status"] for each in listed] == ["revoked"]


@pytest.mark.parametrize("again", WAYS)
def test_a_second_revocation_is_refused_and_changes_nothing(desk: Desk, again: str) -> None:
    """Whoever repeats it must learn that it is done, and the first date and reason must stay."""
    stem = f"twice-{again}"
    desk.client.pair(stem)
    desk.operator.run(
        *("revoke", "--offline", desk.serial(stem), "--reason", "lost", "--reasonCode", "Key Compromise"),
        *desk.operator.password(),
    )
    with pytest.raises(AssertionError, match="is already revoked"):
        WAYS[again](desk, stem)
    (found,) = json.loads(desk.operator.run("list", "--serial", desk.serial(stem), "--json").stdout)["certificates"]
    assert (found["revocation"]["reason_code"], found["revocation"]["reason"]) == (1, "lost")


def test_a_revocation_while_the_node_stands_still(tmp_path: Path) -> None:
    """The operator who found the theft need not start the node first, nor own its key's password."""
    home = make_home(tmp_path / "home")
    with running(home) as node:
        client = _shell(tmp_path, home, node.url, "client-home")
        client.run("bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        client.pair("a")
    operator = _shell(tmp_path, home, "", str(home.path))
    serial = str(client.read("a.crt")[0].serial_number)
    (home.path / "secrets" / "intermediate_ca_key").unlink()
    operator.run("revoke", "--offline", serial, *operator.password())
    refused = operator.run("revoke", "--ca-config", str(home.config), serial, *operator.password(), status=1)
    assert f"certificate with serial number '{serial}' is already revoked" in refused.stderr
    (found,) = json.loads(operator.run("list", "--status", "revoked", "--json").stdout)["certificates"]
    assert found["serial"] == serial


def test_what_is_not_to_be_revoked_stays(desk: Desk, tmp_path: Path) -> None:
    """Offline is no way around the rules: unknown numbers, the node's own leaf, other keys, foreign certificates."""
    operator, password = desk.operator, desk.operator.password()
    assert "no certificate" in operator.run("revoke", "--offline", "12345", *password, status=1).stderr
    own = json.loads(operator.run("list", "--kind", "own", "--json").stdout)["certificates"][0]["serial"]
    assert "own" in operator.run("revoke", "--offline", own, *password, status=1).stderr
    crt, key = desk.client.pair("stays")
    other = desk.client.pair("other")
    mixed = operator.run("revoke", "--offline", "--cert", crt, "--key", other[1], status=1)
    assert "do not belong together" in mixed.stderr
    renumbered = operator.run("revoke", "--offline", "--cert", crt, "--key", key, "17", status=1)
    assert "another serial number" in renumbered.stderr
    token = operator.run("token", "--offline", "--revoke", desk.serial("other"), *password).stdout.strip()
    crossed = operator.run("revoke", "--offline", "--token", token, desk.serial("stays"), status=1)
    assert "not the serial number in the request" in crossed.stderr
    signing = operator.run("token", "--offline", desk.serial("stays"), "--san", "x.local", *password).stdout.strip()
    assert "token.audience" in operator.run("revoke", "--offline", "--token", signing, status=1).stderr
    foreign = make_home(tmp_path / "foreign")
    stranger = operator.run("revoke", "--ca-config", str(foreign.config), "--cert", crt, "--key", key, status=1)
    assert "was not issued by this CA" in stranger.stderr
    assert desk.answers("stays", "mtls") == [201, 201]


def test_a_revocation_token_is_good_for_one_revocation(desk: Desk) -> None:
    """Used offline, it must be used for the node, too: both look at one record."""
    desk.client.pair("once")
    token = desk.operator.run("token", "--offline", "--revoke", desk.serial("once"), *desk.operator.password())
    used = token.stdout.strip()
    desk.operator.run("revoke", "--offline", "--token", used)
    refused = desk.client.run("revoke", "--token", used, status=1)
    assert "401" in refused.stderr


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("unspecified", 0),
        ("keyCompromise", 1),
        ("key compromise", 1),
        ("KEY-COMPROMISE", 1),
        ("ca_compromise", 2),
        ("AffiliationChanged", 3),
        ("superseded", 4),
        ("Cessation Of Operation", 5),
        ("certificateHold", 6),
        ("removeFromCRL", 8),
        ("privilegeWithdrawn", 9),
        ("aaCompromise", 10),
        *((str(code), code) for code in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10)),
    ],
)
def test_reasons_by_name_and_number(text: str, code: int) -> None:
    """Step's users write them in many ways; a reason that is taken for another one bars keys, or does not."""
    assert parse_reason(text) == code


@pytest.mark.parametrize("text", ["7", "11", "-1", "001", "１", "", "stolen", "key compromised"])
def test_no_reasons(text: str) -> None:
    """A reason that is not understood must not become 'unspecified'."""
    with pytest.raises(RequestRejected) as caught:
        parse_reason(text)
    # What is offered is what RFC 5280 writes and what a revocation may give.
    assert "keyCompromise, cACompromise" in (caught.value.hint or "")
    assert "remove" not in (caught.value.hint or "")
