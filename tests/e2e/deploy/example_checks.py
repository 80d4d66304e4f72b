"""The examples of deploy/k8s against the overlay "production". Each check yields what is wrong, in
words."""

import os
import re

import yaml

from manifests import TOP, container_of, matches, read
from pod_security import violations


def check_restore(restore, production):
    """The pod that restores gets the volume of the daemon, and may do no more than the daemon."""
    pod = restore.one("Pod")
    the_set = production.stateful_set()
    template = the_set["spec"]["volumeClaimTemplates"][0]
    claim = f"{template['metadata']['name']}-{the_set['metadata']['name']}-0"
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    if claims != [claim]:
        yield f"restore: mounts {claims}, the daemon {claim}"
    if pod["metadata"]["namespace"] != the_set["metadata"]["namespace"]:
        yield "restore: is in another namespace"
    if container_of(pod)["image"] != container_of(production.pod())["image"]:
        yield f"restore: has another image, {container_of(pod)['image']}"
    if matches(
        production.one("Service", "breakerd")["spec"]["selector"], pod["metadata"]["labels"]
    ):
        yield "restore: the Service takes it for the daemon"
    context = production.pod()["spec"]["securityContext"]
    if pod["spec"]["securityContext"] != context:
        yield "restore: writes as another user than the daemon"
    for violation in violations(pod["spec"]):
        yield f"restore: {violation}"


def known_to_clients():
    """The variables that some client reads."""
    known = set()
    for folder, _, files in os.walk(os.path.join(TOP, "client")):
        if "node_modules" not in folder:
            for file in files:
                with open(os.path.join(folder, file), encoding="utf-8", errors="replace") as text:
                    known.update(re.findall(r"\bBREAKERD_[A-Z_]+\b", text.read()))
    return known


def check_worker(worker, production):
    """The example reaches the daemon of the overlay, and says who it is."""
    deployment = worker.one("Deployment")
    pod = deployment["spec"]["template"]
    container = container_of(pod)
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    for name in sorted(set(environment) - known_to_clients()):
        yield f"worker: no client reads {name}"
    host, port = environment["BREAKERD_TARGET"].rsplit(":", 1)
    service = production.one("Service", host.split(".")[0])
    if host.split(".")[1] != service["metadata"]["namespace"]:
        yield f"worker: {host} is in another namespace"
    if int(port) not in [
        port["port"] for port in service["spec"]["ports"] if port["name"] == "grpc"
    ]:
        yield f"worker: {host} does not serve gRPC on {port}"
    if host not in production.one("Certificate", "breakerd")["spec"]["dnsNames"]:
        yield f"worker: the certificate has no name {host}"
    peers = [
        peer["podSelector"]
        for rule in production.one("NetworkPolicy")["spec"]["ingress"]
        if rule["ports"][0]["port"] == int(port)
        for peer in rule["from"]
    ]
    if not any(matches(peer, pod["metadata"]["labels"]) for peer in peers):
        yield "worker: the NetworkPolicy does not let it in"
    if not matches(deployment["spec"]["selector"], pod["metadata"]["labels"]):
        yield "worker: the Deployment does not select its pods"
    (mount,) = container["volumeMounts"]
    (volume,) = pod["spec"]["volumes"]
    files = {
        item["path"]
        for source in volume["projected"]["sources"]
        for kind in source.values()
        for item in kind["items"]
    }
    for name in ("BREAKERD_TLS_CA", "BREAKERD_TOKEN_FILE"):
        folder, file = os.path.split(environment[name])
        if folder != mount["mountPath"] or file not in files:
            yield f"worker: {name} {environment[name]} is in no volume"
    for source in volume["projected"]["sources"]:
        for kind in source.values():
            if kind["name"] not in read("README.md"):
                yield f"worker: deploy/README.md does not say how {kind['name']} is made"
    for violation in violations(pod["spec"]):
        yield f"worker: {violation}"
    identities = yaml.safe_load(
        production.data_of("Secret", "breakerd-identities")["identities.yaml"]
    )
    if not any(
        identity["role"] == "worker"
        and identity.get("workers", 1) >= deployment["spec"]["replicas"]
        for identity in identities["identities"]
    ):
        yield "worker: more pods than its identity may count as"
