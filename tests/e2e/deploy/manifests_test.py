#!/usr/bin/env python3
"""What deploy/k8s, deploy/docker and deploy/prometheus say fits together, and fits the daemon.

  manifests_test.py BREAKERD

Checks what kustomize renders of each overlay, and of the example of a worker, against the schemas of
Kubernetes and the level "restricted" of Pod Security; flags against `breakerd --help`; ports, probes,
names, labels, files and times against each other and the Dockerfile. Then spoils each of these once,
and checks that it is noticed: see manifests_mutants.py.
"""

import functools
import ipaddress
import json
import os
import re
import subprocess
import sys

import jsonschema
import kubernetes_validate
import yaml

import manifests_mutants
from custom_resources import SCHEMAS
from dockerfile import Dockerfile
from manifests import (DEPLOY, TOP, container_of, matches, name_of, overlays, port_of, read, render,
                       seconds, settings)
from pod_security import violations

# The oldest that deploy/README.md promises, and the newest whose schemas there are.
KUBERNETES = ("1.29", "1.37")
PORTS = {"grpc": "listen", "http": "http_listen", "health": "health_listen"}
FLOATING = re.compile(r"(latest|stable|edge|main|master|nightly|v?\d+|v?\d+\.\d+)(-.*)?")
FILES = ("policies", "identities", "tls_cert", "tls_key", "tls_client_ca", "http_admin_token_file")


# --------------------------------------------------------------------------------------------------
# Schemas

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


# --------------------------------------------------------------------------------------------------
# Flags

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
        result = subprocess.run([self._path, "--check_policies", policies], text=True, env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return result.stdout.strip() if result.returncode != 0 else None

    def check(self, where, told, policies=os.path.join(DEPLOY, "policies", "websocket-app.yaml")):
        unknown = set()
        for name in sorted(told):
            if name.upper() not in self.variables:
                unknown.add(name)
                yield f"{where}: breakerd --help has no --{name} (BREAKERD_{name.upper()})"
        wrong = self.objections({name: value for name, value in told.items() if name not in unknown},
                                policies)
        if wrong:
            yield f"{where}: {wrong}"


def is_loopback(address):
    host = address.rsplit(":", 1)[0].strip("[]")
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def check_listening(where, told):
    """What is reached from elsewhere speaks TLS, or says that it does not."""
    insecure = told.get("insecure") == "true"
    tls = {"listen": "tls_cert" in told and "tls_key" in told,
           "http_listen": "tls_cert" in told and told.get("http_tls") == "true"}
    for flag, has_tls in tls.items():
        if not is_loopback(told[flag]) and not has_tls and not insecure:
            yield f"{where}: --{flag} is reached from elsewhere, without TLS or --insecure"
    if insecure and any(tls.values()):
        yield f"{where}: --insecure, with TLS"


# --------------------------------------------------------------------------------------------------
# Objects against each other

def check_images(where, images, version):
    for image in images:
        name, _, tag = image.split("@")[0].rpartition(":")
        if not name or "/" in tag or FLOATING.fullmatch(tag):
            yield f"{where}: {image} has no fixed version"
        elif name.split("/")[-1] == "breakerd" and tag != version:
            yield f"{where}: {image} is not of version {version}"


def check_stateful_set(everything):
    the_set = everything.stateful_set()
    spec, labels = the_set["spec"], the_set["spec"]["template"]["metadata"]["labels"]
    if spec["replicas"] != 1:
        yield f"{name_of(the_set)}: {spec['replicas']} replicas: the daemon is the one authority"
    headless = everything.one("Service", spec["serviceName"])
    if headless["spec"].get("clusterIP") != "None":
        yield f"{name_of(headless)} is not headless"
    if not any(each["spec"].get("clusterIP") != "None" for each in everything.of_kind("Service")):
        yield "no Service has an address of its own"
    selectors = [(the_set, spec["selector"])]
    selectors += [(each, each["spec"]["selector"]) for kind in ("Service", "PodDisruptionBudget")
                  for each in everything.of_kind(kind)]
    selectors += [(each, each["spec"]["podSelector"]) for each in everything.of_kind("NetworkPolicy")]
    for each, selector in selectors:
        if not selector or not matches(selector, labels):
            yield f"{name_of(each)} does not select the pod: {selector}"
    budget = everything.one("PodDisruptionBudget")["spec"]
    if budget.get("maxUnavailable") != 1 or "minAvailable" in budget:
        yield "the PodDisruptionBudget of one replica forbids to drain its node"
    accounts = [each["metadata"]["name"] for each in everything.of_kind("ServiceAccount")]
    pod = spec["template"]["spec"]
    if pod.get("serviceAccountName") not in accounts:
        yield f"no ServiceAccount {pod.get('serviceAccountName')}"
    if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
        yield "the pod gets a token or variables that it does not need"


def check_ports(everything):
    container = container_of(everything.pod())
    told = settings(container)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name, flag in PORTS.items():
        if ports.get(name) != port_of(told[flag]):
            yield f"port {name} is {ports.get(name)}, --{flag} {told[flag]}"
    if set(ports) != set(PORTS):
        yield f"the container has the ports {sorted(ports)}"
    for service in everything.of_kind("Service"):
        for port in service["spec"]["ports"]:
            if ports.get(port.get("targetPort")) != port["port"] or port["name"] != port["targetPort"]:
                yield f"{name_of(service)}: {port} is none of the container's {ports}"
    for probe, services in {"startupProbe": {None, ""}, "livenessProbe": {None, ""},
                            "readinessProbe": {"breaker.v1.CircuitBreaker"}}.items():
        asked = container.get(probe, {}).get("grpc", {})
        if asked.get("port") != ports["health"]:
            yield f"{probe} asks port {asked.get('port')}, --health_listen is {told['health_listen']}"
        if asked.get("service") not in services:
            yield f"{probe} asks about {asked.get('service')}"
    policy = everything.one("NetworkPolicy")["spec"]
    if set(policy["policyTypes"]) != {"Ingress", "Egress"} or policy.get("egress"):
        yield "the NetworkPolicy lets the daemon call others"
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]
             if len(rule["ports"]) == 1}
    if set(rules) != set(ports.values()) or len(policy["ingress"]) != len(ports):
        yield f"the NetworkPolicy opens {sorted(rules)}, the container {ports}"
        return
    for name, label in (("grpc", "breakerd-client"), ("http", "app.kubernetes.io/name")):
        if not all(peer.get("podSelector", {}).get("matchLabels", {}).get(label)
                   for peer in rules[ports[name]] or [{}]):
            yield f"the NetworkPolicy lets all reach port {name}"
    if rules[ports["health"]] is not None:
        yield "the NetworkPolicy knows who the kubelet is"


