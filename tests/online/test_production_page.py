"""The production page of step-ca, walked from its first command line to its last, on a real node.

Each line is the page's own, run by a shell, in the page's order, with these replacements and no other:

* ``step ca`` and ``step certificate`` are ``online``, ``step crypto`` is ``online crypto``, ``step path`` is
  ``online path``, ``step-ca`` is ``online serve``, and ``$STEPPATH`` is ``$COLDROOT_HOME``;
* the port is one that is free, where the page has 443;
* between ``init`` and ``serve`` there is the way through the ceremony: our root is not on this machine;
* files with passwords are made under ``umask 077``: ours are refused when others can read them.

Renewal at intervals (``--daemon``, timers, cron) has tests of its own.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from fakes.ceremony_reply import certify_request, reply_bundle
from fakes.certificates import make_root
from fakes.console import Console
from fakes.ports import free_port

from online.home import Home
from shared.keys import fingerprint
from shared.pem import load_certificates

_SHORT = re.compile(
    r"""X\.509v3 TLS Certificate \(ECDSA P-256\) \[Serial: \d{4}\.\.\.\d{4}\]
  Subject:     (?P<subject>\S+)
  Issuer:      Speedy Intermediate CA
  Provisioner: admin \[ID: [\w-]{4}\.\.\.[\w-]{4}\]
  Valid from:  (?P<start>\S+)
          to:  (?P<end>\S+)
"""
)
_NEW_PASSWORD = "another password"
_OLD_PASSWORD = "p4ssword"
_PASSWORD_OF_PROVISIONER = "Password of the provisioner admin"


@dataclass(kw_only=True)
class Page:
    """The reader of the page: a machine, and later its node."""

    console: Console
    port: int
    node: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Home:
        """The node's home."""
        return Home(path=self.console.home)

    @property
    def log(self) -> str:
        """What the node said so far."""
        return (self.console.directory / "node.log").read_text()

    def serve(self, line: str) -> None:
        """Run a line that starts the node, and wait until it serves."""
        with (self.console.directory / "node.log").open("ab") as log:
            before = log.tell()
            self.node = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.console.directory,
                env=self.console.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while "READY " not in self.log[before:]:
            assert self.node.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self) -> None:
        """Tell the node to stop, and see it do so."""
        if self.node is not None:
            self.node.send_signal(signal.SIGTERM)
            assert self.node.wait(30) == 0, self.log
            self.node = None

    def leaf(self, name: str) -> x509.Certificate:
        """Return the leaf in a file."""
        return load_certificates((self.console.directory / name).read_bytes())[0]


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A machine on which nothing was done yet; the tests of this module are one story, told in order."""
    page = Page(console=Console.at(tmp_path_factory.mktemp("page")), port=free_port())
    yield page
    if page.node is not None and page.node.poll() is None:
        page.node.kill()
        page.node.wait()


def _short(text: str, subject: str) -> tuple[str, str]:
    """Insist on the short form of a certificate, and return its validity."""
    found = _SHORT.fullmatch(text)
    assert found is not None, text
    assert found["subject"] == subject
    return found["start"], found["end"]


def test_a_password_file_that_all_can_read_is_refused(page: Page) -> None:
    """The page's own first line leaves the CA's password readable by everybody on the machine."""
    page.console.run('umask 022; echo "p4ssword" > password.txt')
    init = f'online init --name "Speedy" --dns localhost --address ":{page.port}" --password-file password.txt'
    assert "hint: chmod 600 password.txt" in page.console.run(init, status=1).err
    assert not page.console.home.exists()
    page.console.run("rm password.txt")


def test_init_then_the_ceremony(page: Page) -> None:
    """``step ca init``, and what stands in for the root key that step leaves on the machine."""
    page.console.run('umask 077; echo "p4ssword" > password.txt')
    done = page.console.run(
        f'online init --name "Speedy" --provisioner admin '
        f'--dns localhost --address ":{page.port}" '
        f"--password-file password.txt "
        f"--provisioner-password-file password.txt"
    )
    # One password for two keys is what the page has, and what it advises against.
    assert "have the same password" in done.err
    assert f"online import --home {page.console.home} REPLY.bundle" in done.err
    assert _OLD_PASSWORD not in done.out + done.err
    assert not list(page.console.home.rglob("root_ca_key"))
    assert {each.stat().st_mode & 0o077 for each in page.console.home.rglob("*")} <= {0, 0o044}
    assert all(each.stat().st_mode & 0o077 == 0 for each in (page.console.home / "secrets").iterdir())
    # Not before the ceremony has spoken.
    early = page.console.run("online serve $(online path)/config/ca.json --password-file password.txt", status=1)
    assert "online import" in early.err
    root, root_key = make_root(begin=datetime.now(UTC) - timedelta(days=1))
    request = (page.console.directory / done.out.strip()).read_bytes()
    reply = reply_bundle(request, root, certify_request(request, root, root_key))
    (page.console.directory / "reply.bundle").write_bytes(reply)
    import_ = f"online import reply.bundle --fingerprint {fingerprint(root)}"
    told = page.console.run(f"{import_} --password-file password.txt")
    assert told.out == f"{fingerprint(root)}\n"


def test_change_pass(page: Page) -> None:
    """``step crypto change-pass``: after it, the old password starts nothing and the new one does."""
    line = "online crypto change-pass $COLDROOT_HOME/secrets/intermediate_ca_key"
    asked = [("assword", _OLD_PASSWORD), ("assword", _NEW_PASSWORD), ("epeat for confirmation", _NEW_PASSWORD)]
    page.console.talk(line, asked)
    serve = "online serve $(online path)/config/ca.json --password-file password.txt"
    assert "password" in page.console.run(serve, status=77).err
    page.console.run(f"umask 077; echo {_NEW_PASSWORD!r} > intermediate-password.txt")


def test_serve(page: Page) -> None:
    """``step-ca``: it listens, and says so in a line that carries no secret."""
    page.serve("online serve $(online path)/config/ca.json --password-file intermediate-password.txt")
    assert f":{page.port} " in page.log


def test_token_then_certificate(page: Page) -> None:
    """The page's first certificate: a token, then a certificate for it, then its short form."""
    page.console.run("TOKEN=$(online token --password-file password.txt foo.local) && echo $TOKEN > token.txt")
    # Whoever gets the token need not know the CA.
    done = page.console.run("TOKEN=$(cat token.txt); online certificate foo.local foo.crt foo.key --token $TOKEN")
    said = [line.partition(" [")[0] for line in done.err.splitlines()]
    assert said[-3:] == [f"✔ CA: https://localhost:{page.port}", "✔ Certificate: foo.crt", "✔ Private Key: foo.key"]
    start, end = _short(page.console.run("online certificate inspect --short foo.crt").out, "foo.local")
    length = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    assert length == timedelta(hours=24, minutes=1)
    assert page.console.run("online inspect --short foo.crt").out.startswith("X.509v3 TLS Certificate")


