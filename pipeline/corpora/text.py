"""Any text the user names: a file, or a folder of files."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from pipeline.corpora.corpus import Corpus, CorpusError, Original

MEND = "name a file, or a folder of files, that can be read (data.path)"


@dataclass(frozen=True)
class Local:
    """A file or folder of this machine; a `~` at the beginning is the user's home."""

    where: str
    kind = "path"

    def get(self, folder: Path) -> tuple[Path, None]:
        try:
            path = os.path.expanduser(self.where)
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            why = "no such file or folder" if missing else getattr(error, "strerror", None) or str(error)
            raise CorpusError(f"{why}: {MEND}") from error
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise CorpusError(f"it is a device, a pipe or a socket: {MEND}")
        return Path(path), None

    def copied_from(self, file: Path, root: Path) -> Path:
        """What a file below `root` was copied from; the copy itself where that is gone."""
        where = Path(self.where).expanduser()
        found = where / file.relative_to(root) if where.is_dir() else where
        return found if found.is_file() else file


@dataclass
class Text(Corpus):
    """A file, or the files below a folder that match `pattern`, in the order of their paths; hidden ones left out."""

    path: str | None = None
    pattern: str = "**/*"

    changes = True

    def request(self) -> dict:
        return {"path": self.path, "pattern": self.pattern}

    def copied_from(self, file: Path, root: Path) -> Path:
        return Local(self.path).copied_from(file, root)

    def place(self, path: Path, folder: Path) -> list[str]:
        if path.is_file():
            files = {path.name: path}
        else:
            found = {file.relative_to(path).as_posix(): file for file in self.matches(path) if file.is_file()}
            files = {name: found[name] for name in sorted(found)}
            if not files:
                raise CorpusError(f"it has no file that matches data.pattern={self.pattern}: {MEND}")
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
        return list(files)

    def matches(self, path: Path) -> Iterator[Path]:
        """What `pattern` finds below the folder `path`, without what is hidden. Raises CorpusError for no pattern,
        OSError for a folder that cannot be read: `glob` passes over it."""
        parts = PurePath(self.pattern).parts
        if not parts or ".." in parts or PurePath(self.pattern).is_absolute():
            raise CorpusError(f"data.pattern={self.pattern}: take one of files below data.path, such as **/*.txt")
        for _, folders, _ in os.walk(path, onerror=_fail):
            folders[:] = [name for name in folders if not name.startswith(".")] if "**" in parts else []
        try:
            for file in path.glob(self.pattern):
                if not any(part.startswith(".") for part in file.relative_to(path).parts):
                    yield file
        except ValueError as error:
            raise CorpusError(
                f"data.pattern={self.pattern}: {error}: take one of files below data.path, such as **/*.txt"
            ) from error

    def originals(self) -> list[Original]:
        if not isinstance(self.path, str | None):
            raise CorpusError(f"data.path={self.path}: take one file or folder")
        if not self.path:
            raise CorpusError("data=text needs data.path=<file or folder>")
        return [Original("the user's", self.place, getter=Local(self.path), version="local")]


def _fail(error: OSError) -> None:
    raise error
