"""The node and the ways of renewal under a real systemd and a real cron, on a machine of their own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fakes import machine as machines
from fakes.node import KEY_PASSWORD, PROVISIONER_PASSWORD, make_home
from fakes.ports import free_port

_WHY_NOT = machines.why_not()
pytestmark = pytest.mark.skipif(_WHY_NOT is not None, reason=_WHY_NOT or "")
_STORY = Path(__file__).with_name("story.sh")


@pytest.fixture(name="said", scope="module")
def _said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the story wrote: the machine is booted once."""
    machine = machines.Machine.make(tmp_path_factory.mktemp("machine") / "m")
    home = make_home(machine.path("/etc/coldroot"))
    address, root = f"127.0.0.1:{free_port()}", "/etc/coldroot/certs/root_ca.crt"
    home.change_config(address=address, db={"type": "sqlite", "dataSource": "/etc/coldroot/db/coldroot.db"})
    defaults = {"ca-url": f"https://{address}", "fingerprint": home.fingerprint, "root": root}
    machine.put("/etc/coldroot/config/defaults.json", json.dumps(defaults))
    machine.put("/etc/coldroot/secrets/intermediate_password.txt", KEY_PASSWORD.decode() + "\n", mode=0o600)
    machine.put("/etc/coldroot/secrets/provisioner_password.txt", PROVISIONER_PASSWORD.decode() + "\n", mode=0o600)
    return machine.run(_STORY.read_text())


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param("node", id="the node is up when systemctl start returns"),
        pytest.param("reload", id="systemctl reload keeps the process"),
        pytest.param("watchdog", id="a node that hangs is started again"),
        pytest.param("one-run", id="cert-renewer@web renews what is due and reloads web"),
        pytest.param("not-due", id="what is not due is left alone and is no failure"),
        pytest.param("absent", id="a certificate that is missing is a failure"),
        pytest.param("override", id="the page's drop-in"),
        pytest.param("timer", id="the timer renews"),
        pytest.param("daemon", id="the daemon renews and reloads web"),
        pytest.param("daemon-now", id="systemctl reload renews at once"),
        pytest.param("daemon-stop", id="the daemon stops cleanly"),
        pytest.param("stop", id="the node stops cleanly"),
    ],
)
def test_under_systemd(said: str, recipe: str) -> None:
    """Without this, a unit that systemd finds well written could still do nothing, or fail where a sandbox denies."""
    assert re.search(rf"^ok {recipe}$", said, re.MULTILINE), said


@pytest.mark.skipif(shutil.which("cron") is None, reason="cron is not installed (Debian: cron)")
def test_under_cron(said: str) -> None:
    """Without this, cron's bare environment could hide the home or the program from the command."""
    assert re.search(r"^ok cron$", said, re.MULTILINE), said
