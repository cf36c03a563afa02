"""Where a document lives and who may write it. One module an engine."""
