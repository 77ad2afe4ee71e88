"""Renewing and rekeying: whose certificate, who vouches, today's limits, and no way around a revocation."""

from __future__ import annotations

import asyncio
import dataclasses
import warnings
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from fakes.clock import NOON
from fakes.hierarchy import World, make_csr, make_pki, make_provisioner, make_world, peer
from fakes.leaves import TLS, sloppy_leaf
from fakes.rows import revocation_of

from online.authority import PeerCertificate
from online.claims import Claims
from online.provisioners.registry import Registry
from online.step_extension import StepExtension
from online.store import CertificateKind
from shared.errors import ColdrootError, Fatal, PolicyDenied, RequestRejected, Unauthenticated
from shared.issue import lifetime
from shared.keys import KeyKind, generate
from shared.pem import load_certificate_der

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING


async def refuse(world: World, certificate: x509.Certificate, code: str, family: type[ColdrootError]) -> None:
    """Insist that neither renew nor rekey accepts a certificate, and that nothing is written."""
    before = list(world.store.writes)
    csr = make_csr("", key=generate(KeyKind.EC_P256))
    for call in (
        world.authority.renew(PeerCertificate(certificate=certificate)),
        world.authority.rekey(PeerCertificate(certificate=certificate), csr),
    ):
        with pytest.raises(family) as refusal:
            await call
        assert refusal.value.code == code
    assert world.store.writes == before


def vouched(world: World) -> StepExtension:
    """Return the extension by which the world's provisioner vouches."""
    return StepExtension(type=1, name=world.provisioner.name, credential_id=world.provisioner.kid)


async def test_a_renewed_leaf_is_the_old_one_for_another_day() -> None:
    """Subject, key, names and extensions stay, in step-ca's order; serial and dates are new, the parent is known."""
    world = make_world()
    chain, key = await world.leaf(sans=("a.example.com", "10.0.0.1"), not_after="10h")
    world.clock.advance(timedelta(hours=5))
    renewed = await world.authority.renew(peer(chain))
    old, new = chain[0], renewed[0]
    assert renewed[1:] == (world.pki.intermediate,)
    assert new.public_key() == key.public_key()
    assert new.subject == old.subject
    assert new.serial_number != old.serial_number
    assert new.not_valid_before_utc == world.clock.now() - timedelta(minutes=1)
    assert lifetime(new) == lifetime(old) == timedelta(hours=10, minutes=1)
    order = [each.oid for each in new.extensions]
    assert order[0] == ExtensionOID.AUTHORITY_KEY_IDENTIFIER
    assert order[1:] == [each.oid for each in old.extensions if each.oid != ExtensionOID.AUTHORITY_KEY_IDENTIFIER]
    assert {(each.oid, each.critical, each.value) for each in new.extensions} == {
        (each.oid, each.critical, each.value) for each in old.extensions
    }
    row = world.store.certificates[new.serial_number]
    assert (row.parent, row.kind) == (old.serial_number, CertificateKind.RENEWED)
    assert row.provisioner_id == world.provisioner.id


async def test_a_lifetime_stays_constant_over_many_renewals() -> None:
    """A minute of backdating added at each renewal adds up to a policy violation."""
    world = make_world()
    chain, _ = await world.leaf()
    first = lifetime(chain[0])
    for _ in range(5):
        world.clock.advance(timedelta(hours=16))
        chain = await world.authority.renew(peer(chain))
        assert lifetime(chain[0]) == first


