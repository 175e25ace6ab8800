from types import SimpleNamespace

from pipeline.probes.tf_idf import TfIdf

TEXTS = {
    "train": [("net shr a", "earn"), ("net b shr", "earn"), ("stake a buys", "acq"), ("stake buys b", "acq")] * 5,
    "test": [("shr c", "earn"), ("buys c", "acq"), ("net", "earn"), ("stake", "earn")],
}


def test_words_alone_tell_topics_of_what_is_tested_on():
    data = SimpleNamespace(texts=TEXTS.__getitem__, judged_on="test")
    probe = TfIdf(10.0)
    assert probe.fits(None, data) and not probe.fits(None, SimpleNamespace())
    assert probe.measure(None, data, 0) == {"linear": 0.75}  # "stake" is of the other topic in training
