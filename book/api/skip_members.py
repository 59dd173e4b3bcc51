"""Leaves out of the API pages what no docstring of ours describes: fields of named tuples, scikit-learn's setters."""

import re


def setup(app):
    app.connect("autodoc-skip-member", _skip)


def _skip(app, kind, name, member, skip, options):
    alias = (getattr(member, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias or re.fullmatch("set_.*_request", name) else None