async def test_rekey_takes_the_new_key_and_nothing_else_of_the_request() -> None:
    """Subject and names of the request are ignored; key usage and identifier follow the new key."""
    world = make_world()
    chain, _ = await world.leaf()
    key = generate(KeyKind.RSA)
    rekeyed = await world.authority.rekey(peer(chain), world.csr("evil.example.com", key=key))
    new = rekeyed[0]
    assert new.public_key() == key.public_key()
    assert new.subject == chain[0].subject
    names = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.com"]
    assert new.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    identifier = new.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier == x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    assert world.store.certificates[new.serial_number].kind is CertificateKind.REKEYED


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505 (that is the point)
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP224R1()),
    ],
)
async def test_rekey_refuses_weak_keys(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    """step-ca checks a key at sign and forgets at rekey."""
    world = make_world()
    chain, _ = await world.leaf()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(RequestRejected):
        await world.authority.rekey(peer(chain), csr)
    assert len(world.store.writes) == 1


async def test_rekey_refuses_the_cas_own_key_and_a_compromised_one() -> None:
    """Either would put a key that others hold, or that must never be a leaf's, into a fresh certificate."""
    world = make_world()
    chain, _ = await world.leaf()
    with pytest.raises(PolicyDenied) as refusal:
        await world.authority.rekey(peer(chain), make_csr("", key=world.pki.intermediate_key))
    assert refusal.value.code == "lint.key.is-issuers"
    other, stolen = await world.leaf("b.example.com")
    await world.authority.revoke(
        serial=other[0].serial_number, token=None, peer=peer(other), reason_code=1, reason="stolen"
    )
    with pytest.raises(PolicyDenied) as refusal:
        await world.authority.rekey(peer(chain), make_csr("", key=stolen))
    assert refusal.value.code == "key.compromised"


async def test_rekey_needs_proof_of_the_new_key() -> None:
    """Otherwise a client certifies somebody else's public key for itself."""
    world = make_world()
    chain, _ = await world.leaf()
    der = bytearray(make_csr("", key=generate(KeyKind.EC_P256)).public_bytes(Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(RequestRejected) as refusal:
        await world.authority.rekey(peer(chain), x509.load_der_x509_csr(bytes(der)))
    assert refusal.value.code == "csr.invalid-signature"


async def test_many_renewals_at_once_are_all_recorded() -> None:
    """Twenty parallel renewals of one leaf: distinct serials, one parent, nothing lost."""
    world = make_world()
    chain, _ = await world.leaf()
    csr = make_csr("", key=generate(KeyKind.EC_P256))
    calls = [world.authority.renew(peer(chain)) for _ in range(10)]
    calls += [world.authority.rekey(peer(chain), csr) for _ in range(10)]
    results = await asyncio.gather(*calls)
    serials = {each[0].serial_number for each in results}
    assert len(serials) == 20
    assert {world.store.certificates[each].parent for each in serials} == {chain[0].serial_number}


async def test_a_sister_cas_leaf_is_not_ours() -> None:
    """Under step-ca any leaf below the common root renews here, with whatever names the sister gave it."""
    world = make_world()
    sister = world.pki.sibling()
    await refuse(world, sloppy_leaf(sister, step=vouched(world)), "certificate.foreign", Unauthenticated)


async def test_a_namesakes_leaf_is_not_ours() -> None:
    """An intermediate's name can be copied, its signature cannot."""
    world = make_world()
    forged = sloppy_leaf(world.pki, signer=generate(KeyKind.EC_P256), step=vouched(world))
    await refuse(world, forged, "certificate.foreign", Unauthenticated)
    await refuse(world, world.pki.intermediate, "certificate.foreign", Unauthenticated)
    await refuse(world, world.pki.root, "certificate.foreign", Unauthenticated)


async def test_a_former_intermediates_leaf_renews_while_it_is_listed() -> None:
    """After a new intermediate came, clients must move over by renewing; once the old one is struck off, no longer."""
    old = make_pki()
    new = old.sibling(common="Second Intermediate CA")
    provisioner = make_provisioner()
    before = make_world(pki=old, provisioner=provisioner)
    chain, _ = await before.leaf()
    after = make_world(pki=new, provisioner=provisioner, former_issuers=(old.intermediate,))
    renewed = await after.authority.renew(peer(chain))
    assert renewed[1] == new.intermediate
    assert renewed[0].issuer == new.intermediate.subject
    without = make_world(pki=new, provisioner=provisioner)
    await refuse(without, chain[0], "certificate.foreign", Unauthenticated)


@pytest.mark.parametrize(
    ("usages", "digital_signature", "is_ca"),
    [
        ((ExtendedKeyUsageOID.SERVER_AUTH,), True, False),
        ((), True, False),
        (TLS, False, False),
        (TLS, True, True),
    ],
)
async def test_only_a_tls_clients_leaf_identifies_anybody(
    usages: Sequence[x509.ObjectIdentifier], digital_signature: bool, is_ca: bool
) -> None:
    """A server's leaf, an encryption key or a sub-CA is no proof of a client, even with our signature."""
    world = make_world()
    leaf = sloppy_leaf(world.pki, usages=usages, digital_signature=digital_signature, is_ca=is_ca, step=vouched(world))
    await refuse(world, leaf, "certificate.not-a-client", Unauthenticated)


async def test_a_leaf_with_a_weak_key_from_another_time_is_not_renewed() -> None:
    """Whoever factored it proves possession like its owner."""
    world = make_world()
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 (that is the point)
    await refuse(
        world, sloppy_leaf(world.pki, public_key=weak, step=vouched(world)), "certificate.weak-key", Unauthenticated
    )


async def test_a_leaf_that_nobody_vouches_for_is_not_renewed() -> None:
    """step-ca treats a certificate without provisioner as one that renews for ever."""
    world = make_world()
    await refuse(world, sloppy_leaf(world.pki), "certificate.no-provisioner", Unauthenticated)


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"credential_id": "other"}, {"credential_id": ""}, {"type": 6}, {"name": ""}],
)
async def test_a_leaf_of_a_provisioner_that_is_gone_is_not_renewed(change: dict[str, object]) -> None:
    """Removing a provisioner, or replacing its key, must end what it let in."""
    world = make_world()
    gone = dataclasses.replace(vouched(world), **change)  # type: ignore[arg-type]
    await refuse(world, sloppy_leaf(world.pki, step=gone), "certificate.no-provisioner", Unauthenticated)


