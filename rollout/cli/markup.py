"""HTML and SVG in which no text can break out: whatever is not made here is escaped."""

import html


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; children that are no `Markup` are text. A trailing `_` of an attribute's name is left out.

    >>> tag("p", "1 < 2", tag("b", "!"), class_="note")
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    named = {key.rstrip("_").replace("_", "-"): html.escape(str(value)) for key, value in attributes.items()}
    opened = "".join(f' {key}="{value}"' for key, value in named.items())
    inner = "".join(child if isinstance(child, Markup) else html.escape(child) for child in children)
    return Markup(f"<{name}{opened}>{inner}</{name}>")
