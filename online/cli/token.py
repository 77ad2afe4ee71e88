"""``online token``."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, SignerChoice, Where, done, force_option, signer_options, where_options
from online.config import Config
from online.provisioners.protocol import Operation
from online.renewal.install import check_output
from online.shared_authority import load_node_config
from online.signer import Minter
from online.tokens import audience, check_confirmation, csr_confirmation, mint_renew_token, offline_audience
from online.tokens.minting import token_life
from shared import durable, terminal
from shared.durations import parse_moment
from shared.errors import RequestRejected
from shared.names import common_name_of
from shared.pem import load_csr
from shared.serials import parse_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Which CA a token is for: one that is known by its address, or by its ca.json here."""

    where: Where
    config: Config | None

    def minter(self, signer: SignerChoice, operation: Operation) -> Minter:
        """Return what mints for this CA."""
        if self.config is not None:
            return signer.offline(self.config, operation, self.where.home)
        return signer.online(self.where.trust(), operation, self.where.home)

    def renew_audience(self) -> str:
        """Return the audience of a token that renews."""
        if self.config is not None:
            return offline_audience(self.config.dns_names[0], Operation.RENEW)
        return audience(str(self.where.trust().url), Operation.RENEW)


@click.command()
@click.argument("subject")
@click.option(
    "--san",
    "sans",
    multiple=True,
    help="DNS name, IP address, e-mail or URI to certify. Repeatable. [default: SUBJECT]",
)
@click.option(
    "--not-before", default="", metavar="TIME", help="When the token begins: RFC 3339, or a duration from now."
)
@click.option("--not-after", default="", metavar="TIME", help="When the token ends. [default: 5m]")
@click.option(
    "--cert-not-before",
    default="",
    metavar="TIME",
    help="The earliest begin of the certificate: RFC 3339, or a duration from its issuance.",
)
@click.option("--cert-not-after", default="", metavar="TIME", help="The latest end of the certificate, likewise.")
@click.option("--revoke", is_flag=True, help="Make a token that revokes; SUBJECT is the serial number.")
@click.option("--renew", is_flag=True, help="Make a token that renews --x5c-cert; SUBJECT is its common name.")
@click.option("--cnf-file", type=FILE, help="CSR that the token is good for, and no other.")
@click.option("--cnf", metavar="DIGEST", help="The same, by the SHA-256 of the CSR's DER in base64url.")
@click.option(
    "--key", "own_key", metavar="KEY", help="The provisioner's private key: a JWK or PEM file, or pkcs11: URI."
)
@click.option(
    "--offline", is_flag=True, help="Use the CA's own ca.json, or --key and --issuer: without contact to the CA."
)
@click.option("--ca-config", type=FILE, help="That ca.json, instead of the home's; implies --offline.")
@click.option("--output-file", type=FILE, help="Write the token into a private file instead of printing it.")
@force_option("Replace the output file.")
@signer_options
@where_options
def token(
    *,
    where: Where,
    signer: SignerChoice,
    subject: str,
    sans: tuple[str, ...],
    not_before: str,
    not_after: str,
    cert_not_before: str,
    cert_not_after: str,
    revoke: bool,
    renew: bool,
    cnf: str | None,
    cnf_file: Path | None,
    own_key: str | None,
    offline: bool,
    ca_config: Path | None,
    output_file: Path | None,
    force: bool,
) -> None:
    """Mint a one-time token.

    Whoever has the token gets one certificate for SUBJECT (a host name, IP address or person), within five minutes
    unless --not-after says otherwise (one hour at most). The provisioner's key is fetched, encrypted, from the CA;
    its password unlocks it here. The token carries the root's fingerprint, so the other machine needs nothing else.

    \b
    Examples:
      online token foo.local
      online token foo.local --san foo.local --san 10.0.0.7 --not-after 30m --cert-not-after 8h
      online token foo.local --cnf-file foo.csr
      online token foo.local --offline --output-file foo.token
      online token foo.local --offline --key admin.jwk --issuer admin --ca-url https://ca.local --root root_ca.crt
      online token --revoke 59636004850364466675608080466579278406
      online token --renew foo.local --x5c-cert foo.crt --x5c-key foo.key
    """
    signs = bool(sans or cnf or cnf_file or cert_not_before or cert_not_after)
    chosen = not_before or not_after or own_key or signer.name or signer.kid
    for wrong, message in (
        (revoke and renew, "a token revokes or renews, not both"),
        (signs and (revoke or renew), "--san, --cnf and the certificate's times are for tokens that sign"),
        (renew and chosen, "a token that renews lives five minutes and is signed with --x5c-key"),
        (cnf and cnf_file, "give --cnf or --cnf-file, not both"),
        (own_key and signer.certificate, "give --key or --x5c-cert and --x5c-key, not both"),
    ):
        if wrong:
            raise click.UsageError(message)
    now = datetime.now(UTC)
    start, end = parse_moment(not_before, now=now), parse_moment(not_after, now=now)
    token_life(now=now, not_before=start, not_after=end)
    serial = parse_serial(subject) if revoke else 0
    bound = _confirmation(cnf, cnf_file)
    if output_file is not None:
        check_output(output_file, overwrite=force)
    signer = dataclasses.replace(signer, own_key=own_key)
    source = _Source(where=where, config=_offline_config(where, signer, ca_config, offline=offline))
    if renew:
        text = _renewal(source, signer, subject, now)
    elif revoke:
        minter = source.minter(signer, Operation.REVOKE)
        text = minter.revoke_token(serial, now=now, rng=os.urandom, not_before=start, not_after=end)
    else:
        text = source.minter(signer, Operation.SIGN).sign_token(
            subject,
            sans,
            now=now,
            rng=os.urandom,
            not_before=start,
            not_after=end,
            cnf=bound,
            cert_not_before=cert_not_before,
            cert_not_after=cert_not_after,
        )
    _hand_over(text, output_file, force=force)


def _offline_config(where: Where, signer: SignerChoice, option: Path | None, *, offline: bool) -> Config | None:
    """Return the ca.json to mint by; ``None`` to mint by an address and a root, asking the CA if that is allowed."""
    if not offline and option is None:
        return None
    path = option or where.home.config
    if option is None and signer.own_key is not None and (where.ca_url is not None or not path.exists()):
        if signer.name is None:
            raise click.UsageError("without a ca.json, --offline with --key needs --issuer")
        return None
    return load_node_config(path)


def _confirmation(digest: str | None, csr_file: Path | None) -> str | None:
    if csr_file is not None:
        return csr_confirmation(load_csr(durable.read_file(csr_file), what=f"file {csr_file}"))
    return None if digest is None else check_confirmation(digest)


def _renewal(source: _Source, signer: SignerChoice, subject: str, now: datetime) -> str:
    credential = signer.credential()
    if credential is None:
        raise click.UsageError("--renew needs --x5c-cert and --x5c-key")
    own = common_name_of(credential.chain[0].subject)
    if subject != own:
        raise RequestRejected("token.subject", f"the certificate is for {own or 'nobody by name'}, not for {subject}")
    return mint_renew_token(credential.chain, credential.key, audience=source.renew_audience(), now=now, rng=os.urandom)


def _hand_over(text: str, output_file: Path | None, *, force: bool) -> None:
    if output_file is None:
        terminal.result(text)
        return
    content = text.encode("ascii") + b"\n"
    if force:
        durable.replace(output_file, content, mode=durable.PRIVATE)
    else:
        durable.write_new(output_file, content, mode=durable.PRIVATE)
    done("Token", output_file)