async def test_a_malformed_provisioner_extension_vouches_for_nobody() -> None:
    """A parser's exception must become a refusal."""
    world = make_world()
    oid = vouched(world).encode().oid
    junk = x509.Extension(oid, False, x509.UnrecognizedExtension(oid, b"\x30\x05junk!"))
    await refuse(world, sloppy_leaf(world.pki, more=(junk,)), "certificate.no-provisioner", Unauthenticated)


async def test_a_leaf_that_step_ca_issued_is_renewed_by_its_extension() -> None:
    """After taking over a step-ca's intermediate and provisioners, its leaves must renew: no row knows them."""
    world = make_world()
    leaf = sloppy_leaf(world.pki, step=vouched(world))
    renewed = await world.authority.renew(PeerCertificate(certificate=leaf))
    assert world.store.certificates[renewed[0].serial_number].parent == leaf.serial_number


async def test_further_extensions_of_an_old_leaf_are_kept() -> None:
    """A CRL distribution point from a template must survive renewal, or relying parties lose the list."""
    world = make_world()
    name = x509.UniformResourceIdentifier("http://crl.example.com/ca.crl")
    point = x509.DistributionPoint(full_name=[name], relative_name=None, reasons=None, crl_issuer=None)
    points = x509.CRLDistributionPoints([point])
    leaf = sloppy_leaf(world.pki, step=vouched(world), more=(x509.Extension(points.oid, False, points),))
    renewed = await world.authority.renew(PeerCertificate(certificate=leaf))
    assert renewed[0].extensions.get_extension_for_class(x509.CRLDistributionPoints).value == points


async def test_a_leaf_with_a_common_name_that_is_too_long_is_renewed_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """step-ca issued such leaves for long host names; the library's warnings would fill the node's log."""
    world = make_world()
    long = "a" * 60 + ".example.com"
    with warnings.catch_warnings(), monkeypatch.context() as patched:
        warnings.simplefilter("ignore")
        plain = x509.NameAttribute
        patched.setattr(x509, "NameAttribute", lambda oid, value: plain(oid, value, _validate=False))
        made = sloppy_leaf(world.pki, common=long, san=long, step=vouched(world))
        leaf = load_certificate_der(made.public_bytes(Encoding.DER))
    renewed = await world.authority.renew(PeerCertificate(certificate=leaf))
    assert renewed[0].public_key() == leaf.public_key()


