"""The built book in headless Chromium: pages render, and nothing is asked of another host.

Needs Chromium and a book (`make book`); without either these tests are skipped and say so.
"""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def site(project):
    pages = project / "_build" / "html"
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if not (pages / "index.html").exists():
        pytest.skip("no book in _build/html; run make book first")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(pages)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield pages, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def visit(site, tmp_path):
    """Open a page of the site; returns the rendered page and the hosts that it asked for. No script of it may fail."""

    def open_page(path: str) -> tuple[str, set[str]]:
        log = tmp_path / "net.json"
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-quic"]
        command += ["--enable-logging=stderr"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=15000"]
        run = subprocess.run([*command, "--dump-dom", site[1] + path], capture_output=True, text=True, timeout=180)
        assert run.returncode == 0, run.stderr[-500:]
        assert [line for line in run.stderr.splitlines() if "CONSOLE" in line and "Uncaught" in line] == [], path
        # What Chromium itself looks up carries no page as its initiator.
        asked = [
            event["params"]["url"]
            for event in json.loads(log.read_text())["events"]
            if "url" in event.get("params", {}) and event["params"].get("initiator", "not an origin") != "not an origin"
        ]
        return run.stdout, {re.sub(r"^\w+://([^/:]+).*", r"\1", url) for url in asked if url.startswith("http")}

    return open_page


def chapters(pages):
    """Pages with results; where data could not be had, a page says so."""
    found = sorted(pages.glob("book/executed/*.html"))
    assert found
    found = [page for page in found if "No results in this build" not in page.read_text(encoding="utf-8")]
    return found or pytest.skip("no page has results: no asset could be had")


def drawn(project, name: str) -> int:
    """How many figures the notebook made."""
    cells = json.loads((project / "book" / "executed" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def test_chapters_render_with_figures_and_ask_no_other_host(project, site, visit):
    for page in chapters(site[0]):
        dom, hosts = visit(f"/{page.relative_to(site[0])}")
        assert hosts <= {"127.0.0.1"} and hosts, (page.name, hosts)
        figures = re.findall(r"<img[^>]+_images[^>]+>", dom)
        assert len(figures) == drawn(project, page.stem) > 0, page.name
        assert all(len(re.search(r'alt="([^"]*)"', figure)[1]) > 30 for figure in figures), page.name
        assert "not found" not in re.findall(r"<h1>(.*?)<", dom)[0].lower()


def test_mathematics_is_typeset_by_the_book_itself(site, visit):
    with_formulas = [page for page in chapters(site[0]) if 'class="math' in page.read_text(encoding="utf-8")]
    assert with_formulas
    dom, _ = visit(f"/{with_formulas[0].relative_to(site[0])}")
    assert "<mjx-container" in dom


def test_search_finds_a_term(visit):
    dom, hosts = visit("/search.html?q=ridge")
    assert "02_layer_alignment" in dom and hosts <= {"127.0.0.1"}
