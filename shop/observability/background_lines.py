"""Log lines written by a thread, so that a slow reader of standard error delays no request."""

import logging
import queue
import threading
from contextlib import suppress
from typing import TextIO

MOST_LINES = 10_000
"""Lines that wait to be written; further ones are dropped and counted."""
FLUSH_SECONDS = 0.5
"""How long the process waits at its end for them to be written."""


class BackgroundHandler(logging.Handler):
    """Formats a record in the thread that logs it, which has its ids, and writes it in a thread of its own.

    Once there is room again, a line says how many were dropped.
    """

    def __init__(self, stream: TextIO, *, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(most_lines)
        self._dropped = 0
        threading.Thread(target=self._write_lines, name="log-lines", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let the line wait for the thread. The handler's lock is held, as always here."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all lines are written, for `FLUSH_SECONDS` at most; called at the end of the process."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, FLUSH_SECONDS)

    def _write_lines(self) -> None:
        while True:
            self._write(self._lines.get())
            self._lines.task_done()
            if self._dropped and self._lines.qsize() <= self._lines.maxsize // 2:
                self.acquire()
                dropped, self._dropped = self._dropped, 0
                self.release()
                # Not logged but written: it would wait behind others, or be dropped as well.
                place = (__name__, logging.WARNING, __file__, 0)
                self._write(self.format(logging.LogRecord(*place, "log lines dropped: %s", (dropped,), None)))

    def _write(self, line: str) -> None:
        # An error: nothing reads standard error any more, and there is no other place for the line.
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            if self._lines.empty():
                self._stream.flush()
