"""Routing, identification, and the endpoints over an authority in memory."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from itertools import islice

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.hierarchy import World, make_provisioner, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from online.api import Api, Issuing, Request, Response, Service
from online.api.messages import json_response
from online.api.routes import request_ids
from online.authority import PeerCertificate, RenewToken
from online.config import TlsSettings
from online.hierarchy import Chain
from online.vitals import Vitals
from shared.errors import Fatal, PeerFailed, StoreFailed
from shared.keys import KeyKind, PrivateKey, fingerprint, generate
from shared.pem import certificate_pem, chain_pem, load_certificates


def make_api(world: World, authority: Issuing | None = None) -> Api:
    """Return the handler of a CA, or of another authority."""
    return Api(
        Service(authority=authority or world.authority, tls=TlsSettings(), version="1.2.3"),
        trace_header="X-Smallstep-Id",
    )


@pytest.fixture
def world() -> World:
    """A CA in memory."""
    return make_world()


@pytest.fixture
def api(world: World) -> Api:
    """Its handler."""
    return make_api(world)


async def get(api: Api, path: str, query: str = "") -> Response:
    """Read something."""
    return await api.handle(Request(method="GET", path=path, query=query))


async def post(api: Api, path: str, value: object, **more: object) -> Response:
    """Send JSON."""
    request = Request(method="POST", path=path, body=json.dumps(value).encode())
    return await api.handle(replace(request, **more))  # type: ignore[arg-type]


def read(response: Response) -> dict[str, object]:
    """Return a JSON answer."""
    assert response.headers["Content-Type"] == "application/json"
    assert response.body.endswith(b"\n")
    value = json.loads(response.body)
    assert isinstance(value, dict)
    return value


def csr_text(world: World, common: str, key: PrivateKey) -> str:
    """Return a request as the wire carries it."""
    return world.csr(common, key=key).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("prefix", ["", "/1.0"])
async def test_public_reads_have_step_s_statuses_and_shapes(world: World, api: Api, prefix: str) -> None:
    """Without this, a client of step-ca could refuse the right answer for its wrong status."""
    root, chain = world.pki.root, (world.pki.intermediate,)
    for path, status, value in [
        ("/health", 200, {"status": "ok"}),
        ("/version", 200, {"version": "1.2.3"}),
        ("/roots", 201, {"crts": chain_pem([root])}),
        ("/federation", 201, {"crts": chain_pem([root])}),
        ("/intermediates", 201, {"crts": chain_pem(chain)}),
        (f"/root/{fingerprint(root)}", 200, {"ca": chain_pem([root])[0]}),
    ]:
        response = await get(api, prefix + path)
        assert (path, response.status, read(response)) == (path, status, value)
    for path, content in [("/roots.pem", certificate_pem(root)), ("/intermediates.pem", certificate_pem(*chain))]:
        response = await get(api, prefix + path)
        assert (response.status, response.body) == (200, content)
        assert response.headers["Content-Type"] == "application/x-pem-file"


async def test_a_root_is_found_by_any_writing_of_its_fingerprint(world: World, api: Api) -> None:
    """Without this, a fingerprint copied with dashes or in upper case would not be found."""
    digest = fingerprint(world.pki.root)
    dashed = "-".join(digest[at : at + 8] for at in range(0, 64, 8)).upper()
    assert (await get(api, f"/root/{dashed}")).status == 200
    missing = await get(api, f"/root/{'11' * 32}")
    assert missing.status == 404
    assert read(missing)["message"] == f'root certificate with fingerprint "{"11" * 32}" was not found'


async def test_provisioners_come_in_pages() -> None:
    """Without this, a CA with many provisioners would show only the first of them."""
    others = [make_provisioner(f"p{number}")[0] for number in range(24)]
    api = make_api(make_world(others=others))
    found: list[str] = []
    cursor = ""
    for _ in range(10):
        page = read(await get(api, "/provisioners", f"limit=10&cursor={cursor}"))
        provisioners, cursor = page["provisioners"], str(page["nextCursor"])
        assert isinstance(provisioners, list)
        found += [each["name"] for each in provisioners]
        if not cursor:
            break
    assert found == ["admin", *(f"p{number}" for number in range(24))]
    assert len(json.loads((await get(api, "/provisioners")).body)["provisioners"]) == 20
    assert len(json.loads((await get(api, "/provisioners", "limit=-1")).body)["provisioners"]) == 20


async def test_a_bad_limit_is_named(api: Api) -> None:
    """Without this, a typing error would look like an empty CA."""
    response = await get(api, "/provisioners", "limit=x")
    assert response.status == 400
    assert read(response)["message"] == "The request could not be completed: limit 'x' is not an integer."
    assert (await get(api, "/provisioners", "&".join(f"a{n}=1" for n in range(100)))).status == 400
    assert (await get(api, "/provisioners", "cursor=%ff")).status == 400


async def test_an_encrypted_key_by_its_kid() -> None:
    """Without this, step could not mint tokens, or could read a key that is withheld."""
    plain, signer = make_provisioner()
    published = replace(plain, encrypted_key="a.b.c.d.e")
    withheld = make_provisioner("other")[0]
    api = make_api(make_world(provisioner=(published, signer), others=[withheld]))
    assert read(await get(api, f"/provisioners/{published.kid}/encrypted-key")) == {"key": "a.b.c.d.e"}
    for kid in (withheld.kid, "nope", "%ff", "%00", "a" * 600):
        assert (await get(api, f"/provisioners/{kid}/encrypted-key")).status == 404


async def test_sign_renew_rekey_revoke(world: World, api: Api) -> None:
    """Without this, the main job of the node could fail between the endpoints."""
    key = generate(KeyKind.EC_P256)
    body = {"csr": csr_text(world, "a.example.com", key), "ott": world.token("a.example.com"), "notAfter": ""}
    signed = await post(api, "/sign", body)
    assert signed.status == 201
    value = read(signed)
    assert set(value) == {"crt", "ca", "certChain", "tlsOptions"}
    # It is put together from prepared pieces: they must fit as if it had been written in one go.
    assert signed.body == json_response(201, value).body
    chain = leaf_of(value)
    assert value["ca"] == chain_pem([world.pki.intermediate])[0]
    assert value["certChain"] == [value["crt"], value["ca"]]
    assert value["tlsOptions"] == {
        "cipherSuites": [
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ],
        "minVersion": 1.2,
        "maxVersion": 1.3,
        "renegotiation": False,
    }
    assert (await post(api, "/sign", body)).status == 401

    renewed = await post(api, "/renew", None, peer=chain[0])
    assert renewed.status == 201
    bearer = {"authorization": f"bearer {world.renew_token(leaf_of(read(renewed)), key)}"}
    assert (await post(api, "/re-sign", None, headers=bearer)).status == 201
    rekeyed = await post(
        api, "/rekey", {"csr": csr_text(world, "a.example.com", generate(KeyKind.EC_P384))}, peer=chain[0]
    )
    assert rekeyed.status == 201

    revocation = {"serial": str(chain[0].serial_number), "ott": "", "reasonCode": 4, "reason": "", "passive": True}
    assert read(await post(api, "/revoke", revocation, peer=chain[0])) == {"status": "ok"}
    again = await post(api, "/revoke", revocation, peer=chain[0])
    assert read(again)["message"] == (
        f"The request could not be completed: certificate with serial number '{chain[0].serial_number}'"
        " is already revoked."
    )
    refused = await post(api, "/renew", None, peer=chain[0])
    assert refused.status == 401
    assert "Please see the certificate authority logs" in str(read(refused)["message"])
    assert refused.note.startswith("certificate.revoked: ")


def leaf_of(value: dict[str, object]) -> Chain:
    """Return the chain in an answer."""
    texts = value["certChain"]
    assert isinstance(texts, list)
    return load_certificates("".join(texts).encode())


async def test_a_revocation_by_token(world: World, api: Api) -> None:
    """Without this, a certificate whose key is lost could not be revoked."""
    chain, _ = await world.leaf()
    serial = chain[0].serial_number
    body = {"serial": hex(serial), "ott": world.revoke_token(serial), "passive": True}
    assert read(await post(api, "/1.0/revoke", body)) == {"status": "ok"}
    assert (await post(api, "/1.0/revoke", body)).status == 401
    fresh = {**body, "ott": world.revoke_token(serial)}
    assert "is already revoked" in str(read(await post(api, "/1.0/revoke", fresh))["message"])
    other = {**body, "serial": str(serial + 1), "ott": world.revoke_token(serial)}
    assert (await post(api, "/1.0/revoke", other)).status == 403


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/renew", None, 400, "missing client certificate"),
        ("/rekey", None, 400, "missing client certificate"),
        ("/rekey", {"csr": "x"}, 400, "missing client certificate"),
        ("/revoke", {"serial": "1", "passive": True}, 400, "missing ott or client certificate"),
        ("/sign", {}, 400, "missing csr"),
        ("/revoke", {}, 400, "missing serial"),
    ],
)
async def test_what_is_missing_is_named(api: Api, path: str, body: object, status: int, message: str) -> None:
    """Without this, step would show its user another sentence than step-ca does."""
    response = await post(api, path, body)
    assert response.status == status
    assert read(response)["message"] == f"The request could not be completed: {message}."


async def test_bad_renew_tokens_are_all_answered_alike(world: World, api: Api) -> None:
    """Without this, the answers would tell a forger how far a forgery got (and step-ca's 500 would be copied)."""
    chain, key = await world.leaf()
    good = world.renew_token(chain, key)
    header, payload, signature = good.split(".")
    for bad in ("a.b.c", f"{header}.{payload}.{'A' * len(signature)}", f"{header}.{payload}", "é"):
        response = await post(api, "/renew", None, headers={"authorization": f"Bearer {bad}"})
        assert (response.status, read(response)["message"]) == (401, "error validating renew token")
    for scheme in ("Basic x", "Bearer", "Bearer ", ""):
        assert (await post(api, "/renew", None, headers={"authorization": scheme})).status == 400


async def test_a_client_certificate_goes_before_a_token(world: World, api: Api) -> None:
    """Without this, a token in a header could renew another certificate than the connection's."""
    chain, _ = await world.leaf("a.example.com")
    other, other_key = await world.leaf("b.example.com")
    headers = {"authorization": f"Bearer {world.renew_token(other, other_key)}"}
    response = await post(api, "/renew", None, headers=headers, peer=chain[0])
    assert leaf_of(read(response))[0].subject == chain[0].subject


async def test_forbidden_names_are_answered_in_step_s_words(world: World, api: Api) -> None:
    """Without this, a user would not learn which name was wrong."""
    key = generate(KeyKind.EC_P256)
    body = {"csr": csr_text(world, "c.example.com", key), "ott": world.token("c.example.com", ["other.example.com"])}
    response = await post(api, "/sign", body)
    assert response.status == 403
    assert read(response)["message"] == (
        "The request was forbidden by the certificate authority: certificate request does not contain the valid"
        " DNS names - got [c.example.com], want [other.example.com]."
    )


@pytest.mark.parametrize(
    "path", ["/nope", "/", "", "/1.0", "/1.0/", "/1.0/nope", "/roots/", "//roots", "/1.0/1.0/roots"]
)
async def test_unknown_paths_are_json_404(api: Api, path: str) -> None:
    """Without this, step would report that it cannot decode an error."""
    response = await get(api, path)
    assert response.status == 404
    assert read(response)["status"] == 404


@pytest.mark.parametrize(
    "path", ["/ssh/sign", "/1.0/ssh/roots", "/sign-ssh", "/acme/acme/directory", "/2.0/acme/a/directory",
             "/admin/provisioners", "/scep/x"],
)  # fmt: skip
async def test_parts_of_step_ca_that_are_absent_say_so(api: Api, path: str) -> None:
    """Without this, a user would look for a typing error in the address."""
    assert (await get(api, path)).status == 501


async def test_wrong_methods_name_the_right_ones(api: Api) -> None:
    """Without this, a GET could sign, or a POST read."""
    assert (await get(api, "/sign")).headers["Allow"] == "POST"
    response = await post(api, "/roots", {})
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"content-type": "application/json"}, 400),
        ({"content-type": "application/x-www-form-urlencoded"}, 400),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "Text/Plain; charset=utf-8"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "origin": "https://evil.example"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "cross-site"}, 415),
    ],
)
async def test_a_page_in_a_browser_cannot_post(api: Api, headers: dict[str, str], status: int) -> None:
    """Without this, a page could use the client certificate of the browser that shows it."""
    assert (await post(api, "/sign", {}, headers=headers)).status == status


