"""How bad input is refused."""


class Refusal(ValueError):
    """Bad input, or a state that forbids the work. The message is one line: the value, the place, the mend."""
