"""A node changes its intermediate while it is in use: by the commands, on the real node, with OpenSSL as the judge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from fakes.ceremony_reply import certify_request, reply_bundle
from fakes.certificates import make_root
from fakes.hierarchy import Pki, make_pki
from fakes.node import KEY_PASSWORD, PROVISIONER_PASSWORD, Node, NodeHome, make_home, running

from online.cli import cli
from online.config import load_config
from online.hierarchy import Hierarchy
from online.home import Home
from online.provisioners.x5c import X5cProvisioner
from shared.errors import RequestRejected
from shared.names import format_name
from shared.pem import certificate_pem, load_certificates


def run(*arguments: object, status: int = 0) -> str:
    """Run ``online`` and return all that it said."""
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert done.exit_code == status, f"{arguments}: {done.output} {done.exception}"
    return done.output


def private(path: Path, content: bytes) -> Path:
    """Write a file for its owner only."""
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def request(home: NodeHome, crossing: Path, *more: str) -> Path:
    """Ask for the next intermediate; return the request."""
    password = private(home.path / "password", KEY_PASSWORD)
    output = run(
        "intermediate", "request", "--home", home.path, "--crossing", crossing, "--password-file", password, *more
    )
    return Path(output.splitlines()[-1])


def answer(home: NodeHome, asked: Path) -> Path:
    """Be the ceremony: sign the request with the root."""
    data = asked.read_bytes()
    reply = asked.with_name("reply.bundle")
    reply.write_bytes(reply_bundle(data, home.pki.root, certify_request(data, home.pki.root, home.pki.root_key)))
    return reply


def take(home: NodeHome, reply: Path, *more: str, status: int = 0) -> str:
    """Import the ceremony's reply."""
    return run("import", reply, "--home", home.path, "--password-file", home.path / "password", *more, status=status)


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A node's home whose own leaves may vouch for others."""
    made = make_home(tmp_path / "home")
    document = json.loads(made.config.read_text())
    document["authority"]["provisioners"].append(X5cProvisioner(name="x5", roots=(made.pki.root,)).public_json())
    made.config.write_text(json.dumps(document))
    return made


@dataclass(frozen=True, kw_only=True)
class Site:
    """A node and a client that was bootstrapped to it."""

    node: Node
    directory: Path

    def client(self, *arguments: object, status: int = 0) -> str:
        """Run ``online`` as the client."""
        return run("--home", self.directory / "client", *arguments, status=status)

    def pair(self, name: str) -> tuple[Path, Path]:
        """Get a certificate; return it and its key."""
        crt, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        self.client("certificate", f"{name}.test", crt, key, *self.provisioner())
        return crt, key

    def provisioner(self) -> tuple[object, ...]:
        """Return the options that mint a token."""
        return "--provisioner", "admin", "--provisioner-password-file", self.directory / "provisioner"

    def reload(self) -> None:
        """Tell the node to read its files again."""
        since = len(self.node.lines)
        self.node.process.send_signal(signal.SIGHUP)
        self.node.wait_for("configuration reloaded", since=since)


def judged(site: Site, crt: Path, intermediate: Path) -> None:
    """Have OpenSSL verify a leaf, with one intermediate to lead to the root."""
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", site.node.home.root, "-untrusted", intermediate, crt],
        check=True,
        capture_output=True,
    )


def leaf(path: Path) -> x509.Certificate:
    """Return the leaf in a file."""
    return load_certificates(path.read_bytes())[0]


def step(site: Site, crt: Path, key: Path) -> None:
    """Renew by the ``step`` CLI, where it is."""
    found = shutil.which("step")
    if found is None:
        return
    subprocess.run(
        [found, "ca", "renew", "--force", "--ca-url", site.node.url, "--root", site.node.home.root, crt, key],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(site.directory), "STEPPATH": str(site.directory / "step")},
        timeout=60,
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's command is the judge")
@pytest.mark.parametrize(("engine", "more"), [("bundled", ()), ("system", ("--common-name", "Acme Intermediate CA 2"))])
def test_clients_live_through_a_change(home: NodeHome, tmp_path: Path, engine: str, more: tuple[str, ...]) -> None:
    """Without this, a new intermediate would lock out every client, and give revoked certificates their power back."""
    # The one in use among the former ones does no harm; nodes that change one after the other have it so.
    home.change_config(coldroot={"tlsEngine": engine, "formerIntermediates": ["certs/intermediate_ca.crt"]})
    private(tmp_path / "provisioner", PROVISIONER_PASSWORD)
    with running(home) as node:
        site = Site(node=node, directory=tmp_path)
        site.client("bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        names = ("mtls", "token", "rekeyed", "revoked", "stolen", "step")
        pairs = {each: site.pair(each) for each in names}
        old = {each: leaf(crt) for each, (crt, _) in pairs.items()}
        first = load_config(home.config).crt
        asked = request(home, tmp_path / "crossing", *more)
        reply = answer(home, asked)
        # Nothing changed so far.
        assert load_config(home.config).crt == first
        take(home, reply)
        second = load_config(home.config).crt
        assert second != first
        assert load_config(home.config).former_intermediates == (first,)
        assert "until" in run("config", "check", "--home", home.path)
        site.reload()
        for each, (crt, _) in pairs.items():
            assert leaf(crt) == old[each]
            judged(site, crt, first)
        # With mutual TLS, by a token, for another key, and by somebody else's client.
        site.client("renew", "--force", *pairs["mtls"])
        site.client("renew", "--force", "--no-mtls", *pairs["token"])
        site.client("rekey", "--force", *pairs["rekeyed"])
        step(site, *pairs["step"])
        for each in ("mtls", "token", "rekeyed"):
            judged(site, pairs[each][0], second)
            assert leaf(pairs[each][0]) != old[each]
        # A certificate of the former intermediate revokes itself, and another is revoked by a token.
        site.client("revoke", "--cert", pairs["revoked"][0], "--key", pairs["revoked"][1])
        site.client("revoke", old["stolen"].serial_number, *site.provisioner())
        for each in ("revoked", "stolen"):
            site.client("renew", "--force", *pairs[each], status=1)
            site.client("renew", "--force", "--no-mtls", *pairs[each], status=1)
        # A revoked certificate mints no token that works.
        crt, key = pairs["stolen"]
        token = tmp_path / "token"
        minting = ("--x5c-cert", crt, "--x5c-key", key, "--provisioner", "x5")
        site.client("token", "admin.corp.test", *minting, "--output-file", token)
        got = tmp_path / "admin.crt"
        site.client("certificate", "admin.corp.test", got, tmp_path / "admin.key", "--token-file", token, status=1)
        assert not got.exists()


def _state(home: NodeHome) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in home.path.rglob("*") if each.is_file() and "db" not in each.parts}


