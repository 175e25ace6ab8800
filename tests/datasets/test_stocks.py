"""Returns of prices that are written here, in the form of those of the package."""

import gzip

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.corpus import CorpusError
from pipeline.datasets.space import Reals
from pipeline.datasets.stocks import FILE, TICKERS, Returns, Stocks
from tests.conftest import composed

PRICES = {"AAPL": 2.0, "GOOG": 3.0, "IBM": 5.0, "MSFT": 7.0}  # times 1, 2, 4, 2, 1, 3, 3, 6, 12 on nine days
COURSE = [1, 2, 4, 2, 1, 3, 3, 6, 12]


def made(tmp_path, monkeypatch, **changes) -> Returns:
    """The rows of days and companies in no order; the price that is not adjusted is another one."""
    rows = [
        f"{ticker},{2001 + day // 5}-0{1 + day % 5}-03,9,9,9,{100 - day},0,{price * times}\n"
        for ticker, price in PRICES.items()
        for day, times in enumerate(COURSE)
    ]
    np.random.default_rng(0).shuffle(rows)
    (tmp_path / FILE).write_bytes(
        gzip.compress(("Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n" + "".join(rows)).encode())
    )
    settings = {"ticker": "IBM", "split": "50-25-25", "standardize": False} | changes
    chosen = Stocks("stocks", "unused", **settings)
    arrays = chosen.arrays([tmp_path / FILE])
    assert set(arrays) == set(TICKERS)
    monkeypatch.setattr(Stocks, "read", lambda self, local: arrays)
    return chosen.open()


@pytest.mark.parametrize("ticker", TICKERS)
def test_a_day_asks_for_the_return_of_the_next(tmp_path, monkeypatch, ticker):
    data = made(tmp_path, monkeypatch, ticker=ticker)
    logs = np.log(2) * np.array([1, 1, -1, -1, np.log2(3), 0, 1, 1])
    assert (data.reads, data.answers, data.foretells, data.contiguous) == (Reals(1), Reals(1), True, True)
    assert data.values[:, 0] == pytest.approx(logs, abs=1e-15)
    assert [border.stop for border in data.borders.values()] == [4, 6, 8]  # in the order of time
    [batch] = data.held_out("test")
    asked = data.answers.asked(batch.targets)
    assert batch.targets[asked].flatten().tolist() == pytest.approx(logs[6:].tolist())
    before = batch.inputs[asked].flatten().tolist()
    assert before == pytest.approx(logs[5:7].tolist()) and batch.count == 2


def test_no_later_day_is_in_what_the_training_days_are_standardized_by(tmp_path, monkeypatch):
    plain, data = made(tmp_path, monkeypatch), made(tmp_path, monkeypatch, standardize=True)
    train = plain.values[:4, 0]
    assert data.part("test")[0][:, 0] == pytest.approx((plain.values[6:, 0] - train.mean()) / train.std())


def test_a_day_without_a_price_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(gzip.compress(b"Ticker,Date,Adj Close\nIBM,2001-01-03,\n"))
    with pytest.raises(CorpusError, match="^stocks.csv.gz holds no prices: "):
        Stocks("stocks", "unused", "IBM", "50-25-25", True).arrays([tmp_path / FILE])


def test_a_ticker_that_the_package_lacks_is_refused_with_those_that_it_has():
    with pytest.raises(Refusal, match="^data.ticker=TSLA: take AAPL, GOOG, IBM or MSFT"):
        composed("data=stocks", "data.ticker=TSLA")
