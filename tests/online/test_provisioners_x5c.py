"""The X5C provisioner: which certificates vouch, for how long, and everything that only looks like one."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.clock import NOON
from fakes.hierarchy import Pki, make_pki, make_world
from fakes.leaves import TLS, sloppy_leaf
from fakes.tokens import AUDIENCES, claims, forge
from hypothesis import given, settings
from hypothesis import strategies as st

from online.authority import PeerCertificate
from online.claims import Claims, choose_validity
from online.jose.jwk import PrivateJwk
from online.jose.x5c import write_chain
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry, open_token
from online.provisioners.x5c import X5cProvisioner, parse_x5c_provisioner, split_audience
from online.tokens import VerifiedToken, mint_sign_token
from shared.errors import PolicyDenied, RequestRejected, Unauthenticated
from shared.keys import KeyKind, PrivateKey, generate
from shared.pem import certificate_pem

PKI = make_pki()
KEY = generate(KeyKind.EC_P256)
LEAF = sloppy_leaf(PKI, public_key=KEY.public_key())
CHAIN = (LEAF, PKI.intermediate)
T = int(NOON.timestamp())
SIGN = "https://ca.local:9000/1.0/sign#x5c/hosts"


def hosts(**changes: Any) -> X5cProvisioner:
    """Return an X5C provisioner for leaves of the PKI."""
    return X5cProvisioner(**{"name": "hosts", "roots": (PKI.root,), **changes})


def token(
    chain: Sequence[x509.Certificate] | Any = CHAIN,
    *,
    key: PrivateKey = KEY,
    head: dict[str, object] | None = None,
    algorithm: str = "ES256",
    **changes: object,
) -> str:
    """Sign a token; ``changes`` are those to the claims."""
    certificates = write_chain(chain) if isinstance(chain, tuple) else chain
    header = {"alg": algorithm, "kid": "some/path", "typ": "JWT", "x5c": certificates, **(head or {})}
    body = claims(**{"iss": "hosts", "aud": SIGN, "iat": T, "nbf": T, "exp": T + 300, **changes})
    return forge(body, header, key=key, algorithm=algorithm)


def authorize(
    text: str, *, operation: Operation = Operation.SIGN, now: datetime = NOON, by: X5cProvisioner | None = None
) -> VerifiedToken:
    """Verify as the CA does."""
    return Registry([by or hosts()]).authorize(operation, open_token(text), audiences=AUDIENCES, now=now)


def refused(text: str, code: str, **options: Any) -> None:
    """Insist on a refusal with a code."""
    with pytest.raises(Unauthenticated) as caught:
        authorize(text, **options)
    assert caught.value.code == code


def test_a_leafs_word_counts() -> None:
    """Without this, all refusals below would prove nothing."""
    verified = authorize(token())
    assert (verified.subject, verified.sans, verified.credential) == ("foo.local", ("foo.local",), LEAF)
    assert verified.window() == (LEAF.not_valid_before_utc, LEAF.not_valid_after_utc)
    assert not verified.unbound
    revoking = token(aud="https://ca.local/revoke#x5c/hosts", sub="7", sans=...)
    assert authorize(revoking, operation=Operation.REVOKE).subject == "7"


@pytest.mark.parametrize("kind", KeyKind)
@pytest.mark.parametrize("issuing", [KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
def test_each_kind_of_key(kind: KeyKind, issuing: KeyKind) -> None:
    """Without this, a certificate with another kind of key, its own or its CA's, would be worth nothing."""
    pki, key = make_pki(kind=issuing), generate(kind)
    leaf = sloppy_leaf(pki, public_key=key.public_key())
    minted = mint_sign_token(
        PrivateJwk.of(key),
        issuer="hosts",
        audience=SIGN,
        subject="foo.local",
        sans=[],
        root_fingerprint="ab" * 32,
        now=NOON,
        rng=bytes,
        chain=(leaf, pki.intermediate),
    )
    assert authorize(minted, by=hosts(roots=(pki.root,))).credential == leaf


def test_a_chain_in_any_form_that_leads_there() -> None:
    """Without this, a client that sends the root as well, or whose issuer is trusted itself, would be refused."""
    authorize(token((LEAF, PKI.intermediate, PKI.root)))
    authorize(token((LEAF,)), by=hosts(roots=(PKI.intermediate,)))


