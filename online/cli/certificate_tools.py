"""``online verify``, ``online needs-renewal`` and ``online p12``: what is done with certificates that one has."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from online.cli.certificate_source import CertificateSource, source_options
from online.cli.options import FILE, done, force_option, json_option
from online.path_validation import check_host, validate_path
from online.pkcs12 import Sealing, identity_file, trust_file
from online.renewal.install import check_output
from online.renewal.threshold import DEFAULT, parse_threshold
from online.trust_anchors import load_roots
from shared import durable, keys, terminal
from shared.clock import rfc3339
from shared.command import reported
from shared.errors import ColdrootError
from shared.keystore import open_key
from shared.names import format_name
from shared.pem import load_certificates

_NEEDED, _NOT_NEEDED, _MISSING, _FAILED = 0, 1, 2, 255


@click.command()
@click.argument("crt", metavar="CRT")
@click.option("--host", help="Also insist that it is for this DNS name or IP address.")
@click.option("-v", "--verbose", is_flag=True, help="Print the path to the root.")
@json_option
@source_options
def verify(*, source: CertificateSource, crt: str, host: str | None, verbose: bool, as_json: bool) -> None:
    """Verify that a certificate leads to a trusted root (RFC 5280 §6).

    CRT is a file with the certificate and its intermediates, - for stdin, or the https:// address of a server, whose
    name is then verified too. Signatures, dates, CA rights, path lengths, name constraints, key kinds and critical
    extensions must hold. Revocation is not looked at. Exit status 0: it holds; 1: it does not, and why is on stderr.

    \b
    Examples:
      online verify foo.crt --roots root_ca.crt
      online verify foo.crt --host foo.local
      online verify https://ca.acme.local:9000 --json
    """
    if source.insecure:
        raise click.UsageError("--insecure verifies nothing: it is for online inspect")
    now = datetime.now(UTC)
    chain = source.chain(crt, now=now)
    path = validate_path(chain[0], chain[1:], load_roots(source.roots, source.home), now=now)
    if host is not None:
        check_host(chain[0], host)
    if as_json:
        entries = [{"subject": format_name(each.subject), "fingerprint": keys.fingerprint(each)} for each in path]
        terminal.result_json({"valid": True, "path": entries})
    elif verbose:
        terminal.result("\n".join(f"{keys.fingerprint(each)}  {format_name(each.subject)}" for each in path))


class _WrongUsage(click.UsageError):
    exit_code = _FAILED


def _status(error: ColdrootError) -> int:
    return _MISSING if error.code == "file.missing" else _FAILED


class _StatusOfItsOwn(click.Command):
    """A command whose exit status is its answer: whatever goes wrong must not look like one."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Parse; wrong usage exits with 255."""
        try:
            return super().make_context(*arguments, **named)
        except click.UsageError as error:
            raise _WrongUsage(error.format_message(), error.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a file that is missing exits with 2, everything else that fails with 255."""
        try:
            with reported(ctx, _status):
                return super().invoke(ctx)
        except click.UsageError as error:
            raise _WrongUsage(error.format_message(), error.ctx) from None


@click.command("needs-renewal", cls=_StatusOfItsOwn)
@click.argument("crt", metavar="CRT")
@click.option(
    "--expires-in", metavar="TIME", help="Share of its life that has passed (75%), or time that remains (1h15m). [66%]"
)
@click.option("--bundle", is_flag=True, help="Look at every certificate of CRT, not only at the first.")
@click.option("-v", "--verbose", is_flag=True, help="Say the answer in words too.")
@click.option(
    "--not-due-status",
    type=click.IntRange(1, 254),
    metavar="N",
    default=_NOT_NEEDED,
    show_default=True,
    help="Exit status that says no; one of its own, such as 75, cannot be taken for a program that crashed.",
)
@source_options
@click.pass_context
def needs_renewal(
    ctx: click.Context,
    *,
    source: CertificateSource,
    crt: str,
    expires_in: str | None,
    bundle: bool,
    verbose: bool,
    not_due_status: int,
) -> None:
    """Tell by the exit status whether a certificate needs renewal.

    It does when 66% of its life have passed, or as --expires-in says. CRT is a file, - for stdin, or the https://
    address of a server. (In online renew --expires-in, a percentage is what remains; the difference is step's.)

    \b
    Exit status:
      0    it needs renewal
      1    it does not; another number with --not-due-status
      2    the file does not exist
      255  anything else went wrong

    \b
    Examples:
      online needs-renewal foo.crt && online renew --force foo.crt foo.key
      online needs-renewal foo.crt --expires-in 8h
      online needs-renewal https://foo.local --bundle
    """
    threshold = parse_threshold(expires_in) if expires_in is not None else DEFAULT
    now = datetime.now(UTC)
    chain = source.chain(crt, now=now, ended_is_fine=True)
    due = [each for each in (chain if bundle else chain[:1]) if threshold.reached(each, now)]
    if verbose:
        for each in due:
            terminal.say(f"{format_name(each.subject)} needs renewal: it ends at {rfc3339(each.not_valid_after_utc)}")
        if not due:
            terminal.say("certificate does not need renewal")
    ctx.exit(_NEEDED if due else not_due_status)


@click.command()
@click.argument("p12_file", metavar="P12", type=FILE)
@click.argument("crt_file", metavar="[CRT", type=FILE, required=False)
@click.argument("key_file", metavar="KEY]", type=str, required=False)
@click.option("--ca", "ca_files", type=FILE, multiple=True, help="File with further certificates to add. Repeatable.")
@click.option("--password-file", type=FILE, help="Private file with the password of P12. [default: you are asked]")
@click.option("--key-password-file", type=FILE, help="Private file with the password of KEY.")
@click.option("--no-password", is_flag=True, help="Leave P12 unencrypted; needs --insecure.")
@click.option("--insecure", is_flag=True, help="Yes, unencrypted.")
@click.option("--legacy", is_flag=True, help="Triple DES and SHA-1, for old programs that read nothing else.")
@force_option("Replace P12.")
def p12(
    *,
    p12_file: Path,
    crt_file: Path | None,
    key_file: str | None,
    ca_files: tuple[Path, ...],
    password_file: Path | None,
    key_password_file: Path | None,
    no_password: bool,
    insecure: bool,
    legacy: bool,
    force: bool,
) -> None:
    """Put a certificate and its key into a PKCS#12 file (.p12, .pfx), 0600.

    The intermediates of CRT go with it. Without CRT and KEY, and with --ca, it becomes a trust store for Java. The
    encryption is AES-256 with HMAC-SHA-256, as current programs read it. Guessing a password is cheap with this
    format: take a long random one.

    \b
    Examples:
      online p12 foo.p12 foo.crt foo.key
      online p12 foo.p12 foo.crt foo.key --ca root_ca.crt --password-file p12.pass
      online p12 trust.p12 --ca root_ca.crt
    """
    if (crt_file is None) != (key_file is None):
        raise click.UsageError("give CRT and KEY, or neither of them")
    if crt_file is None and not ca_files:
        raise click.UsageError("give CRT and KEY, or --ca for a trust store")
    if no_password and not insecure:
        raise click.UsageError("--no-password leaves the key in the clear: say --insecure too")
    if no_password and (password_file is not None or legacy):
        raise click.UsageError("--no-password goes neither with --password-file nor with --legacy")
    check_output(p12_file, overwrite=force)
    others = [each for file in ca_files for each in load_certificates(durable.read_file(file), what=f"file {file}")]
    chain = load_certificates(durable.read_file(crt_file), what=f"file {crt_file}") if crt_file is not None else ()

    def sealing() -> Sealing:
        ask = terminal.secret_from(password_file, confirm=True)
        password = None if no_password else ask(f"Password of the new file {p12_file}")
        return Sealing(password=password, legacy=legacy)

    if key_file is None:
        content = trust_file(others, sealing())
    else:
        with open_key(key_file, terminal.secret_from(key_password_file)) as key:
            content = identity_file((*chain, *others), key, sealing())
    with durable.Staging() as staging:
        staging.add(p12_file, content, mode=durable.PRIVATE, overwrite=force)
    done("PKCS#12 file", p12_file)
