"""Defaults and names that a command line shows, without imports that are slow."""

from pathlib import Path

# Pairs of a face and its comic in the sample data set.
SAMPLE_PAIRS = 240
# The folder for data sets downloaded from Kaggle.
DOWNLOADS = Path("downloads")
# The name of the experiment in MLflow.
EXPERIMENT = "spark-cnn-search"
# All predictions in one file.
CSV = "predictions.csv"
