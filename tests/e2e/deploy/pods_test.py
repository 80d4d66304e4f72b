#!/usr/bin/env python3
"""The pod of each overlay of deploy/k8s, as the kubelet would run it.

It gets the files of its volumes, its flags and its user, in the image's file tree, and is asked by
its probes; certificates are renewed and a ConfigMap is changed while it runs. Without Kubernetes:
see image.py.

  pods_test.py BUILD_FOLDER
"""

import base64
import hashlib
import os
import secrets
import shutil
import socket
import ssl
import sys
import urllib.request

from image import PATH, Container, Image, in_network_of_its_own, is_root
from manifests import container_of, overlays, port_of, render, settings
from processes import Directory, module, run, skip_without, wait_for

yaml = module("yaml", "python3-yaml")

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


def check(condition, message):
    if not condition:
        sys.exit(message)


class Authority:
    """A CA, as cert-manager would have one."""

    def __init__(self, directory):
        self._directory = directory
        self.certificate = os.path.join(directory, "ca.crt")
        self._key = os.path.join(directory, "ca.key")
        self._issued = 0
        os.mkdir(directory)
        run(
            "openssl",
            "req",
            "-x509",
            *NEW_KEY,
            "-subj",
            "/CN=test CA",
            "-days",
            "1",
            "-keyout",
            self._key,
            "-out",
            self.certificate,
        )

    def text(self):
        with open(self.certificate, encoding="ascii") as file:
            return file.read()

    def issue(self, spec):
        """What cert-manager writes into the Secret of a Certificate."""
        self._issued += 1
        key, request, certificate = (
            os.path.join(self._directory, f"{self._issued}.{kind}")
            for kind in ("key", "csr", "crt")
        )
        names = ",".join("DNS:" + name for name in spec["dnsNames"])
        uses = ",".join(
            {"server auth": "serverAuth", "client auth": "clientAuth"}[usage]
            for usage in spec["usages"]
            if usage.endswith("auth")
        )
        run(
            "openssl",
            "req",
            *NEW_KEY,
            "-subj",
            "/CN=" + spec["commonName"],
            "-addext",
            "subjectAltName=" + names,
            "-addext",
            "extendedKeyUsage=" + uses,
            "-keyout",
            key,
            "-out",
            request,
        )
        run(
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.certificate,
            "-CAkey",
            self._key,
            "-days",
            "1",
            "-copy_extensions",
            "copy",
            "-out",
            certificate,
        )
        content = {"tls.crt": certificate, "tls.key": key, "ca.crt": self.certificate}
        for name, path in content.items():
            with open(path, encoding="ascii") as file:
                content[name] = file.read()
        return content


class Volume:
    """A folder of a ConfigMap or a Secret as the kubelet makes it: it changes all at once."""

    def __init__(self, folder, content, mode, group):
        self.folder = folder
        self._mode, self._group, self._version = mode, group, 0
        os.mkdir(folder)
        self.put(content)
        for name in content:
            os.symlink(os.path.join("..data", name), os.path.join(folder, name))

    def put(self, content):
        self._version += 1
        version = os.path.join(self.folder, f"..{self._version}")
        os.mkdir(version)
        for name, text in content.items():
            path = os.path.join(version, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, self._mode)
            if is_root():
                os.chown(path, 0, self._group)
        os.symlink(f"..{self._version}", os.path.join(self.folder, "..new"))
        os.rename(os.path.join(self.folder, "..new"), os.path.join(self.folder, "..data"))


