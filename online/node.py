"""Putting the node together: from a checked configuration to an authority that can issue.

This is the one place that knows which parts there are. Open a node after forking, once a process: neither the
store's writer nor an HSM session survives a fork.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from online.authority import Authority, AuthoritySettings
from online.config import Config
from online.crl_serving import PublishedCrls
from online.hierarchy import Hierarchy, load_hierarchy, read_chain, read_former
from online.lineage import Alarm, succession_of, unheard
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry
from online.revocation import Revoker
from online.signing_key import SigningKey
from online.store.activity import Activity
from online.store.open import Timed, open_store
from online.store.recording.door import Door
from online.token_proof import verify_token
from online.tokens import Audiences, VerifiedToken
from shared.clock import Clock
from shared.issue import Issuer
from shared.keystore import SecretCallback, open_key


@contextmanager
def open_hierarchy(config: Config, secret: SecretCallback) -> Iterator[Hierarchy]:
    """Open the issuing key and read the certificates around it, for the length of a ``with`` block.

    Args:
        config: of the node.
        secret: asked for the key's password or PIN, unless the configuration holds it.

    Raises:
        ColdrootError: what ``open_key`` and ``load_hierarchy`` raise.
    """
    # Before anybody is asked for a password in vain.
    read_chain(config.crt)
    with open_key(config.key, _secret_of(config, secret), base=config.home) as key:
        yield load_hierarchy(
            key,
            crt=config.crt,
            roots=config.roots,
            federated_roots=config.federated_roots,
            former=config.former_intermediates,
        )


def nobody_hears() -> None:
    """Ring where nobody builds revocation lists, or wants them at once."""


@asynccontextmanager
async def assemble(
    config: Config,
    hierarchy: Hierarchy,
    *,
    clock: Clock,
    timed: Timed | None = None,
    activity: Activity | None = None,
    ring: Callable[[], None] = nobody_hears,
    alarm: Alarm = unheard,
    door: Door | None = None,
) -> AsyncIterator[Authority]:
    """Put a node together around a hierarchy that is open, for the length of an ``async with`` block.

    Args:
        config: of the node.
        hierarchy: from ``open_hierarchy``.
        clock: wall clock.
        timed: told of each record in the store.
        activity: how many clients are served now.
        ring: wakes who builds revocation lists.
        alarm: told when a lineage of certificates forks.
        door: where the node's recorder is found, if it has one.

    Raises:
        ColdrootError: what ``SigningKey.prove``, ``open_store`` and ``Authority`` raise.
    """
    with SigningKey(hierarchy.key) as signing:
        # A key that does not sign, or not in time, is found out now and not by the first client.
        await signing.prove()
        store = open_store(config.db, timed=timed, activity=activity, door=door)
        try:
            yield Authority(
                hierarchy=hierarchy,
                registry=Registry(config.provisioners),
                settings=AuthoritySettings(
                    dns_names=config.dns_names,
                    common_name=config.common_name,
                    backdate=config.backdate,
                    policy=config.policy,
                    subject_defaults=config.subject_defaults,
                    crl_url=config.crl.leaf_url if config.crl is not None else "",
                    succession=succession_of(config.renewal),
                ),
                store=store,
                clock=clock,
                rng=os.urandom,
                crls=PublishedCrls(store=store.crls, settings=config.crl, clock=clock, ring=ring)
                if config.crl is not None
                else None,
                signing=signing,
                alarm=alarm,
            )
        finally:
            await store.close()


@asynccontextmanager
async def open_revoker(config: Config, *, clock: Clock) -> AsyncIterator[Revoker]:
    """Open what revoking needs, beside a running node or without one, for the length of an ``async with`` block.

    The issuing key stays where it is: whoever revokes in a hurry need not find its password or its HSM first.

    Args:
        config: of the node.
        clock: wall clock.

    Raises:
        RequestRejected: ``file.*``, ``pem.*`` or ``key.*`` about the intermediate's certificate.
        ColdrootError: what ``open_store`` raises.
    """
    registry = Registry(config.provisioners)
    intermediates = (read_chain(config.crt)[0], *read_former(config.former_intermediates))
    issuers = tuple(map(Issuer.from_certificate, intermediates))
    store = open_store(config.db)

    async def verify(operation: Operation, token: str, now: datetime) -> VerifiedToken:
        return await verify_token(
            operation,
            token,
            registry=registry,
            audiences=Audiences.of(config.dns_names),
            store=store,
            now=now,
        )

    try:
        yield Revoker(registry=registry, verify=verify, issuers=issuers, store=store, clock=clock)
    finally:
        await store.close()


def _secret_of(config: Config, secret: SecretCallback) -> SecretCallback:
    password = config.password
    if password is None:
        return secret
    return lambda _prompt: password.encode("utf-8")
