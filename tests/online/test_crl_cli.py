"""``online crl`` against a CA whose answers are wrong on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes.certificates import make_intermediate, make_root
from fakes.step_ca import FakeCa, serving

from online.cli import cli
from online.crl_fetch import fetch
from shared.crl import CrlRequest, Reason, RevokedEntry, Scope, issue_crl, prepare_crl
from shared.errors import PeerFailed, RequestRejected
from shared.issue import Issuer
from shared.pem import certificate_pem

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[FakeCa]:
    """A CA whose answers a test decides on."""
    with serving(FakeCa(), tmp_path) as running:
        (tmp_path / "root.pem").write_bytes(certificate_pem(running.root))
        yield running


def made(ca: FakeCa, **changes: object) -> bytes:
    given: dict[str, object] = {"number": 7, "this_update": NOW, "next_update": NOW + timedelta(days=1)}
    request = CrlRequest(**(given | changes))  # type: ignore[arg-type]
    return issue_crl(prepare_crl(request, Issuer.from_certificate(ca.intermediate)), ca._key).der


def run(ca: FakeCa, tmp_path: Path, *arguments: str, status: int = 0) -> Result:
    options = ["--home", str(tmp_path / "home"), "--ca-url", ca.url, "--root", str(tmp_path / "root.pem")]
    result = CliRunner().invoke(cli, ["crl", *options, *arguments])
    assert result.exit_code == status, result.output
    return result


def test_a_list_without_anything(ca: FakeCa, tmp_path: Path) -> None:
    """A list that has neither place nor entries is a list."""
    ca.overrides["/crl"] = (200, made(ca))
    shown = run(ca, tmp_path).stdout
    assert "Revoked:      0" in shown
    assert "Covers:       all certificates" in shown
    described = json.loads(run(ca, tmp_path, "--json").stdout)
    assert described["revoked_certificates"] == described["distribution_points"] == []
    assert described["issuer"]["common_name"] == ["Test Intermediate CA"]
    assert described["signature_algorithm"]["name"] == "ECDSA-SHA256"
    assert described["next_update"] == f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"


def test_a_long_list_is_cut_unless_all_is_asked_for(ca: FakeCa, tmp_path: Path) -> None:
    """A terminal is not for a hundred thousand lines; what is left out is said."""
    entries = [RevokedEntry(serial=n + 1, revoked_at=NOW, reason=Reason.SUPERSEDED) for n in range(30)]
    ca.overrides["/crl"] = (200, made(ca, entries=entries, scope=Scope.LEAVES))
    shown = run(ca, tmp_path).stdout
    assert shown.count("superseded") == 20
    assert "and 10 more" in shown
    assert "Covers:       leaves" in shown
    assert run(ca, tmp_path, "--all").stdout.count("superseded") == 30
    assert len(json.loads(run(ca, tmp_path, "--json").stdout)["revoked_certificates"]) == 30


def test_a_list_that_ended_or_has_not_begun_fails(ca: FakeCa, tmp_path: Path) -> None:
    """A monitor that only looks at the exit status must notice that a CA does not renew its list."""
    for this_update in (NOW - timedelta(days=2), NOW + timedelta(hours=1)):
        ca.overrides["/crl"] = (200, made(ca, this_update=this_update, next_update=this_update + timedelta(days=1)))
        assert "in force from" in run(ca, tmp_path, status=1).output
    file = tmp_path / "future.crl"
    file.write_bytes(made(ca, this_update=NOW + timedelta(hours=1)))
    assert "(not yet)" in run(ca, tmp_path, "--inspect", str(file)).stdout


def test_a_list_of_somebody_else_fails(ca: FakeCa, tmp_path: Path) -> None:
    """TLS proves the server; the list must prove itself."""
    root, root_key = make_root()
    intermediate, key = make_intermediate(root, root_key)
    wanted = CrlRequest(number=7, this_update=NOW, next_update=NOW + timedelta(days=1))
    ca.overrides["/crl"] = (200, issue_crl(prepare_crl(wanted, Issuer.from_certificate(intermediate)), key).der)
    output = tmp_path / "out.crl"
    assert "none of the known issuers" in run(ca, tmp_path, "--output-file", str(output), status=1).output
    assert not output.exists()
    # Not even with an intermediate that the server says is its own, but that no trusted root signed.
    ca.overrides["/intermediates"] = (201, {"crts": [certificate_pem(intermediate).decode()]})
    assert "none of the known issuers" in run(ca, tmp_path, status=1).output


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((404, {"status": 404, "message": "no CRL available"}), "no CRL available"),
        ((404, b"page not found"), "no readable reason"),
        ((200, b"not a list"), "not one PEM revocation list"),
        ((200, b"\x30\x00"), "malformed"),
        ((204, b""), "204"),
        ((302, b""), "302"),
        ((503, {"status": 503, "message": "later"}), "later"),
    ],
)
def test_an_answer_that_is_no_list(ca: FakeCa, tmp_path: Path, answer: tuple[int, object], text: str) -> None:
    """Whatever a CA says instead, it is one line and a failure."""
    ca.overrides["/crl"] = answer
    assert text in run(ca, tmp_path, status=1).output


def test_stdin(ca: FakeCa, tmp_path: Path) -> None:
    """A list can come through a pipe."""
    arguments = ["crl", "--home", str(tmp_path), "--inspect", "-", "--format", "json"]
    result = CliRunner().invoke(cli, arguments, input=made(ca))
    assert json.loads(result.stdout)["number"] == 7


def test_an_address_over_tls_is_verified(ca: FakeCa) -> None:
    """A list proves itself, but where it was asked from need not be told to everybody on the way."""
    other, _ = make_root()
    with pytest.raises(PeerFailed) as caught:
        fetch(f"{ca.url}/crl", roots=(other,))
    assert caught.value.code == "ca.untrusted"
    content = made(ca)
    ca.overrides["/crl"] = (200, content)
    assert fetch(f"{ca.url}/crl", roots=(ca.root,)) == content


@pytest.mark.parametrize(
    "url",
    ["ftp://a/crl", "http://", "http:///crl", "http://a:99999/crl", "http://a/c rl", "http://a@b/crl", "http://ä/"],
)
def test_addresses_that_are_none(url: str) -> None:
    """What comes out of a certificate may be anything, also meant to confuse a client."""
    with pytest.raises(RequestRejected) as caught:
        fetch(url, roots=())
    assert caught.value.code == "crl.url"
