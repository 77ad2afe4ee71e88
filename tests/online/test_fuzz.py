"""Good requests with damage done to them: whatever arrives, the answer is a 4xx or what was asked for, never a 5xx.

A few examples each time; ``scripts/fuzz`` runs as many as one has patience for. Damage is done at every depth, for a
request that is broken at its outside never reaches the parsers within: the bytes of the body, the values of its JSON,
the parts of a token, the DER in a request or a certificate.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.hierarchy import World, make_csr, make_provisioner, make_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from online.api import Api, Request, Service
from online.config import TlsSettings
from online.jose import b64, jwe, x5c
from online.jose.jwk import PrivateJwk, parse_private_jwk
from online.provisioners.x5c import X5cProvisioner
from online.tokens import mint_sign_token
from shared.errors import ColdrootError
from shared.keys import KeyKind, fingerprint, generate
from shared.names import parse_sans
from shared.pem import load_certificate_der, load_csr

EXAMPLES = int(os.environ.get("COLDROOT_FUZZ_EXAMPLES", "80"))
_RUN = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
_PASSWORD = b"battery staple"


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """One good thing of each kind."""

    world: World
    api: Api
    csr: bytes
    token: str
    x5c_token: str
    leaf: bytes
    renewal: str
    jwe: str


def _seeds() -> Seeds:
    world = make_world()
    x5c_provisioner = X5cProvisioner(name="hosts", roots=(world.pki.root,))
    _, signer = make_provisioner("other")
    world = make_world(pki=world.pki, others=(x5c_provisioner,))
    key = generate(KeyKind.EC_P256)
    chain, _ = asyncio.run(world.leaf("a.example.com", key=key))
    x5c_token = mint_sign_token(
        PrivateJwk.of(key),
        issuer="hosts",
        audience="https://ca.example.com:9000/1.0/sign#x5c/hosts",
        subject="a.example.com",
        sans=(),
        root_fingerprint=fingerprint(world.pki.root),
        now=world.clock.now(),
        rng=os.urandom,
        chain=chain,
    )
    return Seeds(
        world=world,
        api=Api(Service(authority=world.authority, tls=TlsSettings(), version="0"), trace_header="X-Id"),
        csr=make_csr("a.example.com", parse_sans(("a.example.com",)), key=key).public_bytes(Encoding.DER),
        token=world.token("a.example.com"),
        x5c_token=x5c_token,
        leaf=chain[0].public_bytes(Encoding.DER),
        renewal=world.renew_token(chain, key),
        jwe=jwe.encrypt(signer.to_json_bytes(), _PASSWORD, rng=os.urandom, p2c=1000),
    )


SEEDS = _seeds()


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Change, drop, repeat, swap or insert a few stretches of bytes."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, min(40, len(data) - start)))
        piece = bytes(data[start : start + length])
        new = draw(
            st.one_of(
                st.just(b""),
                st.just(piece * 2),
                st.just(piece[::-1]),
                st.binary(max_size=8),
                st.sampled_from(
                    [b"\x00", b"\xff" * 5, b"\x30\x80", b"\x84\xff\xff\xff\xff", b'"', b"{", b".", b"\\u0000"]
                ),
                st.builds(lambda bit, part=piece: bytes(each ^ bit for each in part), st.integers(1, 255)),
            )
        )
        data[start : start + length] = new
    return bytes(data)


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


@st.composite
def token_from(draw: st.DrawFn, good: str) -> str:
    """Damage a token: its text, or what one of its parts holds, or a certificate in its header."""
    parts = good.split(".")
    number = draw(st.integers(0, len(parts)))
    if number == len(parts):
        return draw(damaged(good.encode())).decode("latin-1")
    content = b64.decode(parts[number], what="part")
    if number == 0 and draw(st.booleans()):
        header = json.loads(content)
        for each in ("x5c", "x5cInsecure"):
            if each in header:
                der = base64.b64decode(header[each][0])
                header[each][0] = base64.b64encode(draw(damaged(der))).decode()
        content = json.dumps(header).encode()
    else:
        content = draw(damaged(content))
    parts[number] = b64.encode(content)
    return ".".join(parts)


def answer(path: str, body: bytes, **headers: str) -> int:
    """Have a request answered; return the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(method="POST", path=path, body=body, headers=named)
    return asyncio.run(SEEDS.api.handle(request)).status