def check_times(everything):
    pod = everything.pod()["spec"]
    told = settings(container_of(everything.pod()))
    if pod["terminationGracePeriodSeconds"] < 2 * seconds(told["drain_timeout"]):
        yield (f"terminationGracePeriodSeconds {pod['terminationGracePeriodSeconds']} leaves no time "
               f"after --drain_timeout {told['drain_timeout']}")


def check_files(everything):
    """Every volume is there, every file that a flag names is in one, and only the data is written."""
    pod = everything.pod()["spec"]
    container = container_of(everything.pod())
    told = settings(container)
    claims = {claim["metadata"]["name"]
              for claim in everything.stateful_set()["spec"]["volumeClaimTemplates"]}
    contents = {}
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            contents[volume["name"]] = everything.data_of("ConfigMap", volume["configMap"]["name"])
        elif "secret" in volume:
            contents[volume["name"]] = everything.data_of("Secret", volume["secret"]["secretName"])
            if volume["secret"].get("defaultMode") != 0o440:
                yield f"volume {volume['name']}: everybody may read the secret"
        if contents.get(volume["name"]) is None:
            yield f"volume {volume['name']}: there is no such object"
    places = {}
    for mount in container["volumeMounts"]:
        if mount["name"] not in claims | set(contents) or "subPath" in mount:
            yield f"mount of {mount['name']}: no such volume, or a subPath, which never changes"
        if (mount["name"] in claims) == mount.get("readOnly", False):
            yield f"mount of {mount['name']}: readOnly is wrong"
        places[mount["mountPath"]] = mount["name"]
    if places.get(told["data_dir"]) not in claims:
        yield f"--data_dir {told['data_dir']} is not in the claim"
    for flag in FILES:
        if flag in told:
            folder, name = os.path.split(told[flag])
            if name not in (contents.get(places.get(folder)) or {}):
                yield f"--{flag} {told[flag]} is in no volume"