def test_signed_by_another_key() -> None:
    """Without this, whoever has seen a certificate (they are public) could use it as theirs."""
    refused(token(key=generate(KeyKind.EC_P256)), "token.signature")
    stranger = generate(KeyKind.ED25519)
    refused(token(key=stranger, algorithm="EdDSA"), "token.algorithm")


def test_of_another_root() -> None:
    """Without this, anybody could make a CA of the same name and vouch for themselves."""
    other = make_pki()
    key = generate(KeyKind.EC_P256)
    leaf = sloppy_leaf(other, public_key=key.public_key())
    refused(token((leaf, other.intermediate, other.root), key=key), "token.chain")
    refused(token((leaf, PKI.intermediate), key=key), "token.chain")
    refused(token((leaf,), key=key), "token.chain")


def leaf_with(pki: Pki = PKI, **changes: Any) -> tuple[str, x509.Certificate]:
    """Return the token of a leaf that its CA should not have issued."""
    key = generate(KeyKind.EC_P256)
    leaf = sloppy_leaf(pki, public_key=key.public_key(), **changes)
    return token((leaf, pki.intermediate), key=key), leaf


@pytest.mark.parametrize(
    "changes",
    [
        {"digital_signature": False},
        {"is_ca": True},
        {"usages": (ExtendedKeyUsageOID.SERVER_AUTH,)},
        {"usages": (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION)},
        {"not_after": NOON - timedelta(seconds=1)},
        {"not_before": NOON + timedelta(seconds=1)},
        {
            "more": (
                x509.Extension(
                    x509.ObjectIdentifier("1.2.3.4"),
                    True,
                    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
                ),
            )
        },
    ],
    ids=["no signing", "ca", "server only", "other purposes", "expired", "not yet valid", "critical"],
)
def test_certificates_for_something_else(changes: Any) -> None:
    """Without this, an expired certificate, a server's or a code signer's would get new ones here."""
    refused(leaf_with(**changes)[0], "token.chain")


@pytest.mark.parametrize(
    "usages", [TLS, (ExtendedKeyUsageOID.CLIENT_AUTH,), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), ()]
)
def test_certificates_for_clients(usages: Any) -> None:
    """Without this, client certificates of other CAs would be refused."""
    authorize(leaf_with(usages=usages)[0])


def intermediate(pki: Pki, *more: tuple[x509.ExtensionType, bool], ca: bool = True, path_length: int | None = 0) -> Pki:
    """Return a PKI with another intermediate, as its root should perhaps not have signed it."""
    key = generate(KeyKind.EC_P256)
    usage = x509.KeyUsage(False, False, False, False, False, ca, ca, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string("CN=Odd CA"))
        .issuer_name(pki.root.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOON - timedelta(hours=1))
        .not_valid_after(NOON + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True)
    )
    if ca:
        builder = builder.add_extension(usage, critical=True)
    for value, critical in more:
        builder = builder.add_extension(value, critical)
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 (used here only)

    return Pki(
        root=pki.root, root_key=pki.root_key, intermediate=builder.sign(pki.root_key, SHA256()), intermediate_key=key
    )


