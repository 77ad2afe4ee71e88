"""JSON read strictly: no two readers may understand one document differently."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.strict_json import Fields, Json, _parse_thoroughly, is_empty, parse_json, parse_object
from shared.errors import ColdrootError, RequestRejected, Unsupported

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.", max_size=4), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(VALUES)
def test_every_ordinary_document_is_read(value: object) -> None:
    """Strictness must not refuse what honest writers write."""
    assert parse_json(json.dumps(value).encode(), what="document") == value


PIECES = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ":", ",", '"a"', '"b"', '"\\u0061"', '"\\ud800"', "1", "1e400", "NaN", "null", " "]
    ),
    max_size=12,
)


@given(PIECES.map("".join) | PIECES.map(lambda pieces: "{" + ",".join(f'"a":{each}' for each in pieces) + "}"))
@settings(max_examples=300)
def test_the_quick_reading_is_the_thorough_one(text: str) -> None:
    """What the quick reading lets pass and the thorough one would refuse is a document with two meanings."""
    thorough = _outcome(lambda: _parse_thoroughly(text, what="document", room="json"))
    assert _outcome(lambda: parse_json(text.encode(), what="document")) == thorough


def _outcome(read: Callable[[], Json]) -> str:
    try:
        return repr(read())
    except RequestRejected as error:
        return f"{error.code}: {error.message}"


@given(st.binary(max_size=60))
def test_noise_is_refused_not_crashed_on(data: bytes) -> None:
    """A parser's own exception would become a 500 or a dead worker."""
    code = "json.accepted"
    try:
        parse_json(data, what="document")
    except ColdrootError as error:
        code = error.code
    assert code.startswith("json.")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1}{"b":2}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b"[" * 50 + b"]" * 50,
        b"[" * 100_000,
    ],
)
def test_lenient_forms_are_refused(data: bytes) -> None:
    """Each of these is taken by some parser and means something else to another."""
    with pytest.raises(RequestRejected) as caught:
        parse_json(data, what="document")
    assert caught.value.code == "json.malformed"


@pytest.mark.parametrize(
    ("data", "path"),
    [(b'{"a":1,"a":1}', "a"), (b'{"x":[{"b":{}},{"b":{"c":1,"c":2}}]}', "x[1].b.c"), (b'{"a":1,"\\u0061":2}', "a")],
)
def test_a_doubled_key_is_refused_by_its_path(data: bytes, path: str) -> None:
    """The first of two equal keys would be checked by one reader and the second used by another."""
    with pytest.raises(RequestRejected, match=path.replace("[", r"\[")) as caught:
        parse_json(data, what="document", room="config")
    assert caught.value.code == "config.duplicate-key"


@pytest.mark.parametrize("data", [b"[]", b"1", b'"text"', b"null"])
def test_an_object_is_insisted_on(data: bytes) -> None:
    """A list or null where an object belongs must not reach code that looks up keys."""
    with pytest.raises(RequestRejected):
        parse_object(data, what="document")


def test_an_error_shows_where_and_never_what() -> None:
    """A configuration holds a password: a message that quotes the document would put it into a log."""
    with pytest.raises(RequestRejected) as caught:
        parse_json(b'{"password": "hunter2" "key": 1}', what="configuration")
    assert "hunter2" not in str(caught.value)
    assert "line 1, column 24" in caught.value.message


def test_is_empty_says_whether_something_is_said() -> None:
    """What ``step ca init`` writes for unused settings must pass, and any content must not."""
    silent: list[Json] = [None, "", {}, [], False, 0, {"x509": {}, "ssh": {"a": [None, ""]}}]
    telling: list[Json] = ["x", [1], True, {"x509": {"template": "t"}}]
    assert all(map(is_empty, silent))
    assert not any(map(is_empty, telling))


