#!/usr/bin/env python3
"""What deploy/k8s, deploy/docker and deploy/prometheus say fits together, and fits the daemon.

  manifests_test.py BREAKERD

Checks what kustomize renders of each overlay, and of the examples, against the schemas of Kubernetes
and the level "restricted" of Pod Security; flags against what the daemon says; ports, probes, names,
labels, files and times against each other and the Dockerfile. Then spoils each of these once, and
checks that it is noticed: see manifests_mutants.py.
"""

import functools
import json
import os
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

import manifests_mutants
from custom_resources import SCHEMAS
from daemon_flags import Breakerd, check_images, check_listening
from docker_checks import check_compose, check_dockerfile, check_monitoring
from dockerfile import Dockerfile
from example_checks import check_restore, check_worker, known_to_clients
from manifests import DEPLOY, TOP, container_of, name_of, overlays, read, render, settings
from overlay_checks import (
    check_against_image,
    check_certificate,
    check_copies,
    check_files,
    check_monitor,
    check_namespace,
    check_ports,
    check_stateful_set,
    check_times,
)
from pod_security import violations

# The oldest that deploy/README.md promises, and the newest whose schemas there are.
KUBERNETES = ("1.29", "1.37")


def check_schema(everything):
    for each in everything:
        schema = SCHEMAS.get(each["kind"])
        if schema is not None:
            for error in jsonschema.Draft202012Validator(schema).iter_errors(each):
                yield f"{name_of(each)}: {error.json_path}: {error.message}"
            continue
        for version in KUBERNETES:
            error = schema_error(json.dumps(each), version)
            if error:
                yield f"{name_of(each)}: {version}: {error}"


@functools.cache
def schema_error(manifest, version):
    try:
        kubernetes_validate.validate(json.loads(manifest), version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return error.message
    return None


def check_readme(breakerd):
    known = known_to_clients() | {"BREAKERD_" + name for name in breakerd.variables}
    for name in sorted(set(re.findall(r"\bBREAKERD_[A-Z_]+\b", read("README.md"))) - known):
        yield f"deploy/README.md: nobody reads {name}"


class Deployment:
    """Everything that is checked.

    manifests_mutants.py spoils copies of it, without the parts (None) that it does not spoil.
    """

    def __init__(self):
        self.overlays = overlays()
        self.production = self.overlays["production"]
        self.worker = render("examples", "worker")
        self.restore = render("examples", "restore")
        self.compose = yaml.safe_load(read("docker", "compose.yaml"))


def check_overlay(name, everything, breakerd, dockerfile, version):
    told = settings(container_of(everything.pod()))
    images = [container_of(everything.pod())["image"]]
    checks = [
        check_schema(everything),
        breakerd.check("flags", told),
        check_listening("flags", told),
        check_images("image", images, version),
        check_stateful_set(everything),
        check_ports(everything),
        check_times(everything),
        check_files(everything),
        check_against_image(everything, dockerfile),
        check_namespace(everything),
        check_copies(everything),
        violations(everything.pod()["spec"]),
    ]
    if everything.of_kind("Certificate"):
        checks += [check_monitor(everything), check_certificate(everything)]
    for check in checks:
        for error in check:
            yield f"{name}: {error}"


def check(deployment, breakerd, dockerfile, version):
    for name, everything in (deployment.overlays or {}).items():
        yield from check_overlay(name, everything, breakerd, dockerfile, version)
    if deployment.worker is not None:
        yield from check_schema(deployment.worker)
        yield from check_worker(deployment.worker, deployment.production)
        pod = deployment.worker.one("Deployment")["spec"]["template"]
        yield from check_images("worker", [container_of(pod)["image"]], version)
    if deployment.restore is not None:
        yield from check_schema(deployment.restore)
        yield from check_restore(deployment.restore, deployment.production)
    if deployment.compose is not None:
        yield from check_compose(deployment.compose, breakerd, dockerfile, version)
        yield from check_monitoring(deployment.compose, dockerfile)
        yield from check_dockerfile(dockerfile, breakerd)
        yield from check_readme(breakerd)


def main():
    deployment = Deployment()
    breakerd = Breakerd(sys.argv[1])
    dockerfile = Dockerfile(os.path.join(DEPLOY, "docker", "Dockerfile"))
    with open(os.path.join(TOP, "CMakeLists.txt"), encoding="utf-8") as file:
        version = re.search(r"project\(breakerd VERSION ([\d.]+)", file.read())[1]

    def errors_of(this):
        errors = []
        try:
            errors.extend(check(this, breakerd, dockerfile, version))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            errors.append(f"and what follows cannot be checked: {error!r}")
        return errors

    errors = errors_of(deployment)
    if not errors:
        errors = list(manifests_mutants.unnoticed(deployment, errors_of))
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
