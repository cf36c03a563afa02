"""The queue inside a process: lanes, tickets, waiting, deadlines, messages for waiters. Knows no files."""
