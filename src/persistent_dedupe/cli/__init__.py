"""The command line: `commands`, what they print (`output`), and the figures of a folder (`summary`)."""
