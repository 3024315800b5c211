"""Text that somebody else wrote, as a terminal, a page or a message can show it."""

_LONGEST_WORD, _LONGEST = 400, 2000


def printable(text: str) -> str:
    r"""Text with a sign in place of what has none, such as control characters and halves of surrogate pairs.

    Example:
        >>> printable("fa\x1b[31m")
        'fa�[31m'
    """
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "�" for sign in text)


def one_line(text: str) -> str:
    r"""Text as one line that can be read at a glance, whatever a user's value brought into it.

    Example:
        >>> one_line("a\nb"), len(one_line("x" * 10_000))
        ('a b', 400)
    """
    return _cut(printable(" ".join(_cut(word, _LONGEST_WORD) for word in text.split())), _LONGEST)


def cut_short(text: str, longest: int = 300) -> str:
    """Text on one line, without a part of its middle where it is longer than so many signs."""
    return _cut(" ".join(text.split()), longest)


def _cut(text: str, longest: int) -> str:
    """The beginning and the end, with a sign for what is left out."""
    if len(text) <= longest:
        return text
    start = longest * 3 // 4
    return f"{text[:start]}…{text[start + 1 - longest :]}"
