"""Addresses of MLflow's pages."""

import sys

from mlflow import MlflowClient

from pipeline.runs.links import links, main
from pipeline.runs.tracking import database


def test_each_study_has_the_address_of_its_runs(tmp_path, monkeypatch, capsys):
    file = tmp_path / "ml flow.db"
    assert links(file, "http://127.0.0.1:5000") == []
    client = MlflowClient(database(f"sqlite:///{file}"))
    first, second = (client.create_experiment(name) for name in ("zoo", "words"))
    client.delete_experiment(client.create_experiment("gone"))
    pages = {
        name: f"http://h:1/#/experiments/{id_}/runs?workflowType=machine_learning"
        for name, id_ in (("zoo", first), ("words", second))
    }
    assert dict(links(file, "http://h:1")) == pages
    monkeypatch.setattr(sys, "argv", ["links", str(file), "http://h:1"])
    main()
    assert f"words  {pages['words']}\n" in capsys.readouterr().out
