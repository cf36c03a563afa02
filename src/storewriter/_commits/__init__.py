"""What one batch does: load the document once, apply each function to a state of its own, save once, answer each."""
