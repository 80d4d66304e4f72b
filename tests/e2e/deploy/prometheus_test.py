#!/usr/bin/env python3
"""The shipped alerts of Prometheus, by its own tool and with a real Prometheus and a real daemon.

  prometheus_test.py BREAKERD BREAKERCTL

Checks the rules and the example configuration with promtool, and runs the tests of the rules in
alerts_test.yaml. Then lets Prometheus watch the daemon while a circuit opens and closes, others
flap and are forced, and the daemon ends and comes back, and waits for the alerts. Puts the queries
of the Grafana dashboard to it as well.

There the rules' times are shortened: each minute or hour after `for:` and in brackets becomes a
second. Nothing else of the file is changed.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request

from dashboard_test import load_dashboard, queries_of_dashboard
from processes import Daemon, Directory, Process, run, skip_without, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SHIPPED = os.path.join(HERE, "..", "..", "..", "deploy", "prometheus")
RULES = os.path.join(SHIPPED, "alerts.yaml")

CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: breakerd
    static_configs: [{{targets: ['{http}']}}]
"""


def shorten(rules):
    return re.sub(r"((?:for: |\[)\d+)[mh]", r"\1s", rules)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Prometheus(Process):
    def __init__(self, http, directory):
        with open(RULES, encoding="utf-8") as rules:
            shortened = shorten(rules.read())
        with open(os.path.join(directory, "alerts.yaml"), "w", encoding="utf-8") as rules:
            rules.write(shortened)
        configuration = os.path.join(directory, "prometheus.yaml")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(http=http))
        super().__init__(["prometheus", "--config.file=" + configuration,
                          "--storage.tsdb.path=" + os.path.join(directory, "tsdb"),
                          "--web.listen-address=127.0.0.1:0"],
                         os.path.join(directory, "prometheus.log"))

    def __enter__(self):
        super().__enter__()
        self._address = self.wait_for_log(r'msg="Listening on" address=(\S+)\s')
        self.wait_for_log("(Server is ready to receive web requests)")
        return self

    def _ask(self, path):
        return json.loads(get(f"http://{self._address}/api/v1/{path}"))["data"]

    def alerts(self, state="firing"):
        """The labels of those in this state."""
        return [alert["labels"] for alert in self._ask("alerts")["alerts"]
                if alert["state"] == state]

    def value(self, query):
        """Of the first sample; None if there is none."""
        result = self._ask("query?query=" + urllib.request.quote(query))["result"]
        return float(result[0]["value"][1]) if result else None


def check_files():
    run("promtool", "check", "config", os.path.join(SHIPPED, "prometheus.yaml"))
    run("promtool", "check", "rules", RULES)
    run("promtool", "test", "rules", os.path.join(HERE, "alerts_test.yaml"))


def check_dashboard(prometheus):
    """What promtool cannot find: that a query's sides match each other."""
    for where, query in queries_of_dashboard(load_dashboard()):
        try:
            prometheus.value(query)
        except urllib.error.HTTPError as error:
            sys.exit(f"{where}: {query}: {error.read().decode()}")


def check_alerts(breakerd, breakerctl, directory):
    os.mkdir(os.path.join(directory, "daemon"))
    with Daemon(breakerd, breakerctl, os.path.join(directory, "daemon")) as daemon, \
            Prometheus(daemon.http, directory) as prometheus:

        def expect(alert, severity, **labels):
            labels = {"alertname": alert, "severity": severity, "job": "breakerd",
                      "instance": daemon.http, **labels}
            wait_for(f"only {labels}", lambda: prometheus.alerts() == [labels])

        def expect_none():
            wait_for("no alert", lambda: not prometheus.alerts())

        wait_for("a scrape", lambda: prometheus.value('up{job="breakerd"}') == 1)

        for _ in range(5):
            daemon.ctl("exec", "svc/op", "--", "false", status=1)
        expect("BreakerdCircuitOpen", "critical", service="svc", operation="op")
        check_dashboard(prometheus)
        daemon.ctl("reset", "svc/op")
        expect_none()

        open_now = ["exec", "svc/flaps", "--policy", "failure_threshold=1,minimum_request_count=1"]
        opened = 'breakerd_breaker_transitions_total{operation="flaps", to="OPEN"}'
        for times in range(1, 5):
            daemon.ctl(*open_now, "--", "false", status=1)
            wait_for("the opening counted", lambda: prometheus.value(opened) == times)
            daemon.ctl("reset", "svc/flaps")
        expect("BreakerdCircuitFlapping", "warning", service="svc", operation="flaps")
        expect_none()

        daemon.ctl("open", "svc/forced", "--reason", "test")
        expect("BreakerdCircuitForced", "info", service="svc", operation="forced",
               mode="FORCED_OPEN")
        daemon.ctl("auto", "svc/forced")
        expect_none()

        daemon.stop()
        expect("BreakerdDown", "critical")
        with Daemon(breakerd, breakerctl, os.path.join(directory, "daemon"),
                    listen=daemon.target, http_listen=daemon.http):
            expect_none()
            wait_for("more scrapes",
                     lambda: prometheus.value('sum_over_time(up{job="breakerd"}[5s])') >= 4)
            wrong = prometheus.alerts() + prometheus.alerts("pending")
            if wrong:
                sys.exit(f"alerts after a restart: {wrong}")


def main():
    skip_without("prometheus", "promtool")
    check_files()
    with Directory() as directory:
        check_alerts(*sys.argv[1:3], directory)


if __name__ == "__main__":
    main()