async def test_a_client_only_leaf_stays_one() -> None:
    """Renewal must not add a usage that the first issuance left out, nor carry a foreign one on."""
    world = make_world()
    client = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    leaf = sloppy_leaf(world.pki, usages=client, step=vouched(world))
    renewed = await world.authority.renew(PeerCertificate(certificate=leaf))
    assert tuple(renewed[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == client
    signing = sloppy_leaf(world.pki, usages=(*client, CODE_SIGNING), step=vouched(world))
    await refuse(world, signing, "renew.extended-key-usage", PolicyDenied)


async def test_the_row_counts_more_than_the_extension() -> None:
    """The store knows who vouched; an extension is believed only where the store knows nothing."""
    world = make_world()
    chain, _ = await world.leaf()
    row = world.store.certificates[chain[0].serial_number]
    world.store.certificates[row.serial] = dataclasses.replace(row, provisioner_id="gone:kid")
    await refuse(world, chain[0], "certificate.no-provisioner", Unauthenticated)


async def test_the_nodes_own_leaf_is_renewed_by_nobody() -> None:
    """A client that got hold of it must not turn it into a leaf of its own."""
    world = make_world()
    own = await world.authority.own_leaf(generate(KeyKind.EC_P256).public_key())
    await refuse(world, own[0], "certificate.no-provisioner", Unauthenticated)


async def test_renewal_can_be_disabled() -> None:
    """``disableRenewal`` is a promise that the certificate ends when it says."""
    world = make_world(claims=Claims(disable_renewal=True))
    chain, _ = await world.leaf()
    await refuse(world, chain[0], "renewal.disabled", Unauthenticated)


async def test_a_leaf_renews_in_its_time_only() -> None:
    """Before its time it proves nothing, after it its key may be anybody's; the CLI shows when it ended."""
    world = make_world()
    chain, _ = await world.leaf()
    world.clock.advance(timedelta(minutes=-2))
    await refuse(world, chain[0], "certificate.not-yet-valid", Unauthenticated)
    world.clock.advance(timedelta(minutes=2, hours=24))
    assert await world.authority.renew(peer(chain))
    world.clock.advance(timedelta(seconds=1))
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.renew(peer(chain))
    assert refusal.value.code == "certificate.expired"
    assert refusal.value.message == "certificate expired on 2026-11-25 12:00:00 +0000 UTC"


async def test_an_expired_leaf_renews_where_the_owner_allows_it() -> None:
    """``allowRenewalAfterExpiry`` is for devices that slept."""
    world = make_world(claims=Claims(allow_renewal_after_expiry=True))
    chain, _ = await world.leaf()
    world.clock.advance(timedelta(days=30))
    renewed = await world.authority.renew(peer(chain))
    assert renewed[0].not_valid_before_utc == world.clock.now() - timedelta(minutes=1)


async def test_a_revoked_leaf_is_not_renewed() -> None:
    """Revocation in this CA *is* the refusal to renew."""
    world = make_world()
    chain, _ = await world.leaf()
    await world.authority.revoke(serial=chain[0].serial_number, token=None, peer=peer(chain), reason_code=0, reason="")
    await refuse(world, chain[0], "certificate.revoked", Unauthenticated)


async def test_a_revocation_during_a_renewal_wins() -> None:
    """Another node revokes between our look and our commit: the look that counts is inside the transaction."""
    world = make_world()
    chain, _ = await world.leaf()
    serial = chain[0].serial_number

    def revoked_elsewhere() -> None:
        world.store.revocations[serial] = revocation_of(serial)

    world.store.before_write = revoked_elsewhere
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.renew(peer(chain))
    assert refusal.value.code == "certificate.revoked"
    assert len(world.store.certificates) == 1


async def test_todays_longest_lifetime_holds_for_renewals() -> None:
    """step-ca renews a ninety-day certificate for ninety days for ever, whatever the limit is since."""
    provisioner, signer = make_provisioner(claims=Claims(max_tls=timedelta(days=90)))
    before = make_world(provisioner=(provisioner, signer))
    chain, _ = await before.leaf(not_after="2160h")
    tighter = dataclasses.replace(provisioner, claims=Claims(max_tls=timedelta(hours=48)))
    after = make_world(pki=before.pki, provisioner=(tighter, signer), store=before.store)
    renewed = await after.authority.renew(peer(chain))
    assert lifetime(renewed[0]) == timedelta(hours=48, minutes=1)
    assert renewed[0].not_valid_after_utc == NOON + timedelta(hours=48)


async def test_a_renewed_leaf_does_not_outlive_its_issuer() -> None:
    """step-ca copies the lifetime past the intermediate's end."""
    world = make_world()
    world.clock.advance(world.pki.intermediate.not_valid_after_utc - NOON - timedelta(hours=30))
    chain, _ = await world.leaf()
    world.clock.advance(timedelta(hours=20))
    renewed = await world.authority.renew(peer(chain))
    assert renewed[0].not_valid_after_utc == world.pki.intermediate.not_valid_after_utc
    world.clock.advance(timedelta(hours=20))
    with pytest.raises(Fatal):
        await world.authority.renew(peer(renewed))


async def test_an_old_leaf_with_a_critical_foreign_extension_is_refused() -> None:
    """What relying parties must understand and we do not, we do not sign again."""
    world = make_world()
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
    odd = x509.Extension(oid, True, x509.UnrecognizedExtension(oid, b"\x05\x00"))
    await refuse(
        world, sloppy_leaf(world.pki, step=vouched(world), more=(odd,)), "lint.extension.critical", PolicyDenied
    )


def test_the_registry_finds_who_vouches() -> None:
    """The fixture's extension is the one that the registry knows: otherwise the refusals above prove nothing."""
    world = make_world()
    extension = vouched(world)
    found = Registry((world.provisioner,)).by_credential(extension.type, extension.name, extension.credential_id)
    assert found is world.provisioner
