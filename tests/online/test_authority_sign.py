"""Signing: the profile byte for byte, the order of the checks, and nothing consumed by what is refused."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID
from fakes.clock import NOON
from fakes.hierarchy import DNS_NAMES, World, make_csr, make_pki, make_provisioner, make_world
from fakes.house import housekeeper

from online.authority import Authority, AuthoritySettings
from online.claims import Claims
from online.step_extension import STEP_PROVISIONER_OID
from online.store import CertificateKind
from online.store.sqlite import SqliteStore, create_database
from online.tokens import csr_confirmation
from shared.errors import ColdrootError, Fatal, PolicyDenied, RequestRejected, Unauthenticated
from shared.keys import KeyKind, generate, subject_key_identifier
from shared.names import parse_sans

KINDS = [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.EC_P521, KeyKind.RSA, KeyKind.ED25519]
SANS = ("a.example.com", "me@example.com", "10.0.0.1", "spiffe://example.com/x")


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def openssl(*arguments: str | Path, data: bytes = b"") -> str:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def verify(chain: tuple[x509.Certificate, ...], root: x509.Certificate, directory: Path, *purpose: str) -> str:
    """Have OpenSSL verify a chain at noon of the fake clock."""
    for name, content in (("root", pem(root)), ("above", pem(*chain[1:])), ("leaf", pem(chain[0]))):
        (directory / name).write_bytes(content)
    return openssl(
        *("verify", "-x509_strict", "-attime", str(int(NOON.timestamp())), *purpose),
        *("-CAfile", directory / "root", "-untrusted", directory / "above", directory / "leaf"),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("issuer", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
async def test_openssl_accepts_the_chain_for_server_and_client(kind: KeyKind, issuer: KeyKind, tmp_path: Path) -> None:
    """A leaf that only our own library accepts is no use to anybody."""
    world = make_world(pki=make_pki(kind=issuer))
    chain, _ = await world.leaf(sans=SANS, key=generate(kind))
    for purpose in ("sslserver", "sslclient"):
        assert verify(chain, world.pki.root, tmp_path, "-purpose", purpose).endswith(": OK\n")


async def test_openssl_reads_the_profile_of_the_leaf() -> None:
    """The leaf is step-ca's in every part: order, criticality, names, times, and no extension more."""
    world = make_world()
    chain, _ = await world.leaf(sans=SANS)
    shown = openssl("x509", "-noout", "-text", data=pem(chain[0]))
    assert "Issuer: O = Test, CN = Test Intermediate CA" in shown
    assert "Subject: CN = a.example.com\n" in shown
    assert "Not Before: Nov 24 11:59:00 2026 GMT" in shown
    assert "Not After : Nov 25 12:00:00 2026 GMT" in shown
    extensions = shown[shown.index("X509v3 extensions:") : shown.index("    Signature Algorithm", 400)]
    lines = [line.strip() for line in extensions.splitlines()]
    headings = [line for line in lines if re.match(r"(X509v3 (?!extensions)|1\.3\.6)", line)]
    assert headings == [
        "X509v3 Key Usage: critical",
        "X509v3 Extended Key Usage:",
        "X509v3 Subject Key Identifier:",
        "X509v3 Authority Key Identifier:",
        "X509v3 Subject Alternative Name:",
        "1.3.6.1.4.1.37476.9000.64.1:",
    ]
    assert "Digital Signature" in lines
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in lines
    assert "DNS:a.example.com, email:me@example.com, IP Address:10.0.0.1, URI:spiffe://example.com/x" in lines
    identifier = subject_key_identifier(world.pki.intermediate_key.public_key())
    assert identifier.hex(":").upper() in lines


async def test_only_rsa_leaves_may_encipher_keys() -> None:
    """TLS 1.2 with RSA key transport needs it; on an EC key the bit is an error."""
    world = make_world()
    for kind in KINDS:
        chain, _ = await world.leaf(key=generate(kind))
        usage = chain[0].extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_encipherment is (kind is KeyKind.RSA)


