"""The log level of this process, which can be changed while it runs."""

import logging
from typing import get_args

from balancer.config.scalars import Level


def set_level(level: Level) -> None:
    """Write messages of this level and above from now on."""
    logging.getLogger().setLevel(level.upper())


def level() -> Level:
    """Return the active level."""
    number = logging.getLogger().getEffectiveLevel()
    return next(each for each in get_args(Level) if logging.getLevelName(each.upper()) >= number)