def test_token_tells_who_signs(page: Page) -> None:
    """``step ca token`` names the key that it signed with; a script must not find that in the token."""
    done = page.console.run("online token --password-file password.txt bar.local")
    assert re.search(r"admin \[ID: [\w-]{43}\]", done.err)
    assert done.out.count(".") == 2


def test_renew_by_hand(page: Page) -> None:
    """``step ca renew --force``, then the note about the change in the validity."""
    before = page.leaf("foo.crt")
    # Validities count in whole seconds.
    time.sleep(1.1)
    done = page.console.run("online renew --force foo.crt foo.key")
    assert "Your certificate has been saved in foo.crt" in done.err
    start, end = _short(page.console.run("online certificate inspect --short foo.crt").out, "foo.local")
    after = page.leaf("foo.crt")
    assert after.not_valid_before_utc > before.not_valid_before_utc
    assert datetime.fromisoformat(start) == after.not_valid_before_utc
    assert datetime.fromisoformat(end) > before.not_valid_after_utc


def test_the_check_before_a_timed_renewal(page: Page) -> None:
    """The unit's ``ExecStartPre``: the page's own ``jq`` line must find a fresh certificate not due yet."""
    line = """
    online certificate inspect $CERT_LOCATION --format json --roots "$COLDROOT_HOME/certs/root_ca.crt" | \
    jq -e "(((.validity.start | fromdate) + \
    ((.validity.end | fromdate) - (.validity.start | fromdate)) * {share}) \
    - now) <= 0" > /dev/null"""
    page.console.run("command -v jq")
    page.console.run(f"CERT_LOCATION=foo.crt; {line.format(share=0.66)}", status=1)
    page.console.run(f"CERT_LOCATION=foo.crt; {line.format(share=0)}")


def test_only_when_it_is_near_its_end(page: Page) -> None:
    """The lines of cron: ``--expires-in`` decides, also with ``--force``."""
    fresh = page.leaf("foo.crt")
    left = page.console.run("online renew --force --expires-in 4h foo.crt foo.key || test $? = 3").err
    assert re.search(r"certificate not renewed: expires in 23h5\dm\d+s", left)
    assert page.leaf("foo.crt") == fresh
    near = page.console.run("online renew --force --expires-in 24h foo.crt foo.key").err
    assert "Your certificate has been saved in foo.crt." in near
    assert page.leaf("foo.crt") != fresh


def test_a_certificate_with_the_password_asked_for(page: Page) -> None:
    """``step ca certificate`` without a token: it asks for the provisioner's password, and shows it to nobody."""
    line = "online certificate localhost localhost.crt localhost.key"
    done = page.console.talk(line, [(_PASSWORD_OF_PROVISIONER, _OLD_PASSWORD)])
    assert _OLD_PASSWORD not in done.out
    assert "✔ Certificate: localhost.crt" in done.out
    _short(page.console.run("online certificate inspect --short localhost.crt").out, "localhost")


