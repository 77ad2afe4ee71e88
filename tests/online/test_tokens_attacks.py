"""The list of attacks on one-time tokens: each is answered by a refusal, and nothing else happens.

What needs the store (single use, restarts, several nodes) is tested there; here it is shown that what the store
is keyed on cannot be moved.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.tokens import NOW, SIGNER, authorize, b64, claims, forge, good_token, header, provisioner, raw, registry
from hypothesis import given
from hypothesis import strategies as st

from online.jose.jwk import PrivateJwk
from online.provisioners.protocol import Operation
from online.tokens import LEEWAY, use_digest
from shared import keys
from shared.errors import Unauthenticated
from shared.keys import KeyKind

SECOND = timedelta(seconds=1)
T = int(NOW.timestamp())
OTHER = PrivateJwk.of(keys.generate(KeyKind.EC_P256))


def refused(token: str, code: str, *, operation: Operation = Operation.SIGN, now: Any = NOW) -> None:
    """Insist on a refusal with a code, in the family that becomes a 401."""
    with pytest.raises(Unauthenticated) as caught:
        authorize(token, operation=operation, now=now)
    assert caught.value.code == code


def test_the_good_token_passes() -> None:
    """Without this, all refusals below would prove nothing."""
    verified = authorize(forge())
    assert (verified.subject, verified.sans, verified.operation) == ("foo.local", ("foo.local",), Operation.SIGN)
    assert verified.expires == NOW + timedelta(minutes=5)
    assert verified.cnf is None


def test_no_algorithm() -> None:
    """An unsigned token: the oldest forgery."""
    refused(f"{raw(header(alg='none'))}.{raw(claims())}.", "token.algorithm")
    refused(f"{raw(header(alg='ES256'))}.{raw(claims())}.", "token.signature")


@pytest.mark.parametrize(
    "secret",
    [
        SIGNER.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        SIGNER.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        SIGNER.kid.encode(),
        b"",
    ],
    ids=["spki", "point", "kid", "empty"],
)
def test_the_public_key_as_a_shared_secret(secret: bytes) -> None:
    """HS256 keyed with what everybody can read: accepted by verifiers that let the token choose."""
    signing_input = f"{raw(header(alg='HS256'))}.{raw(claims())}".encode()
    mac = jwt.get_algorithm_by_name("HS256").sign(signing_input, secret)
    refused(f"{signing_input.decode()}.{b64(mac)}", "token.algorithm")


@pytest.mark.parametrize(
    "bring",
    [
        {"jwk": OTHER.public().to_json()},
        {"jku": "https://127.0.0.1:1/keys"},
        {"x5u": "https://127.0.0.1:1/chain"},
        {"x5c": ["MIIB"]},
    ],
)
def test_a_token_that_brings_its_own_key(bring: dict[str, Any]) -> None:
    """The forger signs correctly with a key of their own and puts it, or its address, into the header."""
    refused(forge(head=header(**bring), key=OTHER.key), "token.header")


def test_a_token_of_an_unknown_key() -> None:
    """Correctly signed, by nobody we know."""
    refused(forge(head=header(kid=OTHER.kid), key=OTHER.key), "token.unknown-provisioner")


def test_a_token_that_names_our_key_and_is_signed_by_another() -> None:
    """The key identifier is public, so naming it proves nothing."""
    refused(forge(key=OTHER.key), "token.signature")


@pytest.mark.parametrize("kid", [..., "", "k" * 65536, "../../etc/passwd", "' OR 1=1 --", "admin\x00", "*"])
def test_odd_key_identifiers(kid: Any) -> None:
    """A kid is compared, never opened as a file, sent to a database, or stored."""
    with pytest.raises(Unauthenticated):
        authorize(forge(head=header(kid=kid)))


def test_the_issuer_chooses_no_other_key() -> None:
    """With two provisioners, the key of one must not sign for the name of the other."""
    both = registry(provisioner(), provisioner(OTHER, name="other"))
    token = forge(payload=claims(iss="other"))
    with pytest.raises(Unauthenticated) as caught:
        authorize(token, by=both)
    assert caught.value.code == "token.unknown-provisioner"


def test_names_and_keys_do_not_run_together() -> None:
    """Provisioner ``a:b`` with key ``c`` shares its ID with ``a`` and ``b:c``; a token of one is none of the other."""
    signer = PrivateJwk(key=SIGNER.key, kid="c", algorithm="ES256")
    only = registry(provisioner(signer, name="a:b"))
    with pytest.raises(Unauthenticated) as caught:
        authorize(forge(payload=claims(iss="a"), head=header(kid="b:c")), by=only)
    assert caught.value.code == "token.unknown-provisioner"


@pytest.mark.parametrize(
    "aud",
    [
        "https://ca.local/1.0/revoke",
        "https://ca.local/renew",
        "https://ca.local/1.0/ssh/sign",
        "https://ca.local/1.0/sign#acme/acme",
        "https://ca.local/1.0/sign#scep/scep",
        "https://other.local/1.0/sign",
        "step-certificate-authority",
        ["https://ca.local/1.0/sign", "https://ca.local/1.0/revoke"],
        ...,
    ],
)
def test_a_token_for_something_else(aud: Any) -> None:
    """Another operation, another CA, a fragment that would choose another provisioner (CVE-2025-44005)."""
    refused(forge(payload=claims(aud=aud)), "token.audience")


def test_sign_and_revoke_are_not_interchangeable() -> None:
    """A token is good for its own operation and refused for the other, both ways."""
    revoke = forge(payload=claims(aud="https://ca.local/1.0/revoke", sub="1234", sans=...))
    verified = authorize(revoke, operation=Operation.REVOKE)
    assert (verified.subject, verified.sans) == ("1234", ())
    refused(revoke, "token.audience")
    refused(forge(), "token.audience", operation=Operation.REVOKE)


def test_renewal_has_no_one_time_token() -> None:
    """The allow-list has no entry for it: a well-signed token for renew is refused, whatever its claims."""
    refused(forge(payload=claims(aud="https://ca.local/renew")), "token.not-allowed", operation=Operation.RENEW)


@pytest.mark.parametrize("name", ["exp", "jti", "sub", "iss"])
def test_a_required_claim_is_missing(name: str) -> None:
    """step-ca requires neither exp nor jti: such a token lives for ever, or is recorded under a re-encodable text."""
    code = "token.times" if name == "exp" else "token.claims"
    refused(forge(payload=claims(**{name: ...})), code)


@pytest.mark.parametrize("name", ["jti", "sub", "iss"])
@pytest.mark.parametrize("value", ["", None, 7, True, [], {}, ["x"], "x" * 5000])
def test_a_required_claim_is_of_another_kind(name: str, value: Any) -> None:
    """Numbers, lists and empty texts must not reach a comparison or a record."""
    refused(forge(payload=claims(**{name: value})), "token.claims")


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", str(T), True, None, [T], {}, -1, 2**70, 253_402_300_800])
def test_times_that_are_none(name: str, value: Any) -> None:
    """A text compares with a number in some languages, true counts as 1, and a huge number overflows."""
    refused(forge(payload=claims(**{name: value})), "token.times")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": T + 3601}, "token.lifetime"),
        ({"exp": T + 10 * 365 * 86400}, "token.lifetime"),
        ({"exp": 253_402_300_799}, "token.lifetime"),
        ({"exp": T}, "token.lifetime"),
        ({"exp": T - 1}, "token.lifetime"),
        ({"nbf": T + 1801, "exp": T + 1900}, "token.lifetime"),
        ({"nbf": ..., "exp": T + 3601}, "token.lifetime"),
        ({"nbf": ..., "iat": ...}, "token.times"),
        ({"nbf": 253_402_300_000, "iat": ..., "exp": 253_402_300_100}, "token.not-yet-valid"),
        ({"iat": T + 61, "nbf": T}, "token.not-yet-valid"),
    ],
)
def test_lives_that_are_too_long(changes: dict[str, Any], code: str) -> None:
    """A token signed for ten years works for whoever finds it in ten years; it must not be accepted today either."""
    refused(forge(payload=claims(**changes)), code)


@pytest.mark.parametrize("changes", [{"exp": T + 3600}, {"nbf": ...}, {"iat": ...}, {"exp": T + 300.5}])
def test_lives_that_are_allowed(changes: dict[str, Any]) -> None:
    """An hour is what the step CLI allows; either beginning is enough; NumericDate may have a fraction."""
    authorize(forge(payload=claims(**changes)))


def test_the_edges_of_time() -> None:
    """A minute of leeway each way, not a second more."""
    token = forge()
    authorize(token, now=NOW + timedelta(minutes=5) + LEEWAY)
    refused(token, "token.expired", now=NOW + timedelta(minutes=5) + LEEWAY + SECOND)
    authorize(token, now=NOW - LEEWAY)
    refused(token, "token.not-yet-valid", now=NOW - LEEWAY - SECOND)


def test_a_restart_kills_no_token() -> None:
    """step-ca refuses tokens older than its process. Here nothing but the token's own time counts."""
    assert authorize(forge(), now=NOW + timedelta(minutes=4)).subject == "foo.local"


