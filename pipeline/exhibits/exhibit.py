"""What the report shows: numbers with their units, and pictures with their captions."""

from typing import NamedTuple


class Measure(NamedTuple):
    """How a number that a probe measures is read.

    unit    such as "nats/{element}", where {element} stands for what an element of the data is called; "": it has none
    digits  format of the number
    better  "low" or "high"
    title   head of its column; "": the measure's name
    """

    unit: str = ""
    digits: str = ".3f"
    better: str = "low"
    title: str = ""

    def head(self, name: str) -> str:
        """What the measure called `name` is called where people read it."""
        return self.title or name

    def axis(self, name: str, units: dict) -> str:
        """The same with its unit, on data whose elements have `units` (Units._asdict())."""
        head, unit = self.head(name), self.unit.format(element=units["element"])
        return head if head.startswith(unit) else unit if unit.startswith(head) else f"{head}, {unit}"


class Exhibit(NamedTuple):
    """A part of the page: a picture, a table, a gallery.

    title  its heading, plain text
    about  what is to be seen, plain text
    html   an element that needs nothing else, with everything that comes from data escaped
    long   whether it stands at the end of its study, where galleries are
    """

    title: str
    about: str
    html: str
    long: bool = False
