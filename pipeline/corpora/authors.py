"""Who wrote the sentences of pictures: people, or the program that drew the pictures."""

from collections.abc import Iterable


def author(synthetic: bool) -> str:
    """What a sentence of such pictures is labelled with."""
    return "program" if synthetic else "people"


def whose(synthetic: Iterable[bool]) -> str:
    """Whose the sentences of several sets of pictures are, to go before "sentences"."""
    called = {False: "people's", True: "the program's"}
    return " and ".join(called[one] for one in sorted(set(synthetic)))


def origin(synthetic: Iterable[bool]) -> str:
    """The sentence, with a space before it, that says so where some of the pictures are a program's; "" else."""
    return " Pictures and sentences of scenes are synthetic: a program made both." if any(synthetic) else ""
