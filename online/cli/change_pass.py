"""``online change-pass``."""

from __future__ import annotations

from pathlib import Path

import click

from online.change_pass import change_password
from online.cli.options import FILE, done, force_option
from shared import terminal
from shared.keystore import KeyCipher


@click.command("change-pass")
@click.argument("key_file", metavar="KEY", type=str)
@click.option("--out", "--output-file", "out", type=FILE, help="Write here, 0600, and leave KEY as it is.")
@click.option("--password-file", type=FILE, help="Private file with the present password.")
@click.option("--new-password-file", type=FILE, help="Private file with the new password.")
@click.option("--no-password", is_flag=True, help="Write the key in the clear; needs --insecure.")
@click.option("--insecure", is_flag=True, help="Yes, in the clear.")
@click.option(
    "--cipher",
    type=click.Choice([each.value for each in KeyCipher]),
    help="Cipher of a PEM key; AES in CBC mode. [default: aes256]",
)
@force_option("Replace the file of --out.")
def change_pass(
    *,
    key_file: str,
    out: Path | None,
    password_file: Path | None,
    new_password_file: Path | None,
    no_password: bool,
    insecure: bool,
    cipher: str | None,
    force: bool,
) -> None:
    """Change the password of a private key file.

    KEY is PEM (PKCS#8, or the older form with Proc-Type headers) or a JSON Web Key, encrypted or not. PEM is written as
    encrypted PKCS#8, a JSON Web Key as JWE; both cost 600 000 rounds a guess, and step and openssl read them. The
    file is replaced in one step and keeps its owner and mode. With a wrong password nothing changes. Without the
    options for files you are asked.

    A node that runs keeps its open key; give it the new password when it starts next.

    \b
    Examples:
      online change-pass ~/.coldroot/secrets/intermediate_ca_key
      online change-pass ca.key --password-file old --new-password-file new
      online change-pass ca.key --out copy.key --cipher aes128
      online change-pass provisioner.jwk
    """
    if no_password and not insecure:
        raise click.UsageError("--no-password leaves the key in the clear: say --insecure too")
    if no_password and new_password_file is not None:
        raise click.UsageError("give --new-password-file or --no-password, not both")
    written = change_password(
        key_file,
        old=terminal.secret_from(password_file),
        new=None if no_password else terminal.secret_from(new_password_file, confirm=True),
        cipher=KeyCipher(cipher) if cipher is not None else None,
        out=out,
        force=force,
    )
    done("Private Key", written)
