"""What holds for every test."""

import signal

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and so would every
# process that a test starts in order to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)
