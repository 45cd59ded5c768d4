"""Names that our configuration allows, made from names of another configuration."""

import re
from itertools import chain, count


def own_name(name: str, taken: set[str]) -> str:
    """Return a valid name that is not in ``taken``, as close to ``name`` as possible, and add it to ``taken``."""
    base = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:57] or "unnamed"
    chosen = next(each for each in chain([base], (f"{base}-{n}" for n in count(2))) if each not in taken)
    taken.add(chosen)
    return chosen
