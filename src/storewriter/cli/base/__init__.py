"""What the commands `storewriter`, `commitments` and `persistent-dedupe` have in common: one behaviour, written once.

`program`      runs one command line: errors become one line of text and an exit code; interrupts; a closed output
`options`      a group with `--version`, exit codes and completion in its help; `--json`, `--store`, option types
`text`         untrusted text made harmless for a terminal; JSON in printable ASCII
`times`        times and durations, read and written

Only `options` needs click, so that a program whose extra is missing can say so.
"""
