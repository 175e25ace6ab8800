"""Any text the user names: a file, or a folder of files."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpora.corpus import Corpus, CorpusError, Original


@dataclass(frozen=True)
class Local:
    """A file or folder of this machine."""

    where: str
    kind = "path"

    def get(self, folder: Path) -> tuple[Path, None]:
        path = Path(self.where)
        if not path.exists():
            raise CorpusError("no such file or folder")
        return path, None


@dataclass
class Text(Corpus):
    """A file, or the files below a folder that match `pattern`, in the order of their paths; hidden ones left out."""

    path: str | None = None
    pattern: str = "**/*"

    changes = True

    def request(self) -> dict:
        return {"path": self.path, "pattern": self.pattern}

    def place(self, path: Path, folder: Path) -> list[str]:
        if path.is_file():
            files = {path.name: path}
        else:
            found = {file.relative_to(path).as_posix(): file for file in path.glob(self.pattern) if file.is_file()}
            files = {name: found[name] for name in sorted(found) if not any(p.startswith(".") for p in name.split("/"))}
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
        return list(files)

    def originals(self) -> list[Original]:
        if self.path is None:
            raise CorpusError("data=text needs data.path=<file or folder>")
        return [Original("the user's", self.place, getter=Local(self.path), version="local")]
