# Written by tools/tangle.py from
# book/source/files.md
# Edit that, not this.
"""What an argument must be, or an error that names it."""

from collections.abc import Iterable

__all__: list[str] = []


def as_texts(
    texts: Iterable[str], what: str, empty: bool = False
) -> list[str]:
    """Give a list of strings, or say what is wrong.

    Raises:
        TypeError: not a collection, or something in it is no string.
        ValueError: half a character; or nothing in it, unless it may
            be `empty`.
    """
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise TypeError(
            f"{what}s must be a list of strings, not {texts!r} "
            f"({type(texts).__name__})"
        )
    texts = list(texts)
    if not texts and not empty:
        raise ValueError(f"no {what}s: the batch is empty")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            hint = ""
            if isinstance(text, (tuple, list)):
                hint = "; second texts go into the second argument"
            raise TypeError(
                f"{what} {i} must be a string, not {text!r} "
                f"({type(text).__name__}){hint}"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{what} {i} holds half a character (a lone surrogate, "
                f"{text[error.start]!r}) at place {error.start}"
            ) from None
    return texts


def check_whole(name: str, value: int, least: int, most: int | None = None) -> int:
    """Give back an argument that must be a whole number of a range.

    Raises:
        TypeError, ValueError: it is not; they name it.
    """
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least or (most is not None and value > most):
        end = "or more" if most is None else f"to {most}"
        raise ValueError(f"{name} is {value}, not {least} {end}")
    return int(value)


def brief(text: object, most: int = 400) -> str:
    """Write something for an error; of what is long, only both ends."""
    words = str(text)
    if len(words) <= most:
        return words
    return f"{words[: most // 2]} ... {words[-most // 2 :]}"
