"""The pure parts of the later acts: what they prepare, and every reason for which they refuse."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fakes.later_acts import make_partner, plan_text
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony import backup, crosscert, inventory, name_constraints, rollover
from ceremony.crl import check_kept, check_numbers, check_plan, list_facts, planned_lists, prepare_list
from ceremony.inventory import Expected, Key
from ceremony.plan import CrlPlan, Plan, PlannedRevocation, load_plan
from ceremony.records import Kind, certificate_facts
from ceremony.root import prepare_root
from ceremony.transcript import Json, Record
from shared import keys
from shared.ca_extensions import CaExtensions, parse_subtrees
from shared.crl import issue_crl
from shared.errors import ColdrootError, Fatal, RequestRejected
from shared.issue import issue, verify_signature
from shared.keystore import TokenObject, WrapMechanism, WrappedKey
from shared.serials import random_serial

NOW = datetime.now(UTC).replace(microsecond=0)
PARTNER = make_partner()
PLAN = load_plan(plan_text(PARTNER).encode())
KEY = keys.generate(keys.KeyKind.EC_P384)


def _serial() -> int:
    return random_serial(lambda size: bytes(range(size)))


def _root(plan: Plan = PLAN, key: keys.PrivateKey = KEY) -> x509.Certificate:
    return issue(prepare_root(plan, public_key=key.public_key(), serial=_serial(), now=NOW), key)


ROOT = _root()


def _crl(**changes: object) -> CrlPlan:
    begin = ROOT.not_valid_before_utc
    given = CrlPlan(name="lists", number=5, this_update=begin, next_update=begin + timedelta(days=100))
    return replace(given, **changes)  # type: ignore[arg-type]


def _record(kind: Kind, seq: int = 0, **body: Json) -> Record:
    return Record(seq=seq, prev="0" * 64, time=NOW, kind=kind, body=body, digest=bytes(32))


def _code(act: Callable[[], object]) -> str:
    with pytest.raises(ColdrootError) as refused:
        act()
    return refused.value.code


def test_a_calendar_follows_the_plan() -> None:
    """People publish the lists years later by their names and dates alone."""
    plan = _crl(count=3, period=timedelta(days=60))
    lists = planned_lists(plan)
    assert [each.file for each in lists] == ["crl/lists-0001.crl", "crl/lists-0002.crl", "crl/lists-0003.crl"]
    assert [each.number for each in lists] == [5, 6, 7]
    assert lists[2].this_update == plan.this_update + timedelta(days=120)
    assert lists[2].next_update - lists[2].this_update == timedelta(days=100)


def test_a_list_is_the_same_bytes_each_time() -> None:
    """What is signed can be computed by anybody before the day, and after it."""
    plan = _crl()
    made = [prepare_list(plan, planned_lists(plan)[0], root=ROOT, issued={}, previous_number=4) for _ in range(2)]
    assert made[0].tbs == made[1].tbs
    signed = issue_crl(made[0], KEY)
    facts = list_facts("crl/lists-0001.crl", signed.der)
    assert (facts["number"], facts["revoked"], facts["tbs_sha256"]) == (5, [], made[1].tbs_digest)


def test_revocations_appear_from_their_date_on() -> None:
    """A revocation that is planned for later must not stand in a list that ends before it, nor be forgotten."""
    begin = ROOT.not_valid_before_utc
    date = begin + timedelta(days=70)
    plan = _crl(
        count=3,
        period=timedelta(days=60),
        revoked=(PlannedRevocation(file="alpha", reason="cessationOfOperation", date=date),),
    )
    issued = {"alpha": PARTNER.intermediate}
    found = []
    for each in planned_lists(plan):
        prepared = prepare_list(plan, each, root=ROOT, issued=issued, previous_number=None)
        found.append(list_facts(each.file, issue_crl(prepared, KEY).der)["revoked"])
    assert [len(each) for each in found] == [0, 0, 1]  # type: ignore[arg-type]
    assert found[2][0]["reason"] == "cessationOfOperation"  # type: ignore[index,call-overload]
    assert _code(lambda: prepare_list(plan, planned_lists(plan)[0], root=ROOT, issued={}, previous_number=None)) == (
        "crl.not-issued"
    )


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (_crl(this_update=ROOT.not_valid_before_utc - timedelta(days=1)), "crl.outside-root"),
        (
            _crl(
                this_update=ROOT.not_valid_after_utc - timedelta(days=9),
                next_update=ROOT.not_valid_after_utc + timedelta(days=1),
            ),
            "crl.outside-root",
        ),
        (_crl(next_update=ROOT.not_valid_before_utc + timedelta(seconds=1)), "crl.expired"),
        (
            _crl(revoked=(PlannedRevocation(file="a", reason="superseded", date=NOW + timedelta(days=1)),)),
            "crl.revokes-later",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lists_that_help_nobody(plan: CrlPlan, code: str) -> None:
    """A list that no relying party takes is found out only when it is needed."""
    assert _code(lambda: check_plan(plan, root=ROOT, now=NOW)) == code


def test_numbers_only_grow() -> None:
    """Whoever sees a smaller number takes the list for an old one, and ignores it."""
    records = [_record(Kind.LIST_ISSUED, file="crl/other-0001.crl", number=9)]
    assert _code(lambda: check_numbers(_crl(number=9), records)) == "crl.number-used"
    assert check_numbers(_crl(number=10), records) == 9
    # A number that was only meant to be used is used: nobody knows what the HSM signed.
    meant = [_record(Kind.LIST_PREPARED, file="crl/other-0001.crl", number=12)]
    assert _code(lambda: check_numbers(_crl(number=12), meant)) == "crl.number-used"
    # An act that goes on meets its own numbers.
    assert check_numbers(_crl(), [_record(Kind.LIST_PREPARED, file="crl/lists-0001.crl", number=5)]) is None


def test_a_later_list_forgets_nothing() -> None:
    """A certificate that was revoked once would be good again for whoever fetches a later list."""
    begin = ROOT.not_valid_before_utc
    revoked = PlannedRevocation(file="alpha", reason="keyCompromise", date=begin + timedelta(days=5))
    first = _crl(this_update=begin + timedelta(days=5), revoked=(revoked,))
    alpha = replace(_record(Kind.CERTIFICATE_ISSUED), body=certificate_facts("alpha.crt", PARTNER.intermediate))
    lists = planned_lists(first)
    made = prepare_list(first, lists[0], root=ROOT, issued={"alpha": PARTNER.intermediate}, previous_number=None)
    facts = list_facts(lists[0].file, issue_crl(made, KEY).der)
    records = [alpha, replace(_record(Kind.LIST_ISSUED), body=facts)]

    def check(later: CrlPlan) -> None:
        check_kept(replace(PLAN, crls=(first, later)), later, records)

    later = _crl(name="later", number=6, this_update=begin + timedelta(days=9))
    assert _code(lambda: check(later)) == "crl.forgets"
    check(replace(later, revoked=(revoked,)))
    check(replace(later, issuer="next"))
    # One that begins before the revocation need not name it, nor one that begins after the certificate's end.
    check(replace(later, this_update=begin + timedelta(days=4)))
    check(replace(later, this_update=PARTNER.intermediate.not_valid_after_utc + timedelta(days=1)))
    # In one calendar, each list is looked at: the first may be early, and the second forgets.
    both = replace(later, this_update=begin, count=2, period=timedelta(days=30))
    assert _code(lambda: check(both)) == "crl.forgets"


def _partner_plan(data: bytes) -> object:
    certificate = x509.load_der_x509_certificate(data)
    planned = replace(PLAN.crosses[0], fingerprint=keys.fingerprint(certificate))
    return crosscert.read_other_root(planned, data)


def test_another_root_is_the_agreed_one() -> None:
    """A certificate with the same name and another key is the first thing an attacker brings."""
    data = PARTNER.root.public_bytes(Encoding.DER)
    assert crosscert.read_other_root(PLAN.crosses[0], data) == PARTNER.root
    stranger = make_partner().root.public_bytes(Encoding.PEM)
    assert _code(lambda: crosscert.read_other_root(PLAN.crosses[0], stranger)) == "cross.other-certificate"
    renamed = replace(PLAN.crosses[0], subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Another")]))
    assert _code(lambda: crosscert.read_other_root(renamed, data)) == "cross.other-certificate"


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        (make_partner(extended=True).root, "cross.extended-key-usage"),
        (make_partner(ca=False).root, "cross.not-a-root"),
        (PARTNER.intermediate, "cross.other-certificate"),
    ],
    ids=["eku", "no-ca", "intermediate"],
)
def test_what_is_no_root(certificate: x509.Certificate, code: str) -> None:
    """Certifying what is not a root, or one with limits that we would not repeat, gives away more than was there."""
    assert _code(lambda: _partner_plan(certificate.public_bytes(Encoding.DER))) == code


def test_a_root_that_did_not_sign_itself() -> None:
    """Only who holds the key can have signed it: without that, the other side's key is anybody's."""
    data = bytearray(PARTNER.root.public_bytes(Encoding.DER))
    data[-1] ^= 1
    assert _code(lambda: _partner_plan(bytes(data))) == "cross.not-a-root"


def test_a_cross_certificate_gives_no_more_than_was_there() -> None:
    """Path length and end are the smaller of both sides'."""
    other = make_partner(path_length=0)
    planned = replace(PLAN.crosses[0], fingerprint=keys.fingerprint(other.root), years=25)
    prepared = crosscert.prepare_cross(planned, other.root, root=ROOT, serial=_serial(), now=NOW)
    made = issue(prepared, KEY)
    assert crosscert.path_length_of(made) == 0
    assert made.not_valid_after_utc == min(ROOT.not_valid_after_utc, other.root.not_valid_after_utc)
    verify_signature(made, KEY.public_key())


