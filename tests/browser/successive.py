"""Pictures of an endpoint that takes one request with each look; for the notebooks of the tests."""

from __future__ import annotations

import json
import time

from mlops_magics.cards import image
from mlops_magics.widgets import MonitorWidget

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="90">'
    '<rect width="640" height="90" rx="6" fill="#1f6fb5"/></svg>'
)


class Taken:
    """One picture."""

    def __init__(self, number, endpoint="flight-delay", feature="dep_delay"):
        now = time.time()
        self.values = {
            "schema": 1,
            "endpoint": endpoint,
            "state": "live" if number else "idle",
            "reason": None,
            "as_of": now,
            "since": now - 3600,
            "until": now,
            "variants": [
                {
                    "revision": 7,
                    "number": 2,
                    "variant": "champion",
                    "model": "flight-delay",
                    "version": 3,
                    "percent": 100,
                }
            ],
            "efficiency": {
                "requests": number,
                "rows": number,
                "errors": None,
                "error_rate": None,
                "throughput": number / 3600,
                "latency_ms": {"p50": 3.0, "p95": 8.0, "p99": None},
            },
            "series": {
                "t": [now - 10 * i for i in range(number, 0, -1)],
                "requests": [1] * number,
                "errors": [0] * number,
                "p50": [3.0] * number,
                "p95": [8.0] * number,
                "p99": [None] * number,
            },
            "features": [
                {
                    "name": name,
                    "type": "numeric",
                    "psi": psi,
                    "js": 0.2,
                    "drifted": drifted,
                    "nulls": {"reference": 0.0, "current": None},
                    "unseen": [feature],
                    "histogram": {
                        "edges": [0, 1, 2, 3],
                        "labels": None,
                        "reference": [0.2, 0.5, 0.3],
                        "current": [0.1, 0.3, 0.6],
                    },
                }
                for name, psi, drifted in [(feature, 0.3, True), ("month", 0.01, False)]
            ],
            "prediction": None,
            "quality": None,
            "alerts": [{"severity": "warning", "title": f"{feature} drifted", "since": now}],
            "notes": [feature],
        }

    def to_dict(self):
        return json.loads(json.dumps(self.values))

    def _repr_html_(self):
        return image(SVG, "a drawing") + "<p>table of that moment</p>"

    def __str__(self):
        return f"{self.values['endpoint']}: {self.values['efficiency']['requests']} requests"


class Looks:
    """Takes pictures and counts them; can be told to fail."""

    def __init__(self, *, traffic=True, **names):
        self.number, self.traffic, self.names, self.failure = 0, traffic, names, None

    def __call__(self):
        if self.failure:
            raise self.failure
        self.number += self.traffic
        return Taken(self.number, **self.names)


def widget(looks, **options):
    return MonitorWidget(looks, interval=0.3, **options)
