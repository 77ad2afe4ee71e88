"""A small CA whose owner has rules: policies, a template, subject defaults, as a ca.json would state them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes import vectors
from fakes.hierarchy import DNS_NAMES, World, make_provisioner, make_world

from online.authority import Authority, AuthoritySettings
from online.config import Config, parse_config
from online.jose.jwk import PrivateJwk
from online.provisioners.jwk import JwkProvisioner
from online.provisioners.registry import Registry

CA_JSON = Path("/srv/coldroot/config/ca.json")


def ca_json(*, path: Path = CA_JSON, provisioner: dict[str, Any] | None = None, **authority: Any) -> Config:
    """Return a configuration: step's ca.json, with these members of ``authority`` and of its provisioner."""
    return parse_config(document(provisioner=provisioner, **authority), path=path)


def document(*, provisioner: dict[str, Any] | None = None, **authority: Any) -> bytes:
    """Return the text of that ca.json."""
    whole = {**vectors.step_ca_json(), "db": {"type": "sqlite", "dataSource": "db/coldroot.db"}}
    entries = [{**each, **(provisioner or {})} for each in whole["authority"]["provisioners"]]
    whole["authority"] = {**whole["authority"], **authority, "provisioners": entries}
    return json.dumps(whole).encode()


def governed_world(config: Config | None = None, *, world: World | None = None) -> World:
    """Build a CA with the rules of a configuration.

    Args:
        config: whose policy, subject defaults and first provisioner's rules hold.
        world: a CA that is to live on under these rules, as after a reload; made when not given.
    """
    config = config or ca_json()
    rules = config.provisioners[0].rules
    if world is None:
        known, signer = make_provisioner()
        world = make_world(provisioner=(replace(known, rules=rules), signer))
    provisioner = replace(world.provisioner, rules=rules)
    registry = Registry((provisioner,))
    authority = Authority(
        hierarchy=world.pki.hierarchy(),
        registry=registry,
        settings=AuthoritySettings(
            dns_names=DNS_NAMES,
            common_name="Step Online CA",
            policy=config.policy,
            subject_defaults=config.subject_defaults,
        ),
        store=world.store,
        clock=world.clock,
        rng=os.urandom,
    )
    return replace(world, provisioner=provisioner, registry=registry, authority=authority)


def provisioner_entry(name: str, *, policy: dict[str, Any] | None = None) -> tuple[dict[str, Any], PrivateJwk]:
    """Return a JWK provisioner as it stands in a ca.json, and its key."""
    known, signer = make_provisioner(name)
    entry: dict[str, Any] = {**JwkProvisioner(name=name, key=known.key).public_json()}
    return (entry if policy is None else {**entry, "policy": policy}), signer
