"""Every client command, through the command line, against a real node on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.client_story import ClientStory, Shell
from fakes.node import PROVISIONER_PASSWORD, make_home, running


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A running node, and a client that was bootstrapped to it."""
    with running(make_home(tmp_path_factory.mktemp("node") / "home")) as node:
        directory = tmp_path_factory.mktemp("client")
        password_file = directory / "password"
        password_file.write_bytes(PROVISIONER_PASSWORD)
        password_file.chmod(0o600)
        client = Shell(
            directory=directory, url=node.url, fingerprint=node.home.fingerprint, password_file=password_file
        )
        client.run("bootstrap", "--ca-url", node.url, "--fingerprint", node.home.fingerprint)
        yield client


class TestAgainstOurNode(ClientStory):
    """The story, told to our own node."""