async def test_the_answer_is_the_chain_without_the_root_and_the_row_says_the_same() -> None:
    """The row is the CA's memory: renewal, revocation and audit believe it."""
    world = make_world()
    chain, key = await world.leaf(sans=SANS)
    assert chain[1:] == (world.pki.intermediate,)
    row = world.store.certificates[chain[0].serial_number]
    assert row.der == chain[0].public_bytes(Encoding.DER)
    assert row.sans == SANS
    assert (row.not_before, row.not_after) == (NOON - timedelta(minutes=1), NOON + timedelta(hours=24))
    assert (row.provisioner_id, row.provisioner_name) == (world.provisioner.id, "admin")
    assert (row.parent, row.kind) == (None, CertificateKind.SIGNED)
    assert chain[0].public_key() == key.public_key()
    assert len(world.store.used) == 1


async def test_serials_are_long_positive_and_different() -> None:
    """Serials that repeat or can be guessed confuse revocation and helped to forge certificates under MD5."""
    world = make_world()
    serials = {(await world.leaf())[0][0].serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(each.bit_length() == 127 for each in serials)


async def test_the_extensions_claim_suppresses_the_provisioner_extension() -> None:
    """``disableSmallstepExtensions`` keeps internal names out of certificates that the world sees."""
    world = make_world(claims=Claims(disable_smallstep_extensions=True))
    chain, _ = await world.leaf()
    assert STEP_PROVISIONER_OID not in {each.oid for each in chain[0].extensions}


async def test_a_subject_that_is_no_alternative_name_is_left_out(tmp_path: Path) -> None:
    """``step ca certificate foobar --san …`` works, but old clients must not take the holder for the host foobar."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    csr = world.csr("foobar", ("10.0.0.1",), key=key)
    chain = await world.authority.sign(csr, world.token("foobar", ("10.0.0.1",)))
    assert list(chain[0].subject) == []
    assert chain[0].extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).critical
    assert verify(chain, world.pki.root, tmp_path).endswith(": OK\n")


async def test_the_requests_extensions_decide_nothing() -> None:
    """A request for a CA certificate with code signing gets a plain TLS leaf."""
    world = make_world()
    csr = make_csr(
        "a.example.com",
        key=generate(KeyKind.EC_P256),
        more=lambda builder: builder.add_extension(x509.BasicConstraints(ca=True, path_length=3), critical=True),
    )
    chain = await world.authority.sign(csr, world.token("a.example.com"))
    assert ExtensionOID.BASIC_CONSTRAINTS not in {each.oid for each in chain[0].extensions}


async def test_attributes_of_the_requests_subject_are_not_taken_over() -> None:
    """An organisation in a request is nobody's claim: the token says who."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Somebody Else"),
            x509.NameAttribute(NameOID.COMMON_NAME, "a.example.com"),
        ]
    )
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    chain = await world.authority.sign(csr, world.token("a.example.com"))
    assert chain[0].subject.rfc4514_string() == "CN=a.example.com"


@pytest.mark.parametrize(
    ("not_before", "not_after", "begin", "end"),
    [
        ("", "", timedelta(minutes=-1), timedelta(hours=24)),
        ("", "5m", timedelta(minutes=-1), timedelta(minutes=5)),
        ("", "24h", timedelta(minutes=-1), timedelta(hours=24)),
        ("1h", "", timedelta(hours=1), timedelta(hours=25)),
        ("0s", "1h", timedelta(0), timedelta(hours=1)),
        ("2026-11-24T13:00:00Z", "2026-11-24T14:00:00+00:00", timedelta(hours=1), timedelta(hours=2)),
    ],
)
async def test_times_are_as_asked_within_the_claims(
    not_before: str, not_after: str, begin: timedelta, end: timedelta
) -> None:
    """The default is backdated a minute and lasts a day; what is asked for is what is issued."""
    world = make_world()
    csr = world.csr("a.example.com", key=generate(KeyKind.EC_P256))
    token = world.token("a.example.com")
    leaf = (await world.authority.sign(csr, token, not_before=not_before, not_after=not_after))[0]
    assert leaf.not_valid_before_utc == NOON + begin
    assert leaf.not_valid_after_utc == NOON + end


