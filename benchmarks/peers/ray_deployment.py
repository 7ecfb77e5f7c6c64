"""Ray Serve: ``ray_deployment.py MODEL PORT``, one replica, ``serve.batch``, access log off."""

from __future__ import annotations

import sys
import time
from typing import Any

import joblib
import pandas as pd
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

Split = dict[str, Any]


@serve.deployment(num_replicas=1, max_ongoing_requests=512, ray_actor_options={"num_cpus": 1})
class Model:
    """A scikit-learn pipeline on the rows of several requests at once."""

    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    @serve.batch(max_batch_size=256, batch_wait_timeout_s=0)
    async def predict(self, splits: list[Split]) -> list[list[Any]]:
        rows = [row for split in splits for row in split["data"]]
        outputs = self.model.predict(pd.DataFrame(rows, columns=splits[0]["columns"])).tolist()
        answers, start = [], 0
        for split in splits:
            end = start + len(split["data"])
            answers.append(outputs[start:end])
            start = end
        return answers

    async def __call__(self, request: Request) -> dict[str, Any]:
        return {"predictions": await self.predict(await request.json())}


if __name__ == "__main__":
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[2])))
    quiet = LoggingConfig(enable_access_log=False, log_level="WARNING")
    serve.run(Model.bind(sys.argv[1]), route_prefix="/predict", logging_config=quiet)
    while True:
        time.sleep(3600)
