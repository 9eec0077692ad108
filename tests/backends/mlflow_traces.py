"""Prints the traces of a session as MLflow's own client gives them, a line of JSON each. Run by MLflow's environment."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

if __name__ == "__main__":
    # Installed in an environment of its own, where the type checker does not look.
    mlflow: Any = import_module("mlflow")
    url, session = sys.argv[1:]
    mlflow.set_tracking_uri(url)
    wanted = f"metadata.`mlflow.trace.session` = '{session}'"
    for trace in mlflow.search_traces(locations=["0"], filter_string=wanted, return_type="list", max_results=100):
        sys.stdout.write(json.dumps(trace.to_dict()) + "\n")
