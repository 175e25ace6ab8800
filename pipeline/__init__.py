"""The recurrent laboratory: fetch, prepare, train, evaluate, report and sample sequence models."""

import signal
import sys

# `python -m pipeline.<verb>`, being imported: Ctrl-C ends it without a word until the verb takes the signal itself.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
