"""How serious a message must be to be written, changed while the daemon runs."""

import logging
from typing import get_args

from balancer.config.scalars import Level


def set_level(level: Level) -> None:
    """Write messages of this level and above from now on, in this process."""
    logging.getLogger().setLevel(level.upper())


def level() -> Level:
    """The level in force."""
    number = logging.getLogger().getEffectiveLevel()
    return next(each for each in get_args(Level) if logging.getLevelName(each.upper()) >= number)
