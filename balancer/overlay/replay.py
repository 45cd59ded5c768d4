"""Replay journal entries on an overlay. Pure."""

import logging

from balancer.errors import Refused
from balancer.overlay.entries import Entry, RingRecord, configured_weights
from balancer.overlay.overlay import Overlay

logger = logging.getLogger("balancer.state")


def replayed(overlay: Overlay, entry: Entry, config: RingRecord | None) -> Overlay:
    """The overlay after an entry. What was accepted once is accepted again, unless the configuration has changed."""
    weights = configured_weights(config) if config else {}
    for change in entry.changes:
        try:
            overlay = overlay.apply(change, weights, entry.time, entry.who)
        except Refused as error:
            logger.warning("entry %d of the journal no longer applies: %s", entry.seq, error)
    return overlay
