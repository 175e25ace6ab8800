"""Where the server is: an address, or a file that says it."""

import http.server
import threading

import pytest
from omegaconf import OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.runs import server as module
from pipeline.runs.server import Away, location, require_answer
from pipeline.runs.tracking import _address, kept, refuse_unusable


def test_a_file_says_where_the_server_is_each_time_it_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert location("http://n1:5000") == "http://n1:5000"
    with pytest.raises(Away, match="no server has said there where it is"):
        location("mlflow-server/address")
    assert kept(OmegaConf.create({"uri": "mlflow-server/address"}), {"mlflow_run_id": "x"})  # nobody to be asked
    (tmp_path / "mlflow-server").mkdir()
    for address in ("http://n1:5000", "http://n2:4711"):
        (tmp_path / "mlflow-server" / "address").write_text(f"{address}\n")
        assert location("mlflow-server/address") == address
    assert _address("mlflow-server/address") == f"{tmp_path}/mlflow-server/address"  # the same one all the time
    refuse_unusable(OmegaConf.create({"uri": "mlflow-server/address", "artifacts": None}))
    (tmp_path / "mlflow-server" / "address").write_text("sqlite:///mlflow.db")
    with pytest.raises(Away, match="it holds no address of a server"):
        location("mlflow-server/address")


@pytest.mark.parametrize("named", [False, True])
def test_a_former_address_means_the_server_where_it_is_now(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("elsewhere" if named else "mlflow-server")
    if named:
        monkeypatch.setenv("MLFLOW_FOLDER", f"{folder}")
    folder.mkdir()
    (folder / "addresses").write_text("http://n1:5000\nhttp://n2:5000\n")
    (folder / "address").write_text("http://n2:5000\n")
    assert location("http://n1:5000") == location("http://n1:5000/") == location("http://n2:5000") == "http://n2:5000"
    assert location("http://n1:50") == "http://n1:50"  # another one
    assert _address("http://n1:5000") == _address(f"{folder}/address")


@pytest.mark.parametrize("name", [None, "somebody"])
def test_the_password_comes_with_the_file_unless_another_name_is_set(tmp_path, monkeypatch, name):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "set")
    if name is None:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    (tmp_path / "address").write_text("http://n1:5000\n")
    (tmp_path / "password").write_text("drawn\n")
    location(f"{tmp_path}/address")
    assert module.os.environ["MLFLOW_TRACKING_PASSWORD"] == ("drawn" if name is None else "set")
    assert bool(module.os.environ["MLFLOW_TRACKING_USERNAME"])


def test_only_a_server_that_does_not_answer_is_away():
    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({"/health": 200, "/old/health": 404, "/closed/health": 401}.get(self.path, 503))
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for path in ("", "/", "/old", "/closed"):
            require_answer(address + path)
        with pytest.raises(Away, match="HTTP error code 503"):
            require_answer(f"{address}/ill")
        server.shutdown()
    with pytest.raises(Away, match=f"nobody answers at {address}"):
        require_answer(address)
    require_answer("sqlite:///mlflow.db")


@pytest.mark.parametrize("uri", ["addresses", "mlflow-server", "sqlite:address", "file:address"])
def test_no_other_file_is_taken_for_one(uri):
    with pytest.raises(Refusal, match=rf"^tracking\.uri={uri}(:| names) "):
        refuse_unusable(OmegaConf.create({"uri": uri, "artifacts": "a"}))