@pytest.mark.parametrize(
    "sans",
    ["foo.local", None, {}, True, [1], [None], [["a"]], [""], ["a"] * 101, ["x" * 5000], [{"dns": "a"}]],
)
def test_names_of_another_kind(sans: Any) -> None:
    """A text is a list of letters in Python; a thousand names are a thousand names in a certificate."""
    refused(forge(payload=claims(sans=sans)), "token.claims")


@pytest.mark.parametrize("sans", [..., []])
def test_without_names_the_subject_is_the_name(sans: Any) -> None:
    """As in step-ca: a token with only a subject certifies just that."""
    assert authorize(forge(payload=claims(sans=sans))).sans == ("foo.local",)


def test_names_that_could_inject_are_carried_as_text() -> None:
    """step-ca once pasted names into a JSON template. Here they stay texts, and the next room judges them."""
    name = 'a","keyUsage":["certSign"],"x":"\n'
    assert authorize(forge(payload=claims(sub=name, sans=[name]))).sans == (name,)


@pytest.mark.parametrize("step", [{"ssh": {"certType": "user"}}, {"ra": {}}, {"x": 1}, "ssh"])
def test_options_of_operations_that_are_not_offered(step: Any) -> None:
    """A token minted for SSH, or by a registration authority, must not turn into one for X.509."""
    refused(forge(payload=claims(step=step)), "token.claims")


