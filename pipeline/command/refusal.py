"""How bad input is refused."""


class Refusal(ValueError):
    """Bad input, or a state that forbids the work. The message is one line: the value, the place, the mend."""


def whole_number(setting: str, value: object, least: int = 1) -> int:
    """The value of a setting such as "model.layers". Raises Refusal where it is no whole number from `least` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Refusal(f"{setting}={value}: take a whole number from {least}")
    return value
