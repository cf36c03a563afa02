"""What the tests of the core share: waiting for states, holding turns in threads, and real child processes."""
