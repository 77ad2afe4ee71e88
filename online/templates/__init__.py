"""Templates for leaves: what an operator fixes of a leaf's shape, as typed JSON and never as text to fill in."""

from __future__ import annotations

from online.templates.fill import FilledLeaf, fill
from online.templates.load import DEFAULT_TEMPLATE, parse_template
from online.templates.shape import LeafShape, LeafTemplate
from online.templates.subject import NO_DEFAULTS, SubjectDefaults, parse_subject_defaults

__all__ = [
    "DEFAULT_TEMPLATE",
    "NO_DEFAULTS",
    "FilledLeaf",
    "LeafShape",
    "LeafTemplate",
    "SubjectDefaults",
    "fill",
    "parse_subject_defaults",
    "parse_template",
]
