"""Spoils deploy/ in one place at a time: manifests_test.py has to notice each, in these words."""

import copy

CONTAINER = "StatefulSet.spec.template.spec.containers.0"
POD = "StatefulSet.spec.template.spec"
GONE = object()

# Where in production, what instead, and words of the error.
PRODUCTION = [
    ("StatefulSet.spec.replicas", 3, "one authority"),
    ("StatefulSet.spec.serviceName", "breakerd", "not headless"),
    ("StatefulSet.spec.replica", 1, "'replica' was unexpected"),
    ("StatefulSet.apiVersion", "apps/v1beta1", "StatefulSet breakerd: 1.37"),
    ("StatefulSet.metadata.namespace", "default", "another namespace"),
    (f"{POD}.terminationGracePeriodSeconds", 10, "leaves no time"),
    (f"{POD}.serviceAccountName", "default", "no ServiceAccount"),
    (f"{POD}.automountServiceAccountToken", True, "does not need"),
    (f"{POD}.enableServiceLinks", GONE, "does not need"),
    (f"{POD}.hostNetwork", True, "hostNetwork"),
    (f"{POD}.hostPID", True, "hostPID"),
    (f"{POD}.securityContext.runAsNonRoot", GONE, "runAsNonRoot"),
    (f"{POD}.securityContext.runAsUser", 0, "runAsUser is 0"),
    (f"{POD}.securityContext.runAsUser", 1000, "the image as"),
    (f"{POD}.securityContext.fsGroup", 1000, "cannot write"),
    (f"{POD}.securityContext.seccompProfile", GONE, "seccompProfile"),
    (f"{POD}.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctl"),
    (f"{POD}.volumes.0", {"name": "tls", "hostPath": {"path": "/"}}, "hostPath"),
    (f"{POD}.volumes.0.secret.secretName", "other", "no such object"),
    (f"{POD}.volumes.0.secret.defaultMode", 0o444, "everybody may read"),
    (f"{CONTAINER}.image", "registry.example.com/breakerd", "no fixed version"),
    (f"{CONTAINER}.image", "registry.example.com/breakerd:latest", "no fixed version"),
    (f"{CONTAINER}.image", "registry.example.com/breakerd:1", "no fixed version"),
    (f"{CONTAINER}.image", "registry.example.com/breakerd:9.9.9", "not of version"),
    (f"{CONTAINER}.args", ["--tls_certificate=/etc/x"], "has no --tls_certificate"),
    (f"{CONTAINER}.env.BREAKERD_TLS_CERT", "/etc/breakerd/tls/cert.pem", "in no volume"),
    (f"{CONTAINER}.env.BREAKERD_TLS_KEY", GONE, "without TLS"),
    (f"{CONTAINER}.env.BREAKERD_HTTP_INSECURE", GONE, "without --http_insecure"),
    (f"{CONTAINER}.env.BREAKERD_LISTENS", "x", "has no --listens"),
    (f"{CONTAINER}.env.BREAKERD_DRAIN_TIMEOUT", "ten", "ten"),
    (f"{CONTAINER}.env.BREAKERD_DRAIN_TIMEOUT", "20s", "leaves no time"),
    (f"{CONTAINER}.env.BREAKERD_INSECURE", "true", "--insecure, with TLS"),
    (f"{CONTAINER}.env.BREAKERD_LISTEN", "0.0.0.0:50050", "port grpc"),
    (f"{CONTAINER}.env.BREAKERD_HTTP_LISTEN", "0.0.0.0:9465", "port http"),
    (f"{CONTAINER}.env.BREAKERD_HEALTH_LISTEN", "0.0.0.0:50053", "port health"),
    (f"{CONTAINER}.env.BREAKERD_DATA_DIR", "/data", "not in the claim"),
    (f"{CONTAINER}.env.BREAKERD_POLICIES", "/etc/breakerd/policies/p.yaml", "in no volume"),
    (f"{CONTAINER}.ports.1.containerPort", 9465, "port http"),
    (f"{CONTAINER}.ports.2.hostPort", 50052, "hostPort"),
    (f"{CONTAINER}.startupProbe.grpc.port", 50051, "startupProbe asks port"),
    (f"{CONTAINER}.livenessProbe.grpc.service", "breaker.v1.Breaker", "livenessProbe asks about"),
    (f"{CONTAINER}.readinessProbe.grpc.service", GONE, "readinessProbe asks about"),
    (f"{CONTAINER}.readinessProbe.periodSecond", 1, "'periodSecond' was unexpected"),
    (f"{CONTAINER}.resources.limits.memory", True, "StatefulSet breakerd"),
    (f"{CONTAINER}.securityContext.readOnlyRootFilesystem", GONE, "root file system"),
    (f"{CONTAINER}.securityContext.allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
    (f"{CONTAINER}.securityContext.privileged", True, "privileged"),
    (f"{CONTAINER}.securityContext.capabilities.drop", ["NET_RAW"], "drop ALL"),
    (f"{CONTAINER}.securityContext.capabilities.add", ["SYS_PTRACE"], "adds capabilities"),
    (f"{CONTAINER}.securityContext.procMount", "Unmasked", "procMount"),
    (f"{CONTAINER}.volumeMounts.0.readOnly", GONE, "readOnly is wrong"),
    (f"{CONTAINER}.volumeMounts.0.subPath", "tls.crt", "subPath"),
    ("Service/breakerd.spec.ports.0.targetPort", "rpc", "none of the container's"),
    ("Service/breakerd.spec.ports.0.port", 50052, "none of the container's"),
    ("Service/breakerd.spec.selector", {"app": "breakerd"}, "does not select the pod"),
    ("Service/breakerd-headless.spec.clusterIP", GONE, "not headless"),
    ("NetworkPolicy.spec.podSelector.matchLabels", {"app": "x"}, "does not select the pod"),
    ("NetworkPolicy.spec.ingress.0.ports.0.port", 50050, "NetworkPolicy opens"),
    ("NetworkPolicy.spec.ingress.0.from", GONE, "lets all reach port grpc"),
    ("NetworkPolicy.spec.ingress.1.from", [{"namespaceSelector": {}}], "lets all reach port http"),
    ("NetworkPolicy.spec.ingress.2.from", [{"podSelector": {}}], "who the kubelet is"),
    ("NetworkPolicy.spec.egress", [{}], "call others"),
    ("PodDisruptionBudget.spec.minAvailable", 1, "forbids to drain"),
    ("PodDisruptionBudget.spec.selector.matchLabels", {"app": "x"}, "does not select the pod"),
    ("Namespace.metadata.labels", {"pod-security.kubernetes.io/enforce": "baseline"}, "restricted"),
    ("ConfigMap.data", {"policies.yaml": "policies: []\n"}, "is not deploy/policies"),
    ("PrometheusRule.spec.groups.0.rules.0.for", "6m", "make it again"),
    ("PrometheusRule.spec.groups.0.rules.0.expression", "1", "not valid under any"),
    ("ServiceMonitor.spec.endpoints.0.scheme", "https", "speaks TLS"),
    ("ServiceMonitor.spec.endpoints.0.tlsConfig", {}, "speaks TLS"),
    ("ServiceMonitor.spec.endpoints.0.port", "metrics", "asks port metrics"),
    ("ServiceMonitor.spec.endpoint", [], "'endpoint' was unexpected"),
    (
        "ServiceMonitor.spec.selector.matchLabels",
        {"app.kubernetes.io/name": "breakerd"},
        "2 Services",
    ),
    ("ServiceMonitor.spec.jobLabel", "app.kubernetes.io/component", "job is not breakerd"),
    ("Certificate/breakerd.spec.dnsNames", ["breakerd"], "has no name"),
    ("Certificate/breakerd.spec.usage", [], "'usage' was unexpected"),
    ("Certificate/breakerd-operator.spec.commonName", "root", "no identity"),
]

WORKER_POD = "Deployment.spec.template"
WORKER = [
    (f"{WORKER_POD}.metadata.labels.breakerd-client", GONE, "does not let it in"),
    (
        f"{WORKER_POD}.spec.containers.0.env.BREAKERD_TARGET",
        "breakerd.breakerd.svc:50050",
        "does not serve gRPC",
    ),
    (
        f"{WORKER_POD}.spec.containers.0.env.BREAKERD_TARGET",
        "breakerd.default.svc:50051",
        "another namespace",
    ),
    (f"{WORKER_POD}.spec.containers.0.env.BREAKERD_TARGETS", "x", "no client reads"),
    (f"{WORKER_POD}.spec.containers.0.env.BREAKERD_TLS_CA", "/etc/ca.crt", "in no volume"),
    (f"{WORKER_POD}.spec.containers.0.image", "websocket-app", "no fixed version"),
    (f"{WORKER_POD}.spec.volumes.0.projected.sources.0.secret.name", "some-token", "does not say"),
    (f"{WORKER_POD}.spec.securityContext", GONE, "worker: container"),
    ("Deployment.spec.replicas", 40, "more pods"),
    ("Deployment.spec.replicas", "4", "Deployment websocket-app: 1.37"),
]

RESTORE = [
    ("Pod.spec.volumes.0.persistentVolumeClaim.claimName", "data", "restore: mounts"),
    ("Pod.metadata.labels", {"app.kubernetes.io/name": "breakerd"}, "takes it for the daemon"),
    ("Pod.spec.securityContext.fsGroup", 1000, "as another user"),
    ("Pod.spec.containers.0.image", "breakerd:0.1.0", "has another image"),
    ("Pod.spec.containers.0.securityContext", GONE, "restore: container"),
]

COMPOSE = [
    ("services.breakerd.ports.0", "50051:50051", "is published to others"),
    ("services.breakerd.ports.0", "127.0.0.1:50050:50050", "the image has"),
    ("services.breakerd.environment.BREAKERD_INSECURE", GONE, "without TLS"),
    ("services.breakerd.environment.BREAKERD_INSECUR", "true", "has no --insecur"),
    ("services.breakerd.environment.BREAKERD_POLICIES", "/etc/breakerd/policies/x.yaml", "no file"),
    ("services.breakerd.stop_grace_period", "10s", "leaves no time"),
    ("services.breakerd.read_only", False, "more rights"),
    ("services.breakerd.volumes.0", "data:/data", "its data"),
    ("services.breakerd.volumes.1", "../policies:/etc/breakerd/policies", "may change"),
    ("services.grafana.cap_drop", ["NET_RAW"], "more rights"),
    ("services.grafana.image", "grafana/grafana", "no fixed version"),
    (
        "services.grafana.volumes.1",
        "../grafana/breakerd.json:/elsewhere/breakerd.json:ro",
        "the dashboard is not in",
    ),
    ("services.prometheus.image", "prom/prometheus:v3", "no fixed version"),
    (
        "services.prometheus.volumes.1",
        "../alerts.yaml:/etc/prometheus/alerts.yaml:ro",
        "there is no",
    ),
]


def set_environment(container, name, value):
    variables = [each for each in container.get("env", []) if each["name"] != name]
    if value is not GONE:
        variables.append({"name": name, "value": value})
    container["env"] = variables


def spoil(root, steps, value):
    for number, step in enumerate(steps[:-1]):
        if step == "env":
            set_environment(root, steps[number + 1], value)
            return
        root = root[int(step) if isinstance(root, list) else step]
    last = int(steps[-1]) if isinstance(root, list) else steps[-1]
    if value is GONE:
        del root[last]
    else:
        root[last] = value


def spoiled(objects, path, value):
    kind, *steps = path.split(".")
    kind, _, name = kind.partition("/")
    copied = copy.deepcopy(objects)
    spoil(copied.one(kind, name or None), steps, value)
    return copied


def unnoticed(deployment, errors_of):
    """What was spoiled without an error that says so."""

    def look(what, words, **parts):
        mutant = copy.copy(deployment)
        for name in ("overlays", "worker", "restore", "compose"):
            setattr(mutant, name, parts.get(name))
        errors = errors_of(mutant)
        if not any(words in error for error in errors):
            yield f"{what}: not noticed ({words}), but {errors}"

    for path, value, words in PRODUCTION:
        yield from look(
            f"production {path} = {value}",
            words,
            overlays={"production": spoiled(deployment.production, path, value)},
        )
    for path, value, words in WORKER:
        yield from look(
            f"worker {path} = {value}", words, worker=spoiled(deployment.worker, path, value)
        )
    for path, value, words in RESTORE:
        yield from look(
            f"restore {path} = {value}", words, restore=spoiled(deployment.restore, path, value)
        )
    for path, value, words in COMPOSE:
        compose = copy.deepcopy(deployment.compose)
        spoil(compose, path.split("."), value)
        yield from look(f"compose {path} = {value}", words, compose=compose)
