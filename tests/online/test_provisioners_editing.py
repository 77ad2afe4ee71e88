"""Edits of ca.json: what was asked for changes, and not a byte beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online.provisioners.editing import (
    add_provisioner,
    provisioner_entries,
    remove_provisioner,
    replace_provisioner,
)
from online.strict_json import JsonObject
from shared.errors import NotFound, RequestRejected

NEW: JsonObject = {"type": "JWK", "name": "new", "note": 'quote " and , ] }'}
# As somebody wrote it by hand: odd order, odd white space, numbers in odd forms, escapes.
HANDMADE = """\
{
   "z": 1.20e3,  "address" : ":443",
   "authority": {
      "backdate": "1m0s",
      "provisioners": [
         { "name": "\\u0061", "x": [1,   2] },
         {
            "name": "b"
         } ,
         {"name": "c"}
      ],
      "claims": {}
   },
   "a": "\\u00e9 ]}"
}
"""


def test_adding_inserts_and_changes_nothing_else() -> None:
    """Without this, a one-line change would come with a reformatted file that nobody can review."""
    after = add_provisioner(HANDMADE, NEW)
    head, _, tail = HANDMADE.partition('{"name": "c"}')
    assert after.startswith(head + '{"name": "c"},\n         {\n            "type": "JWK",')
    assert after.endswith(tail)
    assert [each["name"] for each in provisioner_entries(after)] == ["a", "b", "c", "new"]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("a", '{ "name": "\\u0061", "x": [1,   2] },\n         '),
        ("b", ',\n         {\n            "name": "b"\n         }'),
        ("c", ' ,\n         {"name": "c"}'),
    ],
)
def test_removing_cuts_out_and_changes_nothing_else(name: str, gone: str) -> None:
    """Without this, a comma could stay behind, or a neighbour could go as well."""
    assert remove_provisioner(HANDMADE, name) == HANDMADE.replace(gone, "", 1)


def test_replacing_touches_one_entry() -> None:
    """Without this, an update could move or rewrite the other provisioners."""
    after = replace_provisioner(HANDMADE, "b", {"name": "b", "n": 1})
    old = '{\n            "name": "b"\n         }'
    assert after == HANDMADE.replace(old, '{\n            "name": "b",\n            "n": 1\n         }')


def test_the_last_one_leaves_an_empty_list() -> None:
    """Without this, the file would be no JSON after the default provisioner was removed."""
    only = '{\n  "authority": {"provisioners": [\n    {"name": "x"}\n  ]}\n}'
    assert remove_provisioner(only, "x") == '{\n  "authority": {"provisioners": []}\n}'


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a": 1}',
        '{"authority": null}',
        '{"authority": {}}',
        '{"authority": {"provisioners": null}, "b": 2}',
        '{"authority": {"provisioners": []}}',
        '{\n  "a": 1\n}\n',
        '{\n  "authority": {\n    "x": 1\n  }\n}',
        '{\n  "authority": {}\n}',
    ],
)
def test_a_file_without_provisioners_gets_the_list(text: str) -> None:
    """Without this, the first provisioner could not be added to a file that was written without any."""
    after = json.loads(add_provisioner(text, NEW))
    before = json.loads(text)
    assert after["authority"].pop("provisioners") == [NEW]
    assert after.pop("authority") == {
        key: value for key, value in (before.pop("authority", None) or {}).items() if key != "provisioners"
    }
    assert after == before


def test_names_stay_unique() -> None:
    """Without this, two provisioners of one name could stand in the file, and the node would not start."""
    with pytest.raises(RequestRejected) as caught:
        add_provisioner(HANDMADE, {"name": "b"})
    assert caught.value.code == "provisioner.exists"
    with pytest.raises(RequestRejected) as caught:
        replace_provisioner(HANDMADE, "b", {"name": "c"})
    assert caught.value.code == "provisioner.exists"
    assert provisioner_entries(replace_provisioner(HANDMADE, "b", {"name": "d"}))[1]["name"] == "d"


def test_an_unknown_name_is_told_the_known_ones() -> None:
    """Without this, a typing error would end in a riddle."""
    with pytest.raises(NotFound) as caught:
        replace_provisioner("{}", "B", NEW)
    assert (caught.value.code, caught.value.hint) == ("provisioner.unknown", "it has: none")
    with pytest.raises(NotFound) as caught:
        remove_provisioner(HANDMADE, "B")
    assert caught.value.hint == "it has: a, b, c"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"a":1,"a":2}', '{"authority":[]}', '{"authority":{"provisioners":{}}}',
     '{"authority":{"provisioners":[1]}}', '{"x":NaN}'],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(text: str) -> None:
    """Without this, an edit of the wrong file could destroy it."""
    with pytest.raises(RequestRejected) as caught:
        add_provisioner(text, NEW)
    assert caught.value.code.startswith("config.")


NAMES = st.text(min_size=1, max_size=6)
ENTRIES = st.lists(
    st.fixed_dictionaries({"name": NAMES, "v": st.recursive(st.integers() | NAMES, st.lists, max_leaves=3)}),
    max_size=5,
    unique_by=lambda each: str(each["name"]),
)


@given(ENTRIES, st.sampled_from([None, 0, 1, 3, "\t"]), st.booleans(), st.data())
def test_any_edit_of_any_file(
    entries: list[JsonObject],
    indent: Any,
    ascii_only: bool,
    data: st.DataObject,
) -> None:
    """Without this, a bracket inside a text, or an escape, could be taken for the structure around it."""
    document = {"a": ['"]}', "{"], "authority": {"q": "]", "provisioners": entries, "w": {"provisioners": 1}}, "z": "é"}
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    fresh: JsonObject = {"name": "a name that is longer", "type": "JWK"}
    assert json.loads(add_provisioner(text, fresh))["authority"]["provisioners"] == [*entries, fresh]
    if entries:
        chosen = data.draw(st.sampled_from(entries))
        name = str(chosen["name"])
        rest = [each for each in entries if each is not chosen]
        assert json.loads(remove_provisioner(text, name))["authority"]["provisioners"] == rest
        replaced = json.loads(replace_provisioner(text, name, fresh))
        assert replaced["authority"]["provisioners"] == [fresh if each is chosen else each for each in entries]
        assert {**replaced, "authority": 0} == {**document, "authority": 0}
