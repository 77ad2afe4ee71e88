"""Rekeying by the old key through a token: bound to one request, to one operation, to one use."""

from __future__ import annotations

import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.hierarchy import CA_URL, World, make_csr, make_world, peer
from fakes.leaves import sloppy_leaf

from online.api import Api, Service
from online.api.messages import Request
from online.authority import RenewToken
from online.config.settings import TlsSettings
from online.hierarchy import Chain
from online.provisioners.protocol import Operation
from online.step_extension import StepExtension
from online.store import CertificateKind
from online.tokens import audience, csr_confirmation, mint_renew_token
from shared.errors import Unauthenticated
from shared.keys import KeyKind, PrivateKey, generate

NEW_KEY = generate(KeyKind.EC_P256)


def token(
    world: World,
    chain: Chain,
    key: PrivateKey,
    csr: x509.CertificateSigningRequest | None,
    operation: Operation = Operation.REKEY,
) -> str:
    """Mint a token as the client does, bound to a request or to none."""
    return mint_renew_token(
        chain,
        key,
        audience=audience(CA_URL, operation),
        now=world.clock.now(),
        rng=os.urandom,
        cnf=None if csr is None else csr_confirmation(csr),
    )


async def test_the_holder_of_the_old_key_gets_the_new_one_certified() -> None:
    """Behind a proxy that ends TLS there is no other way to replace a key but to start anew."""
    world = make_world()
    chain, key = await world.leaf()
    csr = make_csr("", key=NEW_KEY)
    proof = RenewToken(text=token(world, chain, key, csr))
    new = (await world.authority.rekey(proof, csr))[0]
    assert new.public_key() == NEW_KEY.public_key()
    assert new.subject == chain[0].subject
    row = world.store.certificates[new.serial_number]
    assert (row.parent, row.kind) == (chain[0].serial_number, CertificateKind.REKEYED)
    # Once.
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.rekey(proof, csr)
    assert refusal.value.code == "token.used"


async def test_a_token_is_for_its_request_and_its_operation_only() -> None:
    """Whoever sees a token on its way must not get a key of their own certified with it."""
    world = make_world()
    chain, key = await world.leaf()
    csr, other = make_csr("", key=NEW_KEY), make_csr("", key=generate(KeyKind.EC_P256))
    stranger = generate(KeyKind.EC_P256)
    attempts = [
        world.authority.rekey(RenewToken(text=token(world, chain, key, csr)), other),
        world.authority.rekey(RenewToken(text=token(world, chain, key, None)), csr),
        world.authority.rekey(RenewToken(text=token(world, chain, key, csr, Operation.RENEW)), csr),
        world.authority.renew(RenewToken(text=token(world, chain, key, csr))),
        # A renewal token that is bound to something says that something else was meant.
        world.authority.renew(RenewToken(text=token(world, chain, key, csr, Operation.RENEW))),
        world.authority.rekey(RenewToken(text=world.renew_token(chain, key)), csr),
    ]
    for attempt in attempts:
        with pytest.raises(Unauthenticated) as refusal:
            await attempt
        assert refusal.value.code.startswith("renew-token.")
    with pytest.raises(Exception, match="belong"):
        token(world, chain, stranger, csr)
    assert len(world.store.certificates) == 1
    assert all(use.provisioner_id == world.provisioner.id for use in world.store.used.values())


async def test_a_revoked_certificate_rekeys_by_no_token() -> None:
    """Else the token would be a way around the revocation."""
    world = make_world()
    chain, key = await world.leaf()
    await world.authority.revoke(serial=chain[0].serial_number, token=None, peer=peer(chain), reason_code=0, reason="")
    csr = make_csr("", key=NEW_KEY)
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.rekey(RenewToken(text=token(world, chain, key, csr)), csr)
    assert refusal.value.code == "certificate.revoked"


async def test_a_certificate_for_servers_only_renews_by_token_and_not_by_tls() -> None:
    """Certificates without clientAuth cannot use mutual TLS at all: without the token they would die."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    leaf = sloppy_leaf(
        world.pki,
        public_key=key.public_key(),
        usages=[ExtendedKeyUsageOID.SERVER_AUTH],
        step=StepExtension(type=1, name=world.provisioner.name, credential_id=world.provisioner.kid),
    )
    chain = (leaf, world.pki.intermediate)
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.renew(peer(chain))
    assert refusal.value.code == "certificate.not-a-client"
    renewed = (await world.authority.renew(RenewToken(text=world.renew_token(chain, key))))[0]
    usage = renewed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    csr = make_csr("", key=NEW_KEY)
    rekeyed = (await world.authority.rekey(RenewToken(text=token(world, chain, key, csr)), csr))[0]
    assert rekeyed.public_key() == NEW_KEY.public_key()


async def test_over_the_wire() -> None:
    """The endpoint takes the token from the same header as /renew, and answers 201 with the chain."""
    world = make_world()
    chain, key = await world.leaf()
    api = Api(Service(authority=world.authority, tls=TlsSettings(), version="0"), trace_header="X-Request-Id")
    csr = make_csr("", key=NEW_KEY)
    pem = csr.public_bytes(Encoding.PEM).decode()

    async def post(headers: dict[str, str]) -> int:
        request = Request(
            method="POST",
            path="/1.0/rekey",
            query="",
            headers=headers,
            body=b'{"csr":' + repr(pem).replace("'", '"').encode() + b"}",
            peer=None,
        )
        return (await api.handle(request)).status

    assert await post({}) == 400
    assert await post({"authorization": "Bearer nonsense"}) == 401
    assert await post({"authorization": f"Bearer {token(world, chain, key, csr)}"}) == 201