def fields(value: object) -> Fields:
    """Return a block with one known key of each kind."""
    return Fields(
        parse_json(json.dumps(value).encode(), what="document"),
        path="block",
        known={"text", "texts", "flag", "number", "duration", "items"},
        unsupported={"other": "do without"},
    )


def test_values_are_read_by_their_kind() -> None:
    """The accessors are the only way to a value, so each must return just what stands there."""
    block = fields({"text": "t", "texts": ["a"], "flag": False, "number": 1.5, "duration": "90s", "items": [1, {}]})
    assert block.text("text") == "t"
    assert block.texts("texts") == ("a",)
    assert block.flag("flag") is False
    assert block.number("number") == 1.5
    duration = block.duration("duration")
    assert duration is not None
    assert duration.total_seconds() == 90
    assert list(block.items("items")) == [("block.items[0]", 1), ("block.items[1]", {})]


def test_null_is_absent() -> None:
    """Go writes null for an empty list; it must be the same as saying nothing."""
    block = fields({"text": None, "texts": None, "flag": None, "number": None, "duration": None, "items": None})
    assert "text" not in block
    assert (block.text("text", default="d"), block.texts("texts"), block.flag("flag")) == ("d", (), None)
    assert (block.number("number"), block.duration("duration"), list(block.items("items"))) == (None, None, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text", 1),
        ("texts", "a"),
        ("texts", ["a", 1]),
        ("flag", "true"),
        ("flag", 1),
        ("number", True),
        ("number", "1.2"),
        ("duration", 60),
        ("items", {}),
    ],
)
def test_a_wrong_kind_is_refused_by_its_path(key: str, value: object) -> None:
    """A text where a boolean belongs is truthy: ``"false"`` would switch a rule on."""
    block = fields({key: value})
    readers = {
        "text": block.text,
        "texts": block.texts,
        "flag": block.flag,
        "number": block.number,
        "duration": block.duration,
        "items": lambda name: list(block.items(name)),
    }
    with pytest.raises(RequestRejected, match=rf"block\.{key}") as caught:
        readers[key](key)  # type: ignore[operator]  # each reader is called with its key only
    assert caught.value.code == "config.wrong-type"


def test_a_missing_text_is_named() -> None:
    """Without the path an operator hunts for what is missing."""
    with pytest.raises(RequestRejected, match=r"block\.text is missing"):
        fields({"text": ""}).text("text")


def test_a_bad_duration_is_named() -> None:
    """``24`` without a unit must say which setting it stands in."""
    with pytest.raises(RequestRejected, match=r"block\.duration: '24' is not a duration"):
        fields({"duration": "24"}).duration("duration")


@pytest.mark.parametrize(("key", "near"), [("txet", "text"), ("TEXT", "text"), ("durations", "duration")])
def test_an_unknown_key_names_the_nearest(key: str, near: str) -> None:
    """A typing error that passes in silence leaves a default where the operator believes a rule."""
    with pytest.raises(RequestRejected, match=rf"block\.{key}") as caught:
        fields({key: 1})
    assert caught.value.code == "config.unknown-key"
    assert caught.value.hint == f"the nearest known one is {near}"


def test_an_unlike_key_lists_the_known_ones() -> None:
    """With nothing near, the operator needs the list."""
    with pytest.raises(RequestRejected) as caught:
        fields({"zzzzzz": 1})
    assert caught.value.hint is not None
    assert "duration" in caught.value.hint


def test_a_key_that_is_not_supported_says_what_to_do() -> None:
    """A setting of step-ca that has no effect here would be believed to have one."""
    with pytest.raises(Unsupported, match=r"block\.other") as caught:
        fields({"other": {"enabled": True}})
    assert caught.value.hint == "do without"
    fields({"other": {"enabled": False}})


def test_an_object_is_insisted_on_by_fields() -> None:
    """A block given as a list must be named, not crashed on."""
    with pytest.raises(RequestRejected, match="block must be an object, not a list"):
        fields([])
