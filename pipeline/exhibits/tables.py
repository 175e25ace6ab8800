"""Tables of the page."""

from collections.abc import Iterable


def in_cells(heads: Iterable[str], lines: Iterable[Iterable[object]]):
    """HTML of a table, the first of each line its head; what is not Markup is escaped."""
    from markupsafe import Markup

    heads = list(heads)
    head = Markup("").join(map(Markup("<th>{}</th>").format, heads))
    rows = (
        Markup("<tr><th>{}</th>{}</tr>\n").format(first, Markup("").join(map(Markup("<td>{}</td>").format, others)))
        for first, *others in lines
    )
    table = Markup("<table>\n<tr>{}</tr>\n{}</table>").format(head, Markup("").join(rows))
    return scrolled(table, f"Table of {', '.join(filter(None, heads))}")


def scrolled(inside, label: str):
    """HTML of what may be wider than the page: it scrolls by itself, and by the keyboard once it has the focus.

    label  what it is, for who does not see it;  inside  HTML
    """
    from markupsafe import Markup

    frame = '<div class="wide" role="region" aria-label="{}" tabindex="0">{}</div>'
    return Markup(frame).format(label, Markup(inside))