@pytest.mark.parametrize("left", [timedelta(hours=2), timedelta(minutes=1), timedelta(seconds=1)])
async def test_a_leaf_never_outlives_its_issuer(left: timedelta) -> None:
    """A chain whose leaf is valid and whose intermediate is not fails at every client, at night."""
    world = make_world()
    world.clock.advance(world.pki.intermediate.not_valid_after_utc - left - NOON)
    chain, _ = await world.leaf()
    assert chain[0].not_valid_after_utc == world.pki.intermediate.not_valid_after_utc


async def test_a_leaf_never_begins_before_its_issuer() -> None:
    """Minutes after the ceremony, backdating would reach behind the intermediate's own beginning."""
    world = make_world()
    world.clock.advance(world.pki.intermediate.not_valid_before_utc - NOON)
    chain, _ = await world.leaf()
    assert chain[0].not_valid_before_utc == world.pki.intermediate.not_valid_before_utc


@pytest.mark.parametrize("days", [-2, 5000])
async def test_nothing_is_signed_outside_the_issuers_time(days: int) -> None:
    """A clock that fell back to 1970, or an intermediate that nobody renewed: stop and call a person."""
    world = make_world()
    world.clock.advance(timedelta(days=days))
    for call in (world.leaf(), world.authority.ready()):
        with pytest.raises(Fatal) as failure:
            await call
        assert failure.value.code == "authority.outside-validity"
    assert world.store.writes == []


async def test_a_node_does_not_start_outside_the_issuers_time() -> None:
    """A wrong clock is noticed when it is cheap."""
    pki = make_pki()
    with pytest.raises(Fatal):
        make_world(pki=pki, now=NOON - timedelta(days=30))


async def test_without_randomness_nothing_is_signed() -> None:
    """A serial from a broken generator repeats; the failure must be ours, not a stray OSError."""
    world = make_world()

    def broken(count: int) -> bytes:
        raise OSError(5, f"no {count} bytes")

    authority = Authority(
        hierarchy=world.pki.hierarchy(),
        registry=world.registry,
        settings=AuthoritySettings(dns_names=DNS_NAMES, common_name="x"),
        store=world.store,
        clock=world.clock,
        rng=broken,
    )
    csr = world.csr("a.example.com", key=generate(KeyKind.EC_P256))
    with pytest.raises(Fatal) as failure:
        await authority.sign(csr, world.token("a.example.com"))
    assert failure.value.code == "authority.no-randomness"
    assert world.store.writes == []


Refused = Callable[[World, x509.CertificateSigningRequest], Awaitable[object]]


def with_token(make: Callable[[World], str]) -> Refused:
    return lambda world, csr: world.authority.sign(csr, make(world))


def with_times(not_before: str, not_after: str) -> Refused:
    return lambda world, csr: world.authority.sign(
        csr, world.token("a.example.com"), not_before=not_before, not_after=not_after
    )


def spoiled(world: World) -> str:
    token = world.token("a.example.com")
    head, _, signature = token.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


