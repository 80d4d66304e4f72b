"""The image of deploy/docker without Docker: its file tree, and containers of it.

The tree holds what the image's component installs and the shared libraries that this needs. A
container runs in it by bubblewrap as the Dockerfile says: as its user, which owns nothing else;
with a root file system that it cannot write to; as process 1 of its own; without capabilities.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from dockerfile import Dockerfile
from processes import Process, run, wait_for

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
DOCKERFILE = os.path.join(TOP, "deploy", "docker", "Dockerfile")
PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]


def in_network_of_its_own():
    """Runs this test again where all ports are free, and nothing but this machine is reached."""
    if os.environ.get("BREAKERD_TEST_NETWORK") != "own":
        as_root = [] if os.geteuid() == 0 else ["--unshare-user", "--uid", "0", "--gid", "0"]
        os.execvp(
            "bwrap",
            [
                "bwrap",
                "--dev-bind",
                "/",
                "/",
                "--unshare-net",
                *as_root,
                "--die-with-parent",
                "--setenv",
                "BREAKERD_TEST_NETWORK",
                "own",
                "--",
                sys.executable,
                *sys.argv,
            ],
        )


def is_root():
    """Whether it may give files to other users, and run programs as them."""
    with open("/proc/self/uid_map", encoding="ascii") as users:
        return os.geteuid() == 0 and int(users.read().split()[2]) > 1


def libraries(program):
    """The shared libraries that it loads, and its loader."""
    return re.findall(r"(/\S+) \(0x", run("ldd", program))


class Image:
    def __init__(self, build_folder, directory):
        """`directory` has to be one that every user may read."""
        self.dockerfile = Dockerfile(DOCKERFILE)
        self.tree = os.path.join(directory, "image")
        self.programs = []
        install = re.search(
            r"cmake --install \S+ (.*?)(?: &&|$)",
            "".join(rest for word, rest in self.dockerfile.stages[0] if word == "RUN"),
        )[1]
        run("cmake", "--install", build_folder, *install.replace("/staging", self.tree).split())
        for folder, _, files in os.walk(self.tree):
            self.programs += [os.path.join(folder, file) for file in files]
        for library in {lib for program in self.programs for lib in libraries(program)}:
            os.makedirs(self.tree + os.path.dirname(library), exist_ok=True)
            shutil.copy(library, self.tree + library)
        for folder in ["/proc", "/dev", "/tmp", "/etc", *self.dockerfile.volumes]:
            os.makedirs(self.tree + folder, exist_ok=True)
        with open(self.tree + "/etc/hosts", "w", encoding="ascii"):
            pass  # for its own to be mounted there

    def place_to_mount(self, place):
        """Makes it, as a container runtime does."""
        if not os.path.exists(self.tree + place):
            os.makedirs(self.tree + place)
        return place

    def path_of(self, program):
        """In the container, as its PATH finds it."""
        return next(
            path
            for path in (os.path.join(folder, program) for folder in PATH)
            if os.path.isfile(self.tree + path)
        )


class Container(Process):
    """Runs until the end of the `with` block.

    `environment` and `arguments` are added to the image's. `mounts` are folders of this machine by
    the places where the container sees them; it may write to those of `volumes` alone.
    """

    def __init__(self, image, log, volumes, mounts=None, environment=None, arguments=()):
        self._image = image
        self._environment = {
            "PATH": ":".join(PATH),
            **image.dockerfile.environment,
            **(environment or {}),
        }
        self._volumes = volumes
        self._mounts = mounts or {}
        self._info = log + ".info"
        for folder in volumes.values():
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o700)
            if is_root():
                os.chown(folder, *image.dockerfile.user)
        super().__init__(self._sandbox([*image.dockerfile.command, *arguments], self._info), log)

    def _sandbox(self, command, info=None, environment=None, mounts=None):
        user, group = map(str, self._image.dockerfile.user)
        program, *arguments = command
        words = [
            "bwrap",
            "--ro-bind",
            self._image.tree,
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--unshare-user",
            "--uid",
            user,
            "--gid",
            group,
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
            "--as-pid-1",
            "--cap-drop",
            "ALL",
            "--new-session",
            "--die-with-parent",
            "--chdir",
            "/",
            "--clearenv",
        ]
        if is_root():
            # Another user indeed, and not only by name.
            words = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", *words]
        for place, folder in ({} if mounts else self._volumes).items():
            words += ["--bind", folder, self._image.place_to_mount(place)]
        for place, folder in (mounts or self._mounts).items():
            words += ["--ro-bind", folder, self._image.place_to_mount(place)]
        for name, value in (environment or self._environment).items():
            words += ["--setenv", name, value]
        words += ["--", self._image.path_of(program), *arguments]
        if info is not None:  # a shell opens the file that bubblewrap writes to
            words = [
                "sh",
                "-c",
                'exec "$@" 9>"$0"',
                info,
                *words[: words.index("bwrap") + 1],
                "--info-fd",
                "9",
                *words[words.index("bwrap") + 1 :],
            ]
        return words

    def __enter__(self):
        if os.path.exists(self._info):  # of an earlier container
            os.remove(self._info)
        super().__enter__()

        def process_1():
            try:
                with open(self._info, encoding="ascii") as info:
                    return json.load(info)["child-pid"]
            except (OSError, ValueError):
                return None

        self.pid = wait_for("the container's first process", process_1)
        return self

    def __exit__(self, error, *_):
        super().__exit__()
        if error is not None:
            print(self.log(), end="", file=sys.stderr)

    def execute(self, *command, environment=None, mounts=None):
        """As `docker exec`. The exit status, and what it wrote.

        With an environment and mounts of its own it is another container of the image, on the same
        network.
        """
        result = subprocess.run(
            self._sandbox(command, environment=environment, mounts=mounts),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stdout

    def is_healthy(self):
        return self.execute(*self._image.dockerfile.health_command)[0] == 0

    def ended(self):
        """The exit status; None while it runs."""
        return self._process.poll()

    def wait_until(self, what, condition, seconds=30):
        """As wait_for; fails at once when the container has ended."""

        def met():
            if self.ended() is not None:
                sys.exit(f"the container has ended, exit status {self.ended()}")
            return condition()

        return wait_for(what, met, seconds)

    def end(self):
        """As `docker stop`: the exit status, and how many seconds it took."""
        start = time.monotonic()
        os.kill(self.pid, signal.Signals[self._image.dockerfile.stop_signal])
        status = wait_for(
            f"the end at {self._image.dockerfile.stop_signal}",
            lambda: None if self.ended() is None else (self.ended(),),
        )[0]
        return status, time.monotonic() - start

    def status(self):
        """What the kernel says of its first process: name and value."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def writable_mounts(self):
        with open(f"/proc/{self.pid}/mountinfo", encoding="ascii") as mounts:
            rows = [line.split() for line in mounts]
        return {row[4] for row in rows if "rw" in row[5].split(",")}

    def open_files(self):
        """The files that it has open to write to, but for its log."""
        found = set()
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                with open(f"/proc/{self.pid}/fdinfo/{fd}", encoding="ascii") as info:
                    flags = int(re.search(r"flags:\s*(\d+)", info.read())[1], 8)
                name = os.readlink(f"/proc/{self.pid}/fd/{fd}")
            except OSError:
                continue
            if flags & os.O_ACCMODE != os.O_RDONLY and name.startswith("/") and name != self._log:
                found.add(name)
        return found