@pytest.mark.parametrize(
    "pki",
    [
        intermediate(PKI, ca=False),
        intermediate(PKI, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
        intermediate(PKI, (x509.NameConstraints([x509.DNSName("example.org")], None), True)),
        intermediate(PKI, (x509.NameConstraints(None, [x509.DNSName("a.example.com")]), True)),
    ],
    ids=["no ca", "servers only", "permitted", "excluded"],
)
def test_cas_that_may_not_vouch_for_it(pki: Pki) -> None:
    """Without this, a CA that was limited to some names, or to servers, could vouch for all."""
    refused(leaf_with(pki)[0], "token.chain")
    authorize(leaf_with(intermediate(PKI, (x509.NameConstraints([x509.DNSName("example.com")], None), True)))[0])


def test_the_audience_names_the_provisioner() -> None:
    """Without this, the roots of one X5C provisioner would count for another (CVE-2025-44005 was of this family)."""
    other = X5cProvisioner(name="other", roots=(make_pki().root,))
    both = Registry([hosts(), other])
    for aud in ("https://ca.local/1.0/sign#x5c/other", "https://ca.local/sign#x5c/other"):
        with pytest.raises(Unauthenticated) as caught:
            both.authorize(Operation.SIGN, open_token(token(aud=aud, iss="other")), audiences=AUDIENCES, now=NOON)
        assert caught.value.code == "token.chain"
    odd: Any
    for odd in (
        "https://ca.local/1.0/sign",
        "https://ca.local/1.0/sign#x5c/",
        "https://ca.local/1.0/sign#acme/hosts",
        SIGN + "#x",
        [SIGN, SIGN],
        7,
        ...,
    ):
        refused(token(aud=odd), "token.header")
    for aud in ("https://evil.local/1.0/sign#x5c/hosts", "https://ca.local/1.0/revoke#x5c/hosts", "#x5c/hosts"):
        refused(token(aud=aud), "token.audience")
    refused(token(iss="other"), "token.issuer")


def test_names_with_spaces() -> None:
    """Without this, step's tokens for a provisioner with a space in its name would be refused."""
    assert split_audience("https://ca/1.0/sign#x5c/my hosts") == ("https://ca/1.0/sign", "my hosts")
    assert split_audience("https://ca/1.0/sign#x5c/my%20hosts") == ("https://ca/1.0/sign", "my hosts")
    authorize(token(iss="my hosts", aud="https://ca.local/sign#x5c/my hosts"), by=hosts(name="my hosts"))


@pytest.mark.parametrize(
    "x5c",
    [
        [], "MIIB", [7], [""], ["!!!!"], ["MIIB"], None, {"0": "MIIB"}, [write_chain(CHAIN)],
        [*write_chain(CHAIN), *["MIIB"] * 7],
        [base64.urlsafe_b64encode(LEAF.public_bytes(Encoding.DER)).decode().rstrip("=")],
        [base64.b64encode(LEAF.public_bytes(Encoding.PEM)).decode()],
        [base64.b64encode(LEAF.public_bytes(Encoding.DER) + b"\x00").decode()],
    ],
)  # fmt: skip
def test_what_is_no_chain(x5c: Any) -> None:
    """Without this, a broken header would be a 500, or be read in two ways."""
    refused(token(x5c), "token.header")


def test_other_ways_to_bring_a_key() -> None:
    """Without this, a token with a good chain could be verified by another key that it also brings."""
    for member in ("jwk", "jku", "x5u", "x5cInsecure"):
        refused(token(head={member: ["x"]}), "token.header")


def test_claims_hold_as_for_all_tokens() -> None:
    """Without this, X5C tokens could live for years, have no ID, or be bound to nothing."""
    refused(token(jti=...), "token.claims")
    refused(token(exp=T + 7200), "token.lifetime")
    refused(token(), "token.expired", now=NOON + timedelta(minutes=7))
    refused(token(step={"ssh": {}}), "token.claims")


NEEDED = {
    "now": NOON,
    "backdate": timedelta(minutes=1),
    "within": (NOON - timedelta(hours=1), NOON + timedelta(hours=2)),
}


def test_no_longer_than_the_credential() -> None:
    """Without this, a certificate of two hours would be turned into one of a day."""
    unasked = choose_validity(Claims(), not_before=None, not_after=None, **NEEDED)  # type: ignore[arg-type]
    assert unasked == (NOON - timedelta(minutes=1), NOON + timedelta(hours=2))
    asked = choose_validity(Claims(), not_before=None, not_after=NOON + timedelta(hours=1), **NEEDED)  # type: ignore[arg-type]
    assert asked[1] == NOON + timedelta(hours=1)
    for wish in ({"not_after": NOON + timedelta(hours=3)}, {"not_before": NOON - timedelta(hours=2)}):
        with pytest.raises(PolicyDenied) as caught:
            choose_validity(Claims(), **{"not_before": None, "not_after": None, **NEEDED, **wish})  # type: ignore[arg-type]
        assert caught.value.code == "validity.beyond-credential"
    short = {**NEEDED, "within": (NOON, NOON + timedelta(minutes=2))}
    with pytest.raises(PolicyDenied) as caught:
        choose_validity(Claims(), not_before=None, not_after=None, **short)  # type: ignore[arg-type]
    assert caught.value.code == "validity.too-short"


async def test_a_revoked_leaf_of_ours_vouches_for_nothing() -> None:
    """Without this, whoever stole a key could go on minting tokens after the revocation."""
    pki = make_pki()
    world = make_world(pki=pki, others=(hosts(roots=(pki.root,)),))
    chain, key = await world.leaf("a.example.com")

    def minted(subject: str) -> str:
        return token(
            chain, key=key, sub=subject, sans=[subject], aud="https://ca.example.com/sign#x5c/hosts", jti=subject
        )

    new_key = generate(KeyKind.EC_P256)
    issued = await world.authority.sign(world.csr("b.example.com", key=new_key), minted("b.example.com"))
    assert issued[0].not_valid_after_utc <= chain[0].not_valid_after_utc
    row = await world.store.certificate(issued[0].serial_number)
    assert row is not None
    assert row.provisioner_id == "x5c/hosts"
    assert (await world.authority.renew(PeerCertificate(certificate=issued[0])))[0] != issued[0]
    await world.authority.revoke(
        serial=chain[0].serial_number,
        token=None,
        peer=PeerCertificate(certificate=chain[0]),
        reason_code=0,
        reason="",
    )
    with pytest.raises(Unauthenticated) as caught:
        await world.authority.sign(world.csr("c.example.com", key=new_key), minted("c.example.com"))
    assert caught.value.code == "certificate.revoked"


async def test_a_leaf_that_was_revoked_under_the_intermediate_before_vouches_for_nothing() -> None:
    """Without this, a change of the intermediate would give every revoked key its power back."""
    old = make_pki()
    before = make_world(pki=old)
    chain, key = await before.leaf("a.example.com")
    await before.authority.revoke(
        serial=chain[0].serial_number,
        token=None,
        peer=PeerCertificate(certificate=chain[0]),
        reason_code=0,
        reason="",
    )
    # Nobody told the node of the intermediate before; the root is the same, and so is the record.
    after = make_world(pki=old.sibling(), store=before.store, others=(hosts(roots=(old.root,)),))
    minted = token(chain, key=key, sub="b", sans=["b"], aud="https://ca.example.com/sign#x5c/hosts", jti="b")
    with pytest.raises(Unauthenticated) as caught:
        await after.authority.sign(after.csr("b", key=generate(KeyKind.EC_P256)), minted)
    assert caught.value.code == "certificate.revoked"


def test_from_the_file_and_back() -> None:
    """Without this, what is published, and written by the command, could not be read again."""
    entry = hosts().public_json()
    found = parse_x5c_provisioner(entry, path="p", above=Claims(), home=Path("/x"))
    assert found.public_json() == entry
    assert (found.id, found.kid, found.encrypted_key) == ("x5c/hosts", "", None)


@pytest.mark.parametrize(
    "roots",
    [
        "",
        "!",
        "aGVsbG8=",
        base64.b64encode(certificate_pem(LEAF)).decode(),
        base64.b64encode(b"\x30\x00").decode(),
        7,
        ["x"],
    ],
)
def test_roots_that_are_none(roots: Any) -> None:
    """Without this, a leaf in the place of a root would never verify anything, or verify itself."""
    with pytest.raises(RequestRejected) as caught:
        parse_x5c_provisioner({"type": "X5C", "name": "x", "roots": roots}, path="p", above=Claims(), home=Path("/x"))
    assert caught.value.code.startswith("config.")
    assert caught.value.message.startswith("p")


@given(st.sampled_from([0, 1]), st.integers(0, 2000), st.integers(0, 255), st.booleans())
@settings(max_examples=400)
def test_a_certificate_with_any_byte_changed(which: int, position: int, value: int, cut: Any) -> None:
    """Without this, a broken certificate in a header could end in a 500 (CVE-2026-40097 was an empty sequence)."""
    chain = [each.public_bytes(Encoding.DER) for each in CHAIN]
    broken = bytearray(chain[which])
    position %= len(broken)
    broken[position] = value
    chain[which] = bytes(broken[:position]) if cut else bytes(broken)
    same = chain[which] == CHAIN[which].public_bytes(Encoding.DER)
    text = token([base64.b64encode(each).decode() for each in chain])
    if same:
        authorize(text)
    else:
        with pytest.raises(Unauthenticated):
            authorize(text)
