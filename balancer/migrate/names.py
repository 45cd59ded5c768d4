"""Names in our configuration for what others have named."""

import re
from itertools import chain, count


def own_name(name: str, taken: set[str]) -> str:
    """A name our configuration allows, as close as can be; it is added to ``taken``."""
    base = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:57] or "unnamed"
    chosen = next(each for each in chain([base], (f"{base}-{n}" for n in count(2))) if each not in taken)
    taken.add(chosen)
    return chosen
