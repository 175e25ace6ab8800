"""Pages of the site that are no Markdown of docs/: README.md as its first, the notebooks, the API, a page a room, and
the files of the repository that pages link to. Used by mkdocs (mkdocs.yml)."""

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)]*)?\))")
INDEX = "index.md"
PYTHON = """# From Python

::: pipeline.api

What it returns is a [Run][pipeline.runs.run.Run].
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    texts = {INDEX: ("README.md", (ROOT / "README.md").read_text(encoding="utf-8"))}
    texts |= {file.src_uri: (f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()}
    waiting = list(texts.values())
    while waiting:
        for target in outside(*waiting.pop()):
            if place(target) not in texts:
                texts[place(target)] = (target, text_of(target))
                waiting.append(texts[place(target)])
    for notebook in sorted(ROOT.glob("docs/notebooks/*.ipynb")):
        text, figures = shown(notebook)
        texts[place(f"docs/notebooks/{notebook.name}")] = ("", text)
        for name, content in figures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    texts["api/python.md"] = ("", PYTHON)
    for room in sorted(path.parent for path in ROOT.glob("pipeline/*/__init__.py")):
        texts[f"api/{room.name}.md"] = ("", reference(room))
    for uri, (_, text) in texts.items():
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    worker = (HERE / "iframe-worker.js").read_text(encoding="utf-8")
    files.append(File.generated(config, "assets/iframe-worker.js", content=worker))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are on the site."""
    here = "README.md" if page.file.src_uri == INDEX else source(page.file.src_uri)

    def link(found: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2]))
        return found[1] + posixpath.relpath(place(target), posixpath.dirname(page.file.src_uri) or ".") + found[3]

    return markdown if page.file.src_uri.startswith("api/") else LINK.sub(link, markdown)


def outside(here: str, text: str) -> list[str]:
    """The files of the repository, but those of docs/, that the text of a file links to."""
    targets = [posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2])) for found in LINK.finditer(text)]
    return [one for one in targets if not one.startswith("docs/") and (ROOT / one).is_file()]


def place(target: str) -> str:
    """Where the site has a file of the repository."""
    if target == "README.md":
        return INDEX
    if target.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", target.removeprefix("docs/"))
    return f"files/{target}" if target.endswith(".md") else f"files/{target}.md"


def source(uri: str) -> str:
    """The file of the repository that a page of the site is made from."""
    file = uri.removeprefix("files/")
    return f"docs/{uri}" if file == uri else file if (ROOT / file).is_file() else file.removesuffix(".md")


def text_of(target: str) -> str:
    text = (ROOT / target).read_text(encoding="utf-8")
    return text if target.endswith(".md") else f"# {target}\n\n````{Path(target).suffix[1:]}\n{text}````\n"


def shown(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, with what came out of its cells, and the figures that this links to, by name."""
    from nbconvert import MarkdownExporter

    resources = {"unique_key": notebook.stem, "output_files_dir": ""}
    text, resources = MarkdownExporter().from_filename(str(notebook), resources)
    return text, resources["outputs"]


def reference(room: Path) -> str:
    """What is documented in the code of a room of pipeline/."""
    about = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    modules = [f"pipeline.{room.name}.{file.stem}" for file in sorted(room.glob("[!_]*.py"))]
    return "\n\n".join([f"# {room.name}", about, *(f"::: {module}" for module in modules)]) + "\n"
