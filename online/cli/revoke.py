"""``online revoke``."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from online.cli.options import FILE, SignerChoice, Where, signer_options, token_options, where_options
from online.config import Config
from online.enrol import read_token
from online.https import Identity
from online.node import open_revoker
from online.provisioners.protocol import Operation
from online.renewal import renew as renewing
from online.revocation import revoke_unknown
from online.shared_authority import load_node_config
from online.store.open import open_store
from online.trust import TokenHint, Trust
from shared import terminal
from shared.clock import SystemClock
from shared.crl import Reason
from shared.errors import RequestRejected
from shared.keystore import open_key
from shared.serials import parse_serial

_REASONS = {each.label.lower(): int(each) for each in Reason}
# As RFC 5280 spells them, and only those that a revocation may give.
_OFFERED = [each.label for each in Reason if each.revokes]


def parse_reason(text: str) -> int:
    """Read ``--reasonCode``: a number, or a name of RFC 5280 in any case, its words apart or not.

    Raises:
        RequestRejected: ``revoke.reason``.
    """
    code = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else _REASONS.get(_plain(text), -1)  # noqa: PLR2004 (10 has two digits)
    if code not in _REASONS.values():
        raise RequestRejected(
            "revoke.reason", f"{text[:40]!r} is not a reason for a revocation", hint=f"one of {', '.join(_OFFERED)}"
        )
    return code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revocation:
    """A revocation with its proof, on its way to a CA or to the CA's own database."""

    serial: int
    reason_code: int
    reason: str
    token: str | None = field(default=None, repr=False)
    identity: Identity | None = None

    def send(self, trust: Trust) -> None:
        """Ask a CA for it."""
        trust.client().revoke(
            self.serial, reason_code=self.reason_code, reason=self.reason, token=self.token, identity=self.identity
        )

    async def record(self, config: Config) -> None:
        """Do it here, by the rules of the node."""
        async with open_revoker(config, clock=SystemClock()) as revoker:
            await revoker.revoke(
                serial=self.serial,
                token=self.token,
                certificate=self.identity.chain[0] if self.identity is not None else None,
                reason_code=self.reason_code,
                reason=self.reason,
            )


@click.command()
@click.argument("serial", required=False)
@click.option("--cert", "cert_file", type=FILE, help="The certificate to revoke, proven with --key over TLS.")
@click.option("--key", "key_file", help="Its private key: a file or pkcs11: URI.")
@click.option("--reason", default="", help="Why, in words, for the CA's record.")
@click.option("--reasonCode", "reason_code", default="unspecified", help="Why, by name or number of RFC 5280.")
@click.option("--key-password-file", type=FILE, help="Private file with the password of --key, or the PIN of its HSM.")
@click.option("--offline", is_flag=True, help="Write to the CA's database here, without contact to a running node.")
@click.option(
    "--unknown", is_flag=True, help="With --offline: SERIAL was never issued by this node, but by the CA before it."
)
@click.option("--ca-config", type=FILE, help="The CA's ca.json, instead of the home's; implies --offline.")
@token_options
@signer_options
@where_options
def revoke(
    *,
    where: Where,
    signer: SignerChoice,
    serial: str | None,
    cert_file: Path | None,
    key_file: str | None,
    token: str | None,
    reason: str,
    reason_code: str,
    key_password_file: Path | None,
    offline: bool,
    unknown: bool,
    ca_config: Path | None,
) -> None:
    """Revoke a certificate: it is not renewed any more.

    It stays valid until it ends, which is soon for a short-lived one. Three ways: the certificate with its key, a
    revocation token, or the SERIAL number (decimal, or hexadecimal after 0x) with the provisioner's password. Each of
    them also works with --offline on the node's own machine: a running node obeys at once, and one that is stopped
    finds the revocation when it starts.

    \b
    Examples:
      online revoke --cert foo.crt --key foo.key
      online revoke 59636004850364466675608080466579278406 --reasonCode superseded --reason 'moved to bar.local'
      online revoke --token-file revoke.token 59636004850364466675608080466579278406
      online revoke --offline 59636004850364466675608080466579278406 --reasonCode keyCompromise
      online revoke --offline --unknown 0x2cdd --reason 'revoked at step-ca'
    """
    code = parse_reason(reason_code)
    number = parse_serial(serial) if serial is not None else None
    if (cert_file is None) != (key_file is None):
        raise click.UsageError("give --cert and --key together")
    if cert_file is not None and token is not None:
        raise click.UsageError("give --cert and --key, or a token, not both")
    config = load_node_config(ca_config or where.home.config) if offline or ca_config is not None else None
    if unknown:
        if config is None or number is None or cert_file is not None or token is not None:
            raise click.UsageError("--unknown needs --offline and a SERIAL, and takes no other proof")
        asyncio.run(_record_unknown(config, number, reason_code=code, reason=reason))
        terminal.result(f"Certificate with Serial Number {number} has been revoked.")
        return
    wanted = partial(_Revocation, reason_code=code, reason=reason)
    hint: TokenHint | None = None
    if cert_file is not None and key_file is not None:
        key = click.get_current_context().with_resource(open_key(key_file, terminal.secret_from(key_password_file)))
        identity = renewing.check_pair(renewing.load_chain(cert_file), key)
        own = identity.chain[0].serial_number
        if number not in {None, own}:
            raise RequestRejected("revoke.other-serial", f"{cert_file} has another serial number than {number}")
        revocation = wanted(serial=own, identity=identity)
    elif token is not None:
        facts = read_token(token)
        hint = facts.hint
        revocation = wanted(serial=parse_serial(facts.subject) if number is None else number, token=token)
    elif number is not None:
        minter = (
            signer.offline(config, Operation.REVOKE, where.home)
            if config is not None
            else signer.online(where.trust(), Operation.REVOKE, where.home)
        )
        ticket = minter.revoke_token(number, now=datetime.now(UTC), rng=os.urandom)
        revocation = wanted(serial=number, token=ticket)
    else:
        raise click.UsageError("give the SERIAL number, or --cert and --key, or a token")
    if config is not None:
        asyncio.run(revocation.record(config))
    else:
        revocation.send(where.trust(hint))
    terminal.result(f"Certificate with Serial Number {revocation.serial} has been revoked.")


async def _record_unknown(config: Config, serial: int, *, reason_code: int, reason: str) -> None:
    store = open_store(config.db)
    try:
        await revoke_unknown(store, serial=serial, reason_code=reason_code, reason=reason, now=datetime.now(UTC))
    finally:
        await store.close()


def _plain(name: str) -> str:
    """Return a reason's name without what people put between its words: Key Compromise, key-compromise."""
    return name.lower().translate(str.maketrans("", "", " -_"))