def test_a_root_without_room_certifies_no_root() -> None:
    """Below a root of path length 1, nobody could use the other CA's intermediates."""
    narrow = _root(replace(PLAN, root=replace(PLAN.root, path_length=1)))
    assert (
        _code(lambda: crosscert.prepare_cross(PLAN.crosses[0], PARTNER.root, root=narrow, serial=_serial(), now=NOW))
        == "cross.path-length"
    )


def test_the_links_of_a_rollover() -> None:
    """A link that can do more than the root that it certifies would be a third root."""
    new_key = keys.generate(keys.KeyKind.EC_P256)
    prepared = rollover.prepare_next_root(
        PLAN, PLAN.rollovers[0], public_key=new_key.public_key(), serial=_serial(), now=NOW
    )
    new = issue(prepared, new_key)
    begin = new.not_valid_before_utc
    there = issue(rollover.prepare_link(ROOT, new, begin=begin, serial=_serial() + 1), new_key)
    back = issue(rollover.prepare_link(new, ROOT, begin=begin, serial=_serial() + 2), KEY)
    for link, certified, issuer in ((there, ROOT, new), (back, new, ROOT)):
        assert link.subject.public_bytes() == certified.subject.public_bytes()
        assert link.public_key() == certified.public_key()
        assert crosscert.key_identifier_of(link) == crosscert.key_identifier_of(certified)
        assert crosscert.path_length_of(link) == crosscert.path_length_of(certified)
        assert link.not_valid_after_utc == min(ROOT.not_valid_after_utc, new.not_valid_after_utc)
        authority = crosscert.extension_of(link, x509.AuthorityKeyIdentifier)
        assert authority is not None
        assert authority.key_identifier == crosscert.key_identifier_of(issuer)
    late = ROOT.not_valid_after_utc
    assert _code(lambda: rollover.prepare_link(ROOT, new, begin=late, serial=_serial())) == "rollover.too-late"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[root]\n", "[root]\npath_length = 1\n"), "root.path_length: 2 is needed"),
        (("[root]\n", "[root]\npath_length = 9\n"), "root.path_length"),
        (('label = "root-2"', 'label = "root"'), "rollover[0].label"),
        (
            ('label = "root-2"', 'label = "root-2"\npath_length = 1'),
            "rollover[0].path_length: 2 is needed",
        ),
    ],
)
def test_roots_leave_room_for_each_other(change: tuple[str, str], said: str) -> None:
    """A root that leaves no room signs cross-certificates that nobody can use, and cannot be mended."""
    text = plan_text(PARTNER, next_name="Example Root CA 2")
    assert load_plan(text.encode()).root.path_length == 2
    assert load_plan(text.encode()).rollovers[0].root.path_length == 2
    assert change[0] in text
    with pytest.raises(RequestRejected) as refused:
        load_plan(text.replace(*change, 1).encode())
    assert said in refused.value.message