def check_against_image(everything, dockerfile):
    pod = everything.pod()["spec"]
    told = settings(container_of(everything.pod()))
    context = pod["securityContext"]
    if (context["runAsUser"], context["runAsGroup"]) != dockerfile.user:
        yield f"the pod runs as {context['runAsUser']}, the image as {dockerfile.user}"
    if context.get("fsGroup") != dockerfile.user[1]:
        yield "the daemon cannot write to its volume"
    if container_of(everything.pod())["securityContext"].get("readOnlyRootFilesystem") is not True:
        yield "the root file system can be written to"
    if [told["data_dir"]] != dockerfile.volumes:
        yield f"--data_dir {told['data_dir']}, the image has {dockerfile.volumes}"


def check_namespace(everything):
    namespace = everything.one("Namespace")
    if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield f"{name_of(namespace)} does not enforce the level restricted"
    for each in everything:
        if each is not namespace and each["metadata"].get("namespace") != namespace["metadata"]["name"]:
            yield f"{name_of(each)} is in another namespace"


def check_copies(everything):
    """What is rendered of files that stand elsewhere."""
    if everything.data_of("ConfigMap", "breakerd-policies") != {
            "policies.yaml": read("policies", "websocket-app.yaml")}:
        yield "ConfigMap breakerd-policies is not deploy/policies/websocket-app.yaml"
    alerts = yaml.safe_load(read("prometheus", "alerts.yaml"))
    for rule in everything.of_kind("PrometheusRule"):
        if rule["spec"] != alerts:
            yield "PrometheusRule is not deploy/prometheus/alerts.yaml: make it again"


def check_monitor(everything):
    monitor = everything.one("ServiceMonitor")["spec"]
    selected = [each for each in everything.of_kind("Service")
                if matches(monitor["selector"], each["metadata"].get("labels", {}))]
    if len(selected) != 1:
        yield f"the ServiceMonitor selects {len(selected)} Services: each breaker counts so often"
        return
    if selected[0]["metadata"]["labels"].get(monitor["jobLabel"]) != "breakerd":
        yield "the job is not breakerd, which the alerts look for"
    endpoint, = monitor["endpoints"]
    if endpoint["port"] not in [port["name"] for port in selected[0]["spec"]["ports"]]:
        yield f"the ServiceMonitor asks port {endpoint['port']}"
    told = settings(container_of(everything.pod()))
    if (endpoint.get("scheme") == "https") != (told.get("http_tls") == "true"):
        yield f"the ServiceMonitor speaks {endpoint.get('scheme')}, --http_tls {told.get('http_tls')}"
    server_name = endpoint["tlsConfig"]["serverName"]
    if server_name not in everything.one("Certificate", "breakerd")["spec"]["dnsNames"]:
        yield f"the certificate has no name {server_name}"
    ca = endpoint["tlsConfig"]["ca"]["secret"]
    if ca["key"] not in (everything.data_of("Secret", ca["name"]) or {}):
        yield f"no Secret {ca['name']} with {ca['key']}"


def check_certificate(everything):
    namespace = everything.one("Namespace")["metadata"]["name"]
    names = set(everything.one("Certificate", "breakerd")["spec"]["dnsNames"])
    hosts = {each["metadata"]["name"] for each in everything.of_kind("Service")
             if each["spec"].get("clusterIP") != "None"}
    the_set = everything.stateful_set()
    hosts.add(f"{the_set['metadata']['name']}-0.{the_set['spec']['serviceName']}")
    for host in hosts:
        for name in (f"{host}.{namespace}.svc", f"{host}.{namespace}.svc.cluster.local"):
            if name not in names:
                yield f"the certificate has no name {name}"
    identities = yaml.safe_load(everything.data_of("Secret", "breakerd-identities")["identities.yaml"])
    certified = {identity.get("certificate") for identity in identities["identities"]}
    operator = everything.one("Certificate", "breakerd-operator")["spec"]["commonName"]
    if operator not in certified:
        yield f"no identity has the certificate {operator}"


