"""Defaults and names that a command line says, before anything that is slow to import."""

from pathlib import Path

# Pairs of a face and its comic that make the sample data set.
SAMPLE_PAIRS = 240
# Where what Kaggle has is put.
DOWNLOADS = Path("downloads")
# MLflow's experiment.
EXPERIMENT = "spark-cnn-search"
# Of predictions, as one file.
CSV = "predictions.csv"
