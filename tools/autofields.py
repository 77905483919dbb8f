"""For the API reference: leave out what a named tuple says of its fields by itself.

Their meaning stands in the class's own docstring, under Attributes.
"""

from sphinx.application import Sphinx


def skip(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """Skip `Alias for field number 0` and its like."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