REFUSED: dict[str, tuple[Refused, type[ColdrootError]]] = {
    "empty token": (with_token(lambda _: ""), Unauthenticated),
    "junk token": (with_token(lambda _: "a.b.c"), Unauthenticated),
    "signature spoiled": (with_token(spoiled), Unauthenticated),
    "signed by a stranger": (
        with_token(lambda world: world.token("a.example.com", signer=make_provisioner()[1])),
        Unauthenticated,
    ),
    "another issuer's name": (with_token(lambda world: world.token("a.example.com", issuer="other")), Unauthenticated),
    "expired": (
        with_token(lambda world: world.token("a.example.com", now=NOON - timedelta(hours=1))),
        Unauthenticated,
    ),
    "not yet valid": (
        with_token(lambda world: world.token("a.example.com", now=NOON + timedelta(hours=1))),
        Unauthenticated,
    ),
    "a revocation token": (with_token(lambda world: world.revoke_token(5)), Unauthenticated),
    "another name": (with_token(lambda world: world.token("b.example.com")), PolicyDenied),
    "an impossible name": (
        lambda world, _: world.authority.sign(
            make_csr("", key=generate(KeyKind.EC_P256)), world.token("a" * 65 + ".example.com")
        ),
        RequestRejected,
    ),
    "bound to another request": (with_token(lambda world: world.token("a.example.com", cnf="A" * 43)), PolicyDenied),
    "too long": (with_times("", "25h"), PolicyDenied),
    "too short": (with_times("", "3m"), PolicyDenied),
    "in the past": (with_times("", "-1h"), RequestRejected),
    "reversed": (with_times("2h", "2026-11-24T13:00:00Z"), RequestRejected),
    "no time": (with_times("", "tomorrow"), RequestRejected),
    "the CA's own key": (
        lambda world, _: world.authority.sign(
            make_csr("a.example.com", key=world.pki.intermediate_key), world.token("a.example.com")
        ),
        PolicyDenied,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_consumes_and_writes_nothing(name: str) -> None:
    """In step-ca a refused request burns its token, and a guessed jti burns somebody else's; a stranger fills disks."""
    world = make_world()
    call, family = REFUSED[name]
    csr = world.csr("a.example.com", key=generate(KeyKind.EC_P256))
    with pytest.raises(family) as refusal:
        await call(world, csr)
    assert world.store.writes == []
    assert world.store.used == {}
    assert "eyJ" not in refusal.value.message


async def test_a_token_survives_a_request_that_did_not_fit() -> None:
    """A typing error in the request must not cost the operator a new token."""
    world = make_world()
    token = world.token("a.example.com")
    key = generate(KeyKind.EC_P256)
    with pytest.raises(PolicyDenied):
        await world.authority.sign(world.csr("b.example.com", key=key), token)
    assert await world.authority.sign(world.csr("a.example.com", key=key), token)


async def test_a_bound_token_signs_its_request() -> None:
    """The binding to one request (``cnf``) must not lock out the request itself."""
    world = make_world()
    csr = world.csr("a.example.com", key=generate(KeyKind.EC_P256))
    assert await world.authority.sign(csr, world.token("a.example.com", cnf=csr_confirmation(csr)))


async def test_a_token_is_good_once_also_for_the_same_request() -> None:
    """Two posts of one token: the second is 401, not the same certificate and not a second one."""
    world = make_world()
    csr, token = world.csr("a.example.com", key=generate(KeyKind.EC_P256)), world.token("a.example.com")
    await world.authority.sign(csr, token)
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.sign(csr, token)
    assert refusal.value.code == "token.used"
    assert len(world.store.certificates) == 1


async def test_a_race_for_one_token_on_two_nodes_has_one_winner(tmp_path: Path) -> None:
    """Two workers with one database, twenty requests with one token: one certificate, nineteen 401."""
    create_database(tmp_path / "ca.db")
    pki, provisioner = make_pki(), make_provisioner()
    stores = [SqliteStore(tmp_path / "ca.db") for _ in range(2)]
    worlds = [make_world(pki=pki, provisioner=provisioner, store=store) for store in stores]
    csr, token = worlds[0].csr("a.example.com", key=generate(KeyKind.EC_P256)), worlds[0].token("a.example.com")
    results = await asyncio.gather(
        *(world.authority.sign(csr, token) for _ in range(10) for world in worlds), return_exceptions=True
    )
    winners = [each for each in results if isinstance(each, tuple)]
    assert len(winners) == 1
    assert {each.code for each in results if isinstance(each, Unauthenticated)} == {"token.used"}
    assert sum(isinstance(each, Unauthenticated) for each in results) == 19
    assert await stores[1].certificate(winners[0][0].serial_number) is not None
    for store in stores:
        await store.close()


async def test_a_restart_neither_kills_nor_revives_tokens(tmp_path: Path) -> None:
    """step-ca refuses tokens from before its start; without a durable record that would be the only guard."""
    create_database(tmp_path / "ca.db")
    pki, provisioner = make_pki(), make_provisioner()
    csr = make_csr("a.example.com", key=generate(KeyKind.EC_P256))
    store = SqliteStore(tmp_path / "ca.db")
    before = make_world(pki=pki, provisioner=provisioner, store=store)
    used, outstanding = before.token("a.example.com"), before.token("a.example.com")
    await before.authority.sign(csr, used)
    await store.close()
    store = SqliteStore(tmp_path / "ca.db")
    after = make_world(pki=pki, provisioner=provisioner, store=store)
    assert await after.authority.sign(csr, outstanding)
    with pytest.raises(Unauthenticated):
        await after.authority.sign(csr, used)
    await store.close()


async def test_no_token_reaches_the_database(tmp_path: Path) -> None:
    """A stolen backup must hold nothing that signs, and nothing that could be sent again."""
    create_database(tmp_path / "ca.db")
    store = SqliteStore(tmp_path / "ca.db")
    world = make_world(store=store)
    token = world.token("a.example.com")
    await world.authority.sign(world.csr("a.example.com", key=generate(KeyKind.EC_P256)), token)
    await store.close()
    content = b"".join((tmp_path / name).read_bytes() for name in os.listdir(tmp_path))
    for part in token.split("."):
        assert part.encode() not in content


async def test_forgotten_tokens_are_refused_for_their_age() -> None:
    """Dropping old uses must not open a window for replay, also when the clock steps back a little."""
    world = make_world()
    csr, token = world.csr("a.example.com", key=generate(KeyKind.EC_P256)), world.token("a.example.com")
    await world.authority.sign(csr, token)
    world.clock.advance(timedelta(hours=23))
    await housekeeper(world).tidy()
    assert len(world.store.used) == 1
    world.clock.advance(timedelta(hours=2))
    await housekeeper(world).tidy()
    assert world.store.used == {}
    with pytest.raises(Unauthenticated):
        await world.authority.sign(csr, token)


async def test_the_nodes_own_leaf_is_for_its_names(tmp_path: Path) -> None:
    """Clients verify it before they trust anything else; it must be recorded like any other."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    chain = await world.authority.own_leaf(key.public_key())
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names) == parse_sans(DNS_NAMES).general_names()
    assert chain[0].subject.rfc4514_string() == "CN=localhost"
    assert chain[0].not_valid_after_utc == NOON + timedelta(hours=24)
    assert world.store.certificates[chain[0].serial_number].kind is CertificateKind.OWN
    assert verify(chain, world.pki.root, tmp_path, "-purpose", "sslserver").endswith(": OK\n")


@pytest.mark.parametrize(
    ("common_name", "dns_names", "subject"),
    [
        ("ca.example.com", DNS_NAMES, "CN=ca.example.com"),
        ("Step Online CA", ("a" * 60 + ".example.com", "short.example"), "CN=short.example"),
        ("Step Online CA", ("a" * 60 + ".example.com",), ""),
    ],
)
async def test_the_own_leafs_common_name_is_one_of_its_names(
    common_name: str, dns_names: tuple[str, ...], subject: str
) -> None:
    """The configured name is a wish: one that is no host name would be the only unchecked name in the leaf."""
    world = make_world(common_name=common_name, dns_names=dns_names)
    chain = await world.authority.own_leaf(generate(KeyKind.EC_P256).public_key())
    assert chain[0].subject.rfc4514_string() == subject