def test_a_plan_without_other_roots_keeps_its_path_length() -> None:
    """Room that nobody needs is room for a CA that nobody planned."""
    from ceremony.plan import EXAMPLE  # noqa: PLC0415 (only here)

    assert load_plan(EXAMPLE.encode()).root.path_length == 1


PAIR = tuple(TokenObject(kind=kind, key_type="EC", label="root", key_id="aa") for kind in inventory.PAIR)
ONE = Expected(keys=(Key(label="root", key_id="aa", public_key_sha256="x"),))


@pytest.mark.parametrize(
    ("wanted", "found", "code"),
    [
        (ONE, PAIR[:1], "inventory.missing"),
        (ONE, (), "inventory.missing"),
        (ONE, (*PAIR, PAIR[0]), "inventory.repeated"),
        (ONE, (*PAIR, replace(PAIR[0], key_id="bb")), "inventory.unexpected"),
        (ONE, (*PAIR, TokenObject(kind="SECRET_KEY", key_type="AES", label="", key_id="")), "inventory.unexpected"),
        (ONE, (PAIR[0], replace(PAIR[1], label="other")), "inventory.unexpected"),
        (Expected(keys=()), PAIR, "inventory.unexpected"),
    ],
)
def test_a_token_that_is_not_as_recorded(wanted: Expected, found: tuple[TokenObject, ...], code: str) -> None:
    """Whatever is too much or too little in the token is somebody's doing."""
    with pytest.raises(Fatal) as stopped:
        inventory.check(wanted, found)
    assert stopped.value.code == code


