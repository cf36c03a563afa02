"""Whether commitments are delivered at all, and how many a day."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import attrs

DEFAULT_MAX_PER_DAY = 3


@attrs.frozen
class CommitmentsConfig:
    """The gateway's settings for commitments."""

    enabled: bool = False
    """Whether due commitments are delivered; off by default."""
    max_per_day: int = attrs.field(default=DEFAULT_MAX_PER_DAY, validator=attrs.validators.ge(1))
    """How many may be sent per agent and session in any 24 hours; at least 1."""

    @classmethod
    def from_mapping(cls, config: Mapping[str, object]) -> CommitmentsConfig:
        """Return the settings in a configuration: `{"commitments": {"enabled": true, "maxPerDay": 3}}`.

        Only the value `true` enables. `maxPerDay` is rounded down, to at least 1; whatever is not a finite
        number above 0 means the default. Nothing is refused: so its owner reads it.
        """
        section = config.get("commitments")
        if not isinstance(section, Mapping):
            return cls()
        settings = cast("Mapping[str, object]", section)
        return cls(settings.get("enabled") is True, _max_per_day(settings.get("maxPerDay")))


def _max_per_day(value: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        return DEFAULT_MAX_PER_DAY
    return max(1, math.floor(value))
