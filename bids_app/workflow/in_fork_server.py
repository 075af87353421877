"""Imported by the fork server of a session's nodes, and by nothing else: it ends with the session's process.

Python starts that server with a command of its own; a module to preload is the one way to run something in it.
"""

from bids_app.workflow.pool import die_with_parent

die_with_parent()
