"""``GET /crl``: the two forms, what caches are told, and who already has it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.crls import SETTINGS, URL, Listing, listing
from fakes.hierarchy import DNS_NAMES, World, make_world, peer

from online.api import Api, Request, Response, Service
from online.authority import Authority, AuthoritySettings
from online.config import TlsSettings
from online.crl_serving import PublishedCrls
from shared.keys import KeyKind, generate

LIST = "/1.0/crl"


@pytest.fixture
async def ca(tmp_path: Path) -> AsyncIterator[Listing]:
    """A CA with one revoked certificate on its first list."""
    async with listing(tmp_path) as found:
        await found.revoke()
        await found.builder().build()
        yield found


def api_of(ca: Listing, *, on_revoke: bool = False, only: frozenset[str] | None = None) -> Api:
    world = make_world(pki=ca.pki, clock=ca.clock)
    crls = PublishedCrls(
        store=ca.store.crls,
        settings=replace(SETTINGS, generate_on_revoke=on_revoke),
        clock=ca.clock,
        ring=lambda: None,
    )
    world.authority.crls = crls
    return Api(Service(authority=world.authority, tls=TlsSettings(), version="0"), trace_header="x-id", only=only)


async def get(api: Api, path: str = LIST, query: str = "", method: str = "GET", **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.handle(Request(method=method, path=path, query=query, headers=names))


@pytest.mark.parametrize("path", ["/crl", "/1.0/crl"])
async def test_the_list_in_der(ca: Listing, path: str) -> None:
    """Clients that look a list up expect DER under its own media type."""
    response = await get(api_of(ca), path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/pkix-crl"
    assert response.headers["Content-Disposition"] == 'attachment; filename="crl.crl"'
    assert response.headers["Expires"] == "Wed, 25 Nov 2026 12:00:00 GMT"
    assert response.headers["Last-Modified"] == "Tue, 24 Nov 2026 12:00:00 GMT"
    assert response.headers["Cache-Control"] == "public, max-age=57600, must-revalidate"
    assert x509.load_der_x509_crl(response.body) == await ca.served()


@pytest.mark.parametrize("query", ["pem", "pem=", "pem=true", "a=b&pem"])
async def test_the_list_in_pem(ca: Listing, query: str) -> None:
    """step-ca gives PEM to whoever asks for it in the query, whatever its value."""
    response = await get(api_of(ca), query=query)
    assert response.headers["Content-Type"] == "application/x-pem-file"
    assert response.headers["Content-Disposition"] == 'attachment; filename="crl.pem"'
    assert response.body == (await ca.served()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("query", ["", "PEM", "der", "x=pem"])
async def test_any_other_query_means_der(ca: Listing, query: str) -> None:
    """A query that a client adds against caches must not change the form."""
    assert (await get(api_of(ca), query=query)).headers["Content-Type"] == "application/pkix-crl"


async def test_who_has_it_is_sent_nothing(ca: Listing) -> None:
    """A list of five megabytes an hour to each of a thousand clients would be the node's main work."""
    api = api_of(ca)
    first = await get(api)
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await get(api, if_none_match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == tag
        assert again.headers["Expires"] == first.headers["Expires"]
        assert "Content-Type" not in again.headers
    for unknown in ('"other"', "", tag.strip('"'), 'W/"'):
        assert (await get(api, if_none_match=unknown)).status == 200
    await ca.builder().build()
    assert (await get(api, if_none_match=tag)).status == 200


async def test_the_two_forms_are_told_apart(ca: Listing) -> None:
    """A cache that mixed them would hand PEM to a client that reads DER."""
    api = api_of(ca)
    der, pem = await get(api), await get(api, query="pem")
    assert der.headers["ETag"] != pem.headers["ETag"]
    assert (await get(api, query="pem", if_none_match=der.headers["ETag"])).status == 200
    assert (await get(api, query="pem", if_none_match=pem.headers["ETag"])).status == 304


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("Tue, 24 Nov 2026 12:00:00 GMT", 304),
        ("Tue, 24 Nov 2026 12:00:01 GMT", 304),
        ("Tue, 24 Nov 2026 11:59:59 GMT", 200),
        ("Tue, 24 Nov 2026 12:00:00", 200),
        ("yesterday", 200),
        ("", 200),
        ("Tue, 99 Nov 2026 99:00:00 GMT", 200),
        ("Tue, 24 Nov 9999999999999999999999 12:00:00 GMT", 200),
        ("Tue, 24 Nov 2026 12:00:00 -9999999999999", 200),
    ],
)
async def test_clients_that_know_dates_only(ca: Listing, since: str, status: int) -> None:
    """Old clients compare dates; a date that makes no sense must not keep the list from them."""
    assert (await get(api_of(ca), if_modified_since=since)).status == status


