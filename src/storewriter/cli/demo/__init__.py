"""`storewriter demo`: the loss of updates, its end, and the proof, on a real commitments store.

`before`       load, modify, save, as it is usually written: what loses updates
`subject`      the store that the writers change, and what is expected of it
`settings`     the writers: two tasks, two threads, two processes; each as before and as after
`gateway`      the process that bumps attempts while the command line dismisses
`trials`       one trial, a run of them, and what they amount to
`report`       the lines and the table
`command`      the command itself
"""

from storewriter.cli.demo.command import demo

__all__ = ["demo"]
