#!/usr/bin/env python3
"""The shipped dashboards and alerts against what the real daemon tells of itself.

  monitoring_test.py BREAKERD BREAKERCTL

Makes the daemon tell of all that there is: calls, an open circuit, an override, a policy with a
failure rate, an error, names that need care. Then has promtool check its /metrics, and lets
dashboard_test.py and cloudwatch_test.py judge /metrics and what --emf_log wrote.
"""

import os
import sys
import urllib.request

from processes import Daemon, Directory, module, run, skip_without

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = os.path.join(HERE, "..", "..", "..", "deploy", "cloudwatch", "breakerd.yaml")


def tell_all(daemon):
    for _ in range(5):
        daemon.ctl("exec", "svc/op", "--", "false", status=1)
    daemon.ctl("exec", "svc/op", "--", "true", status=75)
    daemon.ctl("exec", "svc/rate", "--policy", "failure_rate_threshold=0.5", "--", "true")
    daemon.ctl("exec", "svc/shadow", "--policy", "shadow=true", "--", "true")
    daemon.ctl("exec", 'svc/ö "p" \\n {le="1"}', "--", "true")
    daemon.ctl("open", "svc/forced", "--reason", 'he said "no"')
    daemon.ctl("stats", "svc/unknown", status=1)


def main():
    skip_without("promtool")
    module("yaml", "python3-yaml")
    with Directory() as directory:
        emf = os.path.join(directory, "emf.log")
        metrics = os.path.join(directory, "metrics.txt")
        with Daemon(*sys.argv[1:3], directory, "--emf_log", emf) as daemon:
            tell_all(daemon)
            with urllib.request.urlopen(f"http://{daemon.http}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        # Now that it has ended, it has written the last of its lines.
        with open(metrics, "w", encoding="utf-8") as file:
            file.write(text)
        run("promtool", "check", "metrics", input=text)
        run(sys.executable, os.path.join(HERE, "dashboard_test.py"), metrics)
        run(sys.executable, os.path.join(HERE, "cloudwatch_test.py"), emf, TEMPLATE)


if __name__ == "__main__":
    main()
