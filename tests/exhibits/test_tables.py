"""Tables of the page."""

from markupsafe import Markup

from pipeline.exhibits.tables import in_cells


def test_a_table_scrolls_by_keyboard_under_the_name_of_its_columns():
    html = in_cells(["", "a<b", "c"], [["x", Markup("<i>1</i>"), "&"]])
    frame, _, rest = html.partition("<table>")
    assert frame == '<div class="wide" role="region" aria-label="Table of a&lt;b, c" tabindex="0">'
    cells = "<tr><th></th><th>a&lt;b</th><th>c</th></tr>\n<tr><th>x</th><td><i>1</i></td><td>&amp;</td></tr>\n"
    assert rest == f"\n{cells}</table></div>"
