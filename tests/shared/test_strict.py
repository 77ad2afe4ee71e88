"""Strict tables: a typo names its key."""

from __future__ import annotations

import pytest

from shared.errors import RequestRejected
from shared.strict import Table


def _table(**values: object) -> Table:
    return Table({"top": values}, code="x").table("top")


def test_unknown_keys_are_named_with_the_nearest() -> None:
    """A setting that is misspelt and ignored is a setting that is off."""
    table = _table(validty=1)
    table.optional("validity", int)
    with pytest.raises(RequestRejected) as refused:
        table.done()
    assert (refused.value.code, refused.value.message) == ("x.unknown-key", "top.validty is not a known key")
    assert refused.value.hint == "did you mean top.validity?"
    table = _table(zzz=1)
    table.optional("validity", int)
    with pytest.raises(RequestRejected) as refused:
        table.done()
    assert refused.value.hint == "known keys: validity"


@pytest.mark.parametrize(
    ("values", "wanted", "code", "message"),
    [
        ({"titel": "A"}, "title", "unknown-key", "top.titel is not a known key"),
        ({"threshhold": 3}, "threshold", "unknown-key", "top.threshhold is not a known key"),
        ({"fiel": "a"}, "file", "unknown-key", "top.fiel is not a known key"),
        # These are keys of one table too: the one that is not read yet is no misspelling of the missing one.
        ({"token_serial": "1"}, "token_label", "missing-key", "top.token_label is missing"),
        ({"rotation": []}, "organization", "missing-key", "top.organization is missing"),
        ({}, "title", "missing-key", "top.title is missing"),
    ],
)
def test_a_misspelt_required_key_is_named(values: dict[str, object], wanted: str, code: str, message: str) -> None:
    """``title is missing`` is of no use to somebody who sees it standing there, as ``titel``."""
    with pytest.raises(RequestRejected) as refused:
        _table(**values).required(wanted, str)
    assert (refused.value.code, refused.value.message) == (f"x.{code}", message)
    assert refused.value.hint == (f"did you mean top.{wanted}?" if code == "unknown-key" else None)


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1, bool), ("1", int), (1, str), ({}, list), ([], dict)])
def test_types(value: object, kind: type[object]) -> None:
    """``true`` in the place of a number would count as 1."""
    with pytest.raises(RequestRejected) as refused:
        _table(a=value).required("a", kind)
    assert refused.value.code == "x.wrong-type"
    assert refused.value.message.startswith("top.a must be ")


def test_lists_and_nested_tables() -> None:
    """The complaint must lead to the very element."""
    with pytest.raises(RequestRejected) as refused:
        _table(names=["a", 2]).texts("names")
    assert refused.value.message == "top.names[1] must be text"
    with pytest.raises(RequestRejected) as refused:
        _table(each=[{}, 2]).tables("each")
    assert refused.value.message == "top.each[1] must be a table"
    assert _table().tables("each") == ()
    nested = _table(each=[{"a": "b"}]).tables("each")[0]
    assert (nested.path("a"), nested.required("a", str)) == ("top.each[0].a", "b")
    with pytest.raises(RequestRejected) as refused:
        nested.required("c", str)
    assert refused.value.code == "x.missing-key"


def test_an_error_inside_is_not_hidden_by_unread_keys() -> None:
    """The first mistake is the one to report."""
    with pytest.raises(ZeroDivisionError), _table(a=1):
        raise ZeroDivisionError
