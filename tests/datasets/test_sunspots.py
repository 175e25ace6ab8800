import numpy as np

from pipeline.datasets.data import load_data
from pipeline.datasets.space import Reals
from pipeline.datasets.sunspots import Sunspots
from tests.conftest import composed


def test_the_choice_composes_and_makes_the_same_series_again():
    first, second = (load_data(composed("data=sunspots").data) for _ in range(2))
    assert (first.name, len(first.values), first.reads, first.answers) == ("sunspots", 309, Reals(1), Reals(1))
    assert (first.values == second.values).all() and first.card == second.card and np.isfinite(first.values).all()


def test_sunspots_are_those_of_the_years():
    found = Sunspots("70-15-15", True).open()
    years = dict(zip(range(1700, 2009), found.values[:, 0]))
    assert (
        len(found.values) == 309
        and years[1700] == 5
        and years[1957] == 190.2 == found.values.max()
        and years[2008] == 2.9
    )
    assert [border.stop for border in found.borders.values()] == [216, 262, 309]
