"""The crl block and insecureAddress: what they mean, and what makes no sense."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import NOON

from online.config import Config, parse_config, render_config
from online.config.check import Outcome, check_config
from shared.errors import RequestRejected


def parse(dns_names: tuple[str, ...] = ("ca.example.com", "127.0.0.1"), **changes: Any) -> Config:
    document = {**render_config(dns_names=dns_names, address=":9000", provisioners=()), **changes}
    return parse_config(json.dumps(document).encode(), path=Path("/home/config/ca.json"))


def refuse(**changes: Any) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        parse(**changes)
    return caught.value


def test_there_is_no_list_unless_it_is_enabled() -> None:
    """A step-ca's ca.json without the block, or with a sleeping one, must mean the same here."""
    for block in (None, {}, {"enabled": False}, {"enabled": False, "cacheDuration": "24h"}):
        config = parse(crl=block)
        assert (config.crl, config.insecure_address) == (None, None)
    assert parse().crl is None


def test_the_defaults_are_step_cas() -> None:
    """Whoever switches must not find another rhythm."""
    crl = parse(crl={"enabled": True}).crl
    assert crl is not None
    assert (crl.cache_duration, crl.renew_period) == (timedelta(hours=24), timedelta(hours=16))
    assert not crl.generate_on_revoke
    same = parse(crl={"enabled": True, "cacheDuration": "0s", "renewPeriod": "0s", "idpURL": ""}).crl
    assert same == crl


def test_every_setting_is_read() -> None:
    """A setting that is silently ignored is worse than none."""
    block = {
        "enabled": True,
        "generateOnRevoke": True,
        "cacheDuration": "48h",
        "renewPeriod": "1h30m",
        "idpURL": "http://crl.example.com/ca.crl",
    }
    crl = parse(crl=block, insecureAddress="127.0.0.1:8080")
    assert crl.insecure_address == ("127.0.0.1", 8080)
    assert crl.crl is not None
    assert crl.crl.generate_on_revoke
    assert (crl.crl.cache_duration, crl.crl.renew_period) == (timedelta(hours=48), timedelta(minutes=90))
    assert crl.crl.url == crl.crl.leaf_url == "http://crl.example.com/ca.crl"


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"insecureAddress": ":80"}, "http://ca.example.com/1.0/crl"),
        ({"insecureAddress": ":8080"}, "http://ca.example.com:8080/1.0/crl"),
        ({"insecureAddress": ":8080", "dns_names": ("::1",)}, "http://[::1]:8080/1.0/crl"),
        ({"insecureAddress": "10.0.0.1:8080", "dns_names": ("10.0.0.1",)}, "http://10.0.0.1:8080/1.0/crl"),
    ],
)
def test_the_place_is_the_plain_address_by_its_name(changes: dict[str, Any], url: str) -> None:
    """A leaf must name a place at which the list really is, or every client fails to look it up."""
    crl = parse(crl={"enabled": True}, **changes).crl
    assert crl is not None
    assert crl.url == crl.leaf_url == url


@pytest.mark.parametrize(
    ("address", "url"),
    [(":9000", "https://ca.example.com:9000/1.0/crl"), (":443", "https://ca.example.com/1.0/crl")],
)
def test_no_leaf_names_a_place_behind_tls(address: str, url: str) -> None:
    """RFC 5280 §8: to fetch the list, its server's certificate would have to be looked up in it."""
    crl = parse(crl={"enabled": True}, address=address).crl
    assert crl is not None
    assert (crl.url, crl.leaf_url) == (url, "")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"crl": {"enabled": True, "renewperiod": "1h"}}, "crl.renewperiod"),
        ({"crl": {"enabled": True, "numbers": 3}}, "crl.numbers"),
        ({"crl": {"enabled": "yes"}}, "crl.enabled"),
        ({"crl": {"enabled": True, "generateOnRevoke": 1}}, "crl.generateOnRevoke"),
        ({"crl": {"enabled": True, "cacheDuration": 24}}, "crl.cacheDuration"),
        ({"crl": {"enabled": True, "cacheDuration": "-1h"}}, "crl.cacheDuration"),
        ({"crl": {"enabled": True, "cacheDuration": "59s"}}, "crl.cacheDuration"),
        ({"crl": {"enabled": True, "cacheDuration": "8785h"}}, "crl.cacheDuration"),
        ({"crl": {"enabled": True, "cacheDuration": "1h", "renewPeriod": "1h"}}, "crl.renewPeriod"),
        ({"crl": {"enabled": True, "renewPeriod": "25h"}}, "crl.renewPeriod"),
        ({"crl": {"enabled": True, "renewPeriod": "-1h"}}, "crl.renewPeriod"),
        ({"crl": {"enabled": True, "idpURL": "ca.example.com/crl"}}, "crl.idpURL"),
        ({"crl": {"enabled": True, "idpURL": "ldap://ca.example.com/cn=ca"}}, "crl.idpURL"),
        ({"crl": {"enabled": True, "idpURL": "http://user@ca.example.com/crl"}}, "crl.idpURL"),
        ({"crl": {"enabled": True, "idpURL": "http://ca.example.com/crl#top"}}, "crl.idpURL"),
        ({"crl": {"enabled": False, "idpURL": 1}}, "crl.idpURL"),
        ({"crl": []}, "crl"),
        ({"crl": {"enabled": True}, "insecureAddress": "8080"}, "insecureAddress"),
        ({"crl": {"enabled": True}, "insecureAddress": ":0"}, "insecureAddress"),
        ({"crl": {"enabled": True}, "insecureAddress": 8080}, "insecureAddress"),
        ({"insecureAddress": ":8080"}, "insecureAddress"),
        ({"crl": {"enabled": False}, "insecureAddress": ":8080"}, "insecureAddress"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, Any], where: str) -> None:
    """Each would otherwise show as clients that refuse every certificate, days later."""
    error = refuse(**changes)
    assert error.code in {"config.malformed", "config.unknown-key", "config.wrong-type"}
    assert where in error.message


def test_a_hidden_port_is_fine_where_the_place_is_given() -> None:
    """Behind a proxy the node's own port is nobody's business."""
    config = parse(crl={"enabled": True, "idpURL": "http://ca.example.com/crl"}, insecureAddress=":0")
    assert config.insecure_address == ("", 0)


@pytest.mark.parametrize(
    ("changes", "outcome", "text"),
    [
        ({}, None, ""),
        ({"crl": {"enabled": True}}, Outcome.WARNING, "no certificate names a list behind TLS"),
        ({"crl": {"enabled": True}, "insecureAddress": ":80"}, Outcome.OK, "http://ca.example.com/1.0/crl"),
    ],
)
def test_the_check_says_when_nobody_will_find_the_list(
    changes: dict[str, Any], outcome: Outcome | None, text: str
) -> None:
    """Everything works with such a configuration, but for those whom the list is for."""
    found = [each for each in check_config(parse(**changes), now=NOON) if each.what == "crl"]
    assert [each.outcome for each in found] == ([] if outcome is None else [outcome])
    assert all(text in each.detail for each in found)