class Pod:
    """The container of an overlay's pod, and the volumes that it gets."""

    def __init__(self, image, manifests, authority, directory):
        self.spec = manifests.pod()["spec"]
        self.told = settings(container_of(manifests.pod()))
        self.volumes = {}
        certificates = {
            each["spec"]["secretName"]: each["spec"] for each in manifests.of_kind("Certificate")
        }
        for volume in self.spec["volumes"]:
            if "configMap" in volume:
                content = manifests.data_of("ConfigMap", volume["configMap"]["name"])
                mode = volume["configMap"].get("defaultMode", 0o644)
            else:
                name = volume["secret"]["secretName"]
                content = (
                    authority.issue(certificates[name])
                    if name in certificates
                    else manifests.data_of("Secret", name)
                )
                mode = volume["secret"].get("defaultMode", 0o644)
            self.volumes[volume["name"]] = Volume(
                os.path.join(directory, volume["name"]),
                content,
                mode,
                self.spec["securityContext"]["fsGroup"],
            )
        container = container_of(manifests.pod())
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        self.probes = {
            name: container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        self.container = Container(
            image,
            os.path.join(directory, "pod.log"),
            volumes={
                place: os.path.join(directory, "claim")
                for place, name in mounts.items()
                if name not in self.volumes
            },
            mounts={
                place: self.volumes[name].folder
                for place, name in mounts.items()
                if name in self.volumes
            },
            environment={variable["name"]: variable["value"] for variable in container["env"]},
            arguments=container.get("args", []),
        )

    def succeeds(self, probe):
        """The kubelet's question."""
        asked = self.probes[probe]["grpc"]
        status, _ = self.container.execute(
            "breakerctl",
            "--target",
            f"127.0.0.1:{asked['port']}",
            "--timeout",
            f"{self.probes[probe]['timeoutSeconds']}s",
            "health",
            "--service",
            asked.get("service", ""),
        )
        return status == 0


def certificate_at(port, server_name, authority):
    """That of a server of this machine, after it was verified."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(
        plain, server_hostname=server_name
    ) as connection:
        return connection.getpeercert()["serialNumber"]


def check_metrics(pod, manifests):
    """They are where a ServiceMonitor says."""
    (endpoint,) = manifests.one("ServiceMonitor")["spec"]["endpoints"]
    port = port_of(pod.told["http_listen"])
    address = f"{endpoint['scheme']}://127.0.0.1:{port}{endpoint['path']}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        check("breakerd_" in answer.read().decode(), f"no metrics at {address}")


def check_policies(pod):
    """A ConfigMap that changes is read without a restart."""
    check("policies_loaded" in pod.container.log(), f"no policies:\n{pod.container.log()}")
    pod.volumes["policies"].put({"policies.yaml": "policies: []\n"})
    pod.container.wait_for_log(r"(policies_loaded .*changed=6)")


def check_tls(pod, manifests, authority):
    port = port_of(pod.told["listen"])
    spec = manifests.one("Certificate", "breakerd")["spec"]
    serials = {certificate_at(port, name, authority) for name in spec["dnsNames"]}
    check(len(serials) == 1, f"certificates {serials}")
    # cert-manager renews it.
    pod.volumes["tls"].put(authority.issue(spec))
    wait_for(
        "the renewed certificate",
        lambda: certificate_at(port, spec["dnsNames"][0], authority) not in serials,
    )


class Worker:
    """A pod of examples/worker, with its token; breakerctl stands for the application."""

    def __init__(self, worker, authority, directory):
        self.token = secrets.token_hex(32)
        pod = worker.one("Deployment")["spec"]["template"]["spec"]
        container = container_of({"spec": pod})
        (volume,) = pod["volumes"]
        made = {"token": self.token, "ca.crt": authority.text()}
        content = {
            item["path"]: made[item["key"]]
            for source in volume["projected"]["sources"]
            for kind in source.values()
            for item in kind["items"]
        }
        files = Volume(
            os.path.join(directory, volume["name"]),
            content,
            volume["projected"]["defaultMode"],
            pod["securityContext"]["fsGroup"],
        )
        self.environment = {
            variable["name"]: variable.get("value", "websocket-app-0")
            for variable in container["env"]
        }
        self._host = self.environment["BREAKERD_TARGET"].rsplit(":", 1)[0]
        hosts = os.path.join(directory, "hosts")  # what DNS says in a cluster
        with open(hosts, "w", encoding="ascii") as file:
            file.write(f"127.0.0.1 {self._host}\n")
        (mount,) = container["volumeMounts"]
        self.mounts = {mount["mountPath"]: files.folder, "/etc/hosts": hosts}

    def ctl(self, pod, *words, without=()):
        environment = {
            name: value for name, value in self.environment.items() if name not in without
        }
        return pod.container.execute(
            "breakerctl",
            "--timeout",
            "20s",
            *words,
            environment={"PATH": ":".join(PATH), **environment},
            mounts=self.mounts,
        )


def check_worker(pod, worker):
    """The example's environment and token are all that it needs, and it may do no more."""
    guard = ["--", "/usr/local/bin/breakerctl", "--help"]
    status, output = worker.ctl(pod, "exec", "cognito/verifyJWT", *guard)
    check(status == 0, f"a worker's call: {status}\n{output}")
    status, output = worker.ctl(pod, "stats", "cognito/verifyJWT")
    check(status == 0 and "1 succeeded" in output, f"its call is not counted: {status}\n{output}")
    status, output = worker.ctl(pod, "open", "cognito/verifyJWT")
    check(status != 0, f"a worker may operate:\n{output}")
    status, output = worker.ctl(pod, "stats", "payments/charge")
    check(status != 0 and "payments" in output, f"a worker of another service:\n{output}")
    status, output = worker.ctl(pod, "list", without=["BREAKERD_TOKEN_FILE"])
    check(status != 0, f"without a token:\n{output}")
    status, output = worker.ctl(pod, "list", without=["BREAKERD_TLS_CA", "BREAKERD_TOKEN_FILE"])
    check(status != 0, f"without TLS:\n{output}")


def check_pod(image, manifests, directory):
    os.mkdir(directory)
    authority = Authority(os.path.join(directory, "authority"))
    worker = None
    if manifests.of_kind("Certificate"):
        worker = Worker(render("examples", "worker"), authority, directory)
        give_token(manifests, worker.token)
    pod = Pod(image, manifests, authority, directory)
    with pod.container:
        startup = pod.probes["startupProbe"]
        pod.container.wait_until(
            "the startup probe",
            lambda: pod.succeeds("startupProbe"),
            startup["periodSeconds"] * startup["failureThreshold"],
        )
        for probe in pod.probes:
            check(pod.succeeds(probe), f"{probe} fails:\n{pod.container.log()}")
        if worker is not None:
            check_worker(pod, worker)
            check_tls(pod, manifests, authority)
            check_metrics(pod, manifests)
        check_policies(pod)
        status, seconds = pod.container.end()
        check(status == 0, f"exit status {status}:\n{pod.container.log()}")
        check(seconds < pod.spec["terminationGracePeriodSeconds"], f"took {seconds:.1f} s to end")
        check(not pod.succeeds("livenessProbe"), "alive, though it has ended")


def give_token(manifests, token):
    """As deploy/README.md says: its hash takes the place of the one that nobody has."""
    secret = manifests.one("Secret", "breakerd-identities")
    text = base64.b64decode(secret["data"]["identities.yaml"]).decode()
    check(text.count("0" * 64) == 1, "no place for the hash of a token")
    text = text.replace("0" * 64, hashlib.sha256(token.encode()).hexdigest())
    secret["data"]["identities.yaml"] = base64.b64encode(text.encode()).decode()


def main():
    skip_without("bwrap", "setpriv", "openssl", "ldd")
    in_network_of_its_own()
    with Directory() as directory:
        os.chmod(directory, 0o755)
        image = Image(sys.argv[1], directory)
        for name, manifests in overlays().items():
            print(name, flush=True)
            check_pod(image, manifests, os.path.join(directory, name))
            shutil.rmtree(os.path.join(directory, name))


if __name__ == "__main__":
    main()
