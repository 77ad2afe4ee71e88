"""What is computed before the day must be what is signed on the day, to the byte."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.day import DAY, day
from fakes.rehearsal import request_bundle

from ceremony.cli import cli
from ceremony.crl import planned_lists, prepare_list
from ceremony.crosscert import prepare_cross
from ceremony.foresight import AtHand, foresee, known_beforehand
from ceremony.intermediate import SigningRequest, prepare_intermediate, read_request
from ceremony.plan import load_plan
from ceremony.root import prepare_root
from ceremony.script import build_script
from shared import keys, names
from shared.crl import issue_crl
from shared.crossing.bundle import decode_bundle
from shared.errors import RequestRejected
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.pem import certificate_pem
from shared.profile import root_profile

# On the day another clock runs, and other serials are drawn: what the plan fixes must win.
LATER = datetime(2027, 3, 3, 3, 3, 3, tzinfo=UTC)
SERIAL = 1 << 126
ROOT_KEY = keys.generate(keys.KeyKind.EC_P384)
ENCODED = request_bundle(keys.generate(keys.KeyKind.EC_P256), subject=day().intermediates[0].subject)


def _request() -> SigningRequest:
    return read_request(day(), decode_bundle(ENCODED), ENCODED)


def test_before_the_day_equals_the_day() -> None:
    """This is the promise: everybody can know beforehand what will be signed."""
    plan, request = day(), _request()
    before = {each.file: each for each in foresee(plan, AtHand(root_key=ROOT_KEY.public_key(), requests=(request,)))}
    root = issue(prepare_root(plan, public_key=ROOT_KEY.public_key(), serial=99, now=LATER), ROOT_KEY)
    alpha = issue(prepare_intermediate(request, root=root, serial=98, now=LATER), ROOT_KEY)
    assert before["root.crt"].tbs == root.tbs_certificate_bytes
    assert before["alpha.crt"].tbs == alpha.tbs_certificate_bytes
    after = {each.file: each for each in foresee(plan, AtHand(roots={"": root}, requests=(request,)))}
    assert after["alpha.crt"].digest == before["alpha.crt"].digest
    known = known_beforehand(plan, AtHand(roots={"": root}, requests=(request,)))
    assert known.tbs["alpha.crt"] == hashlib.sha256(alpha.tbs_certificate_bytes).digest()
    assert known.requests == {"alpha": hashlib.sha256(ENCODED).digest()}


def test_lists_and_cross_certificates() -> None:
    """What revokes and what certifies another root is agreed on beforehand as well."""
    other_key = keys.generate(keys.KeyKind.EC_P384)
    name = names.subject(common="Contoso Root CA", organization="Contoso")
    wanted = IssuanceRequest(
        subject=name, public_key=other_key.public_key(), serial=SERIAL, not_before=LATER.replace(year=2026),
        not_after=LATER.replace(year=2036),
    )  # fmt: skip
    other = issue(prepare(root_profile(), wanted, Issuer.new_root(name, other_key.public_key())), other_key)
    text = DAY.replace("d7a7a0fb5d7e2731d771e9484ebcdef71d5f0c3e0a2948782bc83ee0ea699ef4", keys.fingerprint(other))
    text = text.replace(
        "years = 3\n", 'years = 3\nserial = "0x4a3f0000000000000000000000000009"\nnot_before = "2026-12-01T13:00:00Z"\n'
    ).replace('file = "beta"\nreason', 'file = "alpha"\nreason')
    plan = load_plan(text.encode())
    encoded = request_bundle(keys.generate(keys.KeyKind.EC_P256), subject=plan.intermediates[0].subject)
    request = read_request(plan, decode_bundle(encoded), encoded)
    at_hand = AtHand(root_key=ROOT_KEY.public_key(), requests=(request,), other_roots=(other,))
    before = {each.file: each for each in foresee(plan, at_hand)}
    root = issue(prepare_root(plan, public_key=ROOT_KEY.public_key(), serial=SERIAL, now=LATER), ROOT_KEY)
    alpha = issue(prepare_intermediate(request, root=root, serial=SERIAL, now=LATER), ROOT_KEY)
    crossed = issue(prepare_cross(plan.crosses[0], other, root=root, serial=SERIAL, now=LATER), ROOT_KEY)
    assert before["cross/old.crt"].tbs == crossed.tbs_certificate_bytes
    lists = planned_lists(plan.crls[0])
    previous = None
    for each in lists:
        prepared = prepare_list(plan.crls[0], each, root=root, issued={"alpha": alpha}, previous_number=previous)
        previous = each.number
        assert before[each.file].tbs == issue_crl(prepared, ROOT_KEY).crl.tbs_certlist_bytes
    assert len(lists) == 4
    script = build_script(plan, known_beforehand(plan, at_hand))
    expected = [each.digest for section in script.sections for step in section.steps for each in step.expects]
    assert before[lists[3].file].digest in expected
    assert before["cross/old.crt"].digest in expected


def test_what_is_missing_is_named() -> None:
    """Who cannot compute a digest must learn what to fix in the plan, or which file to give."""
    found = {str(each.act): each for each in foresee(day(), AtHand())}
    assert "--public-key" in found["root"].missing[0]
    assert any("--request" in each for each in found["intermediate:alpha"].missing)
    beta = " ".join(found["intermediate:beta"].missing)
    assert "serial" in beta
    assert "not_before" in beta
    assert all(each.digest is None for each in found.values())
    assert found["backup"].missing
    assert "beta" in " ".join(found["crl:first"].missing)
    assert "--other-root" in " ".join(found["cross:old"].missing)
    assert "on the day" in found["rollover:next"].missing[0]


def test_a_root_that_is_there_needs_nothing_fixed() -> None:
    """On a later day the root exists; its intermediates must not depend on how it was planned."""
    text = DAY.replace('serial = "0x4a3f0000000000000000000000000001"\nnot_before = "2026-12-01T10:00:00Z"\n', "")
    plan = load_plan(text.encode())
    root = issue(
        prepare_root(plan, public_key=ROOT_KEY.public_key(), serial=SERIAL, now=LATER.replace(year=2026)), ROOT_KEY
    )
    found = {each.file: each for each in foresee(plan, AtHand(roots={"": root}, requests=(_request(),)))}
    assert found["root.crt"].tbs == root.tbs_certificate_bytes
    assert found["alpha.crt"].digest is not None


def test_what_does_not_belong_is_refused() -> None:
    """A digest of another root, or under another key, would be compared in good faith on the day."""
    plan = day()
    root = issue(prepare_root(plan, public_key=ROOT_KEY.public_key(), serial=99, now=LATER), ROOT_KEY)
    renamed = load_plan(DAY.replace("Northwind Root CA", "Another Root CA", 1).encode())
    later = load_plan(DAY.replace("2026-12-01T10:00:00Z", "2026-12-01T10:00:01Z").encode())
    wrong_kind, other = keys.generate(keys.KeyKind.EC_P256), keys.generate(keys.KeyKind.EC_P384)
    cases = [
        (renamed, AtHand(roots={"": root}), "foresight.other-root"),
        (later, AtHand(roots={"": root}), "foresight.other-root"),
        (plan, AtHand(root_key=wrong_kind.public_key()), "foresight.other-key"),
        (plan, AtHand(roots={"": root}, root_key=other.public_key()), "foresight.other-key"),
    ]
    for each, at_hand, code in cases:
        with pytest.raises(RequestRejected) as refused:
            foresee(each, at_hand)
        assert refused.value.code == code


def _tbs(tmp_path: Path, *arguments: str) -> Result:
    (tmp_path / "plan.toml").write_text(DAY)
    return CliRunner().invoke(cli, ["plan", "tbs", "--plan", str(tmp_path / "plan.toml"), *arguments])


def test_the_command(tmp_path: Path) -> None:
    """Keys come as files, from a directory, in bundles; the answer is for people and for scripts."""
    public = ROOT_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "root.pub").write_bytes(public)
    (tmp_path / "request.bundle").write_bytes(ENCODED)
    given = ["--public-key", str(tmp_path / "root.pub"), "--request", str(tmp_path / "request.bundle")]
    done = _tbs(tmp_path, *given, "--json")
    assert done.exit_code == 0, done.output
    listed = {each["act"]: each for each in json.loads(done.stdout)}
    expected = foresee(day(), AtHand(root_key=ROOT_KEY.public_key(), requests=(_request(),)))
    assert expected[1].digest is not None
    assert listed["intermediate:alpha"]["tbs_sha256"] == expected[1].digest.hex()
    assert len(listed["root"]["words"]) == 32
    shown = _tbs(tmp_path, *given).stdout
    assert listed["root"]["tbs_sha256"] in shown
    assert "not known: serial is not fixed" in shown
    root = issue(prepare_root(day(), public_key=ROOT_KEY.public_key(), serial=99, now=LATER), ROOT_KEY)
    (tmp_path / "root.crt").write_bytes(certificate_pem(root))
    from_directory = _tbs(tmp_path, "--dir", str(tmp_path), "--request", str(tmp_path / "request.bundle"), "--json")
    assert json.loads(from_directory.stdout)[1] == listed["intermediate:alpha"]
    (tmp_path / "root.pub").write_text("nothing")
    assert "not a public key in PEM" in _tbs(tmp_path, *given).stderr