async def test_a_tag_goes_before_a_date(ca: Listing) -> None:
    """RFC 9110 §13.1.3: of two lists in one second only the tag tells which."""
    late = "Tue, 24 Nov 2026 13:00:00 GMT"
    assert (await get(api_of(ca), if_none_match='"other"', if_modified_since=late)).status == 200


@pytest.mark.parametrize(
    ("hours", "on_revoke", "seconds"), [(0, True, 60), (15, False, 3600), (15.99, True, 36), (17, False, 0)]
)
async def test_how_long_a_cache_may_keep_it(ca: Listing, hours: float, on_revoke: bool, seconds: int) -> None:
    """Until the next list is expected; where one may come at any time, for a minute at most."""
    api = api_of(ca, on_revoke=on_revoke)
    ca.clock.advance(timedelta(hours=hours))
    assert (await get(api)).headers["Cache-Control"] == f"public, max-age={seconds}, must-revalidate"


async def test_without_a_list_it_is_404_in_json(tmp_path: Path) -> None:
    """step-ca answers 404 both when lists are off and when there is none yet; our clients read JSON."""
    off = Api(Service(authority=make_world().authority, tls=TlsSettings(), version="0"), trace_header="x-id")
    async with listing(tmp_path) as ca:
        for api in (off, api_of(ca)):
            response = await get(api)
            assert response.status == 404
            assert json.loads(response.body)["status"] == 404


async def test_wrong_questions(ca: Listing) -> None:
    """None of them may cost more than a short answer."""
    api = api_of(ca)
    assert (await get(api, method="POST")).status == 405
    assert (await get(api, query="&".join("a" * 9))).status == 400
    assert (await get(api, path="/crl/")).status == 404


async def test_while_the_store_is_away_the_list_is_served_until_it_ends(ca: Listing) -> None:
    """Relying parties must not refuse everybody because our disk is full; an ended list they would refuse anyway."""
    api, fresh = api_of(ca), api_of(ca)
    assert (await get(api)).status == 200
    await ca.store.close()
    assert (await get(api)).status == 200
    ca.clock.advance(timedelta(hours=24))
    for each in (api, fresh):
        response = await get(each)
        assert response.status == 503
        assert "Retry-After" in response.headers


async def test_the_plain_address_serves_the_list_and_health_only(ca: Listing) -> None:
    """Over plain HTTP nothing may be issued, and nothing be told that has no need to be."""
    api = api_of(ca, only=frozenset({"/crl", "/health", "/readyz"}))
    for path in ("/crl", "/1.0/crl", "/health", "/1.0/health", "/readyz"):
        assert (await get(api, path)).status == 200
    for path in ("/provisioners", "/roots", "/1.0/roots.pem", "/version", "/intermediates", "/", "/metrics"):
        assert (await get(api, path)).status == 404
    for path in ("/sign", "/1.0/sign", "/renew", "/revoke", "/rekey"):
        assert (await get(api, path, method="POST")).status == 404


def listed_by(certificate: x509.Certificate) -> list[str]:
    """Return where a certificate says that its list is."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    except x509.ExtensionNotFound:
        return []
    assert not points.critical
    return [name.value for point in points.value for name in point.full_name or ()]


def moved(world: World, url: str) -> Authority:
    """Return the authority as it is when leaves name another place, or none."""
    return Authority(
        hierarchy=world.pki.hierarchy(),
        registry=world.registry,
        settings=AuthoritySettings(dns_names=DNS_NAMES, common_name="x", crl_url=url),
        store=world.store,
        clock=world.clock,
        rng=os.urandom,
    )


async def test_every_leaf_names_the_list(ca: Listing) -> None:
    """RFC 5280 §6.3.3: without the list's own place in the certificate no client accepts the list for it."""
    world = make_world(pki=ca.pki, clock=ca.clock)
    authority = moved(world, URL)
    key = generate(KeyKind.EC_P256)
    chain = await authority.sign(world.csr("a.example.com", key=key), world.token("a.example.com"))
    assert listed_by(chain[0]) == [URL]
    assert listed_by((await authority.own_leaf(key.public_key()))[0]) == [URL]
    assert listed_by((await authority.renew(peer(chain)))[0]) == [URL]
    # Another address is named from the next renewal on; without lists, the old one stays.
    elsewhere = "http://other.example.com/1.0/crl"
    renewed = await moved(world, elsewhere).renew(peer(chain))
    assert listed_by(renewed[0]) == [elsewhere]
    assert listed_by((await moved(world, "").renew(peer(chain)))[0]) == [URL]


async def test_a_leaf_from_before_the_lists_gets_the_place_at_renewal(ca: Listing) -> None:
    """Else switching lists on would reach certificates that renew for ever never."""
    world = make_world(pki=ca.pki, clock=ca.clock)
    chain, _ = await world.leaf()
    assert listed_by(chain[0]) == []
    renewed = await moved(world, URL).renew(peer(chain))
    assert listed_by(renewed[0]) == [URL]
