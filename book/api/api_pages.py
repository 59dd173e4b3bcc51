"""What our pages ask of Sphinx beyond its configuration."""

import re

from sphinx.util.nodes import make_refnode


def setup(app):
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _find)
    app.connect("html-page-context", _once, priority=900)


def _skip(app, kind, name, member, skip, options):
    """Leave out what no docstring of ours describes: fields of named tuples, scikit-learn's setters."""
    alias = (getattr(member, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias or re.fullmatch("set_.*_request", name) else None


def _find(app, env, node, contnode):
    """Docstrings name functions as notebooks do, `ridge.cross_validate`: link what that can only be one of."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"]
    found = [name for name in domain.objects if name.endswith(f".{target}")]
    if len(found) != 1:
        return None
    entry = domain.objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, found[0])


def _once(app, page, template, context, doctree):
    """Two extensions add the same scripts, of which some fail when they run twice; others talk to a kernel host."""
    seen = []
    for script in context.get("script_files", []):
        text = f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}"
        if "thebe" not in text.lower() and text not in [known for known, _ in seen]:
            seen.append((text, script))
    context["script_files"] = [script for _, script in seen]