@pytest.mark.parametrize(
    "cnf",
    [
        {},
        None,
        "x",
        [],
        {"x5rt#S256": ""},
        {"x5rt#S256": "short"},
        {"x5rt#S256": 7},
        {"x5rt#S256": "A" * 44},
        {"x5rt#S256": b64(bytes(31))},
        {"jkt": "A" * 43},
        {"x5rt#S256": b64(bytes(32)), "jkt": "A" * 43},
    ],
)
def test_a_binding_that_is_not_understood(cnf: Any) -> None:
    """Ignoring a binding turns a token for one key into a token for anybody."""
    refused(forge(payload=claims(cnf=cnf)), "token.claims")


def test_a_binding_is_handed_on() -> None:
    """The room that has the CSR compares it."""
    assert authorize(forge(payload=claims(cnf={"x5rt#S256": b64(bytes(32))}))).cnf == b64(bytes(32))


def test_the_record_is_scoped_to_the_provisioner() -> None:
    """With a bare jti, one provisioner's token could burn another's."""
    both = registry(provisioner(), provisioner(OTHER, name="other"))
    first = authorize(forge(), by=both)
    second = authorize(forge(claims(iss="other"), header(kid=OTHER.kid), key=OTHER.key), by=both)
    assert first.token_digest != second.token_digest


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_records_do_not_run_together(id1: str, jti1: str, id2: str, jti2: str) -> None:
    """``("a", "bc")`` and ``("ab", "c")`` must be two records."""
    same = use_digest(id1, jti1) == use_digest(id2, jti2)
    assert same == ((id1, jti1) == (id2, jti2))


def test_a_re_signed_token_has_the_same_record() -> None:
    """ECDSA signs differently each time, and (r, n-s) verifies too: the record must not depend on the signature."""
    first, second = forge(), forge()
    assert first != second
    assert authorize(first).token_digest == authorize(second).token_digest


def test_a_forger_cannot_reach_the_record() -> None:
    """step-ca records a jti before it checks the signature, so anybody can burn it. Here no digest comes out."""
    with pytest.raises(Unauthenticated):
        authorize(forge(key=OTHER.key))


def test_nothing_of_a_token_is_in_an_error() -> None:
    """Errors are logged; a token in a log is a token for whoever reads logs."""
    for token in (forge(key=OTHER.key), forge(payload=claims(sub="")), good_token()[:-2]):
        with pytest.raises(Unauthenticated) as caught:
            authorize(token)
        shown = f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
        assert not any(part in shown for part in token.split("."))
        assert "7" * 64 not in shown


@given(st.text(max_size=50))
def test_noise_is_unauthenticated(text: str) -> None:
    """Whatever is sent as a token, the answer is a refusal of the caller and never an accident."""
    with pytest.raises(Unauthenticated):
        authorize(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["aud", "exp", "iat", "iss", "jti", "nbf", "sans", "sub", "cnf", "step"]), JSON)
def test_a_signed_claim_of_any_kind_is_no_accident(name: str, value: Any) -> None:
    """A provisioner's own key may sign nonsense: still a token or a refusal, never a crash."""
    code = "token.accepted"
    try:
        authorize(forge(payload=claims(**{name: value})))
    except Unauthenticated as error:
        code = error.code
    assert code.startswith("token.")