def test_unknown_outcomes_are_accepted_for_what_they_name_alone() -> None:
    """After a power cut a key may be there or not; another key may not."""
    intent = _record(Kind.HSM_INTENT, operation="generate-key", label="next")
    generated = _record(Kind.KEY_GENERATED, label="root", id="aa", public_key_sha256="x")
    wanted = inventory.expected([generated, intent])
    made = tuple(replace(each, label="next", key_id="cc") for each in PAIR)
    inventory.check(wanted, PAIR)
    inventory.check(wanted, (*PAIR, *made))
    with pytest.raises(Fatal):
        inventory.check(wanted, (*PAIR, replace(PAIR[0], label="stray", key_id="dd")))
    doomed = inventory.expected([generated, _record(Kind.HSM_INTENT, operation="destroy-key", id="aa")])
    inventory.check(doomed, PAIR)
    inventory.check(doomed, ())
    gone = inventory.expected([generated, _record(Kind.KEY_DESTROYED, id="aa")])
    with pytest.raises(Fatal):
        inventory.check(gone, PAIR)
    assert inventory.from_json(inventory.to_json(PAIR)) == PAIR
    assert inventory.from_json("nonsense")[0].kind == "UNKNOWN"


BACKUP = backup.Backup(
    set_id="ab" * 16,
    token="serial",
    keys=(
        backup.BackedUpKey(
            label="root",
            key_id="aa",
            public_key_sha256="cd" * 32,
            wrapped=WrappedKey(mechanism=WrapMechanism.PADDED, data=bytes(range(80))),
        ),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_backup_is_read_as_written_and_not_otherwise(data: st.DataObject) -> None:
    """A file that two programs read differently restores two different keys."""
    encoded = backup.encode_backup(BACKUP)
    assert backup.decode_backup(encoded) == BACKUP
    at = data.draw(st.integers(0, len(encoded) - 1))
    changed = encoded[:at] + bytes([data.draw(st.integers(0, 255))]) + encoded[at + 1 :]
    with contextlib.suppress(RequestRejected):
        assert changed == encoded or backup.decode_backup(changed) != BACKUP


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"keys":1}', b"1e999"])
def test_what_is_no_backup(data: bytes) -> None:
    """Anything but a backup is refused in one way."""
    assert _code(lambda: backup.decode_backup(data)) == "backup.malformed"


def test_what_a_restored_key_signs_is_no_certificate() -> None:
    """A text that could be read as a certificate would be one, once the root signed it."""
    text = backup.restore_text(bytes(32), "ab" * 32, "aa")
    assert text[:1].isalpha()
    assert text[0] != 0x30


@pytest.mark.parametrize(
    ("permitted", "excluded", "name", "allowed"),
    [
        (["dns:example.com"], [], "example.com", True),
        (["dns:example.com"], [], "EXAMPLE.COM", True),
        (["dns:example.com"], [], "*.example.com", True),
        (["dns:example.com"], [], "notexample.com", False),
        (["dns:example.com"], [], "example.com.evil.invalid", False),
        (["dns:.example.com"], [], "example.com", False),
        (["dns:.example.com"], [], "a.example.com", True),
        (["dns:example.com"], ["dns:secret.example.com"], "a.secret.example.com", False),
        ([], ["dns:example.com"], "elsewhere.invalid", True),
        (["dns:example.com"], [], "192.0.2.1", True),
        (["ip:10.0.0.0/8"], [], "10.255.0.1", True),
        (["ip:10.0.0.0/8"], [], "11.0.0.1", False),
        (["ip:10.0.0.0/8"], [], "2001:db8::1", False),
        (["ip:2001:db8::/32"], [], "2001:db8::1", True),
        (["email:example.com"], [], "a@example.com", True),
        (["email:example.com"], [], "a@sub.example.com", False),
        (["email:.example.com"], [], "a@sub.example.com", True),
        (["email:a@example.com"], [], "b@example.com", False),
        (["uri:.example.com"], [], "https://www.example.com/x", True),
        (["uri:.example.com"], [], "https://example.com/", False),
        (["uri:example.com"], [], "https://example.com:8443/", True),
    ],
)
def test_name_constraints_on_a_name(permitted: list[str], excluded: list[str], name: str, allowed: bool) -> None:
    """The preview must say what relying parties will say."""
    extensions = CaExtensions(permitted=parse_subtrees(permitted), excluded=parse_subtrees(excluded))
    (judged,) = name_constraints.preview(extensions, [name])
    assert judged.permitted is allowed
    assert judged.why in str(judged)


def test_samples_are_made_around_each_constraint() -> None:
    """People bring the names that they think of; the ones that go wrong are others."""
    extensions = CaExtensions(
        permitted=parse_subtrees(["dns:example.com", "ip:10.0.0.0/8", "email:a@example.com", "uri:.example.com"]),
        excluded=parse_subtrees(["ip:255.255.255.255/32"]),
    )
    made = name_constraints.preview(extensions)
    assert {judged.permitted for judged in made} == {True, False}
    assert len(made) >= 12