def check_worker(worker, production):
    """The example reaches the daemon of the overlay, and says who it is."""
    deployment = worker.one("Deployment")
    pod = deployment["spec"]["template"]
    container = container_of(pod)
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    known = set()
    for folder, _, files in os.walk(os.path.join(TOP, "client")):
        if "node_modules" not in folder:
            for file in files:
                with open(os.path.join(folder, file), encoding="utf-8", errors="replace") as text:
                    known.update(re.findall(r"\bBREAKERD_[A-Z_]+\b", text.read()))
    for name in set(environment) - known:
        yield f"worker: no client reads {name}"
    host, port = environment["BREAKERD_TARGET"].rsplit(":", 1)
    service = production.one("Service", host.split(".")[0])
    if host.split(".")[1] != service["metadata"]["namespace"]:
        yield f"worker: {host} is in another namespace"
    if int(port) not in [port["port"] for port in service["spec"]["ports"] if port["name"] == "grpc"]:
        yield f"worker: {host} does not serve gRPC on {port}"
    if host not in production.one("Certificate", "breakerd")["spec"]["dnsNames"]:
        yield f"worker: the certificate has no name {host}"
    peers = [peer["podSelector"] for rule in production.one("NetworkPolicy")["spec"]["ingress"]
             if rule["ports"][0]["port"] == int(port) for peer in rule["from"]]
    if not any(matches(peer, pod["metadata"]["labels"]) for peer in peers):
        yield "worker: the NetworkPolicy does not let it in"
    if not matches(deployment["spec"]["selector"], pod["metadata"]["labels"]):
        yield "worker: the Deployment does not select its pods"
    mount, = container["volumeMounts"]
    volume, = pod["spec"]["volumes"]
    files = {item["path"] for source in volume["projected"]["sources"]
             for kind in source.values() for item in kind["items"]}
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
    identities = yaml.safe_load(production.data_of("Secret", "breakerd-identities")["identities.yaml"])
    if not any(identity["role"] == "worker" and identity.get("workers", 1) >=
               deployment["spec"]["replicas"] for identity in identities["identities"]):
        yield "worker: more pods than its identity may count as"


# --------------------------------------------------------------------------------------------------
# All of it

class Deployment:
    """Everything that is checked. manifests_mutants.py spoils copies of it, without the parts (None)
    that it does not spoil."""

    def __init__(self):
        self.overlays = overlays()
        self.production = self.overlays["production"]
        self.worker = render("examples", "worker")
        self.compose = yaml.safe_load(read("docker", "compose.yaml"))


def check_overlay(name, everything, breakerd, dockerfile, version):
    told = settings(container_of(everything.pod()))
    images = [container_of(everything.pod())["image"]]
    checks = [check_schema(everything), breakerd.check("flags", told), check_listening("flags", told),
              check_images("image", images, version), check_stateful_set(everything),
              check_ports(everything), check_times(everything), check_files(everything),
              check_against_image(everything, dockerfile), check_namespace(everything),
              check_copies(everything), violations(everything.pod()["spec"])]
    if everything.of_kind("Certificate"):
        checks += [check_monitor(everything), check_certificate(everything)]
    for check in checks:
        for error in check:
            yield f"{name}: {error}"


