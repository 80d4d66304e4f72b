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
    """What is reached from elsewhere speaks TLS, or is told that it need not."""
    has_tls = "tls_cert" in told and "tls_key" in told
    insecure = told.get("insecure") == "true"
    if insecure and has_tls:
        yield f"{where}: --insecure, with TLS"
    if not (is_loopback(told["listen"]) or has_tls or insecure):
        yield f"{where}: --listen is reached from elsewhere, without TLS or --insecure"
    if not (is_loopback(told["http_listen"]) or insecure or told.get("http_insecure") == "true"):
        yield f"{where}: --http_listen is reached from elsewhere, without --http_insecure"
    if has_tls and "http_admin_token_file" in told:
        yield f"{where}: the token of the board crosses the network in plain text"


def check_images(where, images, version):
    for image in images:
        name, _, tag = image.split("@")[0].rpartition(":")
        if not name or "/" in tag or FLOATING.fullmatch(tag):
            yield f"{where}: {image} has no fixed version"
        elif name.split("/")[-1] == "breakerd" and tag != version:
            yield f"{where}: {image} is not of version {version}"
