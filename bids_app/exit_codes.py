"""The exit codes of the command, in one place: those of the BIDS execution draft (16 to 18) and of sysexits.h (64 on).

Exit code 2 is argparse's own: words that are no option, or none of an option's choices.
"""

from __future__ import annotations

ALL_WELL = 0  #: everything that was asked for is there
SOME_FAILED = 1  #: some session or series failed, the others are there
INVALID_BIDS = 16  #: BIDS execution draft: the input is no valid BIDS dataset
NOTHING_MATCHES = 18  #: BIDS execution draft: no data match what was asked for
USAGE = 64  #: EX_USAGE: the command was used wrongly
NO_INPUT = 66  #: EX_NOINPUT: an input file does not exist or cannot be read
CANNOT_CREATE = 73  #: EX_CANTCREAT: an output cannot be made
IO_ERROR = 74  #: EX_IOERR: an error while reading or writing
TRY_AGAIN = 75  #: EX_TEMPFAIL: a failure that may pass
INTERRUPTED = 130  #: what shells give for a process that Ctrl-C ended: 128 + SIGINT
