"""What deploy/ tells the daemon, against what `breakerd --help` says; and which images it takes."""

import ipaddress
import os
import re
import subprocess

from manifests import DEPLOY

FLOATING = re.compile(r"(latest|stable|edge|main|master|nightly|v?\d+|v?\d+\.\d+)(-.*)?")


class Breakerd:
    """The real one, to be asked what flags it has."""

    def __init__(self, path):
        self._path = path
        text = subprocess.run([path, "--help"], text=True, capture_output=True, check=True).stdout
        self.flags = set(re.findall(r"^  (?:-\w,)?--([a-z_]+)", text, re.MULTILINE))
        self.variables = set(re.findall(r"\(Env:BREAKERD_([A-Z_]+)\)", text))

    def objections(self, told, policies):
        """To the values of flags, and to this file of policies."""
        environment = {"BREAKERD_" + name.upper(): value for name, value in told.items()}
        result = subprocess.run(
            [self._path, "--check_policies", policies],
            text=True,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return result.stdout.strip() if result.returncode != 0 else None

    def check(self, where, told, policies=os.path.join(DEPLOY, "policies", "websocket-app.yaml")):
        unknown = set()
        for name in sorted(told):
            if name.upper() not in self.variables:
                unknown.add(name)
                yield f"{where}: breakerd --help has no --{name} (BREAKERD_{name.upper()})"
        wrong = self.objections(
            {name: value for name, value in told.items() if name not in unknown}, policies
        )
        if wrong:
            yield f"{where}: {wrong}"


def is_loopback(address):
    host = address.rsplit(":", 1)[0].strip("[]")
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def check_listening(where, told):
    """What is reached from elsewhere speaks TLS, or says that it does not."""
    insecure = told.get("insecure") == "true"
    tls = {
        "listen": "tls_cert" in told and "tls_key" in told,
        "http_listen": "tls_cert" in told and told.get("http_tls") == "true",
    }
    for flag, has_tls in tls.items():
        if not is_loopback(told[flag]) and not has_tls and not insecure:
            yield f"{where}: --{flag} is reached from elsewhere, without TLS or --insecure"
    if insecure and any(tls.values()):
        yield f"{where}: --insecure, with TLS"


def check_images(where, images, version):
    for image in images:
        name, _, tag = image.split("@")[0].rpartition(":")
        if not name or "/" in tag or FLOATING.fullmatch(tag):
            yield f"{where}: {image} has no fixed version"
        elif name.split("/")[-1] == "breakerd" and tag != version:
            yield f"{where}: {image} is not of version {version}"
