"""The certificates above the leaves: what does not hold together does not start."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from fakes.certificates import make_intermediate
from fakes.clock import NOON
from fakes.hierarchy import make_pki
from fakes.leaves import sloppy_leaf

from online.hierarchy import Hierarchy, load_hierarchy
from shared.errors import Fatal, RequestRejected
from shared.keys import KeyKind, generate
from shared.pem import certificate_pem


def test_a_sound_hierarchy_is_accepted_and_hides_its_key() -> None:
    """A repr in a log must not lead to the key."""
    pki = make_pki()
    hierarchy = pki.hierarchy()
    assert hierarchy.issuer.certificate == pki.intermediate
    assert "PrivateKey" not in repr(hierarchy)


def test_another_key_is_refused_at_the_start() -> None:
    """Signing with the wrong key would make certificates that no client accepts, one after the other."""
    pki = make_pki()
    with pytest.raises(RequestRejected) as refusal:
        Hierarchy(key=generate(KeyKind.EC_P256), chain=(pki.intermediate,), roots=(pki.root,))
    assert refusal.value.code == "authority.wrong-key"
    assert refusal.value.hint is not None


def test_an_intermediate_of_another_root_is_refused() -> None:
    """The reply of another ceremony, or a root that was exchanged: no client would find a path."""
    one, other = make_pki(), make_pki()
    for roots, chain in (((other.root,), (one.intermediate,)), ((), (one.intermediate,)), ((one.root,), ())):
        with pytest.raises(RequestRejected) as refusal:
            Hierarchy(key=one.intermediate_key, chain=chain, roots=roots)
        assert refusal.value.code == "authority.chain"


def test_a_leaf_is_no_issuer() -> None:
    """A leaf's key signs what every strict client refuses."""
    pki = make_pki()
    key = generate(KeyKind.EC_P256)
    leaf = sloppy_leaf(pki, public_key=key.public_key())
    with pytest.raises(RequestRejected) as refusal:
        Hierarchy(key=key, chain=(leaf, pki.intermediate), roots=(pki.root,))
    assert refusal.value.code == "authority.chain"


def test_several_roots_one_of_which_fits() -> None:
    """While a root is being replaced, both are trusted."""
    one, other = make_pki(), make_pki()
    Hierarchy(key=one.intermediate_key, chain=(one.intermediate,), roots=(other.root, one.root))


@pytest.mark.parametrize("offset", [timedelta(days=-2), timedelta(days=1900)])
def test_time_is_asked_anew(offset: timedelta) -> None:
    """A hierarchy that was in its time at the start can leave it while the node runs."""
    hierarchy = make_pki().hierarchy()
    hierarchy.check_in_validity(NOON)
    with pytest.raises(Fatal):
        hierarchy.check_in_validity(NOON + offset)


def test_it_is_read_from_the_files_of_the_configuration(tmp_path: Path) -> None:
    """``crt`` may hold more than one intermediate, as step-ca's may."""
    pki = make_pki()
    (tmp_path / "root.crt").write_bytes(certificate_pem(pki.root))
    (tmp_path / "other.crt").write_bytes(certificate_pem(make_pki().root, make_pki().root))
    (tmp_path / "crt").write_bytes(certificate_pem(pki.intermediate))
    loaded = load_hierarchy(
        pki.intermediate_key,
        crt=tmp_path / "crt",
        roots=[tmp_path / "root.crt"],
        federated_roots=[tmp_path / "other.crt"],
    )
    assert loaded.chain == (pki.intermediate,)
    assert loaded.roots == (pki.root,)
    assert len(loaded.federated_roots) == 2
    with pytest.raises(RequestRejected) as refusal:
        load_hierarchy(pki.intermediate_key, crt=tmp_path / "missing", roots=[tmp_path / "root.crt"])
    assert refusal.value.code == "file.missing"
    assert "online import" in str(refusal.value.hint)
    (tmp_path / "ca.json").write_text("{}")
    with pytest.raises(RequestRejected) as refusal:
        load_hierarchy(pki.intermediate_key, crt=tmp_path / "ca.json", roots=[tmp_path / "root.crt"])
    assert refusal.value.message == f"the file {tmp_path}/ca.json holds no PEM certificate"
    assert refusal.value.hint


def test_the_path_length_of_each_certificate_above_counts() -> None:
    """An intermediate below one that may not have any below it is refused by every client."""
    pki = make_pki()
    below, key = make_intermediate(pki.intermediate, pki.intermediate_key, common="Below")
    with pytest.raises(RequestRejected) as refusal:
        Hierarchy(key=key, chain=(below, pki.intermediate), roots=(pki.root,))
    assert refusal.value.code == "authority.chain"
