"""What a Dockerfile says of the image that it makes."""

import json
import re
import shlex


class Dockerfile:
    """Of a multi-stage Dockerfile: its stages, and what its last one tells of the container."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if not line.lstrip().startswith("#")]
        self.stages = []
        for instruction in "".join(lines).replace("\\\n", " ").splitlines():
            if not instruction.strip():
                continue
            word, rest = instruction.split(None, 1)
            if word.upper() == "FROM":
                self.stages.append([])
            self.stages[-1].append((word.upper(), rest.strip()))
        self._last = self.stages[-1]

    def base_images(self):
        return [rest.split()[0] for stage in self.stages for word, rest in stage if word == "FROM"]

    def all_of(self, word):
        return [rest for name, rest in self._last if name == word]

    def one(self, word):
        """The instruction of that name which counts, as Docker has it: the last."""
        return self.all_of(word)[-1]

    @property
    def environment(self):
        return dict(pair.split("=", 1) for rest in self.all_of("ENV") for pair in shlex.split(rest))

    @property
    def user(self):
        """(user, group), as numbers."""
        user, group = self.one("USER").split(":")
        return int(user), int(group)

    @property
    def stop_signal(self):
        return self.one("STOPSIGNAL")

    @property
    def volumes(self):
        return self.one("VOLUME").split()

    @property
    def ports(self):
        return [int(port) for port in self.one("EXPOSE").split()]

    @property
    def command(self):
        """What the container runs: ENTRYPOINT and CMD, in the form of JSON."""
        commands = [
            json.loads(self.one(word)) for word in ("ENTRYPOINT", "CMD") if self.all_of(word)
        ]
        return sum(commands, [])

    @property
    def health_command(self):
        return json.loads(re.search(r"CMD (\[.*\])$", self.one("HEALTHCHECK"))[1])

    @property
    def packages(self):
        """Those that the last stage installs."""
        found = [re.search(r"apt-get install ([^&]*)", rest) for rest in self.all_of("RUN")]
        return {
            word
            for match in found
            if match
            for word in match[1].split()
            if not word.startswith("-")
        }
