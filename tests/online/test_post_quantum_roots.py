"""A root of ML-DSA-65 at the node: told what it is, and refused before anybody meets in a safe room for it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.ca_keys import generate_for_ca
from fakes.certificates import BEGIN

from online.cli import cli
from shared import names
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import PostQuantum
from shared.pem import certificate_pem
from shared.profile import root_profile
from shared.serials import random_serial


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a root of ML-DSA-65."""
    key = generate_for_ca(PostQuantum.ML_DSA_65)
    name = names.subject(common="Quantum Root CA")
    request = IssuanceRequest(
        subject=name,
        public_key=key.public_key(),
        serial=random_serial(os.urandom),
        not_before=BEGIN,
        not_after=BEGIN + timedelta(days=3650),
    )
    path = tmp_path / "root.crt"
    made = issue(prepare(root_profile(), request, Issuer.new_root(name, key.public_key())), key)
    path.write_bytes(certificate_pem(made))
    return path


def test_init_refuses_it_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """The node's TLS could not use such a chain: after the ceremony would be late to say so."""
    done = CliRunner().invoke(
        cli,
        ["init", "--home", str(tmp_path / "home"), "--name", "Northwind", "--dns", "localhost", "--address", ":9443",
         "--root", str(root), "--crossing", str(tmp_path / "crossing")],
    )  # fmt: skip
    assert done.exit_code == 1
    assert "ml-dsa-65" in done.stderr
    assert "key.unsupported" in done.stderr
    assert sorted(tmp_path.iterdir()) == [root]


def test_inspect_names_it(root: Path) -> None:
    """Whoever gets such a file must at least learn what it is."""
    done = CliRunner().invoke(cli, ["inspect", str(root), "--short"])
    assert done.exit_code == 0, done.stderr
    assert "Root CA Certificate (ML-DSA-65)" in done.output
