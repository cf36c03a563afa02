"""Files: atomic durable replace, metadata, backups, paths, folder events."""
