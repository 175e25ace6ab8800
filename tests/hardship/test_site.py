"""The site that `make docs` makes, as a whole."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")


@pytest.mark.hardship
def test_the_site_is_made_whole_and_needs_no_network(tmp_path):
    """Each link within it is one, and each part of the API has its page."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = (tmp_path / "api" / "cells.html").read_text()
    assert "Hochreiter" in cells and "<code>chrono</code>" in cells
    assert 'src="http' not in cells and 'rel="stylesheet" href="http' not in cells
    assert (tmp_path / "files" / "LICENSE.html").exists() and (tmp_path / "assets" / "iframe-worker.js").exists()
