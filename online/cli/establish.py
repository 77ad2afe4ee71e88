"""``online init`` and ``online import``: the two ends of the way through the ceremony."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from online.adopt import adopt
from online.cli.options import FILE, done, home_option, key_options, secret_source
from online.establish import Established, Wishes, establish
from online.home import Home, parse_fingerprint
from online.key_choice import KeyChoice
from online.next_intermediate import load_waiting
from shared import durable, terminal
from shared.crossing.words import digest_words
from shared.keys import fingerprint as fingerprint_of
from shared.pem import load_certificate


@click.command()
@click.option("--name", required=True, help="Name of the CA: the organisation in its certificates.")
@click.option("--common-name", help="The intermediate's, as the plan has it. [default: NAME Intermediate CA]")
@click.option(
    "--dns", "dns_names", multiple=True, required=True, help="Host name or IP address of the node. Repeatable."
)
@click.option("--address", required=True, metavar="HOST:PORT", help="Where the node listens, such as :9000.")
@click.option("--provisioner", default="admin", show_default=True, help="Name of the first provisioner.")
@click.option("--root", type=FILE, help="The root certificate, if you have it already.")
@click.option("--fingerprint", help="SHA-256 fingerprint of the root, if you only know that.")
@click.option("--crossing", type=FILE, default=Path("crossing"), show_default=True, help="Where the request goes.")
@click.option(
    "--with-ca-url", "ca_url", metavar="URL", help="Address for clients. [default: first --dns, port of --address]"
)
@click.option("--key-uri", metavar="pkcs11:…", help="Make the intermediate's key in an HSM (RFC 7512).")
@click.option("--key-exists", is_flag=True, help="Use the key that the HSM already holds under --key-uri.")
@click.option(
    "--db-type",
    type=click.Choice(["sqlite", "postgresql", "mysql", "mariadb"]),
    default="sqlite",
    show_default=True,
    help="Kind of database. On a server it is shared by several nodes.",
)
@click.option("--data-source", metavar="URL", help="Address of the database on its server, without a password.")
@click.option("--password-file", type=FILE, help="Private file with your own password for the key, or the HSM's PIN.")
@click.option("--provisioner-password-file", type=FILE, help="Private file with your own password for the provisioner.")
@key_options
@home_option
def init(
    *,
    home: Home,
    name: str,
    common_name: str | None,
    dns_names: tuple[str, ...],
    address: str,
    provisioner: str,
    root: Path | None,
    fingerprint: str | None,
    crossing: Path,
    ca_url: str | None,
    key_uri: str | None,
    key_exists: bool,
    db_type: str,
    data_source: str | None,
    password_file: Path | None,
    provisioner_password_file: Path | None,
    key: KeyChoice,
) -> None:
    """Make an issuing node and the request for its certificate.

    Makes the intermediate's key (encrypted, or in an HSM), one JWK provisioner, ca.json, the database (on a server:
    online db upgrade makes its tables afterwards), and a request to carry to the ceremony, as a file and as QR images.
    Two different random passwords go into private files under secrets/; move them to where you keep secrets, every
    command also asks. Nothing that exists is overwritten, and a failure leaves nothing behind.

    Prints the path of the request bundle.

    \b
    Examples:
      online init --name Acme --dns ca.acme.local --address :9000 --fingerprint 8cae…e532
      online init --name Acme --dns localhost --dns 127.0.0.1 --address 127.0.0.1:9000 --root root.crt
      online init … --key-uri 'pkcs11:token=node;object=ca?module-name=softhsm2' --password-file pin.txt
      online init … --db-type postgresql --data-source 'postgresql://ca@db.acme.local/ca?passfile=/etc/coldroot/pgpass'
    """
    if (db_type == "sqlite") != (data_source is None):
        raise click.UsageError("--data-source is the address of a server: give it with --db-type, and only then")
    own_key_password = durable.read_secret(password_file) if password_file and key_uri is None else None
    own_password = durable.read_secret(provisioner_password_file) if provisioner_password_file else None
    if own_password is not None and own_password == own_key_password:
        terminal.warn("key and provisioner have the same password: who knows one can use both")
    wishes = Wishes(
        name=name,
        common_name=common_name,
        dns_names=dns_names,
        address=address,
        provisioner=provisioner,
        ca_url=ca_url,
        root=load_certificate(durable.read_file(root), what=f"root file {root}") if root is not None else None,
        pinned=parse_fingerprint(fingerprint) if fingerprint is not None else None,
        key_uri=key_uri,
        key_exists=key_exists,
        key=key,
        key_password=own_key_password,
        provisioner_password=own_password,
        server=(db_type, data_source) if data_source is not None else None,
    )
    _tell(home, establish(home, crossing, wishes, pin=terminal.secret_from(password_file)), wishes)


def _tell(home: Home, made: Established, wishes: Wishes) -> None:
    for path in made.files:
        done("made", path)
    for path in made.bundle:
        done("request", path)
    terminal.say(f"\nIts digest, to compare aloud at the ceremony:\n{format_words(made.words)}\n")
    if wishes.root is None and wishes.pinned is None:
        terminal.warn("no root is pinned: online import will want --fingerprint, as the witnesses wrote it down")
    if wishes.server is not None:
        terminal.say(f"Make the tables on the database server: online db upgrade --home {home.path}")
    terminal.say("Next: carry the request to the ceremony, bring its reply back, then")
    terminal.say(f"  online import --home {home.path} REPLY.bundle   (or the QR images)")
    terminal.result(str(made.bundle[0]))


@click.command(name="import")
@click.argument("reply", nargs=-1, required=True, type=FILE)
@click.option("--fingerprint", help="SHA-256 fingerprint of the root, when online init was not given it.")
@click.option(
    "--password-file",
    type=FILE,
    help="Private file with the password of the intermediate's key, or the HSM's PIN. Without it: the one that online "
    "init left in the home's secrets/, else you are asked.",
)
@click.option(
    "--drop-former",
    is_flag=True,
    help="With the next intermediate: trust the one before no more, because its key may be stolen. What it issued can "
    "not be renewed.",
)
@home_option
def import_reply(
    *, home: Home, reply: tuple[Path, ...], fingerprint: str | None, password_file: Path | None, drop_former: bool
) -> None:
    """Install the certificates that the ceremony sent back.

    REPLY is the bundle file, or its QR images in any order. It must answer this home's own request, be for our own
    key, stand under the pinned root and have the intermediate profile: then root and intermediate are installed
    together, and otherwise nothing changes. The same reply again is no error.

    The reply to online intermediate request puts that key and its certificate into ca.json, and what was there before
    into coldroot.formerIntermediates. A running node is to be told, by SIGHUP.

    Prints the fingerprint of the root.

    \b
    Examples:
      online import reply.bundle
      online import crossing/reply-*.png --fingerprint 8cae…e532
    """
    waiting = load_waiting(home)
    # The password of the key file before is never tried as a PIN: an HSM counts the attempts.
    in_hsm = waiting is not None and waiting.key.startswith("pkcs11:")
    adopted = adopt(
        home,
        reply,
        pinned=parse_fingerprint(fingerprint) if fingerprint is not None else None,
        secret=terminal.secret_from(password_file)
        if in_hsm
        else secret_source(password_file, home.intermediate_password),
        now=datetime.now(UTC),
        keep_former=not drop_former,
    )
    root = fingerprint_of(adopted.root)
    if adopted.again:
        terminal.say("This reply was imported before; nothing changed.")
    done("root", home.root_certificate)
    done("intermediate", adopted.certificate)
    if adopted.former is not None:
        done("dropped" if drop_former else "former", adopted.former)
    terminal.say(f"\nThe reply's digest; compare it with the ceremony's record:\n{format_words(adopted.words)}")
    terminal.say(f"\nThe root's fingerprint, in words:\n{format_words(digest_words(bytes.fromhex(root)))}\n")
    if adopted.former is None:
        terminal.say(f"Next: online serve --home {home.path}")
    else:
        terminal.say("Next: tell the running node, by SIGHUP: systemctl reload coldroot")
    terminal.result(root)


def format_words(words: tuple[str, ...], *, a_line: int = 8) -> str:
    """Lay digest words out in lines, to be read aloud."""
    return "\n".join("  " + " ".join(words[start : start + a_line]) for start in range(0, len(words), a_line))
