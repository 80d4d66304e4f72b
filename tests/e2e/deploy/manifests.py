"""The manifests of deploy/k8s as kustomize renders them, and how their objects are found."""

import base64
import os
import re
import shutil

from processes import module, run, skip

yaml = module("yaml", "python3-yaml")

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
DEPLOY = os.path.join(TOP, "deploy")
OVERLAYS = ("dev", "production")


def read(*path):
    with open(os.path.join(DEPLOY, *path), encoding="utf-8") as file:
        return file.read()


def kustomize():
    """What renders: what tests/run.sh has built, or the machine's kubectl."""
    built = os.path.join(TOP, ".build", "tools", "kustomize")
    if os.path.exists(built):
        return [built, "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return skip(["kustomize (tests/run.sh builds it where there is Go) or kubectl"])


def render(*folder):
    text = run(*kustomize(), os.path.join(DEPLOY, "k8s", *folder))
    return Manifests([each for each in yaml.safe_load_all(text) if each])


def overlays():
    return {name: render("overlays", name) for name in OVERLAYS}


def name_of(manifest):
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def matches(selector, labels):
    """A selector that has matchLabels only, or nothing; or one of a Service."""
    return (
        selector.get("matchLabels", {}) if "matchLabels" in selector or not selector else selector
    ).items() <= labels.items()


class Manifests(list):
    def of_kind(self, kind):
        return [each for each in self if each["kind"] == kind]

    def one(self, kind, name=None):
        found = [
            each for each in self.of_kind(kind) if name is None or each["metadata"]["name"] == name
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} objects {kind} {name or ''}")
        return found[0]

    def stateful_set(self):
        return self.one("StatefulSet")

    def pod(self):
        return self.stateful_set()["spec"]["template"]

    def data_of(self, kind, name):
        """The text of a ConfigMap or a Secret, by key; what cert-manager makes is empty."""
        for each in self.of_kind(kind):
            if each["metadata"]["name"] == name:
                data = each.get("data", {})
                return {
                    key: decoded(value) if kind == "Secret" else value
                    for key, value in data.items()
                }
        for each in self.of_kind("Certificate"):
            if kind == "Secret" and each["spec"]["secretName"] == name:
                return {"tls.crt": "", "tls.key": "", "ca.crt": ""}
        return None


def decoded(text):
    return base64.b64decode(text).decode()


def container_of(pod):
    (container,) = pod["spec"]["containers"]
    return container


def settings(container):
    """What breakerd is told, by flag: from the container's environment and arguments."""
    told = {}
    for variable in container.get("env", []):
        if variable["name"].startswith("BREAKERD_"):
            told[variable["name"][len("BREAKERD_") :].lower()] = variable.get("value", "")
    for argument in container.get("args", []):
        flag, value = re.fullmatch(r"--([a-z_]+)(?:=(.*))?", argument).groups()
        told[flag] = "true" if value is None else value
    return told


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def seconds(text):
    """Of a Go duration of one unit, such as 10s."""
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h)", str(text)).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]
