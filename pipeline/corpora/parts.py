"""The parts of data: what is trained on, what is validated on, what is tested on; and the card that says so."""

from pipeline.command.refusal import Refusal

PARTS = ("train", "validation", "test")


def shares_of(split: str) -> list[int]:
    """Per cent of training, validation and test part of a split such as "80-10-10", or of the first two alone, "90-10".
    Raises Refusal for what is no split."""
    shares = [int(share) if share.isdecimal() else 0 for share in str(split).split("-")]
    if len(shares) not in (2, 3) or min(shares) < 1 or sum(shares) != 100:
        raise Refusal(
            f"data.split={split}: take per cent of training, validation and test part, such as 80-10-10, or of the "
            "first two, such as 90-10"
        )
    return shares


def split_borders(total: int, split: str, whole: str) -> dict[str, slice]:
    """Where the parts of `total` elements begin and end; borders round down.

    split  as of shares_of
    whole  what is split, for messages: "data.length=15"
    Raises Refusal for no split, or a part with less than two elements.
    """
    shares = shares_of(split)
    ends = [total * sum(shares[:k]) // 100 for k in range(len(shares) + 1)]
    found = {part: slice(start, end) for part, start, end in zip(PARTS, ends, ends[1:])}
    for part, border in found.items():
        if border.stop - border.start < 2:
            raise Refusal(
                f"{whole}: too few for data.split={split}, the {part} part would have "
                f"{border.stop - border.start} of them: take more"
            )
    return found


def make_card(corpus: str, split: str, counts: dict[str, int], fingerprint: str, **more: object) -> dict:
    """What is known of data: part -> elements, a checksum of all that a model can see, and more."""
    return {"corpus": corpus, "split": split, "counts": counts, "fingerprint": fingerprint} | more
