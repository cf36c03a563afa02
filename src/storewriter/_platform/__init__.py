"""The operating system: system calls as a record that tests replace; mounts, journals, kernel locks, threads, fork."""