def check_compose(compose, breakerd, dockerfile, version):
    services = compose["services"]
    daemon = services["breakerd"]
    told = {name[len("BREAKERD_"):].lower(): value for name, value in
            {**dockerfile.environment, **daemon["environment"]}.items()}
    yield from breakerd.check("compose", told)
    yield from check_listening("compose", told)
    yield from check_images("compose", [service["image"] for service in services.values()], version)
    if seconds(daemon["stop_grace_period"]) < 2 * seconds(told["drain_timeout"]):
        yield "compose: stop_grace_period leaves no time after --drain_timeout"
    if not os.path.exists(os.path.join(DEPLOY, "docker", daemon["build"]["context"],
                                       daemon["build"]["dockerfile"])):
        yield "compose: no such Dockerfile"
    for port in [port for service in services.values() for port in service["ports"]]:
        if not re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port):
            yield f"compose: port {port} is published to others, or as another"
    if {int(port.split(":")[-1]) for port in daemon["ports"]} != set(dockerfile.ports):
        yield f"compose: publishes {daemon['ports']}, the image has {dockerfile.ports}"
    for name, service in services.items():
        if (service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]
                or "no-new-privileges:true" not in service.get("security_opt", [])):
            yield f"compose: {name} has more rights than it needs"
        for volume in service["volumes"]:
            source, place = volume.split(":")[:2]
            if source.startswith("."):
                if not os.path.exists(os.path.join(DEPLOY, "docker", source)):
                    yield f"compose: {name}: there is no {source}"
                if not volume.endswith(":ro"):
                    yield f"compose: {name} may change {source}"
            elif source not in compose["volumes"]:
                yield f"compose: {name}: there is no volume {source}"
            elif name == "breakerd" and [place] != dockerfile.volumes:
                yield f"compose: {name}: its data is not in {place}"
    place, = (volume.split(":")[1] for volume in daemon["volumes"] if volume.startswith("../policies"))
    if os.path.dirname(told["policies"]) != place or not os.path.exists(
            os.path.join(DEPLOY, "policies", os.path.basename(told["policies"]))):
        yield f"compose: no file {told['policies']}"


def check_monitoring(compose, dockerfile):
    """Prometheus scrapes the daemon, and Grafana asks Prometheus."""
    configuration = yaml.safe_load(read("docker", "prometheus.yaml"))
    shipped = yaml.safe_load(read("prometheus", "prometheus.yaml"))
    targets = configuration["scrape_configs"][0]["static_configs"][0]["targets"]
    if targets != [f"breakerd:{port_of(dockerfile.environment['BREAKERD_HTTP_LISTEN'])}"]:
        yield f"compose: Prometheus scrapes {targets}"
    shipped["scrape_configs"][0]["static_configs"][0]["targets"] = targets
    if configuration != shipped:
        yield "compose: prometheus.yaml is not as deploy/prometheus/prometheus.yaml"
    grafana = compose["services"]["grafana"]
    places = {volume.split(":")[0]: volume.split(":")[1] for volume in grafana["volumes"]}
    source = yaml.safe_load(read("grafana", "provisioning", "datasources", "prometheus.yaml"))
    if source["datasources"][0]["url"] != "http://prometheus:9090":
        yield "compose: Grafana asks another Prometheus"
    provider = yaml.safe_load(read("grafana", "provisioning", "dashboards", "breakerd.yaml"))
    folder = provider["providers"][0]["options"]["path"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if places["../grafana/breakerd.json"] != home or os.path.dirname(home) != folder:
        yield f"compose: the dashboard is not in {folder}"


def check_dockerfile(dockerfile, breakerd):
    told = {name[len("BREAKERD_"):].lower(): value for name, value in dockerfile.environment.items()}
    yield from breakerd.check("Dockerfile", told)
    if dockerfile.ports != [port_of(told["listen"]), port_of(told["http_listen"])]:
        yield f"Dockerfile: exposes {dockerfile.ports}"
    if [told["data_dir"]] != dockerfile.volumes:
        yield f"Dockerfile: --data_dir {told['data_dir']} is not in {dockerfile.volumes}"
    if f"127.0.0.1:{port_of(told['health_listen'])}" not in dockerfile.health_command:
        yield f"Dockerfile: HEALTHCHECK asks another port than {told['health_listen']}"
    if not all(re.fullmatch(r"debian:bookworm-20\d{6}-slim(@sha256:[0-9a-f]{64})?", image)
               for image in dockerfile.base_images()):
        yield f"Dockerfile: {dockerfile.base_images()} are not fixed versions of Debian 12"


def check(deployment, breakerd, dockerfile, version):
    for name, everything in (deployment.overlays or {}).items():
        yield from check_overlay(name, everything, breakerd, dockerfile, version)
    if deployment.worker is not None:
        yield from check_schema(deployment.worker)
        yield from check_worker(deployment.worker, deployment.production)
        pod = deployment.worker.one("Deployment")["spec"]["template"]
        yield from check_images("worker", [container_of(pod)["image"]], version)
    if deployment.compose is not None:
        yield from check_compose(deployment.compose, breakerd, dockerfile, version)
        yield from check_monitoring(deployment.compose, dockerfile)
        yield from check_dockerfile(dockerfile, breakerd)


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
