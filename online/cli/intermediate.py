"""``online intermediate``."""

from __future__ import annotations

from pathlib import Path

import click

from online.cli.establish import format_words
from online.cli.options import FILE, done, home_option, key_options, secret_source
from online.home import Home
from online.key_choice import KeyChoice
from online.next_intermediate import Wishes, request_next
from shared import terminal
from shared.command import Group


@click.group(cls=Group)
def intermediate() -> None:
    """Change the intermediate of a node that is in use.

    \b
    Examples:
      online intermediate request --crossing crossing
      online import crossing/reply.bundle && systemctl reload coldroot
    """


@intermediate.command("request")
@click.option("--common-name", help="The new intermediate's, as the plan has it. [default: the present one's]")
@click.option("--crossing", type=FILE, default=Path("crossing"), show_default=True, help="Where the request goes.")
@click.option("--key-uri", metavar="pkcs11:…", help="Make the new key in an HSM (RFC 7512).")
@click.option("--key-exists", is_flag=True, help="Use the key that the HSM already holds under --key-uri.")
@click.option(
    "--password-file",
    type=FILE,
    help="Private file with the password of the key in use, or the HSM's PIN. Without it: the one that online init "
    "left in the home's secrets/, else you are asked.",
)
@key_options
@home_option
def request(
    *,
    home: Home,
    common_name: str | None,
    crossing: Path,
    key_uri: str | None,
    key_exists: bool,
    password_file: Path | None,
    key: KeyChoice,
) -> None:
    """Make a key and a request for the next intermediate, beside the one in use.

    The node goes on as it is. The new key gets the password that the key in use has. Carry the request to the ceremony
    and its reply back: online import puts the new intermediate into service, and keeps the old one as a former one, so
    that what it issued can still be renewed.

    Prints the path of the request bundle.

    \b
    Examples:
      online intermediate request
      online intermediate request --common-name 'Acme Intermediate CA 2'
      online intermediate request --key-uri 'pkcs11:token=node;object=ca2?module-name=softhsm2' --password-file pin.txt
    """
    if key_exists and key_uri is None:
        raise click.UsageError("only a key in an HSM can exist already: give --key-uri")
    made = request_next(
        home,
        crossing,
        Wishes(key=key, key_uri=key_uri, key_exists=key_exists, common_name=common_name),
        # The password of a key file is never tried as a PIN: an HSM counts the attempts.
        secret=terminal.secret_from(password_file)
        if key_uri is not None
        else secret_source(password_file, home.intermediate_password),
    )
    done("key", made.key)
    for path in made.bundle:
        done("request", path)
    terminal.say(f"\nIts digest, to compare aloud at the ceremony:\n{format_words(made.words)}\n")
    terminal.say("Next: carry the request to the ceremony, bring its reply back, then")
    terminal.say(f"  online import --home {home.path} REPLY.bundle   (or the QR images)")
    terminal.result(str(made.bundle[0]))