def test_renewed_before_it_is_revoked(page: Page) -> None:
    """``step ca renew`` at a terminal, without ``--force``: a person is asked, and says yes."""
    before = page.leaf("localhost.crt")
    time.sleep(1.1)
    done = page.console.talk("online renew localhost.crt localhost.key", [("[y/n]", "y")])
    assert "Your certificate has been saved in localhost.crt" in done.out
    assert page.leaf("localhost.crt").not_valid_before_utc > before.not_valid_before_utc


def test_revoke_by_serial_number(page: Page) -> None:
    """The page takes the number out of the JSON, and authenticates with the provisioner's password."""
    shown = page.console.run("online certificate inspect --format=json localhost.crt | jq .serial_number").out
    serial = str(page.leaf("localhost.crt").serial_number)
    assert shown == f'"{serial}"\n'
    done = page.console.talk(f"online revoke {serial}", [(_PASSWORD_OF_PROVISIONER, _OLD_PASSWORD)])
    assert f"Certificate with Serial Number {serial} has been revoked." in done.out


def test_a_revoked_certificate_is_not_renewed(page: Page) -> None:
    """401 with step's sentence for the caller, the cause for the log, under the request's number."""
    done = page.console.run("online renew --force localhost.crt localhost.key", status=1)
    assert "The request lacked necessary authorization to be completed" in done.err
    line = next(line for line in page.log.splitlines() if "POST /renew 401" in line)
    assert "certificate.revoked" in line


def test_revoke_by_certificate(page: Page) -> None:
    """Certificate and key authenticate the request; no password is needed."""
    again = "online certificate localhost localhost.crt localhost.key --force --password-file password.txt"
    page.console.run(again)
    serial = page.leaf("localhost.crt").serial_number
    done = page.console.run("online revoke --cert localhost.crt --key localhost.key")
    assert done.out == f"Certificate with Serial Number {serial} has been revoked.\n"
    assert "authorization" in page.console.run("online renew --force localhost.crt localhost.key", status=1).err


def test_revoke_in_two_steps(page: Page) -> None:
    """First a token, looked at as the page does, then the request with it."""
    page.console.run("online certificate localhost localhost.crt localhost.key --force --password-file password.txt")
    serial = page.leaf("localhost.crt").serial_number
    line = f"TOKEN=$(online token --revoke {serial}) && echo $TOKEN > revoke.txt"
    page.console.talk(line, [(_PASSWORD_OF_PROVISIONER, _OLD_PASSWORD)])
    shown = json.loads(page.console.run("echo $(cat revoke.txt) | online crypto jwt inspect --insecure").out)
    assert set(shown) == {"header", "payload", "signature"}
    assert (shown["header"]["alg"], shown["header"]["typ"]) == ("ES256", "JWT")
    payload = shown["payload"]
    assert payload["aud"] == f"https://localhost:{page.port}/1.0/revoke"
    assert payload["iss"] == "admin"
    assert payload["sub"] == str(serial)
    assert payload["exp"] - payload["nbf"] == 300
    assert payload["sha"] == fingerprint(load_certificates(page.home.root_certificate.read_bytes())[0])
    done = page.console.run(f"TOKEN=$(cat revoke.txt); online revoke --token $TOKEN {serial}")
    assert done.out == f"Certificate with Serial Number {serial} has been revoked.\n"


@pytest.mark.parametrize("by", ["serial", "certificate"])
def test_revoke_offline(page: Page, by: str) -> None:
    """Without contact to the node, which obeys at once all the same."""
    page.console.run("online certificate localhost localhost.crt localhost.key --force --password-file password.txt")
    serial = page.leaf("localhost.crt").serial_number
    if by == "serial":
        line = f"online revoke --offline {serial}"
        done = page.console.talk(line, [(_PASSWORD_OF_PROVISIONER, _OLD_PASSWORD)]).out
    else:
        done = page.console.run("online revoke --offline --cert localhost.crt --key localhost.key").out
    assert f"Certificate with Serial Number {serial} has been revoked.\n" in done
    assert "authorization" in page.console.run("online renew --force localhost.crt localhost.key", status=1).err


def test_the_default_provisioner_goes(page: Page) -> None:
    """The page: remove it before deploying, and add others under random passwords. What it issued is not renewed."""
    page.console.run("online provisioner add web && online provisioner remove admin")
    assert page.node is not None
    page.node.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while '"web"' not in (listed := page.console.run("online provisioner list --json").out):
        assert time.monotonic() < deadline, page.log
        time.sleep(0.1)
    assert [each["name"] for each in json.loads(listed)] == ["web"]
    assert "authorization" in page.console.run("online renew --force foo.crt foo.key", status=1).err
    passwords = sorted(each.name for each in (page.console.home / "secrets").glob("provisioner_password_*"))
    assert passwords == ["provisioner_password_web.txt"]
    page.console.run("online certificate web.local web.crt web.key")


def test_the_end(page: Page) -> None:
    """It stops when it is told to, and nothing secret is in what it said from the first line to the last."""
    page.stop()
    tokens = [(page.console.directory / name).read_text().strip() for name in ("token.txt", "revoke.txt")]
    secrets = [_OLD_PASSWORD, _NEW_PASSWORD, *(part for token in tokens for part in token.split("."))]
    assert all(each not in page.log for each in secrets)