def fine(status: int) -> bool:
    """Tell whether a status blames the caller, or nobody."""
    return status in {200, 201} or 400 <= status < 500 or status == 501


@_RUN
@given(data=st.data())
def test_bodies(data: st.DataObject) -> None:
    """A body that no client would send must end one request and not a worker."""
    path = data.draw(st.sampled_from(["/sign", "/renew", "/rekey", "/revoke"]))
    good = json.dumps({"csr": _pem(SEEDS.csr), "ott": SEEDS.token, "notAfter": "1h", "serial": "1", "passive": True})
    assert fine(answer(path, data.draw(damaged(good.encode()))))


@_RUN
@given(data=st.data())
def test_values_in_a_body(data: st.DataObject) -> None:
    """Any type may stand where a text should, at any depth."""
    any_value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    names = ("csr", "ott", "notBefore", "notAfter", "templateData", "serial", "reasonCode", "reason", "passive")
    good: dict[str, object] = {"csr": _pem(SEEDS.csr), "ott": SEEDS.token, "serial": "1", "passive": True}
    changed = data.draw(st.dictionaries(st.sampled_from(names), any_value, max_size=4))
    path = data.draw(st.sampled_from(["/sign", "/rekey", "/revoke"]))
    assert fine(answer(path, json.dumps(good | changed).encode()))


@_RUN
@given(csr=damaged(SEEDS.csr))
def test_requests_for_certificates(csr: bytes) -> None:
    """A request comes from strangers, and is parsed before they have shown anything."""
    body = json.dumps({"csr": _pem(csr), "ott": SEEDS.world.token("a.example.com")}).encode()
    assert fine(answer("/sign", body))
    with contextlib.suppress(ColdrootError):
        load_csr(csr)


@pytest.mark.parametrize("seed", [SEEDS.token, SEEDS.x5c_token], ids=["jwk", "x5c"])
@_RUN
@given(data=st.data())
def test_tokens(seed: str, data: st.DataObject) -> None:
    """A token's header decides which key is looked at: it is read before any signature was checked."""
    body = json.dumps({"csr": _pem(SEEDS.csr), "ott": data.draw(token_from(seed))}).encode()
    assert fine(answer("/sign", body))


@_RUN
@given(data=st.data())
def test_renewal_tokens(data: st.DataObject) -> None:
    """The certificate inside is the caller's own to damage."""
    assert fine(answer("/renew", b"", authorization=f"Bearer {data.draw(token_from(SEEDS.renewal))}"))


def _open_jwe(text: bytes) -> None:
    payload = jwe.decrypt(text.decode("latin-1"), _PASSWORD)
    parse_private_jwk(payload, what="key")


def _read_x5c(data: bytes) -> object:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return x5c.read_chain(value)


@pytest.mark.parametrize(
    ("seed", "reader"),
    [
        (SEEDS.jwe.encode(), _open_jwe),
        (SEEDS.leaf, load_certificate_der),
        (json.dumps([base64.b64encode(SEEDS.leaf).decode()] * 2).encode(), _read_x5c),
    ],
    ids=["jwe", "certificate", "x5c"],
)
@_RUN
@given(data=st.data())
def test_readers(seed: bytes, reader: Callable[[bytes], object], data: st.DataObject) -> None:
    """What a reader raises is ours, or it goes past everybody who is prepared for it."""
    with contextlib.suppress(ColdrootError):
        reader(data.draw(damaged(seed)))
