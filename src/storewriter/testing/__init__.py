"""For tests of programs that keep their state in a file: see races, failing system calls and power cuts.

    race, race_commands       do two calls that change a file lose an update?
    intercepted, Recorder,    see, fail and stop the system calls of a store's commit
    Fault, Faults
    power_cuts, PowerCut      every state in which a power cut may leave the files
    FakeClock                 a clock that stands still until it is moved

The pytest plugin of this package gives `race`, `faults` and `fake_clock` as fixtures (`storewriter.testing.plugin`).
"""

from storewriter.testing.calls import Around, Call, Fault, Recorder, System, intercepted
from storewriter.testing.clock import FakeClock
from storewriter.testing.faults import Faults
from storewriter.testing.power import PowerCut, power_cuts
from storewriter.testing.race import LostUpdate, Race, race, race_commands

__all__ = [
    "Around",
    "Call",
    "FakeClock",
    "Fault",
    "Faults",
    "LostUpdate",
    "PowerCut",
    "Race",
    "Recorder",
    "System",
    "intercepted",
    "power_cuts",
    "race",
    "race_commands",
]
