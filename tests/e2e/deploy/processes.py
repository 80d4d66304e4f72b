"""Real processes for the tests beside this file: breakerd, breakerctl and what watches them."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

SKIPPED = 77  # ctest's SKIP_RETURN_CODE


def skip(missing):
    print("skipped: not installed: " + ", ".join(missing))
    sys.exit(SKIPPED)


def skip_without(*programs):
    """Ends the test as skipped unless all programs are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        skip(missing)


def module(name, package):
    """One that Debian has in a package of its own; without it the test is skipped."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip([package])


def run(*command, status=0, **options):
    """Runs a command to its end; fails unless it ends with `status`. What it wrote."""
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            timeout=60, check=False, **options)
    if result.returncode != status:
        sys.exit(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    return result.stdout


def wait_for(what, condition, seconds=30):
    """What `condition()` answers, once that is true; fails when it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    sys.exit(f"waited {seconds} s in vain: {what}")


class Directory:
    """A temporary one."""

    def __enter__(self):
        self._directory = tempfile.mkdtemp(prefix="breakerd-")
        return self._directory

    def __exit__(self, *_):
        shutil.rmtree(self._directory, ignore_errors=True)


class Process:
    """Runs until the end of the `with` block. `log` is a file, for what it writes."""

    def __init__(self, command, log):
        self._command = command
        self._log = log

    def __enter__(self):
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM, and SIGKILL for one that does not end by itself."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self):
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_for_log(self, pattern):
        """The group of a pattern that the log holds, or will."""
        def match():
            found = re.search(pattern, self.log())
            if found is None and self._process.poll() is not None:
                sys.exit(f"{self._command[0]} ended:\n{self.log()}")
            return found and found.group(1)
        return wait_for(f"{pattern} in the log of {self._command[0]}", match)


class Daemon(Process):
    """breakerd, on free ports unless told others; its state is in a folder of `directory`."""

    def __init__(self, breakerd, breakerctl, directory, *flags, listen="127.0.0.1:0",
                 http_listen="127.0.0.1:0"):
        super().__init__([breakerd, "--listen", listen, "--http_listen", http_listen,
                          "--data_dir", os.path.join(directory, "data"), *flags],
                         os.path.join(directory, "breakerd.log"))
        self._breakerctl = breakerctl

    def __enter__(self):
        super().__enter__()
        self.target = self.wait_for_log(r" listening address=(\S+)\s")
        self.http = self.wait_for_log(r" http_listening address=(\S+)\s")
        return self

    def ctl(self, *words, status=0):
        """breakerctl, with this daemon as its target."""
        environment = dict(os.environ, BREAKERD_TARGET=self.target)
        return run(self._breakerctl, "--timeout", "20s", *words, status=status, env=environment)
