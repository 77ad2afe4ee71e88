"""Whom a token is meant for: every way to make a foreign audience look like ours."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.tokens import AUDIENCES
from hypothesis import given
from hypothesis import strategies as st

from online.provisioners.protocol import Operation
from online.tokens import Audiences, audience, offline_audience
from shared.errors import Unauthenticated


@pytest.mark.parametrize(
    "claim",
    [
        "https://ca.local/sign",
        "https://ca.local/1.0/sign",
        "https://ca.local:9000/sign",
        "https://ca.local:9000/1.0/sign",
        "https://CA.Local/sign",
        "https://127.0.0.1:8443/1.0/sign",
        "https://[::1]:443/sign",
        ["https://ca.local/sign"],
    ],
)
def test_ours(claim: Any) -> None:
    """With and without prefix, with any port, one alone in a list: all of them are what clients write."""
    AUDIENCES.require(Operation.SIGN, claim)


@pytest.mark.parametrize(
    "claim",
    [
        "https://ca.local/revoke",
        "https://ca.local/1.0/renew",
        "https://ca.local/ssh/sign",
        "https://ca.local/1.0/ssh/sign",
        "step-certificate-authority",
        "https://other.local/sign",
        "https://ca.local.evil.test/sign",
        "https://evilca.local/sign",
        "https://ca.local@evil.test/sign",
        "https://user@ca.local/sign",
        "https://evil.test/https://ca.local/sign",
        "https://ca.local/sign?x=1",
        "https://ca.local/sign#acme/acme",
        "https://ca.local/sign#",
        "https://ca.local/sign/",
        "https://ca.local//sign",
        "https://ca.local/../sign",
        "https://ca.local/1.0/../sign",
        "https://ca.local/2.0/sign",
        "https://ca.local:/sign",
        "https://ca.local:999999/sign",
        "https://ca.local:90:00/sign",
        "https://ca.local\n/sign",
        "https://ca.local/sign\n",
        "https://ca.local\\@evil.test/sign",
        "https://ca.local%00/sign",
        "https://::1/sign",
        "https://[::1/sign",
        "HTTPS://ca.local/sign",
        "http://ca.local/sign",
        "//ca.local/sign",
        "ca.local/sign",
        "https:///sign",
        "https://ca.local",
        "https://ca.local/SIGN",
        "https://ｃa.local/sign",
        "",
        None,
        True,
        7,
        {},
        [],
        ["https://ca.local/sign", "https://ca.local/revoke"],
        ["https://ca.local/sign", "https://ca.local/sign"],
        [["https://ca.local/sign"]],
        "https://ca.local/sign" + "n" * 5000,
    ],
)
def test_not_ours(claim: Any) -> None:
    """Prefixes, user parts, fragments that name a provisioner, other operations: a token is for one purpose."""
    with pytest.raises(Unauthenticated) as caught:
        AUDIENCES.require(Operation.SIGN, claim)
    assert caught.value.code == "token.audience"


@pytest.mark.parametrize("wanted", Operation)
@pytest.mark.parametrize("stated", Operation)
def test_operations_are_never_mixed(wanted: Operation, stated: Operation) -> None:
    """A revoke token that signs, or the reverse, is the mistake behind several advisories."""
    claim = f"https://ca.local/1.0/{stated}"
    if wanted is stated:
        AUDIENCES.require(wanted, claim)
        return
    with pytest.raises(Unauthenticated):
        AUDIENCES.require(wanted, claim)


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("name", ["ca.local", "127.0.0.1", "::1"])
def test_what_we_write_we_accept(operation: Operation, name: str) -> None:
    """Audiences for both modes of minting, an IPv6 name included, are matched by the CA that they name."""
    AUDIENCES.require(operation, offline_audience(name, operation))
    url = f"https://[{name}]:9000/" if ":" in name else f"https://{name}:9000"
    AUDIENCES.require(operation, audience(url, operation))


def test_the_forms_are_steps() -> None:
    """The step CLI writes these, so a real step-ca expects them from our client."""
    assert audience("https://ca.local:9000", Operation.SIGN) == "https://ca.local:9000/1.0/sign"
    assert audience("https://ca.local:9000", Operation.REVOKE) == "https://ca.local:9000/1.0/revoke"
    assert audience("https://ca.local:9000", Operation.RENEW) == "https://ca.local:9000/renew"
    assert offline_audience("ca.local", Operation.REVOKE) == "https://ca.local/revoke"


@given(st.text(max_size=30))
def test_noise_is_no_audience(text: str) -> None:
    """Nothing but the exact form passes, whatever surrounds it."""
    with pytest.raises(Unauthenticated):
        AUDIENCES.require(Operation.SIGN, text + "https://ca.local/sign" + text if text else "x")


def test_no_names_no_audience() -> None:
    """A CA without names must accept nothing rather than everything."""
    with pytest.raises(Unauthenticated):
        Audiences.of(()).require(Operation.SIGN, "https://ca.local/sign")
