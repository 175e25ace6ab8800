"""The equations on the page are the docstrings of what the runs were made of."""

import inspect

from pipeline.cells.gru import GRU
from pipeline.cells.lstm import LSTM
from pipeline.exhibits.equations import equations
from pipeline.models.recurrent import RecurrentNetwork
from tests.conftest import composed


def test_each_class_stands_once_with_its_models_and_cells_come_first():
    models = [composed(f"model={name}").model for name in ("lstm", "gru", "lstm", "lstm_forget_bias")]
    found = equations(models)
    assert [one["target"].rpartition(".")[2] for one in found] == ["LSTM", "GRU", "RecurrentNetwork"]
    assert [one["models"] for one in found] == [
        ["lstm", "lstm_forget_bias"],
        ["gru"],
        ["lstm", "gru", "lstm_forget_bias"],
    ]
    assert [one["text"] for one in found] == [inspect.getdoc(one) for one in (LSTM, GRU, RecurrentNetwork)]
