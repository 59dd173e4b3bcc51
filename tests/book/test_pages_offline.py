"""Built pages load nothing from another host, so that the book works offline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

# What a browser loads by itself; a plain <a href> is only followed when the reader clicks.
_FETCHING = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("image", "href"), ("image", "xlink:href"),
    ("img", "src"), ("input", "src"), ("object", "data"), ("script", "src"), ("source", "src"),
    ("track", "src"), ("use", "href"), ("use", "xlink:href"), ("video", "poster"), ("video", "src"),
}  # fmt: skip
_FETCHING_LINKS = {
    "apple-touch-icon", "dns-prefetch", "icon", "manifest", "mask-icon", "modulepreload", "preconnect", "prefetch",
    "preload", "stylesheet",
}  # fmt: skip
_OUTSIDE = re.compile(r"(?:https?:)?//[\w.-]+", re.IGNORECASE)
_CSS_FETCH = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
_JS_FETCH = re.compile(
    r"""(?:\b(?:fetch|import|importScripts|require)\(\s*|\bfrom\s+|\.(?:src|href)\s*=\s*)["'`]((?:https?:)?//[^"'`\s]+)"""
)


def outside_fetches(directory: Path) -> list[str]:
    """``file: address`` of what pages, style sheets and (by literal addresses) scripts would load from another host."""
    return [
        f"{path.relative_to(directory)}: {address}"
        for path in sorted(directory.rglob("*"))
        if path.suffix in {".html", ".css", ".js"}
        for address in _fetches(path.read_text(encoding="utf-8", errors="replace"), path.suffix)
    ]


def _fetches(text: str, suffix: str) -> Iterator[str]:
    if suffix == ".html":
        page = _Page()
        page.feed(text)
        yield from page.fetches
    else:
        yield from (_CSS_FETCH if suffix == ".css" else _JS_FETCH).findall(text)


class _Page(HTMLParser):
    """Collects the addresses that a page loads from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        values = {name: value or "" for name, value in attrs}
        loads = [values[name] for name in values if (tag, name) in _FETCHING]
        # A srcset holds several addresses, each followed by a size.
        loads += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]
        if tag == "link" and _FETCHING_LINKS & set(values.get("rel", "").lower().split()):
            loads.append(values.get("href", ""))
        self.fetches += [value.strip() for value in loads if _OUTSIDE.match(value.strip())]
        self.fetches += _CSS_FETCH.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.fetches += _CSS_FETCH.findall(data)
        elif self._inside == "script":
            self.fetches += _JS_FETCH.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


OUTSIDE = [
    ("a.html", '<link rel="stylesheet" href="https://fonts.test/a.css">', "https://fonts.test/a.css"),
    ("a.html", '<link rel="shortcut icon" href="//cdn.test/i.png">', "//cdn.test/i.png"),
    ("a.html", '<script src="http://cdn.test/a.js"></script>', "http://cdn.test/a.js"),
    ("a.html", '<img alt="x" srcset="local.png 1x, https://cdn.test/b.png 2x">', "https://cdn.test/b.png"),
    ("a.html", '<iframe src="https://video.test/1"></iframe>', "https://video.test/1"),
    ("a.html", '<p style="background: url(https://cdn.test/b.png)">x</p>', "https://cdn.test/b.png"),
    ("a.html", "<style>@import 'https://fonts.test/f.css';</style>", "https://fonts.test/f.css"),
    ("a.html", '<script type="module">import x from "https://cdn.test/m.js"</script>', "https://cdn.test/m.js"),
    ("a.css", "@font-face { src: url('//fonts.test/f.woff2') }", "//fonts.test/f.woff2"),
    ("a.js", 's.src = "https://cdn.test/lib.js"', "https://cdn.test/lib.js"),
    ("a.js", "fetch('https://api.test/x')", "https://api.test/x"),
]


@pytest.mark.parametrize(("name", "text", "address"), OUTSIDE)
def test_outside_fetches_are_found(tmp_path, name, text, address):
    (tmp_path / "index.html").write_text("<p>fine</p>")
    (tmp_path / name).write_text(text)
    assert outside_fetches(tmp_path) == [f"{name}: {address}"]


def test_links_and_own_files_are_no_outside_fetches(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="https://doi.test/1">paper</a> <link rel="canonical" href="https://book.test/">'
        '<link rel="stylesheet" href="_static/a.css"> <img src="data:image/png;base64,//aa=="> <script src="a.js">'
        '</script> <img srcset="a.png 1x, b.png 2x">'
        "<pre>&lt;script src='https://cdn.test/a.js'&gt;</pre>"
    )
    (tmp_path / "a.js").write_text("// see https://docs.test\nconst home = 'https://docs.test';")
    assert outside_fetches(tmp_path) == []


def test_the_book_works_offline(project):
    pages = project / "_build" / "html"
    if not (pages / "index.html").exists():
        pytest.skip("no book in _build/html; run make book first")
    assert outside_fetches(pages) == []
