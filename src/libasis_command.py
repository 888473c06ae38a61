"""The command ``libasis`` before libasis is imported, which takes seconds: it can be stopped, and lacks no stream."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line and exit, see `libasis.run.main`."""
    for number in range(3):  # a file that were opened under the number of a closed stream would be written to
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _stop)
    from libasis.run import main as run

    run()


def _stop(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has begun, or all is done."""
    with contextlib.suppress(OSError):
        os.write(2, b"Stopped.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