def test_a_request_keeps_its_identifier_when_it_is_plain(api: Api) -> None:
    """Without this, a log line could not be matched with a client's, or a client could forge one."""
    assert api.request_id({"x-request-id": "my-id-1"}) == "my-id-1"
    assert api.request_id({"x-smallstep-id": "trace.7"}) == "trace.7"
    assert api.request_id({"x-request-id": "a", "x-smallstep-id": "b"}) == "a"
    for bad in ("", "a b", "a\nb", "a\x1b", "é", "a" * 200, "-a"):
        assert uuid.UUID(api.request_id({"x-request-id": bad})).version == 4


def test_new_identifiers_are_all_different() -> None:
    """Without this, two requests could be taken for one in the log, where randomness is drawn for many at once."""
    drawn = [uuid.UUID(each) for each in islice(request_ids(), 1000)]
    assert len(set(drawn)) == 1000
    assert all(each.version == 4 and each.variant == uuid.RFC_4122 for each in drawn)


class Faulty:
    """An authority that fails as it is told to, and otherwise does what the real one does."""

    def __init__(self, world: World, error: Exception | None) -> None:
        self.error = error
        self.asked = 0
        self.hierarchy = world.authority.hierarchy
        self.registry = world.registry
        self.crls = world.authority.crls
        self.vitals = world.authority.vitals
        self._real = world.authority

    def _fail(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    async def sign(
        self, csr: x509.CertificateSigningRequest, token: str, *, not_before: str = "", not_after: str = ""
    ) -> Chain:
        self._fail()
        return await self._real.sign(csr, token, not_before=not_before, not_after=not_after)

    async def renew(self, proof: PeerCertificate | RenewToken) -> Chain:
        self._fail()
        return await self._real.renew(proof)

    async def rekey(self, proof: PeerCertificate | RenewToken, csr: x509.CertificateSigningRequest) -> Chain:
        self._fail()
        return await self._real.rekey(proof, csr)

    async def revoke(
        self, *, serial: int, token: str | None, peer: PeerCertificate | None, reason_code: int, reason: str
    ) -> None:
        await self._real.revoke(serial=serial, token=token, peer=peer, reason_code=reason_code, reason=reason)

    async def ready(self) -> None:
        self._fail()


async def test_an_unforeseen_exception_is_one_request_s_bad_luck(world: World) -> None:
    """Without this, a bug could end the worker, or show a stranger what went wrong inside."""
    api = make_api(world, Faulty(world, KeyError("c4n4ry")))
    response = await get(api, "/health")
    assert response.status == 500
    assert "c4n4ry" not in response.body.decode() + response.note
    assert (await get(api, "/roots")).status == 201


async def test_health_tells_that_the_store_is_away_and_asks_it_once_a_second(world: World) -> None:
    """Without this, a load balancer would send clients to a node that cannot issue, or strangers load its disk."""
    authority = Faulty(world, StoreFailed("store.full", "the disk is full"))
    api = make_api(world, authority)
    answers = [await get(api, "/health") for _ in range(5)]
    assert {each.status for each in answers} == {503}
    assert authority.asked == 1


async def test_readyz_names_the_part_that_is_not_well_and_keeps_the_reason_for_the_log(world: World, api: Api) -> None:
    """Without this, an operator would know that the node cannot issue, but not where to look; or strangers why."""
    well = dict.fromkeys(("store", "signer", "clock", "issuer"), "ok")
    response = await get(api, "/readyz")
    end = world.pki.intermediate.not_valid_after_utc
    assert (response.status, read(response)) == (
        200, {"status": "ok", "checks": well, "issuerNotAfter": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
    )  # fmt: skip
    # An HSM that fails is looked at again only after a while: a new node shows what a later look would.
    world.authority._signing.prove = _no_hsm  # type: ignore[method-assign]
    world.authority.vitals = Vitals(
        hierarchy=world.authority.hierarchy,
        signing=world.authority._signing,
        store=world.store,
        clock=world.clock,
    )
    world.store.unavailable = StoreFailed("store.full", "the disk is full")
    world.clock.advance(timedelta(minutes=-2))
    response = await get(api, "/readyz")
    assert response.status == 503
    assert response.headers["Retry-After"] == "5"
    assert read(response)["checks"] == {"store": "failed", "signer": "failed", "clock": "failed", "issuer": "ok"}
    assert "hsm.device-removed" in response.note
    assert "authority.clock-set-back" in response.note
    assert b"hsm." not in response.body
    world.clock.advance(timedelta(days=4000))
    assert read(await get(api, "/readyz"))["checks"]["issuer"] == "failed"  # type: ignore[index]


async def _no_hsm() -> None:
    raise PeerFailed("hsm.device-removed", "the HSM does not answer or was removed")


async def test_a_signature_that_came_out_wrong_stops_issuing(world: World) -> None:
    """Without this, a node whose HSM or memory is broken would go on signing."""
    chain, _ = await world.leaf()
    authority = Faulty(world, Fatal("issue.bad-signature", "the signature does not verify under the issuer's key"))
    api = make_api(world, authority)
    assert (await post(api, "/renew", None, peer=chain[0])).status == 500
    authority.error = None
    assert (await post(api, "/renew", None, peer=chain[0])).status == 503
    assert (await get(api, "/health")).status == 503
    assert (await get(api, "/readyz")).status == 503
    assert (await get(api, "/roots")).status == 201
    revocation = {"serial": str(chain[0].serial_number), "passive": True}
    assert (await post(api, "/revoke", revocation, peer=chain[0])).status == 200


async def test_an_expired_intermediate_answers_500_and_recovers(world: World, api: Api) -> None:
    """Without this, a clock that was wrong for a minute would stop the node for good."""
    chain, _ = await world.leaf()
    world.clock.advance(timedelta(days=4000))
    assert (await post(api, "/renew", None, peer=chain[0])).status == 500
    world.clock.advance(timedelta(days=-4000))
    assert (await post(api, "/renew", None, peer=chain[0])).status == 201


_WORLD = make_world()
_API = make_api(_WORLD)
_KEY = generate(KeyKind.EC_P256)
_TEXT = st.text(max_size=30) | st.sampled_from(["", "0", "-1", "1h", "999999h", "2026-11-24T13:00:00Z", "a.b.c", "0x1"])
_BODY = st.fixed_dictionaries(
    {},
    optional={
        "csr": _TEXT | st.just(csr_text(_WORLD, "a.example.com", _KEY)),
        "ott": _TEXT | st.builds(lambda: _WORLD.token("a.example.com")),
        "notBefore": _TEXT,
        "notAfter": _TEXT,
        "serial": _TEXT,
        "reasonCode": st.integers(-2, 12) | st.floats(allow_nan=False),
        "reason": _TEXT,
        "passive": st.booleans() | _TEXT,
        "templateData": st.dictionaries(_TEXT, _TEXT, max_size=2),
    },
)


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(["/sign", "/renew", "/rekey", "/revoke", "/1.0/sign", "/roots", "/provisioners"]) | _TEXT,
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT"]),
    query=_TEXT,
    body=_BODY.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    authorization=_TEXT | st.just("Bearer a.b.c"),
)
async def test_no_request_ends_in_a_500(path: str, method: str, query: str, body: bytes, authorization: str) -> None:
    """Without this, some odd mixture of fields could end in an exception."""
    request = Request(method=method, path=path, query=query, body=body, headers={"authorization": authorization})
    response = await _API.handle(request)
    assert response.status < 500 or response.status == 501, response.note
    if response.headers["Content-Type"] == "application/json":
        json.loads(response.body)