def test_the_same_reply_again_changes_nothing(home: NodeHome, tmp_path: Path) -> None:
    """Without this, a tool that runs twice would list the intermediate in use as a former one, or fail."""
    reply = answer(home, request(home, tmp_path / "crossing"))
    take(home, reply)
    before = _state(home)
    assert "nothing changed" in take(home, reply)
    assert _state(home) == before


def test_one_request_waits_at_a_time(home: NodeHome, tmp_path: Path) -> None:
    """Without this, a second request would make the reply to the first worthless, and a ceremony was held for it."""
    asked = request(home, tmp_path / "crossing")
    before = _state(home)
    more = ("--home", home.path, "--crossing", tmp_path / "other", "--password-file", home.path / "password")
    assert "requested already" in run("intermediate", "request", *more, status=1)
    assert _state(home) == before
    take(home, answer(home, asked))
    request(home, tmp_path / "again")


def test_a_wrong_password_leaves_nothing(home: NodeHome, tmp_path: Path) -> None:
    """Without this, the new key would have a password that the node's start does not know."""
    wrong = private(tmp_path / "wrong", b"wrong")
    before = _state(home)
    more = ("--home", home.path, "--crossing", tmp_path / "crossing", "--password-file", wrong)
    run("intermediate", "request", *more, status=1)
    assert _state(home) == before


def test_a_change_that_was_cut_is_finished(home: NodeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a power cut around the one moment of the change would need a person who knows the files."""
    reply = answer(home, request(home, tmp_path / "crossing"))
    first = load_config(home.config).crt

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    for place in ("edit_config", "forget_waiting"):
        with monkeypatch.context() as patched:
            patched.setattr(f"online.next_intermediate.{place}", cut)
            CliRunner().invoke(
                cli, ["import", str(reply), "--home", str(home.path), "--password-file", str(home.path / "password")]
            )
        # The old pair is in use, or the new one.
        config = load_config(home.config)
        assert (config.crt == first) == (place == "edit_config")
    take(home, reply)
    assert load_config(home.config).former_intermediates == (first,)
    assert not Home(path=home.path).next_intermediate.exists()


def test_a_stolen_key_is_not_trusted_on(home: NodeHome, tmp_path: Path) -> None:
    """Without this, who has the old key could forge a leaf and have it renewed by the new one for ever."""
    take(home, answer(home, request(home, tmp_path / "crossing")), "--drop-former")
    assert load_config(home.config).former_intermediates == ()


def hierarchy(pki: Pki, former: x509.Certificate) -> Hierarchy:
    """Return a hierarchy with a former intermediate."""
    return pki.hierarchy(former_issuers=(former,))


def test_what_ended_is_left_out() -> None:
    """Without this, the key of an intermediate would count for longer than the ceremony said."""
    now = datetime.now(UTC)
    old = make_pki(now=now, days=30)
    new = old.sibling()
    both = hierarchy(new, old.intermediate)
    assert both.anchors(now) == (new.intermediate, old.intermediate)
    assert len(both.accepted_at(now)) == 2
    later = now + timedelta(days=31)
    assert both.anchors(later) == (new.intermediate,)
    assert both.accepted_at(later) == (both.issuer,)


@pytest.mark.parametrize("foreign", [lambda: make_pki().intermediate, lambda: make_root()[0]])
def test_a_former_intermediate_is_under_our_root(foreign: Callable[[], x509.Certificate]) -> None:
    """Without this, one wrong path in ca.json would let another CA's leaves be renewed here."""
    with pytest.raises(RequestRejected) as caught:
        hierarchy(make_pki(), foreign())
    assert caught.value.code == "authority.former"


def test_the_check_tells_of_former_ones(home: NodeHome) -> None:
    """Without this, one that is missing or ended would be found out by a node that does not start, or never."""
    files = {
        "good": home.pki.sibling(common="Former").intermediate,
        "other": make_pki(now=datetime.now(UTC)).intermediate,
    }
    for name, each in files.items():
        (home.path / "certs" / name).write_bytes(certificate_pem(each))
    home.change_config(coldroot={"formerIntermediates": ["certs/good"]})
    assert format_name(files["good"].subject) in run("config", "check", "--home", home.path)
    for wrong in ("certs/other", "certs/missing"):
        home.change_config(coldroot={"formerIntermediates": [wrong]})
        assert "fault" in run("config", "check", "--home", home.path, status=1)
