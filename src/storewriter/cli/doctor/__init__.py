"""`storewriter doctor`: look at everything that a store depends on, and mend what can be mended.

`findings`   what a check says
`rights`     checks of the document, its folder and its lock file: whose they are, and what this process may do
`locking`    checks of the file system, the strategy, the holder, markers and other programs' locks
`content`    checks of the document itself, its backups, and what lies beside it
`command`    the command
"""
