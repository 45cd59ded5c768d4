"""What an object says, for comparisons."""

import inspect


def attributes(value):
    """All attributes of an object whose class declares them, compiled or not."""
    found = {}
    for cls in type(value).__mro__[:-1]:
        for name, member in vars(cls).items():
            if inspect.isdatadescriptor(member) and not isinstance(member, property) and not name.startswith("__"):
                found[name] = getattr(value, name)
    return found
