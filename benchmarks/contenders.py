"""All contenders: our strategies first, then what people use today."""

from benchmarks.peers.databases import DATABASES
from benchmarks.peers.functions import FUNCTIONS
from benchmarks.peers.locks import LOCKS
from benchmarks.peers.node import NODE
from benchmarks.peers.sketches import SKETCHES
from storewriter.cli.bench.contender import table
from storewriter.cli.bench.strategies import STRATEGIES

CONTENDERS = table(*STRATEGIES.values(), *FUNCTIONS, *SKETCHES, *LOCKS, *DATABASES, *NODE)
