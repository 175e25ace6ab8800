"""The site that `make docs` makes."""

import importlib.util
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "docs" / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_become_markdown():
    docstrings = loaded("docstrings")
    said = "h = f(x) [T, B], in `<b>`\n    <a>\n\none   first\n      and more\ntwo, *three  second\n\n  last  word"
    found = SimpleNamespace(docstring=SimpleNamespace(value=said))
    docstrings.Markdown().on_object(obj=found)
    first, listed, last = found.docstring.value.split("\n\n")
    assert first == "h = f(x) &#91;T, B], in `<b>`\n    &lt;a>"
    assert listed == "- `one`: first\n    and more\n- `two, *three`: second"
    assert last == "- `last`: word"


@pytest.mark.parametrize(
    "here, target, there",
    [
        ("index.md", "docs/runs.md", "runs.md"),
        ("index.md", "CONTRIBUTING.md", "files/CONTRIBUTING.md"),
        ("runs.md", "models.md#probes", "models.md#probes"),
        ("runs.md", "../params.yaml", "files/params.yaml.md"),
        ("files/CONTRIBUTING.md", "docs/extending.md", "../extending.md"),
        ("files/benchmarks/RESULTS.md", "../README.md", "../../index.md"),
        ("runs.md", "https://a.example/b", "https://a.example/b"),
    ],
)
def test_links_lead_to_the_same_on_the_site(here, target, there):
    page = SimpleNamespace(file=SimpleNamespace(src_uri=here))
    assert loaded("pages").on_page_markdown(f"[a]({target})", page, None, None) == f"[a]({there})"
