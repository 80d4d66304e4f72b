"""deploy/docker: the Dockerfile, compose.yaml, and what Prometheus and Grafana are told there. Each
check yields what is wrong, in words."""

import os
import re

import yaml

from daemon_flags import check_images, check_listening
from manifests import DEPLOY, port_of, read, seconds


def check_compose(compose, breakerd, dockerfile, version):
    services = compose["services"]
    daemon = services["breakerd"]
    told = {
        name[len("BREAKERD_") :].lower(): value
        for name, value in {**dockerfile.environment, **daemon["environment"]}.items()
    }
    yield from breakerd.check("compose", told)
    yield from check_listening("compose", told)
    yield from check_images("compose", [service["image"] for service in services.values()], version)
    if seconds(daemon["stop_grace_period"]) < 2 * seconds(told["drain_timeout"]):
        yield "compose: stop_grace_period leaves no time after --drain_timeout"
    if not os.path.exists(
        os.path.join(DEPLOY, "docker", daemon["build"]["context"], daemon["build"]["dockerfile"])
    ):
        yield "compose: no such Dockerfile"
    for port in [port for service in services.values() for port in service["ports"]]:
        if not re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port):
            yield f"compose: port {port} is published to others, or as another"
    if {int(port.split(":")[-1]) for port in daemon["ports"]} != set(dockerfile.ports):
        yield f"compose: publishes {daemon['ports']}, the image has {dockerfile.ports}"
    for name, service in services.items():
        if (
            service.get("read_only") is not True
            or service.get("cap_drop") != ["ALL"]
            or "no-new-privileges:true" not in service.get("security_opt", [])
        ):
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
    (place,) = (
        volume.split(":")[1] for volume in daemon["volumes"] if volume.startswith("../policies")
    )
    if os.path.dirname(told["policies"]) != place or not os.path.exists(
        os.path.join(DEPLOY, "policies", os.path.basename(told["policies"]))
    ):
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
    told = {
        name[len("BREAKERD_") :].lower(): value for name, value in dockerfile.environment.items()
    }
    yield from breakerd.check("Dockerfile", told)
    if dockerfile.ports != [port_of(told["listen"]), port_of(told["http_listen"])]:
        yield f"Dockerfile: exposes {dockerfile.ports}"
    if [told["data_dir"]] != dockerfile.volumes:
        yield f"Dockerfile: --data_dir {told['data_dir']} is not in {dockerfile.volumes}"
    if f"127.0.0.1:{port_of(told['health_listen'])}" not in dockerfile.health_command:
        yield f"Dockerfile: HEALTHCHECK asks another port than {told['health_listen']}"
    if not all(
        re.fullmatch(r"debian:bookworm-20\d{6}-slim(@sha256:[0-9a-f]{64})?", image)
        for image in dockerfile.base_images()
    ):
        yield f"Dockerfile: {dockerfile.base_images()} are not fixed versions of Debian 12"
