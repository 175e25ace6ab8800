"""The manual in two languages, of pages as the packages have them."""

from pipeline.corpora import finnish
from pipeline.corpora.corpus import corpus_of
from pipeline.corpora.finnish import page
from tests.conftest import composed

HEAD = '<html><head><title>Otsikko on pitkä tässä.</title></head><body><p dir="auto">Valikko on täällä aina.</p>'
PAGES = {
    "a.html": '<h1 id="hd_id1" dir="auto">\n<a name="x"></a>Käyttö</h1>'
    '<p id="par_id1" class="a">Valitse <span class="emph">Tiedot &amp; muut</span>\n ja   sarakkeet.</p>'
    '<p id="par_id2">To display all records, select the entry.</p>',
    "sub/b.html": '<p id="par_id3">Suodatus lisää nuolet sarakkeiden otsikoihin!</p>'
    '<p id="par_id1">Valitse Tiedot &amp; muut ja sarakkeet.</p><p id="par_id4">=SUM(A1:B2)</p>'
    '<p id="par_id5">Click icon on bar.</p>',
}


def placed(monkeypatch, folder, choice):
    def from_deb(path, folder, choose):
        for name, body in PAGES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(HEAD + body, encoding="utf-8")
        return [*reversed(PAGES)]

    monkeypatch.setattr(finnish, "from_deb", from_deb)
    folder.mkdir()
    [original] = corpus_of(composed(f"data={choice}").data).originals()
    assert original.place(folder / "x.deb", folder) == ["help.txt"] and [*folder.iterdir()] == [folder / "help.txt"]
    return (folder / "help.txt").read_text(encoding="utf-8").splitlines()


def test_sentences_of_the_language_each_once(monkeypatch, tmp_path):
    own = ["Valitse Tiedot & muut ja sarakkeet.", "Suodatus lisää nuolet sarakkeiden otsikoihin!"]
    found = placed(monkeypatch, tmp_path / "fi", "finnish")
    assert found == own
    english = placed(monkeypatch, tmp_path / "en", "english")
    assert english == [own[0], "To display all records, select the entry.", own[1], "Click icon on bar."]


def test_pages_are_known_by_their_place():
    root = "./usr/share/libreoffice/help/fi/"
    assert page(root + "text/scalc/guide/autofilter.html") == "scalc/guide/autofilter.html"
    assert page(root + "noscript.html") is None and page(root + "text/a.js") is None
