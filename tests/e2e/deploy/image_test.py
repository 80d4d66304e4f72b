#!/usr/bin/env python3
"""What the Dockerfile of deploy/docker makes: it is built here and run, without Docker.

  image_test.py BUILD_FOLDER

Checks that the image has the packages that its programs need and no others, that .dockerignore lets
through what the build needs, and that a container of it works as the Dockerfile says: user, root
file system, volume, ports, health command and signal to stop. See image.py.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys

from dockerfile import Dockerfile
from image import DOCKERFILE, TOP, Container, Image, in_network_of_its_own, is_root
from processes import Directory, run, skip_without, wait_for

# Of the base image, and of the sanitizers that a build for tests may have.
IN_BASE = {"libc6", "libgcc-s1", "libstdc++6", "libasan8", "libubsan1", "libtsan2"}
# Where a device is, or the kernel itself.
NO_FILES = re.compile(r"/dev(/.*)?|/proc(/.*)?")


def check(condition, message):
    if not condition:
        sys.exit(message)


def package_of(library):
    """The package that a library is of; it may have been moved from /lib to /usr/lib."""
    real = os.path.realpath(library)
    for path in (library, real, re.sub("^/usr", "", real), "/usr" + library):
        result = subprocess.run(
            ["dpkg-query", "-S", path], text=True, capture_output=True, check=False
        )
        if result.returncode == 0:
            return result.stdout.split(":")[0]
    sys.exit(f"no package has {library}")


def check_packages(image):
    needed = set()
    for program in image.programs:
        linked = set(re.findall(r"\(NEEDED\).*\[(\S+)\]", run("readelf", "-d", program)))
        for name, path in re.findall(r"(\S+) => (/\S+)", run("ldd", program)):
            if name in linked:
                needed.add(package_of(path))
    check(
        needed - IN_BASE == image.dockerfile.packages,
        f"the Dockerfile installs {sorted(image.dockerfile.packages)}, "
        f"the programs link to {sorted(needed - IN_BASE)}",
    )


def is_ignored(path, patterns):
    """As Docker decides, for the few forms of patterns that the file has."""
    ignored = False
    for pattern in patterns:
        if any(fnmatch.fnmatch(part, pattern.lstrip("!")) for part in parents(path)):
            ignored = not pattern.startswith("!")
    return ignored


def parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def check_context(directory):
    """Configures the build stage's preset from what Docker would be sent."""
    with open(os.path.join(TOP, ".dockerignore"), encoding="utf-8") as file:
        patterns = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    context = os.path.join(directory, "context")
    files = run("git", "-C", TOP, "ls-files", "-co", "--exclude-standard").splitlines()
    for path in files:
        if not is_ignored(path, patterns) and os.path.exists(os.path.join(TOP, path)):
            os.makedirs(os.path.join(context, os.path.dirname(path)), exist_ok=True)
            shutil.copy(os.path.join(TOP, path), os.path.join(context, path))
    for word, rest in Dockerfile(DOCKERFILE).stages[0]:
        if word == "COPY" and not rest.startswith("."):
            check(os.path.exists(os.path.join(context, rest.split()[0])), f"ignored: {rest}")
    run(
        "sh",
        "-c",
        re.search(
            r"cmake --preset [^&]*",
            "".join(rest for word, rest in Dockerfile(DOCKERFILE).stages[0] if word == "RUN"),
        )[0],
        cwd=context,
    )
    run("ninja", "-n", "-C", os.path.join(context, ".build", "release"), "breakerd", "breakerctl")


def check_process(container, image):
    status = container.status()
    user = image.dockerfile.user[0]
    check(user != 0, "the user is root")
    if is_root():
        check(status["Uid"].split() == [str(user)] * 4, f"runs as {status['Uid']}")
    check(status["NSpid"].split()[-1] == "1", f"is process {status['NSpid']}")
    for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        check(int(status[capabilities], 16) == 0, f"{capabilities} is {status[capabilities]}")
    check(status["NoNewPrivs"] == "1", "may take new rights")
    writable = {mount for mount in container.writable_mounts() if not NO_FILES.fullmatch(mount)}
    check(writable == set(image.dockerfile.volumes), f"writes to {sorted(writable)}")
    elsewhere = {
        name
        for name in container.open_files()
        if not NO_FILES.fullmatch(name) and not name.startswith(tuple(image.dockerfile.volumes))
    }
    check(not elsewhere, f"writes to {sorted(elsewhere)}")


def guard(container, *command):
    return container.execute(
        "breakerctl",
        "--timeout",
        "20s",
        "exec",
        "demo/image",
        "--policy",
        "failure_threshold=1,minimum_request_count=1",
        "--",
        *command,
    )


def check_container(image, directory):
    data = {
        place: os.path.join(directory, "data" + place.replace("/", "-"))
        for place in image.dockerfile.volumes
    }
    insecure = {"BREAKERD_INSECURE": "true"}
    log = os.path.join(directory, "container.log")
    with Container(image, log, data, environment=insecure) as container:
        container.wait_until("a healthy container", container.is_healthy, 60)
        check_process(container, image)
        for port, event in zip(image.dockerfile.ports, ("listening", "http_listening")):
            check(
                f" {event} address=0.0.0.0:{port}" in container.log(),
                f"not {event} on {port}:\n{container.log()}",
            )
        status, output = guard(container, "/usr/local/bin/breakerctl", "no-such-command")
        check(status == 2, f"a guarded command: {status}\n{output}")
        status, output = container.execute("breakerctl", "stats", "demo/image")
        check("demo/image is OPEN" in output, f"stats: {status}\n{output}")
        status, seconds = container.end()
        check(
            status == 0,
            f"exit status {status} at {image.dockerfile.stop_signal}\n" f"{container.log()}",
        )
        check(seconds < 10, f"took {seconds:.1f} s to stop")
        trouble = set(re.findall(r"^\S+ (?:warning|error) (\S+)", container.log(), re.MULTILINE))
        check(trouble <= {"insecure"}, container.log())
    with Container(image, log, data, environment=insecure) as container:
        container.wait_until("a healthy container again", container.is_healthy, 60)
        status, output = container.execute("breakerctl", "stats", "demo/image")
        check("demo/image is OPEN" in output, f"its state is lost: {status}\n{output}")
        container.end()
        check(not container.is_healthy(), "healthy, though it has ended")


def check_is_secure_by_itself(image, directory):
    """Listens on every address, and so wants a certificate or to be told that there is none."""
    data = {place: os.path.join(directory, "none") for place in image.dockerfile.volumes}
    with Container(image, os.path.join(directory, "insecure.log"), data) as container:
        wait_for("the end of a container without TLS", lambda: container.ended() is not None)
        check(
            container.ended() != 0 and "--insecure" in container.log(),
            f"exit status {container.ended()}\n{container.log()}",
        )


def main():
    skip_without("bwrap", "setpriv", "readelf", "ldd", "dpkg-query", "ninja")
    in_network_of_its_own()
    with Directory() as directory:
        os.chmod(directory, 0o755)
        image = Image(sys.argv[1], directory)
        check_packages(image)
        check_context(directory)
        check_container(image, directory)
        check_is_secure_by_itself(image, directory)


if __name__ == "__main__":
    main()
