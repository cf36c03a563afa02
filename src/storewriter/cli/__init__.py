"""The command line: `storewriter` (`commands`), and what the adapters' commands share with it (`base`)."""
