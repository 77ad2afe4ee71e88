"""``online token``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, SignerChoice, Where, done, force_option, signer_options, where_options
from online.config import load_config
from online.provisioners.protocol import Operation
from online.renewal.install import check_output
from online.tokens import csr_confirmation
from shared import durable, terminal
from shared.durations import parse_moment
from shared.pem import load_csr
from shared.serials import parse_serial


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
@click.option("--revoke", is_flag=True, help="Make a token that revokes; SUBJECT is the serial number.")
@click.option("--cnf-file", type=FILE, help="CSR that the token is good for, and no other.")
@click.option("--offline", is_flag=True, help="Use the CA's own ca.json, without contact to the CA.")
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
    revoke: bool,
    cnf_file: Path | None,
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
      online token foo.local --san foo.local --san 10.0.0.7 --not-after 30m
      online token foo.local --offline --output-file foo.token
      online token --revoke 59636004850364466675608080466579278406
    """
    if revoke and (sans or cnf_file):
        raise click.UsageError("--san and --cnf-file are for tokens that sign, not for --revoke")
    now = datetime.now(UTC)
    start, end = parse_moment(not_before, now=now), parse_moment(not_after, now=now)
    serial = parse_serial(subject) if revoke else 0
    cnf = csr_confirmation(load_csr(durable.read_file(cnf_file), what=f"file {cnf_file}")) if cnf_file else None
    if output_file is not None:
        check_output(output_file, overwrite=force)
    operation = Operation.REVOKE if revoke else Operation.SIGN
    if offline or ca_config is not None:
        minter = signer.offline(load_config(ca_config or where.home.config), operation, where.home)
    else:
        minter = signer.online(where.trust(), operation, where.home)
    if revoke:
        text = minter.revoke_token(serial, now=now, rng=os.urandom, not_before=start, not_after=end)
    else:
        text = minter.sign_token(subject, sans, now=now, rng=os.urandom, not_before=start, not_after=end, cnf=cnf)
    _hand_over(text, output_file, force=force)


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
