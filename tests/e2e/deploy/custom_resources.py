"""Schemas of the objects whose kinds Kubernetes itself does not have.

Of the fields that deploy/ uses: an unknown field is an error. By hand, from the APIs' references:

https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.Certificate
https://prometheus-operator.dev/docs/api-reference/api/
"""

TEXT = {"type": "string", "minLength": 1}
DURATION = {"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?$", "minLength": 2}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}


def record(required, **fields):
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def custom(group_version, spec):
    return record(
        "apiVersion kind metadata spec",
        apiVersion={"const": group_version},
        kind=TEXT,
        metadata=record(
            "name namespace", name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS
        ),
        spec=spec,
    )


def list_of(item):
    return {"type": "array", "items": item, "minItems": 1}


KEY = record("name key", name=TEXT, key=TEXT, optional={"type": "boolean"})
CA = {"oneOf": [record("secret", secret=KEY), record("configMap", configMap=KEY)]}

SCHEMAS = {
    "Certificate": custom(
        "cert-manager.io/v1",
        record(
            "secretName issuerRef dnsNames usages",
            secretName=TEXT,
            commonName={"type": "string", "maxLength": 64},
            dnsNames=list_of(TEXT),
            uris=list_of(TEXT),
            duration=DURATION,
            renewBefore=DURATION,
            issuerRef=record(
                "name", name=TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, group=TEXT
            ),
            privateKey=record(
                "",
                algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
                size={"enum": [256, 384, 521, 2048, 4096, 8192]},
                encoding={"enum": ["PKCS1", "PKCS8"]},
                rotationPolicy={"enum": ["Never", "Always"]},
            ),
            usages=list_of(
                {"enum": ["digital signature", "key encipherment", "server auth", "client auth"]}
            ),
        ),
    ),
    "ServiceMonitor": custom(
        "monitoring.coreos.com/v1",
        record(
            "selector endpoints",
            jobLabel=TEXT,
            selector=record("matchLabels", matchLabels=LABELS),
            namespaceSelector=record("", any={"type": "boolean"}, matchNames=list_of(TEXT)),
            endpoints=list_of(
                record(
                    "port",
                    port=TEXT,
                    path=TEXT,
                    interval=DURATION,
                    scrapeTimeout=DURATION,
                    scheme={"enum": ["http", "https"]},
                    tlsConfig=record("", ca=CA, serverName=TEXT),
                )
            ),
        ),
    ),
    "PrometheusRule": custom(
        "monitoring.coreos.com/v1",
        record(
            "groups",
            groups=list_of(
                record(
                    "name rules",
                    name=TEXT,
                    interval=DURATION,
                    rules=list_of(
                        {
                            "oneOf": [
                                record(
                                    "alert expr",
                                    **{"for": DURATION},
                                    alert=TEXT,
                                    expr=TEXT,
                                    labels=LABELS,
                                    annotations=LABELS,
                                    keep_firing_for=DURATION
                                ),
                                record("record expr", record=TEXT, expr=TEXT, labels=LABELS),
                            ]
                        }
                    ),
                )
            ),
        ),
    ),
}
