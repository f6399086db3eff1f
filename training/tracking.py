"""MLflow: parameters, each epoch's loss and the figures of every run; a local folder unless MLFLOW_TRACKING_URI says
otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Nobody is told that a model was trained.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


class Run:
    """What a training may record; `id` goes into the bundle's provenance."""

    def __init__(self, mlflow, run_id: str):
        self._mlflow, self.id = mlflow, run_id

    def parameters(self, values: dict) -> None:
        """Record settings."""
        self._mlflow.log_params(values)

    def figure(self, name: str, value: float, step: int | None = None) -> None:
        """Record one number."""
        self._mlflow.log_metric(name, float(value), step=step)

    def epochs(self, values: dict[str, list[float]]) -> None:
        """Record what each epoch came to, by name."""
        for name, row in values.items():
            for epoch, value in enumerate(row, start=1):
                self.figure(name, value, epoch)

    def final(self, datasets: list[dict]) -> None:
        """Record every metric of evaluation.json's `datasets`."""
        for entry in datasets:
            for metric in entry["metrics"]:
                # MLflow takes no comma in a name.
                self.figure(f"{metric['name']}, {entry['name']}".replace(",", " "), metric["value"])


@contextmanager
def run(experiment: str, folder: Path) -> Iterator[Run]:
    """A run of `experiment`; its store is `folder` unless MLFLOW_TRACKING_URI names another."""
    # Imported here: it takes seconds that neither tests of other parts nor --help should wait for.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        folder.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(folder.resolve().as_uri())
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as started:
        yield Run(mlflow, started.info.run_id)
