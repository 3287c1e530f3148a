"""Pages as a browser lays them out: nothing is wider than the window, and printing works."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fixtures import at_chance, found, pool_rows
from hostile_texts import HOSTILE, hostile_audit

from unmask.reports import render_audit, render_fragment, render_pool

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def _chromium(tmp_path: Path, *arguments: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return done.stdout.decode("utf-8", "replace")


def _pages() -> dict[str, str]:
    everything = "\n".join(text for name, text in HOSTILE.items() if name != "long")
    hostile = hostile_audit(everything)
    fragment = render_fragment(found())
    return {
        "found": render_audit(found()),
        "at_chance": render_audit(at_chance()),
        "hostile": render_audit(hostile),
        "long": render_audit(hostile_audit(HOSTILE["long"])),
        "fragment": f"<!doctype html><body>{fragment}</body>",
        "pool": render_pool(pool_rows(), "The bundled pool"),
        "hostile_fragment": f"<!doctype html><body>{render_fragment(hostile)}</body>",
    }


def test_no_page_is_wider_than_its_window(tmp_path):
    """Frames of the two widths hold the pages, since a window has a least width of its own."""
    frames = []
    for name, html in _pages().items():
        unfolded = POLICY.sub("", html).replace("<details>", "<details open>")
        (tmp_path / f"{name}.html").write_text(unfolded, encoding="utf-8")
        frames += [
            f'<iframe id="{name}-{width}" src="{name}.html" width="{width}" height="900"'
            ' style="border:0"></iframe>'
            for width in (400, 1600)
        ]
    measure = """<script>addEventListener('load', () => {
      for (const frame of document.querySelectorAll('iframe')) {
        const root = frame.contentDocument.documentElement;
        const line = [frame.id, root.scrollWidth, frame.contentWindow.innerWidth,
                      root.scrollHeight, frame.contentDocument.scripts.length].join(' ');
        document.body.append(Object.assign(document.createElement('pre'), {textContent: line}));
      }
    })</script>"""
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!doctype html><body>{''.join(frames)}{measure}</body>", encoding="utf-8")
    dom = _chromium(tmp_path, "--allow-file-access-from-files", "--dump-dom", outer.as_uri())
    lines = re.findall(r"<pre>(\S+) (\d+) (\d+) (\d+) (\d+)</pre>", dom)
    assert len(lines) == len(frames)
    for name, content, window, height, scripts in lines:
        assert int(window) == int(name.rsplit("-", 1)[1])
        assert int(content) <= int(window), f"{name} is {content} px wide"
        assert int(height) > 300 and int(scripts) == 0


def test_a_report_prints(tmp_path):
    page, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(render_audit(found()), encoding="utf-8")
    _chromium(tmp_path, f"--print-to-pdf={printed}", page.as_uri())
    assert printed.read_bytes().startswith(b"%PDF") and printed.stat().st_size > 20_000
