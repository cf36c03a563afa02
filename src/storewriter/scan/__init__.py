"""Find load-modify-save of one file without a lock around it. Python source is read, and never imported.

sources        which files are scanned, and how they are read
findings       from flows to findings; callers that hold the lock
flow           the flow of a function, statement by statement, into the helpers that it calls
calls          what a call does: follows a helper, takes a lock, opens, loads, saves, renames
expressions    which file an expression names, and where its content comes from
file_calls     functions of libraries that do something with files
locks          names and calls that take a lock
reach          which functions are worth following
state, values  what holds at one point of a flow, and what is known of a value
modules        the parsed source, and how a name leads to a function
formats        findings as text, for GitHub, as SARIF
"""

from storewriter.scan.findings import Finding
from storewriter.scan.formats import as_github, as_sarif, as_text
from storewriter.scan.sources import Scan, scan

__all__ = ["Finding", "Scan", "as_github", "as_sarif", "as_text", "scan"]
