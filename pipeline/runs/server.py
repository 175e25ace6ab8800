"""Where MLflow's server is: tracking.uri is its address, or a file called `address` that says it.

The server that runs as a job of a cluster (slurm/mlflow_server.py) writes such a file and is not always on the same
node; who names the file finds it wherever it is.
"""

import contextlib
import os
import pwd
from pathlib import Path

ASKED = 2.0  # seconds for an answer


class Away(OSError):
    """Nobody answers where the server should be, or nobody knows where that is."""


def file_of(uri: str) -> Path | None:
    """The file that says where the server is; None where `uri` says so itself. An address at which the server of this
    folder (MLFLOW_FOLDER) is or has been means that server, wherever it is now: a job may have waited long."""
    if Path(uri).name == "address" and ":" not in uri:
        return Path(uri).absolute()
    if uri.startswith("http"):
        file = Path(os.environ.get("MLFLOW_FOLDER") or "mlflow-server").absolute() / "address"
        with contextlib.suppress(OSError):
            if uri.rstrip("/") in file.with_name("addresses").read_text().split():
                return file
    return None


def location(uri: str) -> str:
    """What MLflow is told: `uri`, or the address in the file that it is. Raises Away where that is not there.

    With the file comes the server's password, where it has one, unless MLFLOW_TRACKING_USERNAME names somebody.
    """
    file = file_of(uri)
    if file is None:
        return uri
    try:
        found = file.read_text().strip()
        if "MLFLOW_TRACKING_USERNAME" not in os.environ and (password := file.with_name("password")).exists():
            os.environ["MLFLOW_TRACKING_PASSWORD"] = password.read_text().strip()
            os.environ["MLFLOW_TRACKING_USERNAME"] = pwd.getpwuid(os.getuid()).pw_name
    except OSError as error:
        raise Away(f"no server has said there where it is ({error.strerror})") from None
    if not found.startswith(("http://", "https://")):
        raise Away(f"it holds no address of a server ({found[:40]!r})")
    return found


def require_answer(address: str) -> None:
    """Raises Away where `address` is a server's and nobody answers there soon: MLflow itself would ask for minutes."""
    if not address.startswith(("http://", "https://")):
        return
    import requests

    try:
        code = requests.get(f"{address.rstrip('/')}/health", timeout=ASKED).status_code
    except (OSError, ValueError) as error:
        raise Away(f"nobody answers at {address} ({type(error).__name__})") from None
    if code >= 500:
        raise Away(f"{address} answers with HTTP error code {code}")
