"""The objects of an overlay of deploy/k8s against each other, the files that they are made of, the
image and Pod Security. Each check yields what is wrong, in words."""

import os

import yaml

from manifests import container_of, matches, name_of, port_of, read, seconds, settings

PORTS = {"grpc": "listen", "http": "http_listen", "health": "health_listen"}
FILES = ("policies", "identities", "tls_cert", "tls_key", "tls_client_ca", "http_admin_token_file")


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
    selectors += [
        (each, each["spec"]["selector"])
        for kind in ("Service", "PodDisruptionBudget")
        for each in everything.of_kind(kind)
    ]
    selectors += [
        (each, each["spec"]["podSelector"]) for each in everything.of_kind("NetworkPolicy")
    ]
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
    if (
        pod.get("automountServiceAccountToken") is not False
        or pod.get("enableServiceLinks") is not False
    ):
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
            if (
                ports.get(port.get("targetPort")) != port["port"]
                or port["name"] != port["targetPort"]
            ):
                yield f"{name_of(service)}: {port} is none of the container's {ports}"
    for probe, services in {
        "startupProbe": {None, ""},
        "livenessProbe": {None, ""},
        "readinessProbe": {"breaker.v1.CircuitBreaker"},
    }.items():
        asked = container.get(probe, {}).get("grpc", {})
        if asked.get("port") != ports["health"]:
            yield f"{probe} asks port {asked.get('port')}, not {told['health_listen']}"
        if asked.get("service") not in services:
            yield f"{probe} asks about {asked.get('service')}"
    policy = everything.one("NetworkPolicy")["spec"]
    if set(policy["policyTypes"]) != {"Ingress", "Egress"} or policy.get("egress"):
        yield "the NetworkPolicy lets the daemon call others"
    rules = {
        rule["ports"][0]["port"]: rule.get("from")
        for rule in policy["ingress"]
        if len(rule["ports"]) == 1
    }
    if set(rules) != set(ports.values()) or len(policy["ingress"]) != len(ports):
        yield f"the NetworkPolicy opens {sorted(rules)}, the container {ports}"
        return
    for name, label in (("grpc", "breakerd-client"), ("http", "app.kubernetes.io/name")):
        if not all(
            peer.get("podSelector", {}).get("matchLabels", {}).get(label)
            for peer in rules[ports[name]] or [{}]
        ):
            yield f"the NetworkPolicy lets all reach port {name}"
    if rules[ports["health"]] is not None:
        yield "the NetworkPolicy knows who the kubelet is"


def check_times(everything):
    pod = everything.pod()["spec"]
    told = settings(container_of(everything.pod()))
    if pod["terminationGracePeriodSeconds"] < 2 * seconds(told["drain_timeout"]):
        yield (
            f"terminationGracePeriodSeconds {pod['terminationGracePeriodSeconds']} leaves no time "
            f"after --drain_timeout {told['drain_timeout']}"
        )


def check_files(everything):
    """Every volume is there, and every file that a flag names; only the data is written."""
    pod = everything.pod()["spec"]
    container = container_of(everything.pod())
    told = settings(container)
    claims = {
        claim["metadata"]["name"]
        for claim in everything.stateful_set()["spec"]["volumeClaimTemplates"]
    }
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
        if (
            each is not namespace
            and each["metadata"].get("namespace") != namespace["metadata"]["name"]
        ):
            yield f"{name_of(each)} is in another namespace"


def check_copies(everything):
    """What is rendered of files that stand elsewhere."""
    if everything.data_of("ConfigMap", "breakerd-policies") != {
        "policies.yaml": read("policies", "websocket-app.yaml")
    }:
        yield "ConfigMap breakerd-policies is not deploy/policies/websocket-app.yaml"
    alerts = yaml.safe_load(read("prometheus", "alerts.yaml"))
    for rule in everything.of_kind("PrometheusRule"):
        if rule["spec"] != alerts:
            yield "PrometheusRule is not deploy/prometheus/alerts.yaml: make it again"


def check_monitor(everything):
    monitor = everything.one("ServiceMonitor")["spec"]
    selected = [
        each
        for each in everything.of_kind("Service")
        if matches(monitor["selector"], each["metadata"].get("labels", {}))
    ]
    if len(selected) != 1:
        yield f"the ServiceMonitor selects {len(selected)} Services: each breaker counts so often"
        return
    if selected[0]["metadata"]["labels"].get(monitor["jobLabel"]) != "breakerd":
        yield "the job is not breakerd, which the alerts look for"
    (endpoint,) = monitor["endpoints"]
    if endpoint["port"] not in [port["name"] for port in selected[0]["spec"]["ports"]]:
        yield f"the ServiceMonitor asks port {endpoint['port']}"
    if endpoint.get("scheme", "http") != "http" or "tlsConfig" in endpoint:
        yield "the ServiceMonitor speaks TLS, and the port does not"


def check_certificate(everything):
    namespace = everything.one("Namespace")["metadata"]["name"]
    names = set(everything.one("Certificate", "breakerd")["spec"]["dnsNames"])
    hosts = {
        each["metadata"]["name"]
        for each in everything.of_kind("Service")
        if each["spec"].get("clusterIP") != "None"
    }
    the_set = everything.stateful_set()
    hosts.add(f"{the_set['metadata']['name']}-0.{the_set['spec']['serviceName']}")
    for host in hosts:
        for name in (f"{host}.{namespace}.svc", f"{host}.{namespace}.svc.cluster.local"):
            if name not in names:
                yield f"the certificate has no name {name}"
    identities = yaml.safe_load(
        everything.data_of("Secret", "breakerd-identities")["identities.yaml"]
    )
    certified = {identity.get("certificate") for identity in identities["identities"]}
    operator = everything.one("Certificate", "breakerd-operator")["spec"]["commonName"]
    if operator not in certified:
        yield f"no identity has the certificate {operator}"
