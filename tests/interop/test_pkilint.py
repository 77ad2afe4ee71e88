"""pkilint, which shares no code with our own lint, on everything that is issued: nothing above a notice."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from fakes.hierarchy import Pki, make_pki, make_world, peer
from fakes.rehearsal import full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from shared.clock import SystemClock
from shared.keys import KeyKind, generate
from shared.pem import certificate_pem, load_certificate

_BESIDE = str(Path(sys.executable).parent)
_LINT = shutil.which("lint_pkix_cert") or shutil.which("lint_pkix_cert", path=_BESIDE)
_LINT_PAIR = shutil.which("lint_pkix_signer_signee_cert_chain") or shutil.which(
    "lint_pkix_signer_signee_cert_chain", path=_BESIDE
)
pytestmark = pytest.mark.skipif(_LINT is None or _LINT_PAIR is None, reason="pkilint is not on PATH (extra: lint)")

# What it finds wrong with names that a private CA certifies on purpose, and why we do. All else fails.
WAIVED = {
    r'pkix\.invalid_domain_name_syntax .*"[^".]+"': "names of one label, such as localhost: machines inside have them",
    r'pkix\.invalid_domain_name_syntax .*"\*\.[^"*]+"': "wildcards: RFC 5280 leaves them to others (RFC 9525 §6.3)",
    r'pkix\.invalid_uri_syntax .*"spiffe://[^"]+"': "it knows a few schemes only; SPIFFE's is not among them",
}
_PLAIN = (
    "a.example.com",
    "host.internal",
    "192.0.2.7",
    "10.0.0.7",
    "2001:db8::7",
    "me@a.example.com",
    "https://a.example.com/x",
)
_PRIVATE = ("localhost", "*.a.example.com", "spiffe://prod/api")


def findings(*arguments: str | Path, program: str | None = _LINT) -> set[str]:
    """Return code and message of what is above a notice."""
    assert program is not None
    command = [program, "lint", "--severity", "WARNING", "--format", "JSON", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # The exit status is the number of findings.
    assert done.returncode >= 0
    assert done.stderr == ""
    return {
        f"{finding['code']} {finding.get('message') or ''}"
        for result in json.loads(done.stdout)["results"]
        for finding in result["finding_descriptions"]
    }


def waived(found: set[str]) -> set[str]:
    """Return the waivers that the findings need; a finding without one fails."""
    needed = {finding: [each for each in WAIVED if re.fullmatch(each, finding)] for finding in found}
    assert all(needed.values()), needed
    return {each for waivers in needed.values() for each in waivers}


def judge(directory: Path, *chain: x509.Certificate) -> set[str]:
    """Judge certificates one by one, leaf first, then each with the one above it."""
    paths = []
    for number, certificate in enumerate(chain):
        paths.append(directory / f"{number}.pem")
        paths[-1].write_bytes(certificate_pem(certificate))
    found = {finding for path in paths for finding in findings(path)}
    for below, above in itertools.pairwise(paths):
        found |= findings(above, below, program=_LINT_PAIR)
    return found


def _pki(kind: KeyKind) -> Pki:
    return make_pki(now=datetime.now(UTC), kind=kind)


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
async def test_a_chain_of_every_kind_of_key(tmp_path: Path, kind: KeyKind) -> None:
    """A rule of RFC 5280 that we forgot is one that our own lint forgot as well."""
    pki, clock = _pki(kind), SystemClock()
    world = make_world(pki=pki, now=datetime.now(UTC), clock=clock)
    chain, _ = await world.leaf("a.example.com", _PLAIN, key=generate(kind))
    renewed = await world.authority.renew(peer(chain))
    own = await world.authority.own_leaf(generate(KeyKind.EC_P256).public_key())
    assert judge(tmp_path, chain[0], pki.intermediate, pki.root) == set()
    assert judge(tmp_path, renewed[0], pki.intermediate) == set()
    # One of the node's names here is localhost.
    assert len(waived(judge(tmp_path, own[0]))) == 1


async def test_private_names_are_all_that_is_waived(tmp_path: Path) -> None:
    """A list of exceptions that is longer than what is needed hides the next mistake."""
    world = make_world(now=datetime.now(UTC), clock=SystemClock())
    chain, _ = await world.leaf("localhost", _PRIVATE)
    assert waived(judge(tmp_path, chain[0])) == WAIVED.keys()


@needs_softhsm
def test_root_and_intermediate_of_a_ceremony(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an HSM signed lasts for decades, and can be corrected by nobody."""
    no_hardening(monkeypatch)
    rehearsal = full_rehearsal(tmp_path)
    root, intermediate = (
        load_certificate((rehearsal.directory / name).read_bytes()) for name in ("root.crt", "intermediate.crt")
    )
    assert judge(tmp_path, intermediate, root) == set()


def test_it_would_find_a_fault(tmp_path: Path) -> None:
    """A judge that is called in the wrong way finds nothing, ever."""
    pki, other = _pki(KeyKind.EC_P256), _pki(KeyKind.EC_P256)
    assert judge(tmp_path, pki.intermediate, other.root)
