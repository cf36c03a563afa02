"""The measuring engine behind `storewriter bench` and the repository's `benchmarks/`.

A *contender* is one way to keep a shared document; a *scenario* names its callers, what they call, and the
size of the document. Every contender of a scenario does the same work, and what it acknowledged is counted again in the
stored document at the end: a lost update is a result, never an assumption.

`contender`    what a way to keep a document must offer to be measured
`document`     the work itself: one attempt more on one record
`scenarios`    what a scenario is; the table of S1 to S11 is in `benchmarks/scenarios.py`
`strategies`   the table of our own contenders, one a lock strategy
`callers`      one caller, threads, or tasks, calling for a while and timing every call
`team`         the processes that make up one measurement, started together and stopped together
`measures`     from a scenario and a contender to figures
`worker`       one measurement in a fresh interpreter
`conduct`      plan a run: interleaved, repeated, in seeded order
`results`      what a run found out, and its JSON
`machine`      on what it was found out
`statistics`   percentiles, fairness, histograms
`choices`      what the command compares
`advice`       its recommendation in words
`answer`       what it shows
`command`      `storewriter bench` itself; only these two need the extra `cli`
"""
