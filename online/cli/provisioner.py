"""``online provisioner``."""

from __future__ import annotations

from pathlib import Path

import click

from online.cli.options import FILE, Where, home_option, json_option, where_options
from online.cli.provisioner_options import Reload, config_option, reload_options, tell_place
from online.cli.provisioner_write import add, update
from online.home import Home
from online.provisioners.managing import remove as remove_from
from online.shared_authority import load_node_config
from shared import terminal
from shared.command import Group
from shared.names import printable


@click.group(cls=Group)
def provisioner() -> None:
    """Look at the provisioners of a CA, and manage those of a node.

    Provisioners are those who may authorise certificates. A node has them in its ca.json: add, update and remove edit
    that file, on the machine where it lies, and --reload makes the running node read it again.

    \b
    Examples:
      online provisioner list
      online provisioner add web --x509-max-dur 168h --reload --pidfile /run/coldroot/pid
      online provisioner add hosts --type X5C --x5c-roots other_root.crt
      online provisioner update web --disable-renewal
      online provisioner remove admin
    """


@provisioner.command("list")
@click.option("--ca-config", type=FILE, help="List those of this ca.json, without contact to a CA.")
@json_option
@where_options
def list_(*, where: Where, ca_config: Path | None, as_json: bool) -> None:
    """List the provisioners of a CA: name, type, key.

    \b
    Examples:
      online provisioner list
      online provisioner list --json | jq '.[].name'
      online provisioner list --ca-config /etc/coldroot/config/ca.json
    """
    if ca_config is not None:
        ours = load_node_config(ca_config).provisioners
        found = [(each.name, each.type.wire_name, each.kid) for each in ours]
        entries: list[object] = [each.public_json() for each in ours]
    else:
        theirs = where.trust().client().provisioners()
        found = [(each.name, each.kind, each.kid) for each in theirs]
        entries = [each.json for each in theirs]
    if as_json:
        terminal.result_json(entries)
        return
    width = max((len(printable(name)) for name, _, _ in found), default=0)
    for name, kind, kid in found:
        terminal.result(f"{printable(name):<{width}}  {printable(kind):<6} {printable(kid)}".rstrip())


@provisioner.command("remove")
@click.argument("name")
@config_option
@reload_options
@home_option
def remove(*, home: Home, name: str, ca_config: Path | None, reload: Reload) -> None:
    """Remove a provisioner.

    Its tokens are refused from the reload on. Certificates that it vouched for stay valid until they end, but cannot be
    renewed any more: their holders need a token of another provisioner. Any provisioner may revoke them.

    \b
    Examples:
      online provisioner remove admin
      online provisioner remove admin --ca-config /etc/coldroot/config/ca.json --reload --pidfile /run/coldroot/pid
    """
    file = ca_config or home.config
    reload.check()
    config = remove_from(file, name).config
    tell_place(file, config)
    if not config.provisioners:
        terminal.warn("the CA has no provisioner now: nobody can get a first certificate")
    terminal.say("Certificates that it vouched for stay valid until they end, and cannot be renewed any more.")
    kept = Home(path=file.absolute().parent.parent).password_of(name)
    if kept is not None and kept.exists():
        terminal.say(f"Its password is still in {kept}.")
    reload.do(config)


provisioner.add_command(add)
provisioner.add_command(update)
