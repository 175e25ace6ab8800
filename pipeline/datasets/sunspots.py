"""Yearly sunspot numbers."""

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Split
from pipeline.datasets.series import Series


@dataclass(frozen=True)
class Sunspots:
    """Sunspot numbers of the years 1700 to 2008, N = 309: the series for which Yule (1927) invented autoregression.
    D = 1, U = 0.

    Read from the file that the package statsmodels ships (public domain; from the National Geophysical Data Center).
    """

    split: Split
    standardize: bool

    def open(self, local: str | None = None) -> Series:
        package = importlib.util.find_spec("statsmodels")  # not imported: that takes seconds
        if package is None:
            raise Refusal(
                "data=sunspots reads a file of the package statsmodels, which is not installed: pip install statsmodels"
            )
        with (Path(package.origin).parent / "datasets" / "sunspots" / "sunspots.csv").open() as file:
            numbers = [float(row["SUNACTIVITY"]) for row in csv.DictReader(file)]
        return Series("sunspots", np.array(numbers)[:, None], np.empty((len(numbers), 0)), self.split, self.standardize)
