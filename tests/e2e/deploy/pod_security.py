"""Pod Security Standards, level "restricted", of Kubernetes, as of 1.37, field by field.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
ALLOWED_SELINUX = {
    None,
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
}
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}


def violations(spec):
    """What of a pod's spec the level forbids."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is true"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= ALLOWED_VOLUMES:
            yield f"volume {volume['name']} is a {'/'.join(sorted(kinds))}"
    pod = spec.get("securityContext", {})
    yield from of_both(pod, "the pod")
    for sysctl in pod.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind, []):
            yield from of_container(container, pod)


def of_both(context, whose):
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{whose}: hostProcess is true"
    linux = context.get("seLinuxOptions", {})
    if linux.get("type") not in ALLOWED_SELINUX or linux.get("user") or linux.get("role"):
        yield f"{whose}: seLinuxOptions {linux}"
    if context.get("runAsUser") == 0:
        yield f"{whose}: runAsUser is 0"
    if context.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield f"{whose}: appArmorProfile is Unconfined"


def of_container(container, pod):
    whose = f"container {container['name']}"
    context = container.get("securityContext", {})
    yield from of_both(context, whose)
    if context.get("privileged"):
        yield f"{whose}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{whose}: allowPrivilegeEscalation is not false"
    if context.get("procMount", "Default") != "Default":
        yield f"{whose}: procMount {context['procMount']}"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{whose}: does not drop ALL capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"{whose}: adds capabilities {capabilities['add']}"
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{whose}: runAsNonRoot is not true"
    profile = context.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield f"{whose}: seccompProfile is {profile}"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{whose}: has a hostPort"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for handler in container.get(probe, {}).values():
            if isinstance(handler, dict) and handler.get("host"):
                yield f"{whose}: {probe} asks another host"
