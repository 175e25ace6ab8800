"""Tables of the page."""

from collections.abc import Iterable


def in_cells(heads: Iterable[str], lines: Iterable[Iterable[object]]):
    """HTML of a table, the first of each line its head; what is not Markup is escaped."""
    from markupsafe import Markup

    head = Markup("").join(map(Markup("<th>{}</th>").format, heads))
    rows = (
        Markup("<tr><th>{}</th>{}</tr>\n").format(first, Markup("").join(map(Markup("<td>{}</td>").format, others)))
        for first, *others in lines
    )
    return Markup('<div class="wide"><table>\n<tr>{}</tr>\n{}</table></div>').format(head, Markup("").join(rows))
